"""Heads by name and by import path; a file may only name what is already imported."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dnamamba import UserError
from dnamamba.heads.registry import HEADS, head_class
from dnamamba.heads.regression import Regression
from dnamamba.models import DecoderConfig


class Counts(Regression):
    """Counts of reads: the logit is the logarithm of their mean."""

    @classmethod
    def unit(cls, targets: object) -> tuple[float, float]:
        return 0.0, 1.0

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
        return torch.nn.functional.poisson_nll_loss(logits, labels.to(logits.dtype), reduction="none").mean(1)

    def predict(self, logits: Tensor) -> Tensor:
        return logits.exp()


PATH = f"{__name__}.Counts"


@pytest.mark.parametrize("kind", HEADS)
def test_a_name_is_of_the_package(kind: str) -> None:
    assert head_class(kind).__name__.lower() == kind


def test_a_head_of_ones_own_by_import_path() -> None:
    decoder = DecoderConfig(PATH, ("reads",))
    assert isinstance(decoder.head, Counts)
    assert decoder.head.cells(torch.zeros(1, dtype=torch.float64)) == ["1.0"]
    assert DecoderConfig.from_dict(decoder.to_dict()) == decoder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "ranking",
            "data.task: must be one of classification, multitask, multilabel, regression or",
        ),
        ("no_such_package.Head", "data.task: cannot import 'no_such_package.Head'"),
        ("torch.nn.Linear", "data.task: torch.nn.Linear is not a Head"),
    ],
)
def test_what_is_not_a_head_is_refused(kind: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        head_class(kind, "data.task")
    assert message in str(error.value)


def test_a_file_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "imported"
    (tmp_path / "evil_heads.py").write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    values = {"kind": "evil_heads.Head", "labels": ["a", "b"]}
    with pytest.raises(UserError, match=r"add plugins=\[evil_heads\]"):
        DecoderConfig.from_dict(values)
    assert not mark.exists()
    assert "evil_heads" not in sys.modules


@pytest.mark.parametrize("kind", [None, 3, ["classification"], {}])
def test_a_file_that_names_no_head_is_refused(kind: object) -> None:
    with pytest.raises(UserError, match=r"decoder\.kind: must be str \(got"):
        DecoderConfig.from_dict({"kind": kind, "labels": ["a", "b"]})
