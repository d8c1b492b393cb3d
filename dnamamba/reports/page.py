"""A run's folder as one HTML page that needs no other file: verdict, metrics, pictures and settings."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dnamamba.documents import read_yaml
from dnamamba.errors import UserError
from dnamamba.files import in_use
from dnamamba.reports.figures import BASELINE, HELD_OUT
from dnamamba.reports.html import document, image, table, text
from dnamamba.seals import SEAL, read_results

RESULTS = ("results.json", "metrics.json")  # of a pretraining, of a fine-tuning
PICTURES = ("learning_curve.png", "confusion_matrix.png")  # come first
SPLITS = ("valid", "test")
_BINS = 10
_ADVICE = "remove it, or run the command again"


def page(folder: Path) -> str:
    """Return the page of a finished run.

    Args:
        folder: of a pretraining or a fine-tuning.

    Raises:
        UserError: the folder has no results, or a file in it is damaged.
    """
    source, results = _results(folder)
    try:
        return _page(folder, results)
    except UserError:
        raise
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"{source}: not as dnamamba writes it ({reason}); {_ADVICE}") from error


def _page(folder: Path, results: dict[str, Any]) -> str:
    name = text(folder.resolve().name)
    parts = [f"<h1>{_kind(results)}: {name}</h1>"]
    if "verdict" in results:
        parts.append(f'<p class="verdict">{text(results["verdict"])}</p>')
    if "caution" in results:
        parts.append(f'<p class="verdict">{text(results["caution"])}</p>')
    parts += ["<h2>Results</h2>", *_results_tables(results)]
    data = results.get("data", {})
    notes = [data.get("summary"), *data.get("notes", []), *results.get("chosen", [])]
    if any(notes):
        items = "".join(f"<li>{text(str(note).strip())}</li>" for note in notes if note)
        parts += ["<h2>Data and choices</h2>", f"<ul>{items}</ul>"]
    for picture in _pictures(folder):
        title = picture.stem.replace("_", " ").capitalize()
        parts += [f"<h2>{text(title)}</h2>", image(picture.read_bytes(), title)]
    drawn = _drawn(calibration(folder / "predictions.tsv"))
    if drawn:
        parts += [
            "<h2>Calibration of the test split</h2>",
            "<p>How often the answer is right, against the probability that the model gave it. On the line, "
            "probabilities mean what they say. A larger dot stands for more sequences.</p>",
            image(drawn, "Calibration"),
        ]
    if versions := results.get("versions"):
        known = ", ".join(f"{name} {number}" for name, number in versions.items())
        parts += ["<h2>Versions</h2>", f"<p>{text(known)}</p>"]
    parts += _details("All results", _flat({key: value for key, value in results.items() if key != SEAL}))
    settings = folder / "config.yaml"
    if settings.is_file():
        parts += _details("Settings", _flat(read_yaml(settings, _ADVICE)))
    return document(folder.resolve().name, parts)


def _results(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return what a run found, and the file that says it."""
    for name in RESULTS:
        if (folder / name).is_file():
            files = ("predictions.tsv", "config.yaml", *(path.name for path in _pictures(folder)))
            return folder / name, read_results(folder / name, _ADVICE, files)
    if in_use(folder):
        raise UserError(f"run: {folder} is not finished: a process is training in it now; wait for its end")
    if (folder / "metrics.csv").is_file():
        raise UserError(f"run: {folder} is not finished; resume it with ckpt_path={folder}")
    raise UserError(f"run: {folder} is not the folder of a pretraining or a fine-tuning; name one")


def _kind(results: dict[str, Any]) -> str:
    return f"Fine-tuning ({text(results['task'])})" if "task" in results else "Pretraining"


def _results_tables(results: dict[str, Any]) -> Iterator[str]:
    """Yield the tables that a reader looks for first."""
    if "bits_per_base" in results:
        rows = [["model", *(_number(results["bits_per_base"].get(split)) for split in SPLITS)]]
        markov = results.get("markov_bits_per_base", {})
        for order in sorted({order for found in markov.values() for order in found}, key=int):
            values = (markov.get(split, {}).get(order) for split in SPLITS)
            rows.append([f"Markov, order {order}", *map(_number, values)])
        yield "<p>Bits per base; lower is better.</p>"
        yield table(["", *SPLITS], rows)
        return
    answers = {"model": results, **results.get("baselines", {})}
    metrics = [key for key, value in results.get("test", {}).items() if _is_metric(value)]
    rows = [
        [name, *(_interval(found.get("test", {}).get(metric)) for metric in metrics)]
        for name, found in answers.items()
    ]
    yield "<p>Of the test split, with 95 % intervals.</p>"
    yield table(["", *metrics], rows)


def _is_metric(value: Any) -> bool:
    return isinstance(value, dict) and "value" in value


def _interval(metric: Any) -> str:
    if not _is_metric(metric):
        return "-"
    value = _number(metric["value"])
    if metric.get("low") is None or metric.get("high") is None:
        return value
    return f"{value} ({_number(metric['low'])} to {_number(metric['high'])})"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _pictures(folder: Path) -> list[Path]:
    found = {path.name: path for path in sorted(folder.glob("*.png")) if path.is_file()}
    return [found.pop(name) for name in PICTURES if name in found] + list(found.values())


def calibration(path: Path) -> list[tuple[float, float, int]]:
    """Return mean probability of the answer, share of right answers and number, in bins of that probability.

    Args:
        path: predictions.tsv of a classification; nothing for other tasks, or where it is not there.

    Raises:
        UserError: a row is damaged.
    """
    if not path.is_file():
        return []
    bins: dict[int, list[tuple[float, bool]]] = {}
    number = 1
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, delimiter="\t")
            of_classes = [key for key in reader.fieldnames or () if key.startswith("p_")]
            if not of_classes or not {"split", "label", "predicted"} <= {*(reader.fieldnames or ())}:
                return []  # of another task
            for row in reader:
                number += 1
                likely = [float(row[key]) for key in of_classes]
                if row["split"] == "test":
                    sure = max(likely)
                    if not 0 <= sure <= 1:
                        raise ValueError(f"probability {sure}")
                    bins.setdefault(min(int(sure * _BINS), _BINS - 1), []).append(
                        (sure, row["label"] == row["predicted"])
                    )
    except (ValueError, TypeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}, row {number}: damaged ({reason}); {_ADVICE}") from None
    return [
        (sum(p for p, _ in each) / len(each), sum(right for _, right in each) / len(each), len(each))
        for _, each in sorted(bins.items())
    ]


def _drawn(found: list[tuple[float, float, int]]) -> Figure | None:
    if not found:
        return None
    most = max(number for *_, number in found)
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=BASELINE, linestyle="--", linewidth=1)
    axes.scatter(
        [sure for sure, *_ in found],
        [right for _, right, _ in found],
        s=[20 + 180 * number / most for *_, number in found],
        color=HELD_OUT,
    )
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="probability of the answer", ylabel="share right")
    return figure


def _flat(values: Any, before: str = "") -> list[list[str]]:
    """Return nested values as rows of a dotted name and a text."""
    if isinstance(values, dict) and values:
        names = {key: f"{before}.{key}" if before else str(key) for key in values}
        return [row for key, each in values.items() for row in _flat(each, names[key])]
    return [[before, values if isinstance(values, str) else json.dumps(values, ensure_ascii=False)]]


def _details(title: str, rows: list[list[str]]) -> list[str]:
    return [f"<details><summary>{title}</summary>", table(["name", "value"], rows), "</details>"]
