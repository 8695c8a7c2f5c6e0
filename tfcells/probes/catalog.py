"""The probes by name; a new one is a file beside this and a row here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

from tfcells.arrays import Features, Groups, Labels
from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.splits import assign_parts
from tfcells.probes.kernel import svm_probe
from tfcells.probes.linear import logistic_probe
from tfcells.probes.neighbors import neighbor_probe
from tfcells.probes.tree import tree_probe

_CALIBRATION_FOLDS: Final = 3


@dataclass(frozen=True)
class Training:
    """What a probe's construction may depend on: training rows only.

    Attributes:
        labels: int64 of shape (images,).
        groups: int64 of shape (images,).
        seed: For whatever is drawn.
    """

    labels: Labels
    groups: Groups
    seed: int

    def calibration_folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Group-safe, stratified folds within the training rows.

        Raises:
            RequestError: If a class lies in one group, so that no fold could be calibrated without it.
        """
        order = np.argsort(self.groups, kind="stable")  # groups are dealt as they come: rows in any order, one deal
        part = np.empty_like(self.groups)
        part[order] = assign_parts(
            self.labels[order], self.groups[order], shares=[1 / _CALIBRATION_FOLDS] * _CALIBRATION_FOLDS, seed=self.seed
        )
        for fold in np.unique(part):
            lost = np.setdiff1d(self.labels, self.labels[part != fold])
            if len(lost):
                raise RequestError(
                    f"Class {int(lost[0])} of those in use has too few groups for svm, which is calibrated on groups "
                    "that it did not learn from. Expected 2 or more in the training rows of every fold; choose more "
                    "folds, or leave svm out."
                )
        # Fewer parts than planned come out where there are fewer groups.
        return [(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in np.unique(part)]


PROBES: Final[Mapping[str, Callable[[Training], Any]]] = {
    "logistic": lambda training: logistic_probe(),
    "knn": lambda training: neighbor_probe(len(training.labels)),
    "svm": lambda training: svm_probe(training.calibration_folds()),
    "tree": lambda training: tree_probe(training.seed),
}
"""Unfitted scikit-learn classifiers by name; everything they learn, scaling included, is inside them."""


def check_probes(names: tuple[str, ...]) -> None:
    """Raise `UnknownNameError` for the first name that is no probe, `RequestError` if there is none."""
    if not names:
        raise RequestError(f"No probe was named. Expected one or more of: {', '.join(PROBES)}.")
    for name in names:
        if name not in PROBES:
            raise UnknownNameError("probe", name, PROBES)


def fit_probe(kind: str, vectors: Features, labels: Labels, groups: Groups, *, seed: int = 0) -> Any:
    """Fit one probe.

    Args:
        kind: Name in `PROBES`.
        vectors: float of shape (images, features); computed with in float64.
        labels: int64 of shape (images,).
        groups: int64 of shape (images,): rows of one group are never parted inside the probe.
        seed: For whatever is drawn.

    Returns:
        A fitted scikit-learn classifier with `predict_proba`.

    Raises:
        UnknownNameError: If there is no such probe.
    """
    check_probes((kind,))
    probe = PROBES[kind](Training(labels, groups, seed))
    # One BLAS thread: problems of this size lose more to threads that wait for one another than they gain.
    with threadpool_limits(1):
        return probe.fit(vectors.astype(np.float64), labels)


def class_probabilities(probe: Any, vectors: Features, *, classes: int) -> np.ndarray:
    """Probabilities for all classes, float64 of shape (images, classes); zero for classes a probe never saw."""
    given = probe.predict_proba(vectors.astype(np.float64))
    full = np.zeros((len(vectors), classes))
    full[:, probe.classes_] = given
    return full
