"""Losses, answers, weights and metrics of the three heads, against their definitions."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dnamamba import UserError
from dnamamba.models import DecoderConfig
from tests.heads.test_metrics import areas_by_definition, exact_r_squared, numbers

ABC = DecoderConfig("classification", ("a", "b", "c"))
XY = DecoderConfig("multilabel", ("x", "y"))
NUMBER = DecoderConfig("regression", ("value",), "last", 10.0, 4.0)
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0]])


def test_cross_entropy_with_weights_and_smoothing() -> None:
    weights, labels = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0])
    log_p = LOGITS.log_softmax(-1)
    plain = ABC.head.loss(LOGITS, labels, None, 0.0)
    torch.testing.assert_close(plain, -log_p[[0, 1], [2, 0]])
    weighted = ABC.head.loss(LOGITS, labels, weights, 0.0)
    torch.testing.assert_close(weighted, -log_p[[0, 1], [2, 0]] * torch.tensor([4.0, 1.0]))
    target = torch.tensor([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    torch.testing.assert_close(ABC.head.loss(LOGITS, labels, None, 0.3), -(target * log_p).sum(-1))


def test_several_labels_are_a_question_each() -> None:
    logits, labels = LOGITS[:, :2], torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    p = logits.sigmoid()
    cost = -(labels * p.log() + (1 - labels) * (1 - p).log())
    torch.testing.assert_close(XY.head.loss(logits, labels, None, 0.0), cost.mean(1))
    weighted = -(labels * p.log() * torch.tensor([3.0, 5.0]) + (1 - labels) * (1 - p).log())
    torch.testing.assert_close(XY.head.loss(logits, labels, torch.tensor([3.0, 5.0]), 0.0), weighted.mean(1))
    smooth = 0.8 * labels + 0.1
    smoothed = -(smooth * p.log() + (1 - smooth) * (1 - p).log())
    torch.testing.assert_close(XY.head.loss(logits, labels, None, 0.2), smoothed.mean(1))


def test_a_regression_is_of_scaled_numbers() -> None:
    outputs, truth = torch.tensor([[0.5], [-1.0]]), torch.tensor([[14.0], [10.0]], dtype=torch.float64)
    loss = NUMBER.head.loss(outputs, truth, None, 0.0)
    torch.testing.assert_close(loss, torch.tensor([0.25, 1.0]))
    assert loss.dtype == torch.float32
    assert NUMBER.head.predict(outputs).tolist() == [[12.0], [6.0]]


def test_a_loss_sees_targets_that_float32_does_not() -> None:
    """1e8 + 1 is 1e8 in float32; the standardised numbers are -1 and 1."""
    head = DecoderConfig("regression", ("value",), "last", 1e8 + 0.5, 0.5).head
    truth = torch.tensor([[1e8], [1e8 + 1]], dtype=torch.float64)
    assert head.loss(torch.zeros(2, 1), truth, None, 0.0).tolist() == [1.0, 1.0]
    assert head.loss(torch.tensor([[-1.0], [1.0]]), truth, None, 0.0).tolist() == [0.0, 0.0]


def test_probabilities() -> None:
    shares = LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
    torch.testing.assert_close(ABC.head.predict(LOGITS), shares)
    torch.testing.assert_close(XY.head.predict(LOGITS[:, :2]), 1 / (1 + (-LOGITS[:, :2]).exp()))


def test_balanced_classes_weigh_same_and_one_on_average() -> None:
    weights = ABC.head.class_weights("balanced", [10, 30, 60], 100)
    assert weights is not None
    assert (weights * torch.tensor([10, 30, 60])).tolist() == pytest.approx([100 / 3] * 3)
    present = XY.head.class_weights("balanced", [20, 50], 100)
    assert present is not None
    assert present.tolist() == [4.0, 1.0]
    given = ABC.head.class_weights({"c": 3, "a": 1.5, "b": 2}, [1, 1, 1], 3)
    assert given is not None
    assert given.tolist() == [1.5, 2.0, 3.0]
    assert ABC.head.class_weights(None, [1, 1, 1], 3) is None


@pytest.mark.parametrize(
    ("given", "decoder", "message"),
    [
        ("balance", ABC, "task.class_weights: must be null, balanced or a weight for each of a, b, c"),
        ({"a": 1, "b": 1}, ABC, "a weight for each of a, b, c"),
        ({"a": 1, "b": 1, "c": -1}, ABC, "task.class_weights: must be positive numbers"),
        ({"a": 1, "b": 1, "c": math.inf}, ABC, "task.class_weights: must be positive numbers"),
        ("balanced", NUMBER, "task.class_weights: a regression has no classes"),
    ],
)
def test_weights_that_make_no_sense(given: Any, decoder: DecoderConfig, message: str) -> None:
    with pytest.raises(UserError) as error:
        decoder.head.class_weights(given, [1] * len(decoder.labels), 3)
    assert message in str(error.value)


def test_labels_of_a_regression_are_not_smoothed() -> None:
    with pytest.raises(UserError, match=r"task\.label_smoothing: a regression has no labels to smooth"):
        NUMBER.head.check_smoothing(0.1)
    NUMBER.head.check_smoothing(0.0)
    ABC.head.check_smoothing(0.1)


def two_classes(scores: list[float]) -> Tensor:
    """Logits of which the second class has these probabilities."""
    p = torch.tensor(scores, dtype=torch.float64)
    return torch.stack([torch.zeros_like(p), p.logit()], 1)


def test_metrics_of_classes_by_hand() -> None:
    """Two classes, ten sequences: accuracy, F1, MCC and AUROC from the counts."""
    head = DecoderConfig("classification", ("a", "b")).head
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    scores = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.35, 0.8, 0.9, 0.95]
    found = head.metrics(two_classes(scores), labels)
    tn, fp, fn, tp = 4, 2, 1, 3
    assert head.confusion(two_classes(scores), labels) == [[tn, fp], [fn, tp]]
    f1 = (2 * tp / (2 * tp + fp + fn) + 2 * tn / (2 * tn + fp + fn)) / 2
    mcc = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    areas = [areas_by_definition(torch.tensor(scores), labels == 1)]
    areas.append(areas_by_definition(1 - torch.tensor(scores), labels == 0))
    auroc, auprc = np.mean(areas, axis=0)
    assert list(found) == list(head.scores)
    assert list(found.values()) == pytest.approx([(tp + tn) / 10, f1, mcc, auroc, auprc], abs=1e-14)


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
@pytest.mark.parametrize("size", [20.0, 200.0, 2000.0])
def test_sure_and_perfect_answers_score_one(kind: str, size: float) -> None:
    """Probabilities of 1 for all, in float32 from a logit of 17 on, but ranked without a mistake."""
    # Three of a class, each surer than the last; the other class is less sure of the first, but sure.
    high = size + torch.tensor([3.0, 2.0, 1.0, 0.0, -1.0, -2.0], dtype=torch.float64)
    labels = torch.tensor([1, 1, 1, 0, 0, 0])
    if kind == "multilabel":
        logits, truth = high[:, None], labels[:, None].float()
        head = DecoderConfig(kind, ("x",)).head
        assert torch.equal(head.predict(logits.float()), torch.ones(6, 1))
    else:
        logits, truth = torch.stack([torch.zeros_like(high), high], 1), labels
        head = DecoderConfig(kind, ("a", "b")).head
        assert torch.equal(head.predict(logits.float())[:, 1], torch.ones(6))
    found = head.metrics(logits, truth)
    assert (found["auroc"], found["auprc"]) == (1.0, 1.0)


def test_absent_classes_are_left_out_and_named() -> None:
    """The third class has no sequence, though one is taken for it: what the two others score is the mean."""
    logits = torch.tensor([[3, 0, 1], [2, 0, 1], [0, 2, 1], [0, 1, 3]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1])
    found = ABC.head.metrics(logits, labels)
    assert found["accuracy"] == 0.75
    assert found["f1"] == pytest.approx((1.0 + 2 / 3) / 2, abs=1e-15)
    assert found["auroc"] == pytest.approx((1.0 + 1.0) / 2, abs=1e-15)
    assert found["auprc"] == 1.0
    assert ABC.head.notes(logits, labels) == ["no sequence of class 'c': left out of f1, auroc and auprc"]
    assert ABC.head.notes(logits, torch.tensor([0, 1, 2, 2])) == []


def test_one_class_alone_defines_no_correlation() -> None:
    logits, labels = LOGITS.double(), torch.tensor([0, 0])
    found = ABC.head.metrics(logits, labels)
    assert (found["accuracy"], found["f1"], found["auprc"]) == (0.5, pytest.approx(2 / 3), 1.0)
    assert math.isnan(found["mcc"])
    assert math.isnan(found["auroc"])
    assert ABC.head.notes(logits, labels) == [
        "no sequence of class 'b', 'c': left out of f1, auroc and auprc",
        "all sequences are of one class: mcc and auroc are undefined",
    ]


def test_several_labels_are_scored_apart() -> None:
    labels = torch.tensor([[1, 0], [1, 1], [0, 0], [0, 1]]).float()
    logits = torch.tensor([[0.9, 0.2], [0.8, 0.3], [0.1, 0.1], [0.7, 0.9]], dtype=torch.float64).logit()
    found = XY.head.metrics(logits, labels)
    assert found["accuracy"] == 0.75
    assert found["f1"] == pytest.approx((4 / 5 + 2 / 3) / 2, abs=1e-15)
    assert found["mcc"] == pytest.approx((3 * 3 - 1 * 1) / 16, abs=1e-15)  # of both labels' counts
    assert (found["auroc"], found["auprc"]) == (1.0, 1.0)
    assert XY.head.confusion(logits, labels) == [[[1, 1], [0, 2]], [[2, 0], [1, 1]]]


def test_label_that_never_occurs_counts_in_no_metric() -> None:
    wide, narrow = DecoderConfig("multilabel", ("x", "never", "y", "all")).head, XY.head
    logits = numbers(4, 40).reshape(10, 4)
    labels = (numbers(5, 40).reshape(10, 4) > 0).float()
    labels[:, 1], labels[:, 3] = 0, 1
    assert wide.notes(logits, labels) == [
        "no sequence has label 'never': left out of every metric",
        "every sequence has label 'all': left out of auroc",
    ]
    three = DecoderConfig("multilabel", ("x", "y", "all")).head
    assert wide.metrics(logits, labels) == three.metrics(logits[:, [0, 2, 3]], labels[:, [0, 2, 3]])
    two = narrow.metrics(logits[:, [0, 2]], labels[:, [0, 2]])
    assert wide.metrics(logits, labels)["auroc"] == two["auroc"]
    assert all(math.isnan(value) for value in wide.metrics(logits, torch.zeros(10, 4)).values())
    labels[:, [0, 2]] = torch.tensor([1.0, 0.0])
    assert [name for name, value in wide.metrics(logits, labels).items() if math.isnan(value)] == [
        "mcc",
        "auroc",
    ]
    assert wide.notes(logits, labels)[2:] == [
        "no label tells the sequences apart: mcc and auroc are undefined"
    ]


def test_one_label_is_a_multilabel_question_too() -> None:
    head = DecoderConfig("multilabel", ("x",)).head
    logits = torch.tensor([[2.0], [-1.0], [0.5], [-3.0]], dtype=torch.float64)
    labels = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    found = head.metrics(logits, labels)
    assert found == {
        "accuracy": 0.5,
        "f1": 0.5,
        "mcc": 0.0,
        "auroc": 0.75,
        "auprc": pytest.approx((1 + 2 / 3) / 2, abs=1e-15),
    }


def test_r_squared_of_targets_about_ten_thousand() -> None:
    truth = numbers(0, 400, center=1e4, spread=0.7)
    head = DecoderConfig("regression", ("value",), "last", truth.mean().item(), truth.std().item()).head
    logits = ((truth + numbers(1, 400, spread=0.32) - truth.mean()) / truth.std()).float().double()[:, None]
    exact = exact_r_squared(head.predict(logits)[:, 0], truth)
    assert head.metrics(logits, truth[:, None])["r2"] == pytest.approx(float(exact), abs=1e-9)


@pytest.mark.parametrize(
    ("targets", "predictions", "undefined", "note"),
    [
        ([3.0], [0.5], {"pearson", "spearman", "r2"}, "all 1 target(s) are equal"),
        ([3.0, 3.0], [0.5, 0.1], {"pearson", "spearman", "r2"}, "all 2 target(s) are equal"),
        ([3.0, 4.0], [0.5, 0.5], {"pearson", "spearman"}, "all predictions are equal"),
    ],
)
def test_what_a_regression_leaves_undefined(
    targets: list[float], predictions: list[float], undefined: set[str], note: str
) -> None:
    logits, labels = (torch.tensor(values, dtype=torch.float64)[:, None] for values in (predictions, targets))
    found = NUMBER.head.metrics(logits, labels)
    assert {name for name, value in found.items() if math.isnan(value)} == undefined
    (said,) = NUMBER.head.notes(logits, labels)
    assert said.startswith(note)


def test_unit_of_regression_is_that_of_its_targets() -> None:
    head = type(NUMBER.head)
    assert head.unit(np.array([[1.0], [3.0]])) == (2.0, 1.0)
    # Checkpoints of before have what float32 made of the targets; a spread that it loses is kept in float64.
    rounded = np.array([[0.1], [0.3]], dtype=np.float32).astype(np.float64)
    assert head.unit(np.array([[0.1], [0.3]])) == (rounded.mean(), rounded.std())
    assert head.unit(np.array([[1e9], [1e9 + 2]])) == (1e9 + 1, 1.0)
    with pytest.raises(UserError, match=r"all 3 training targets are 0\.1: nothing to learn"):
        head.unit(np.full((3, 1), 0.1))
    with pytest.raises(UserError, match=r"too large to square \(got 1e\+300\)"):
        head.unit(np.array([[1e300], [0.0]]))


def test_cells_give_every_digit_back() -> None:
    logits = torch.tensor([0.1, 25.0, -3.0], dtype=torch.float64)
    assert ABC.head.columns() == ["predicted", "p_a", "p_b", "p_c", "logit_a", "logit_b", "logit_c"]
    answer, *cells = ABC.head.cells(logits)
    assert answer == "b"
    assert [float(cell) for cell in cells] == [*logits.softmax(-1).tolist(), *logits.tolist()]
    assert XY.head.cells(torch.tensor([0.5, 1.5], dtype=torch.float64))[0] == "x;y"
    assert XY.head.cells(torch.tensor([0.0, -1.5], dtype=torch.float64))[0] == ""
    head = DecoderConfig("regression", ("value",), "last", 10000.123456789, 0.7).head
    assert head.columns() == ["predicted"]
    assert float(head.cells(torch.tensor([0.1], dtype=torch.float64))[0]) == 10000.123456789 + 0.7 * 0.1
    assert float(head.written(torch.tensor([10000.123456789], dtype=torch.float64))) == 10000.123456789


def test_targets_too_close_to_square_are_not_called_equal() -> None:
    with pytest.raises(UserError, match=r"too close to square their differences \(got 0 to 3e-300\)"):
        type(NUMBER.head).unit(np.array([[0.0], [1e-300], [3e-300]]))
