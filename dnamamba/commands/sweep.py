"""What a sweep ends with: its jobs from best to worst by their headline number, as a table and a picture."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.table import Table
from yaml import YAMLError

from dnamamba.errors import UserError
from dnamamba.escaping import TsvWriter, bounded, printable
from dnamamba.files import locked, replacing
from dnamamba.processes import process_number
from dnamamba.seals import SEAL, read_results, write_results
from dnamamba.terminal import Console

FILE = "headline.json"
_DAMAGE = (UserError, OSError, TypeError, ValueError, AttributeError, YAMLError, OmegaConfBaseException)


class Headline(NamedTuple):
    """The number that a run is known by, of held-out data that it did not train on; of no test.

    Attributes:
        name: of the metric.
        value: NaN where the metric is not defined.
        lower_is_better: else higher is.
    """

    name: str
    value: float
    lower_is_better: bool

    @property
    def title(self) -> str:
        """The metric, and which way is better."""
        return f"{self.name} on validation ({'lower' if self.lower_is_better else 'higher'} is better)"


class Job(NamedTuple):
    """A finished job of a sweep: its number, what was set for it, its headline and its folder."""

    number: int
    overrides: tuple[str, ...]
    headline: Headline
    folder: Path


class Sweep(Callback):
    """Tells `report` of a sweep; `hydra.callbacks` of a command's configuration names it."""

    folder: Path | None = None
    swept: tuple[str, ...] = ()
    lock: ClassVar[ExitStack] = ExitStack()

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Keep the sweep's folder and swept keys: the process that starts it is the one that ends it.

        The folder is locked until `report`: jobs of two sweeps have the same names. Hydra would go on after
        an error here, and write the notes of its first job over those of the other sweep.
        """
        folder = Path(config.hydra.sweep.dir).absolute()
        if process_number() == 0:
            try:
                Sweep.lock.enter_context(locked(folder, "another hydra.sweep.dir"))
            except UserError as error:
                print(f"dnamamba: error: {error}", file=sys.stderr)
                sys.exit(1)
        Sweep.folder = folder
        parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        Sweep.swept = tuple(each.key_or_group for each in parsed if each.is_sweep_override())


def note(headline: Headline | None) -> float | None:
    """Leave the headline of a sweep's job in its folder; return the number, for the sweeper that asked."""
    if headline is None:
        return None
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        write_results(Path(HydraConfig.get().runtime.output_dir) / FILE, headline._asdict(), alone=True)
    return headline.value


def report() -> None:
    """Print the jobs of this process's sweep, and write sweep.tsv and sweep.png into its folder.

    What an interrupt or a mistake left undone is left out.
    """
    folder, swept = Sweep.folder, Sweep.swept
    Sweep.folder = None
    with Sweep.lock:
        if folder is not None:
            _report(folder, swept)


def _report(folder: Path, swept: Sequence[str]) -> None:
    jobs = finished(folder)
    if not jobs:
        return
    # Matplotlib takes a moment: only where there is something to draw.
    from dnamamba.reports.figures import save_figure
    from dnamamba.reports.sweeps import sweep_figure

    names = varied(jobs, swept)
    write(folder / "sweep.tsv", jobs, names)
    labels = [", ".join(f"{name}={settings(job).get(name, '')}" for name in names) for job in jobs]
    labels = [label or f"job {job.number}" for label, job in zip(labels, jobs, strict=True)]
    figure = sweep_figure(jobs[0].headline.title, [job.headline.value for job in jobs], labels)
    save_figure(figure, folder / "sweep.png")
    show(folder, jobs, names)


def finished(folder: Path) -> list[Job]:
    """Return the jobs of a sweep that have a headline, from best to worst; what is not a number last."""
    jobs = []
    for path in sorted(folder.rglob(FILE)):
        try:
            jobs.append(_job(path))
        except _DAMAGE as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            print(
                bounded(printable(f"dnamamba: {path.parent}: damaged, left out ({reason})")), file=sys.stderr
            )
    sign = 1 if jobs and jobs[0].headline.lower_is_better else -1

    def rank(job: Job) -> tuple[bool, float, int]:
        value = job.headline.value
        return (math.isnan(value), 0.0 if math.isnan(value) else sign * value, job.number)

    return sorted(jobs, key=rank)


def _job(path: Path) -> Job:
    """Read a job's headline, and its number and overrides as Hydra keeps them."""
    found = {key: value for key, value in read_results(path, "remove it").items() if key != SEAL}
    if "value" in found and found["value"] is None:  # JSON has no word for NaN
        found["value"] = math.nan
    headline = Headline(**found)
    if not isinstance(headline.name, str) or not isinstance(headline.value, float | int):
        raise TypeError(f"expected a name and a number (got {headline.name!r}, {headline.value!r})")
    hydra = path.parent / ".hydra"
    number = int(OmegaConf.load(hydra / "hydra.yaml").hydra.job.num)
    return Job(number, tuple(map(str, OmegaConf.load(hydra / "overrides.yaml"))), headline, path.parent)


def varied(jobs: Sequence[Job], swept: Sequence[str] = ()) -> list[str]:
    """Return the settings that were swept, and others in which jobs differ."""
    values: dict[str, set[str]] = {}
    for job in jobs:
        for key, value in settings(job).items():
            values.setdefault(key, set()).add(value)
    return [key for key, found in values.items() if key in swept or len(found) > 1]


def settings(job: Job) -> dict[str, str]:
    """Return the overrides of a job by key."""
    pairs = (override.lstrip("+").partition("=") for override in job.overrides)
    return {key: _bare(value) for key, _, value in pairs}


def _bare(value: str) -> str:
    """Strip what `commands.overrides` put around a value."""
    value = value.removeprefix("{_path_: ").removesuffix("}") if value.startswith("{_path_: ") else value
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == "'" else value


def write(path: Path, jobs: Sequence[Job], names: Sequence[str]) -> None:
    """Write the table as TSV: rank, job, the varied settings, the number, the folder.

    Args:
        path: the TSV.
        jobs: best first.
        names: of the varied settings.
    """
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = TsvWriter(file)
        writer.writerow(["rank", "job", *names, jobs[0].headline.name, "folder"])
        for rank, job in enumerate(jobs, start=1):
            cells = [settings(job).get(name, "") for name in names]
            writer.writerow([rank, job.number, *cells, repr(job.headline.value), job.folder.name])


def show(folder: Path, jobs: Sequence[Job], names: Sequence[str]) -> None:
    """Print the table.

    Args:
        folder: of the sweep.
        jobs: best first.
        names: of the varied settings.
    """
    first = jobs[0].headline
    table = Table()
    for column in ("job", *names, first.name):
        table.add_column(column, justify="left" if column in names else "right")
    for job in jobs:
        cells = [settings(job).get(name, "") for name in names]
        table.add_row(str(job.number), *cells, f"{job.headline.value:.4f}")
    console = Console()
    console.print(first.title)
    console.print(table)
    for name in ("sweep.tsv", "sweep.png"):
        console.print(str(folder / name), soft_wrap=True)
