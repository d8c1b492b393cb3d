"""What a pretraining says in the end: one sentence that compares it with the best Markov model."""

import html
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from dnamamba.reports.page import page
from dnamamba.reports.pretraining import PretrainingReport, verdict
from dnamamba.training.run import Outcome

MARKOV = {0: 1.9614, 8: 1.9355, 3: 1.9413}
UNLEARNT = ": it has learnt nothing beyond it yet; train longer or on more sequence"


def finished(folder: Path, markov: dict[int, float]) -> tuple[dict, str]:
    """The results and what is printed of a run that reached 1.95 on validation, 1.9321 on test."""
    data = SimpleNamespace(baselines=lambda split: markov, alphabet=SimpleNamespace(unit="base"), label="g")
    report = PretrainingReport("Mamba with 8 parameters", data, 8, "bits_per_base")
    printed = io.StringIO()
    outcomes = {
        split: Outcome({"bits_per_base": value}) for split, value in (("valid", 1.95), ("test", 1.9321))
    }
    facts = {"steps": 2, "training_seconds": 1.0}
    return report.finish(Console(file=printed, width=60), folder, outcomes, facts), printed.getvalue()


@pytest.mark.parametrize(
    ("bits", "sentence"),
    [
        (
            {"valid": 1.99, "test": 1.93214},
            "test: the model needs 0.0034 bits per base less than the best Markov model (order 8: 1.9355)",
        ),
        (
            {"valid": 1.94},
            "valid: the model needs 0.0045 bits per base more than the best Markov model (order 8: 1.9355)"
            + UNLEARNT,
        ),
        (
            {"test": 1.93551},
            "test: the model needs as many bits per base as the best Markov model (order 8: 1.9355)"
            + UNLEARNT,
        ),
    ],
)
def test_verdict_compares_with_the_best_markov_model(bits: dict[str, float], sentence: str) -> None:
    results = {"bits_per_base": bits, "markov_bits_per_base": dict.fromkeys(bits, MARKOV)}
    assert verdict(results, "bits_per_base") == {"verdict": sentence}


@pytest.mark.parametrize(
    ("headline", "value", "markov"),
    [("bits_per_base", 1.9, {}), ("accuracy", 0.9, MARKOV), ("bits_per_base", float("nan"), MARKOV)],
)
def test_nothing_is_said_without_two_bits_to_compare(
    headline: str, value: float, markov: dict[int, float]
) -> None:
    results = {headline: {"test": value}, "markov_bits_per_base": {"test": markov}}
    assert verdict(results, headline) == {}


def test_verdict_follows_tables_and_is_written_and_on_the_page(tmp_path: Path) -> None:
    results, printed = finished(tmp_path, MARKOV)
    sentence = results["verdict"]
    assert sentence.startswith("test: the model needs 0.0034 bits per base less")
    lines = printed.splitlines()
    assert lines.count(sentence) == 1
    assert lines[lines.index(sentence) + 1].startswith("results")
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["verdict"] == sentence
    assert f'<p class="verdict">{html.escape(sentence)}</p>' in page(tmp_path)


def test_run_without_markov_models_has_no_verdict(tmp_path: Path) -> None:
    results, printed = finished(tmp_path, {})
    assert "verdict" not in results
    assert "the model needs" not in printed
