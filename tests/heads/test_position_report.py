"""What a run per position prints and draws: whole words at 80 columns, a panel for each quantity."""

import io
from typing import Any

from rich.console import Console

from dnamamba.models import PositionConfig
from dnamamba.reports.figures import score_curve
from dnamamba.reports.positions import tables

METRICS = ("accuracy", "f1", "mcc", "auprc")
LABELS = ("intergenic", "splice_acceptor", "three_prime_UTR", "CDS_frame_2")


def split() -> dict[str, Any]:
    share = {"precision": 0.1234, "recall": None, "f1": 0.9876}
    return {
        **{name: {"value": 0.87654, "low": 0.86543, "high": 0.88765} for name in METRICS},
        "per_label": [
            {"label": label, "bases": 123_456_789, "precision": 0.1, "recall": None, "f1": 0.5, "auprc": 0.25}
            for label in LABELS
        ],
        "segments": [
            {"feature": label, "strand": "+", "true": 12_345, "called": 123_456}
            | {"exact": share, "overlap": share}
            for label in LABELS
        ],
    }


def test_tables_are_whole_at_80_columns() -> None:
    results = {"headline": "f1", "test": split(), "baselines": {}}
    results["baselines"] = {"order-3 codon-position HMM": {"test": split()}}
    console = Console(width=80, record=True, file=io.StringIO())
    for table in tables(results, METRICS):
        console.print(table)
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    rows = [line.split() for line in text.splitlines()]
    for label in LABELS:
        assert [label, "+", "12,345", "123,456", *("0.123", "-", "0.988") * 2] in rows, label
        assert [label, "123,456,789", "0.100", "undefined", "0.500", "0.250"] in rows
    for name in ("model", "HMM"):
        assert any(row[-7:] == [*["0.8765"] * 4, "0.8654", "to", "0.8877"] for row in rows), name


def test_losses_of_two_units_have_a_panel_each() -> None:
    rows = [{"step": 0, "train/loss": 9.0}, {"step": 1, "train/loss": 9.0, "val/loss": 0.5, "val/f1": 0.75}]

    def drawn(*names: tuple[str, str]) -> list[tuple[str, list[list[float]]]]:
        figure = score_curve(rows, "f1", 2, "title", *names)
        return [
            (axes.get_ylabel(), [list(line.get_ydata()) for line in axes.lines[:-1]]) for axes in figure.axes
        ]

    head = PositionConfig("base_classes", ("a", "b"), (0, 1), 8, chain=True).head
    path, each = head.loss_names
    assert [(name, lines) for name, lines in drawn((path, each)) if lines] == [
        ("-ln P(path) per base", [[9.0, 9.0]]),
        ("-ln P(class) per base", [[0.5]]),
        ("f1", [[0.75]]),
    ]
    assert drawn() == [("loss", [[9.0, 9.0], [0.5]]), ("f1", [[0.75]])]
    assert PositionConfig("base_classes", ("a", "b"), (0, 1), 8).head.loss_names is None
