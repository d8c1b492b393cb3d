"""Metrics of predictions by torchmetrics, and how sure they are."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torchmetrics.functional import classification as by_class
from torchmetrics.functional import regression as by_number

Metric = Callable[[Tensor, Tensor], Tensor]
# Those that are better when they are lower.
LOWER_IS_BETTER = ("loss", "rmse")


def metrics_of(task: str, size: int) -> dict[str, Metric]:
    """Functions of predictions [n, C] and labels, by name.

    Of a classification the predictions are probabilities [n, C] and labels int64 [n]; F1, AUROC and AUPRC are
    means over the classes. Of a multi-label task, probabilities and 0 or 1, both [n, C], and every metric is
    a mean over the labels. Of a regression, numbers [n, 1].

    Args:
        task: `classification`, `multilabel` or `regression`.
        size: C, the number of classes or labels.
    """
    if task == "classification":
        return {
            "accuracy": lambda p, y: by_class.multiclass_accuracy(p, y, size, average="micro"),
            "f1": lambda p, y: by_class.multiclass_f1_score(p, y, size, average="macro"),
            "mcc": lambda p, y: by_class.multiclass_matthews_corrcoef(p, y, size),
            "auroc": lambda p, y: by_class.multiclass_auroc(p, y, size, average="macro"),
            "auprc": lambda p, y: by_class.multiclass_average_precision(p, y, size, average="macro"),
        }
    if task == "multilabel":
        return {
            "accuracy": lambda p, y: by_class.multilabel_accuracy(p, y.long(), size, average="macro"),
            "f1": lambda p, y: by_class.multilabel_f1_score(p, y.long(), size, average="macro"),
            "mcc": lambda p, y: by_class.multilabel_matthews_corrcoef(p, y.long(), size),
            "auroc": lambda p, y: by_class.multilabel_auroc(p, y.long(), size, average="macro"),
            "auprc": lambda p, y: by_class.multilabel_average_precision(p, y.long(), size, average="macro"),
        }
    return {
        "pearson": lambda p, y: by_number.pearson_corrcoef(p[:, 0], y[:, 0]),
        "spearman": lambda p, y: by_number.spearman_corrcoef(p[:, 0], y[:, 0]),
        "r2": lambda p, y: by_number.r2_score(p[:, 0], y[:, 0]),
        "rmse": lambda p, y: by_number.mean_squared_error(p, y, squared=False),
    }


def confusion(task: str, size: int, predictions: Tensor, labels: Tensor) -> list | None:
    """Counts [true, predicted] of a classification, [label, true, predicted] of a multi-label task."""
    if task == "classification":
        return by_class.multiclass_confusion_matrix(predictions, labels, size).tolist()
    if task == "multilabel":
        return by_class.multilabel_confusion_matrix(predictions, labels.long(), size).tolist()
    return None


def score(task: str, predictions: Tensor, labels: Tensor) -> dict[str, float]:
    """Every metric of the task."""
    with _quiet():
        metrics = metrics_of(task, predictions.shape[1])
        return {name: metric(predictions, labels).item() for name, metric in metrics.items()}


def bootstrap(
    task: str, predictions: Tensor, labels: Tensor, samples: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The 2.5 % and 97.5 % quantiles of each metric over `samples` draws of n examples with replacement.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    generator = torch.Generator().manual_seed(seed)
    metrics = metrics_of(task, predictions.shape[1])
    found = {name: torch.empty(samples, dtype=torch.float64) for name in metrics}
    with _quiet():
        for draw in range(samples):
            rows = torch.randint(len(labels), (len(labels),), generator=generator)
            drawn, theirs = predictions[rows], labels[rows]
            for name, metric in metrics.items():
                found[name][draw] = metric(drawn, theirs)
    edges = torch.tensor([0.025, 0.975], dtype=torch.float64)
    limits = {name: values.nanquantile(edges).tolist() for name, values in found.items()}
    return {name: (low, high) for name, (low, high) in limits.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """A draw may miss a class; torchmetrics' word on it would come a thousand times."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
