"""Examples in docstrings as blocks of code: an extension of griffe, which reads the package for the site."""

import re
from typing import Any

from griffe import Extension, Object

# A prompt, and all lines up to the next blank one: what was typed, and what was printed.
_EXAMPLE = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)


class Doctests(Extension):
    """Fence every example, which Markdown would take for a quotation of a quotation of a quotation."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Return a docstring with its examples in fences."""
    return _EXAMPLE.sub(lambda found: f"{found['indent']}```pycon\n{found[0]}\n{found['indent']}```", text)
