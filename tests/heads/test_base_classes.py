"""Classes per base: each is ranked once, whatever is worked out at a time, as its definition says."""

import pytest
import torch

from dnamamba.heads import base_classes
from dnamamba.heads.base_classes import IGNORED
from dnamamba.models import PositionConfig

LABELS = ("none", "a", "b", "never")


@pytest.mark.parametrize(("rows", "values"), [(1 << 18, 1 << 27), (7, 1), (64, 120)])
def test_precision_is_that_of_every_threshold(
    rows: int, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_classes, "_ROWS", rows)
    monkeypatch.setattr(base_classes, "_VALUES", values)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 4, generator=generator)
    targets = torch.randint(0, 3, (60,), generator=generator).to(torch.uint8)
    targets[::11] = IGNORED
    calls = []
    monkeypatch.setattr(
        base_classes, "ranking", lambda *pair, own=base_classes.ranking: calls.append(1) or own(*pair)
    )
    head = PositionConfig("base_classes", LABELS, complement=(0, 1, 2, 3), window=64).head
    metrics, per_label = head.measured(logits, targets)
    assert len(calls) == len(LABELS)
    there = targets != IGNORED
    wanted = []
    for label in range(3):
        # A class's log odds rank as its probability does.
        scores, true = logits[there].double().softmax(-1)[:, label], targets[there] == label
        shares = [(true & (scores >= one)).sum() / (scores >= one).sum() for one in scores[true]]
        wanted.append(torch.stack(shares).mean().item())
        assert per_label[label]["auprc"] == pytest.approx(wanted[-1], abs=1e-6)
    assert per_label[3]["auprc"] != per_label[3]["auprc"]  # NaN: no base is of that class
    assert metrics["auprc"] == pytest.approx(sum(wanted) / 3, abs=1e-6)
    assert (metrics, len(per_label)) == (head.metrics(logits, targets), 4)
