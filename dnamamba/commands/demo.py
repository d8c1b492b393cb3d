"""What `python -m dnamamba.demo` does: five stops on the package's genome, one HTML page."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from dnamamba.commands.demo_stops import STOPS, Sizes, Stop, Tour
from dnamamba.errors import UserError
from dnamamba.files import replacing
from dnamamba.inference.output import output_path
from dnamamba.reports.html import document, image, table, text
from dnamamba.terminal import Console

_AFTER = """<h2>Now on your data</h2>
<p><code>dnamamba --help</code> lists the commands, <code>dnamamba COMMAND --help</code> the settings of each,
and <code>dnamamba info</code> what this machine can do. A model for real work is larger and trained longer
than the two of this page: <code>dnamamba pretrain data.fasta=my_genome.fa.gz model=paper_1m4
trainer=gpu</code>.</p>"""


@dataclass(frozen=True)
class DemoConfig:
    """The settings of conf/demo.yaml, which explains each.

    Raises:
        UserError: a number is out of range.
    """

    out: str = "dnamamba_demo.html"
    steps: int = 60
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"steps: must be at least 1 (got {self.steps})")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed: must lie between 0 and 4294967295 (got {self.seed})")


def demo(config: DemoConfig, sizes: Sizes | None = None) -> None:
    """Take the tour and write its page, whole or not at all.

    Args:
        config: of the command.
        sizes: how much each stop reads; None: as the command does.

    Raises:
        UserError: the page can't be written there.
    """
    out = output_path(config.out, (".html",), config.overwrite)
    console = Console()
    tour = Tour(config.steps, config.seed, sizes or Sizes())
    parts = [
        "<h1>A tour of dnamamba</h1>",
        "<p>Five things that a model of DNA can do, each on the genome of baker's yeast (<i>S. "
        "cerevisiae</i> S288C, 12 million bases), which comes with the package. Below each picture stands "
        "the command that does the same with your own files.</p>",
    ]
    for number, stop in enumerate(STOPS, start=1):
        parts += _stop(f"{number}/{len(STOPS)}", stop, tour, console)
    with replacing(out) as beside:
        beside.write_text(document("A tour of dnamamba", [*parts, _AFTER]), "utf-8")
    console.print(f"wrote {out}: open it in a browser", soft_wrap=True)


def _stop(number: str, take: Callable[[Tour], Stop], tour: Tour, console: Console) -> list[str]:
    """Take one stop and return its part of the page."""
    began = time.perf_counter()
    found = take(tour)
    seconds = time.perf_counter() - began
    console.print(f"{number} {found.title}: {found.said} ({seconds:.1f} s)", soft_wrap=True)
    parts = [f"<h2>{text(found.title)}</h2>", *(f"<p>{text(line)}</p>" for line in found.before)]
    pictures = "\n".join(image(figure, name) for name, figure in found.figures.items())
    parts.append(f'<div class="pair">{pictures}</div>' if len(found.figures) > 1 else pictures)
    parts += [table(*found.table)] if found.table else []
    lines = "\n".join(map(text, found.letters))
    parts += [f"<pre>{lines}</pre>"] if lines else []
    parts += [f'<p class="verdict">{text(found.said)}</p>', *(f"<p>{text(line)}</p>" for line in found.after)]
    return [
        *parts,
        f"<pre><code>{text(found.command)}</code></pre>",
        f"<p><small>{seconds:.1f} s here</small></p>",
    ]
