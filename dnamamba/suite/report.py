"""What a benchmark writes and prints: JSON, a table and a picture."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from dnamamba.escaping import TsvWriter
from dnamamba.files import replacing
from dnamamba.reports.figures import BASELINE, HELD_OUT, SURFACE, TRAINING, save_figure
from dnamamba.suite.base import Published, Row, Suite
from dnamamba.suite.leakage import Leakage


def write_report(
    suite: Suite,
    model: str,
    seed: int,
    device: str,
    rows: Sequence[Row],
    folder: Path,
    console: Console,
    leakage: Leakage | None = None,
) -> dict[str, Any]:
    """Write benchmark.tsv, benchmark.png and benchmark.json into `folder`, each whole or absent; print.

    Args:
        suite: the benchmark.
        model: its name or path.
        seed, device: of the run.
        rows: of the table.
        folder: of the run.
        console: to print to.
        leakage: what the splits have in common; None where nothing was trained.

    Returns:
        What benchmark.json holds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = {
        "benchmark": suite.name,
        "task": suite.task,
        "model": model,
        "metric": suite.metric,
        "split": suite.split,
        "examples": suite.examples,
        "seed": seed,
        "device": device,
        "sources": [asdict(source) for source in suite.sources],
        "rows": [asdict(row) for row in rows],
        "published": [asdict(number) for number in _published(suite)],
        "leakage": None if leakage is None else leakage.to_dict(),
    }
    table = [*rows, *published_rows(suite)]
    with (
        replacing(folder / "benchmark.tsv") as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = TsvWriter(file)
        writer.writerow([field.name for field in fields(Row)])
        writer.writerows(["" if cell is None else cell for cell in asdict(row).values()] for row in table)
    save_figure(picture(suite, table), folder / "benchmark.png")
    with replacing(folder / "benchmark.json") as beside:  # last: where it is, the benchmark is done
        beside.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    show(console, suite, table)
    if leakage is not None:
        console.print(str(leakage), soft_wrap=True, highlight=False)
    for file_name in ("benchmark.json", "benchmark.tsv", "benchmark.png"):
        console.print(str(folder / file_name), soft_wrap=True, highlight=False)
    return results


def published_rows(suite: Suite) -> list[Row]:
    """Return the published numbers as rows of the table."""
    return [
        Row(
            f"published {number.protocol}",
            number.model,
            suite.metric,
            number.value,
            number.low,
            number.high,
            note=number.citation,
        )
        for number in _published(suite)
    ]


def _published(suite: Suite) -> list[Published]:
    """Return the published numbers of the data set that was run."""
    return [number for number in suite.published if number.task in (None, suite.task)]


def show(console: Console, suite: Suite, rows: Sequence[Row]) -> None:
    """Print the table, and below it the notes.

    Args:
        console: to print to.
        suite: the benchmark.
        rows: of the table.
    """
    table = Table(title=f"{suite.title}, {suite.metric} on the test split", title_justify="left")
    for column in ("protocol", "model", suite.metric, "95 % interval", "examples", "seconds"):
        table.add_column(column, justify="left" if column in ("protocol", "model") else "right")
    for row in rows:
        table.add_row(
            row.protocol,
            row.model,
            ("refused" if row.protocol == "zero_shot" else "none")
            if row.value is None
            else f"{row.value:.4f}",
            "" if row.low is None or row.high is None else f"{row.low:.4f} to {row.high:.4f}",
            "" if row.examples is None else f"{row.examples:,}",
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.protocol}, {row.model}: {row.note}", soft_wrap=True, highlight=False)


def picture(suite: Suite, rows: Sequence[Row]) -> Figure:
    """Draw each value with its interval, a line each, in the order of the table."""
    shown = [row for row in rows if row.value is not None]
    figure = Figure(figsize=(8, 1.4 + 0.4 * len(shown)), layout="constrained", facecolor=SURFACE)
    axes = figure.subplots()
    axes.set_facecolor(SURFACE)
    for place, row in enumerate(shown):
        value = row.value
        assert value is not None
        color = {"baseline": BASELINE}.get(row.protocol, HELD_OUT)
        color = TRAINING if row.protocol.startswith("published") else color
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], color=color, linewidth=2)
        axes.plot([value], [place], color=color, marker="o", linestyle="none")
    axes.set_yticks(range(len(shown)), [f"{row.protocol}, {row.model}" for row in shown])
    axes.invert_yaxis()
    axes.set_xlabel(f"{suite.metric}, with 95 % interval")
    axes.set_title(suite.title, loc="left")
    return figure
