"""What studies/human.py makes of its runs: means over seeds, and changes seed by seed."""

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def human(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with the others that it imports."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "studies")
    import human_report

    return human_report


def row(power: int, seed: int, valid: float) -> dict:
    return {"run": f"1m4_2p{power}_seed{seed}", "length": 2**power, "valid": valid, "test": 2 * valid}


def test_change_is_of_seeds_that_both_lengths_have(human: ModuleType) -> None:
    rows = [
        row(14, 1, 3.0),
        row(10, 0, 2.0),
        row(14, 0, 1.0),
        row(17, 1, 3.3),
        row(17, 0, 1.0),
        row(14, 2, 2.0),
    ]
    short, middle, long = human.means(rows)
    assert short == {
        "length": 2**10, "valid": 2.0, "valid change, %": "", "valid +-": "",
        "test": 4.0, "test change, %": "", "test +-": "",
    }  # fmt: skip
    assert (middle["valid"], middle["valid change, %"], middle["valid +-"]) == (2.0, "-50.000", "")
    # Seed 0 does not change, seed 1 by 10 %; there is no seed 2.
    assert long["valid"] == pytest.approx(2.15)
    assert (long["valid change, %"], long["valid +-"], long["test change, %"]) == (
        "+5.000",
        "5.000",
        "+5.000",
    )


def test_runs_are_named_by_size_length_and_seed(human: ModuleType) -> None:
    by_length = [name for name in human.RUNS if not name.endswith(human.SHORT)]
    assert len(by_length) == 3 * 4
    assert human.RUNS["1m4_2p17_seed2"] == ("experiment=hg38/human_125m_2p17", "train.seed=2")
