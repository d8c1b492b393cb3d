"""What a fine-tuning says of few held-out sequences."""

import html
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from dnamamba.datasets.labelled.config import LabelledConfig
from dnamamba.models import DecoderConfig
from dnamamba.objectives.sequence import Scored
from dnamamba.reports.finetuning import caution, score_all, show
from dnamamba.reports.page import page

DATA = SimpleNamespace(config_class=LabelledConfig)
KEYS = " (data.valid_fraction, data.test_fraction, or name chromosomes)"
ADVICE = "these numbers decide little; hold out more"


def sized(valid: int, test: int) -> dict[str, dict[str, int]]:
    return {"valid": {"examples": valid}, "test": {"examples": test}}


@pytest.mark.parametrize(
    ("valid", "test", "few"),
    [
        (3, 6, "only 3 validation and 6 test sequences"),
        (29, 30, "only 29 validation sequences"),
        (3000, 29, "only 29 test sequences"),
        (30, 1, "only 1 test sequence"),
    ],
)
def test_few_held_out_sequences_are_counted(valid: int, test: int, few: str) -> None:
    assert caution(sized(valid, test), DATA) == {"caution": f"{few}: {ADVICE}{KEYS}"}


def test_thirty_of_each_are_enough() -> None:
    assert caution(sized(30, 30), DATA) == {}


def test_keys_that_a_data_set_lacks_are_not_named() -> None:
    own = SimpleNamespace(config_class=object)
    assert caution(sized(3, 6), own)["caution"].endswith(ADVICE)


def test_caution_and_draws_are_told_in_plain_words(tmp_path: Path) -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    held_out = Scored(torch.arange(6), torch.eye(2, dtype=torch.float64)[1 - labels], labels)
    decoder = DecoderConfig("classification", ("a", "b"))
    results = score_all(decoder, {"valid": held_out, "test": held_out}, 1000)[0]
    results |= caution(results, DATA)
    printed = io.StringIO()
    show(Console(file=printed, width=80), results, tmp_path)
    lines = printed.getvalue().splitlines()
    assert lines.count(f"only 6 validation and 6 test sequences: {ADVICE}{KEYS}") == 1
    # A draw in 32 is of one class: 2 * (1 / 2) ** 6.
    (note,) = (line for line in lines if "redraws" in line)
    number = int(note.removeprefix("test: ").split("; ")[1].split()[0])
    assert 15 < number < 48
    assert note == (
        "test: the 95 % intervals come from 1,000 random redraws of the test sequences; "
        f"{number} of them lack something that a metric needs, for example every sequence of a class; such a "
        "metric is computed without that class there, or, where that is impossible, its interval without "
        "that redraw"
    )
    (tmp_path / "metrics.json").write_text(json.dumps(results))
    assert html.escape(results["caution"]) in page(tmp_path)
