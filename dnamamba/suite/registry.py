"""Which suite a name stands for: those of the package by name, those of a user by import path."""

from dnamamba.errors import UserError
from dnamamba.plugins import imported
from dnamamba.suite.base import Suite, check_suite

SUITES = {
    "yeast_bits": "dnamamba.suite.yeast_bits.YeastBits",
    "yeast_coding": "dnamamba.suite.yeast_coding.YeastCoding",
}


def find_suite(name: str) -> Suite:
    """Return the suite of a name, or at an import path such as `my_module.MySuite`.

    Raises:
        UserError: there is none, or it lacks a name, a metric or protocols.
    """
    if "." not in name and name not in SUITES:
        raise UserError(
            f"name: no such benchmark (got {name!r}); choose of {', '.join(SUITES)}, "
            "or give the import path of a Suite"
        )
    suite: Suite = imported(SUITES.get(name, name), Suite, "name")()
    check_suite(suite)
    return suite
