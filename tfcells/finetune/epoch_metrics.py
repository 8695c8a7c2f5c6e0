"""What is said of one epoch, from the answers on the validation rows."""

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from tfcells.arrays import Labels, Probabilities
from tfcells.errors import RequestError
from tfcells.stats.metrics import accuracy, balanced_accuracy, confusion, macro_f1


def epoch_metrics(labels: Labels, probabilities: Probabilities, *, loss: float) -> dict[str, float]:
    """The metrics that training can be monitored by (`settings.MONITORS`).

    Weighted precision, recall and F1 are scikit-learn's, each class weighing as many rows as it has; a class that is
    never predicted has a precision of 0. Weighted recall is the accuracy, and both stand since studies quote both.

    Args:
        labels: int64 of shape (images,), class indices.
        probabilities: float64 of shape (images, classes); the first class wins ties.
        loss: Of these rows, computed by whoever has the loss.

    Raises:
        RequestError: If there is no row, or a label is not in `[0, classes)`.
    """
    if len(labels) == 0:
        raise RequestError("No validation rows came. Expected at least one row to measure an epoch on.")
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    classes = probabilities.shape[1]
    table = confusion(labels, predicted, classes=classes)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(classes), average="weighted", zero_division=0
    )
    return {
        "loss": float(loss),
        "accuracy": float(accuracy(table)),
        "balanced_accuracy": float(balanced_accuracy(table)),
        "weighted_precision": float(precision),
        "weighted_recall": float(recall),
        "weighted_f1": float(f1),
        "macro_f1": float(macro_f1(table)),
    }


def better(value: float, than: float | None, *, monitor: str) -> bool:
    """Whether a value of the monitored metric is better; anything is better than nothing, equal is not better."""
    if than is None:
        return True
    return value < than if monitor == "loss" else value > than
