"""What a probe says of asked rows at every combination of its parameters, fitted on one view.

Support vectors read distances that are computed once for all combinations; whatever has no path of its own is
fitted anew for each.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from sklearn.svm import SVC

from tfcells.arrays import Float64, Labels
from tfcells.probes.catalog import PROBES, Parameters, Training
from tfcells.probes.gram import resolve_gamma
from tfcells.probes.kernel import TOLERANCE
from tfcells.probes.views import View

LARGEST_KERNEL: Final = 8000
"""Training rows whose kernel is computed as a whole, 512 MB of it; beyond, the solver computes what it needs."""

Answers = Float64[np.ndarray, "_ columns"]
"""Probabilities, one column per class; or decision values, one column per class, of two classes one in all."""


def answer_path(
    kind: str, view: View, training: Training, parameters: Sequence[Parameters], *, classes: int
) -> list[Answers]:
    """Fit a probe at every combination and ask it about the view's asked rows.

    Args:
        kind: Name of the probe.
        view: Features.
        training: Labels and groups of the view's training rows.
        parameters: Combinations.
        classes: Number of classes; columns of classes that the training rows lack are as low as can be.

    Returns:
        float64 of shape (asked, classes) for each combination, or (asked, 1) for decisions between two classes.
    """
    present = np.unique(training.labels)
    if len(present) == 1:  # an inner fold of very few groups: it knows one class, and says it
        return [np.tile(np.eye(classes)[present], (len(view.asked), 1))] * len(parameters)
    path = _PATHS.get(kind, _one_by_one)
    return [
        _all_columns(answers, present, classes, low=-np.inf if PROBES[kind].decides else 0.0)
        for answers in path(kind, view, training, parameters)
    ]


def predicted_classes(answers: Answers) -> Labels:
    """The class of the highest column; of one column, the second class where it is positive."""
    if answers.shape[1] == 1:
        return np.asarray(answers[:, 0] > 0, dtype=np.int64)
    return np.asarray(answers.argmax(axis=1), dtype=np.int64)


def _one_by_one(kind: str, view: View, training: Training, parameters: Sequence[Parameters]) -> list[np.ndarray]:
    found = []
    for chosen in parameters:
        model = PROBES[kind].build(training, chosen).fit(view.learning, training.labels)
        ask: Callable[[Any], Any] = model.decision_function if PROBES[kind].decides else model.predict_proba
        found.append(np.asarray(ask(view.asked), dtype=np.float64))
    return found


def _support_vectors(kind: str, view: View, training: Training, parameters: Sequence[Parameters]) -> list[np.ndarray]:
    numbers = [
        {**chosen, "gamma": resolve_gamma(chosen["gamma"], width=view.width, variance=view.variance)}
        for chosen in parameters
    ]
    if len(view.learning) > LARGEST_KERNEL:
        return _one_by_one(kind, view, training, numbers)
    among, asked = view.distances
    found = []
    for chosen in numbers:
        gamma = chosen["gamma"]
        model = SVC(C=chosen["C"], kernel="precomputed", tol=TOLERANCE, decision_function_shape="ovr")
        model.fit(np.exp(-gamma * among), training.labels)
        found.append(np.asarray(model.decision_function(np.exp(-gamma * asked)), dtype=np.float64))
    return found


def _linear_support_vectors(
    kind: str, view: View, training: Training, parameters: Sequence[Parameters]
) -> list[np.ndarray]:
    if len(view.learning) > LARGEST_KERNEL:
        return _one_by_one(kind, view, training, parameters)
    among, asked = view.learning @ view.learning.T, view.asked @ view.learning.T
    found = []
    for chosen in parameters:
        model = SVC(C=chosen["C"], kernel="precomputed", tol=TOLERANCE, decision_function_shape="ovr").fit(
            among, training.labels
        )
        found.append(np.asarray(model.decision_function(asked), dtype=np.float64))
    return found


_PATHS: Final[Mapping[str, Callable[[str, View, Training, Sequence[Parameters]], list[np.ndarray]]]] = {
    "svm": _support_vectors,
    "linear_svm": _linear_support_vectors,
}


def _all_columns(answers: np.ndarray, present: np.ndarray, classes: int, *, low: float) -> Answers:
    columns = answers[:, None] if answers.ndim == 1 else answers
    if len(present) == classes:
        return columns
    full = np.full((len(columns), classes), low)
    if columns.shape[1] == 1:  # decisions between two of more classes
        columns = np.concatenate([-columns, columns], axis=1)
    full[:, present] = columns
    return full
