"""Losses, weights, learning rates and metrics of a fine-tuning, against their definitions."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from dnamamba import UserError
from dnamamba.models import DecoderConfig, MambaConfig, SequenceModel
from dnamamba.objectives.metrics import bootstrap, confusion, score
from dnamamba.objectives.sequence import (
    TaskConfig,
    class_weights,
    layer_scale,
    loss_of,
    predictions_of,
)
from dnamamba.training.optim import Schedule, adamw

ABC = DecoderConfig("classification", ("a", "b", "c"))
XY = DecoderConfig("multilabel", ("x", "y"))
NUMBER = DecoderConfig("regression", ("value",), "last", 10.0, 4.0)
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0]])


def settings(**changes: Any) -> TaskConfig:
    given: dict[str, Any] = {
        "fit": "gradient",
        "shrinkage": 0.02,
        "refit": False,
        "class_weights": None,
        "label_smoothing": 0.0,
        "freeze": False,
        "layer_decay": 1.0,
        "lora_rank": 0,
        "lora_alpha": 16,
        "monitor": "loss",
        "keep_best": True,
        "patience": None,
        "bootstrap": 10,
    }
    return TaskConfig(**{**given, **changes})


def test_cross_entropy_with_weights_and_smoothing() -> None:
    weights, labels = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0])
    log_p = LOGITS.log_softmax(-1)
    plain = loss_of(LOGITS, labels, ABC, None, 0.0)
    torch.testing.assert_close(plain, -log_p[[0, 1], [2, 0]])
    weighted = loss_of(LOGITS, labels, ABC, weights, 0.0)
    torch.testing.assert_close(weighted, -log_p[[0, 1], [2, 0]] * torch.tensor([4.0, 1.0]))
    target = torch.tensor([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    torch.testing.assert_close(loss_of(LOGITS, labels, ABC, None, 0.3), -(target * log_p).sum(-1))


def test_several_labels_are_a_question_each() -> None:
    logits, labels = LOGITS[:, :2], torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    p = logits.sigmoid()
    cost = -(labels * p.log() + (1 - labels) * (1 - p).log())
    torch.testing.assert_close(loss_of(logits, labels, XY, None, 0.0), cost.mean(1))
    weighted = -(labels * p.log() * torch.tensor([3.0, 5.0]) + (1 - labels) * (1 - p).log())
    torch.testing.assert_close(loss_of(logits, labels, XY, torch.tensor([3.0, 5.0]), 0.0), weighted.mean(1))


def test_a_regression_is_of_scaled_numbers() -> None:
    outputs, truth = torch.tensor([[0.5], [-1.0]]), torch.tensor([[14.0], [10.0]])
    torch.testing.assert_close(loss_of(outputs, truth, NUMBER, None, 0.0), torch.tensor([0.25, 1.0]))
    assert predictions_of(outputs, NUMBER).tolist() == [[12.0], [6.0]]


def test_probabilities() -> None:
    torch.testing.assert_close(predictions_of(LOGITS, ABC), LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True))
    torch.testing.assert_close(predictions_of(LOGITS[:, :2], XY), 1 / (1 + (-LOGITS[:, :2]).exp()))


def test_balanced_classes_weigh_the_same_and_one_on_average() -> None:
    weights = class_weights("balanced", ABC, [10, 30, 60], 100)
    assert weights is not None
    assert (weights * torch.tensor([10, 30, 60])).tolist() == pytest.approx([100 / 3] * 3)
    present = class_weights("balanced", XY, [20, 50], 100)
    assert present is not None
    assert present.tolist() == [4.0, 1.0]
    given = class_weights({"c": 3, "a": 1.5, "b": 2}, ABC, [1, 1, 1], 3)
    assert given is not None
    assert given.tolist() == [1.5, 2.0, 3.0]
    assert class_weights(None, ABC, [1, 1, 1], 3) is None


@pytest.mark.parametrize(
    ("given", "decoder", "message"),
    [
        ("balance", ABC, "task.class_weights must be null, balanced or a weight for each of a, b, c"),
        ({"a": 1, "b": 1}, ABC, "a weight for each of a, b, c"),
        ({"a": 1, "b": 1, "c": -1}, ABC, "task.class_weights must be positive numbers"),
        ("balanced", NUMBER, "task.class_weights: a regression has no classes"),
    ],
)
def test_weights_that_make_no_sense(given: Any, decoder: DecoderConfig, message: str) -> None:
    with pytest.raises(UserError) as error:
        class_weights(given, decoder, [1] * len(decoder.labels), 3)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_smoothing": 1.0}, "task.label_smoothing must lie between 0 and below 1, not 1.0"),
        ({"layer_decay": 0.0}, "task.layer_decay must lie above 0 and up to 1, not 0.0"),
        ({"lora_rank": -1}, "task.lora_rank must be at least 0, not -1"),
        ({"patience": 0}, "task.patience must be at least 1, not 0"),
        ({"freeze": True, "lora_rank": 4}, "a frozen backbone has no adapters to train"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        settings(**changes)
    assert message in str(error.value)


def test_a_block_learns_slower_than_the_one_above_it() -> None:
    model = SequenceModel(MambaConfig(8, 3), ABC)
    model.backbone.layers[1].requires_grad_(False)
    optimizer = adamw(
        model,
        Schedule(10, 1.0, 0.0, 0.0),
        weight_decay=0.1,
        betas=(0.9, 0.95),
        scale=lambda name: layer_scale(name, 0.5, 3),
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


def test_metrics_of_classes_by_hand() -> None:
    """Two classes, ten sequences: accuracy, F1, MCC and AUROC from the counts."""
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.35, 0.8, 0.9, 0.95])
    found = score("classification", torch.stack([1 - scores, scores], dim=1), labels)
    tn, fp, fn, tp = 4, 2, 1, 3
    assert confusion("classification", 2, torch.stack([1 - scores, scores], 1), labels) == [
        [tn, fp],
        [fn, tp],
    ]
    f1 = (2 * tp / (2 * tp + fp + fn) + 2 * tn / (2 * tn + fp + fn)) / 2
    mcc = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    pairs = [(p > n).item() for p in scores[labels == 1] for n in scores[labels == 0]]
    assert found["accuracy"] == pytest.approx((tp + tn) / 10)
    assert found["f1"] == pytest.approx(f1)
    assert found["mcc"] == pytest.approx(mcc)
    assert found["auroc"] == pytest.approx(np.mean(pairs))


def test_metrics_of_a_regression_by_hand() -> None:
    truth = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]])
    predicted = torch.tensor([[1.5], [2.5], [2.0], [9.0], [12.0]])
    found = score("regression", predicted, truth)
    p, y = predicted[:, 0].numpy(), truth[:, 0].numpy()
    assert found["pearson"] == pytest.approx(np.corrcoef(p, y)[0, 1], rel=1e-5)
    assert found["spearman"] == pytest.approx(0.9)  # one pair of neighbours is swapped
    assert found["r2"] == pytest.approx(1 - ((p - y) ** 2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-5)
    assert found["rmse"] == pytest.approx(np.sqrt(((p - y) ** 2).mean()), rel=1e-5)


def test_several_labels_are_scored_apart() -> None:
    labels = torch.tensor([[1, 0], [1, 1], [0, 0], [0, 1]]).float()
    predicted = torch.tensor([[0.9, 0.2], [0.8, 0.3], [0.1, 0.1], [0.7, 0.9]])
    found = score("multilabel", predicted, labels)
    assert found["accuracy"] == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert found["auroc"] == pytest.approx(1.0)
    assert confusion("multilabel", 2, predicted, labels) == [[[1, 1], [0, 2]], [[2, 0], [1, 1]]]


def test_an_interval_covers_what_a_binomial_says() -> None:
    """Of 400 sequences 80 % are right: the interval of the accuracy is +-1.96 sqrt(p(1-p)/n)."""
    labels = torch.arange(400) % 2
    answer = torch.where(torch.arange(400) < 320, labels, 1 - labels)
    predicted = torch.nn.functional.one_hot(answer, 2).float()
    low, high = bootstrap("classification", predicted, labels, 400)["accuracy"]
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.01)
    assert bootstrap("classification", predicted, labels, 5) == bootstrap(
        "classification", predicted, labels, 5
    )
