"""Pieces of an HTML page that needs no other file: texts, tables, pictures, and the page around them."""

import base64
import html
import io

from matplotlib.figure import Figure

from dnamamba import __version__
from dnamamba.escaping import bounded, printable
from dnamamba.reports.figures import draw

_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; overflow-wrap: anywhere; }
.verdict { font-size: 1.15rem; border-left: .3rem solid #1c5cab; padding: .3rem .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0; text-align: left; }
li, details td { overflow-wrap: anywhere; }
td { max-width: 34rem; }
img { max-width: 100%; height: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: .5rem; }
@media (max-width: 24rem) { .pair { display: block; } }
pre { overflow-x: auto; padding: .6rem .8rem; background: #8881; }
summary { cursor: pointer; font-weight: 600; }
"""


def document(title: str, parts: list[str]) -> str:
    """Return a page.

    Args:
        title: of the window, as plain text.
        parts: of the page, as HTML.
    """
    last = f"<p><small>Written by dnamamba {__version__}.</small></p>"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>{text(title)}</title>"
    return f"<!doctype html>\n<html lang=en><head>{head}<style>{_STYLE}</style></head><body>\n" + "\n".join(
        [*parts, last, "</body></html>\n"]
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table of plain texts, which scrolls where the window is narrow."""
    lines = ["<tr>" + "".join(f"<th>{text(cell)}</th>" for cell in header) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return '<div class="wide"><table>' + "\n".join(lines) + "</table></div>"


def image(content: bytes | Figure, title: str) -> str:
    """Return a picture that is part of the page.

    Args:
        content: a PNG's bytes, or a figure, which is drawn.
        title: what it shows, for readers who can't see it.
    """
    if isinstance(content, Figure):
        buffer = io.BytesIO()
        draw(content, buffer)
        content = buffer.getvalue()
    data = base64.b64encode(content).decode()
    return f'<img alt="{text(title)}" src="data:image/png;base64,{data}">'


def text(words: object) -> str:
    """Return a text for HTML: shortened, with nothing in it that a browser would obey."""
    return html.escape(bounded(printable(str(words))))
