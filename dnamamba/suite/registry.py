"""Which suite a name stands for: those of the package by name, those of a user by import path."""

from pathlib import Path

from dnamamba.errors import UserError
from dnamamba.plugins import imported
from dnamamba.suite.base import Suite, check_suite

SUITES = {
    "brca1": "dnamamba.suite.brca1.Brca1",
    "genomic_benchmarks": "dnamamba.suite.genomic_benchmarks.GenomicBenchmarks",
    "great_apes": "dnamamba.suite.species.GreatApes",
    "mammals": "dnamamba.suite.species.Mammals",
    "mave": "dnamamba.suite.mave.Mave",
    "mpra": "dnamamba.suite.mpra.SaturationMpra",
    "nt_tasks": "dnamamba.suite.nt_tasks.NtTasks",
    "yeast_bits": "dnamamba.suite.yeast_bits.YeastBits",
    "yeast_coding": "dnamamba.suite.yeast_coding.YeastCoding",
}


def find_suite(
    name: str, task: str | None = None, files: str | Path = "", examples: int | None = None
) -> Suite:
    """Return the suite of a name, or at an import path such as `my_module.MySuite`.

    Args:
        name: of the suite.
        task: which of its data sets, where it has several.
        files: the folder that holds the user's files.
        examples: the most sequences of a split, or variants; None: all.

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
    suite.task, suite.files, suite.examples = task, files, examples
    return suite
