"""Docstrings as the site's reader of them wants them: an extension of griffe."""

import re
from typing import Any

from griffe import Extension, Object

# A prompt, and all lines up to the next blank one: what was typed, and what was printed.
_EXAMPLE = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)
# Parameters that are explained together, with their explanation.
_TOGETHER = re.compile(
    r"^(?P<indent> *)(?P<names>\w+(?:, \w+)+):(?P<meaning> .*(?:\n(?P=indent) +.*)*)", re.MULTILINE
)


class Readable(Extension):
    """Fence examples, which Markdown would take for quotations, and give each parameter an entry."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)


def readable(text: str) -> str:
    """Return a docstring with its examples in fences and its parameters one by one."""
    text = _EXAMPLE.sub(lambda found: f"{found['indent']}```pycon\n{found[0]}\n{found['indent']}```", text)
    return _TOGETHER.sub(
        lambda found: "\n".join(
            f"{found['indent']}{name}:{found['meaning']}" for name in found["names"].split(", ")
        ),
        text,
    )
