"""The objective of a fine-tuning, its meter, its settings and its learning rates."""

from typing import Any

import pytest
import torch

from dnamamba import UserError
from dnamamba.models import DecoderConfig, MambaConfig, SequenceModel
from dnamamba.objectives.base import Batch
from dnamamba.objectives.sequence import SequenceObjective
from dnamamba.objectives.task_config import TaskConfig
from dnamamba.training.optim import Schedule, adamw

ABC = DecoderConfig("classification", ("a", "b", "c"))
NUMBER = DecoderConfig("regression", ("value",), "mean", 1e4, 0.7)


def objective(decoder: DecoderConfig, weights: torch.Tensor | None = None, **task: Any) -> SequenceObjective:
    return SequenceObjective(decoder, TaskConfig(**task), weights, "right")


def batches(decoder: DecoderConfig, *sizes: int) -> list[Batch]:
    """Batches of random sequences of 5 to 9 bases, their examples numbered backwards."""
    generator = torch.Generator().manual_seed(0)
    left, made = sum(sizes), []
    for size in sizes:
        labels = torch.randint(0, 3, (size,), generator=generator)
        numbers = 1e4 + torch.randn(size, 1, dtype=torch.float64, generator=generator)
        made.append(
            {
                "tokens": torch.randint(0, 4, (size, 9), dtype=torch.uint8, generator=generator),
                "lengths": torch.randint(5, 10, (size,), generator=generator),
                "labels": labels if decoder is ABC else numbers,
                "index": torch.arange(left - 1, left - 1 - size, -1) + 2**25,
            }
        )
        left -= size
    return made


def test_loss_sums_sequences_with_weights_and_smoothing() -> None:
    torch.manual_seed(0)
    model, (batch,) = SequenceModel(MambaConfig(8, 1), ABC), batches(ABC, 6)
    weights = torch.tensor([1.0, 2.0, 4.0])
    found = objective(ABC, weights, label_smoothing=0.2)
    log_p = model(batch["tokens"], batch["lengths"]).log_softmax(-1)
    target = 0.8 * torch.nn.functional.one_hot(batch["labels"], 3) + 0.2 / 3
    torch.testing.assert_close(found.loss_sum(model, batch), -(weights * target * log_p).sum())
    assert found.number_of_targets(batch).item() == 6
    assert [*found.state_dict(), *found.parameters()] == []


@pytest.mark.parametrize("decoder", [ABC, NUMBER])
@pytest.mark.parametrize("sizes", [(7, 1, 4), (1,)])
def test_meter_scores_all_batches_in_example_order(decoder: DecoderConfig, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, given = SequenceModel(MambaConfig(8, 1), decoder).eval(), batches(decoder, *sizes)
    task = objective(decoder)
    meter = torch.nn.ModuleList([task.meter()]).to("cpu").float()[0]  # as a run moves it
    for _ in range(2):  # again after a reset, as every validation does it
        with torch.no_grad():
            for batch in given:
                meter.update(model, batch)
            logits = torch.cat([model(b["tokens"], b["lengths"]) for b in given]).flip(0)
        labels = torch.cat([b["labels"] for b in given]).flip(0)
        found = meter.compute()
        meter.reset()
        assert meter.scored is not None
        assert meter.scored.examples.tolist() == list(range(2**25, 2**25 + sum(sizes)))
        assert torch.equal(meter.scored.logits, logits.double())
        assert torch.equal(meter.scored.labels, labels)
        assert found["loss"].dtype == torch.float32
        torch.testing.assert_close(found["loss"], task.losses(logits, labels).mean())
        expected = task.head.metrics(logits.double(), labels)
        assert list(found) == ["loss", *expected]
        assert [found[name].item() for name in expected] == pytest.approx(
            list(expected.values()), abs=0, rel=0, nan_ok=True
        )


@pytest.mark.parametrize(
    ("decoder", "task", "message"),
    [
        (NUMBER, {"label_smoothing": 0.1}, "task.label_smoothing: a regression has no labels to smooth"),
        (
            NUMBER,
            {"monitor": "auroc"},
            "task.monitor: expected one of loss, pearson, spearman, r2, rmse (got auroc)",
        ),
        (
            ABC,
            {"monitor": "r2"},
            "task.monitor: expected one of loss, accuracy, f1, mcc, auroc, auprc (got r2)",
        ),
    ],
)
def test_settings_that_the_head_does_not_have(
    decoder: DecoderConfig, task: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        objective(decoder, **task)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_smoothing": 1.0}, "task.label_smoothing: must lie between 0 and below 1 (got 1.0)"),
        ({"layer_decay": 0.0}, "task.layer_decay: must lie above 0 and up to 1 (got 0.0)"),
        ({"lora_rank": -1}, "task.lora_rank: must be at least 0 (got -1)"),
        ({"patience": 0}, "task.patience: must be at least 1 (got 0)"),
        ({"freeze": True, "lora_rank": 4}, "a frozen backbone has no adapters to train"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        TaskConfig(**changes)
    assert message in str(error.value)


def test_block_learns_slower_than_one_above_it() -> None:
    model = SequenceModel(MambaConfig(8, 3), ABC)
    model.backbone.layers[1].requires_grad_(False)
    optimizer = adamw(
        model,
        Schedule(10, 1.0, 0.0, 0.0),
        weight_decay=0.1,
        betas=(0.9, 0.95),
        layer_decay=0.5,
    )
    found = {
        id(parameter): (group["scale"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    expected = {
        "head.weight": (1.0, 0.1),
        "head.bias": (1.0, 0.0),
        "backbone.norm_f.weight": (1.0, 0.0),
        "backbone.layers.2.mixer.in_proj.weight": (0.5, 0.1),
        "backbone.layers.2.mixer.A_log": (0.5, 0.0),
        "backbone.layers.0.mixer.out_proj.weight": (0.125, 0.1),
        "backbone.embedding.weight": (0.0625, 0.1),
    }
    parameters = dict(model.named_parameters())
    for name, value in expected.items():
        assert found[id(parameters[name])] == value, name
    assert len(found) == sum(p.requires_grad for p in parameters.values()) < len(parameters)
