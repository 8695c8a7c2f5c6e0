"""From what inner folds said of training rows to probabilities that can be trusted: of every probe, inside every fold.

Probes that answer with decision values get probabilities from sigmoids (Platt 1999); the others have probabilities of
their own, which are scaled by a temperature (Guo et al. 2017). Both are learned from answers of inner folds about rows
that they had not learned from, at the parameters that were chosen, and from nothing else.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from tfcells.arrays import Float64, Labels
from tfcells.probes.catalog import PROBES
from tfcells.probes.paths import Answers, predicted_classes
from tfcells.probes.temperature import TemperatureScaled, fit_temperature, scaled


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """What inner folds said of rows that they had not learned from.

    Attributes:
        answers: Decision values, or probabilities, of training rows.
        labels: Their classes.
        fair: bool: whether the fold that was asked had learned two classes, the row's own among them. Only such rows
            can say how sure a probe may be.
    """

    answers: Answers
    labels: Labels
    fair: np.ndarray


def calibrated(kind: str, known: HeldOut, asked: Answers, *, classes: int) -> Float64[np.ndarray, "_ classes"]:
    """Probabilities of asked rows.

    Args:
        kind: Name of the probe.
        known: Answers to learn from.
        asked: Decision values, or probabilities, to be turned into calibrated probabilities.
        classes: Number of classes; one that no known row has gets no chance.
    """
    present = np.unique(known.labels)
    probabilities = np.zeros((len(asked), classes))
    if PROBES[kind].decides:
        probabilities[:, present] = _by_sigmoids(known, asked, present)
        return probabilities
    if not known.fair.any():  # every inner fold lacks a class: there is nothing to learn from
        return asked
    probabilities[:, present] = scaled(asked[:, present], _temperature(known, present))
    return probabilities


def calibrated_probe(kind: str, probe: Any, known: HeldOut) -> Any:
    """A fitted probe that answers with calibrated probabilities, for the classes it has learned.

    Args:
        kind: Name of the probe.
        probe: Fitted on the rows that `known` speaks of.
        known: Answers to learn from.

    Returns:
        A scikit-learn classifier with `predict_proba`: `CalibratedClassifierCV`, `TemperatureScaled`, or the probe
        itself where no row is fair.
    """
    if PROBES[kind].decides:
        present = np.unique(known.labels)
        model = _sigmoids(_decisions(known.answers, present), known.labels)
        # Fitted on the decision values themselves, it now reads the features that they come from.
        model.estimator, model.n_features_in_ = FrozenEstimator(probe), probe.n_features_in_
        model.calibrated_classifiers_[0].estimator = probe
        return model
    if not known.fair.any():
        return probe
    return TemperatureScaled(probe, temperature=_temperature(known, np.asarray(probe.classes_)))


def _temperature(known: HeldOut, present: np.ndarray) -> float:
    told, labels = known.answers[known.fair][:, present], known.labels[known.fair]
    return fit_temperature(told, np.searchsorted(present, labels))


def _by_sigmoids(known: HeldOut, asked: Answers, present: np.ndarray) -> np.ndarray:
    """The rule of scikit-learn's `CalibratedClassifierCV(method="sigmoid", ensemble=False)`: one class against the
    rest."""
    model = _sigmoids(_decisions(known.answers, present), known.labels)
    return np.asarray(model.predict_proba(_decisions(asked, present)))


def _decisions(answers: Answers, present: np.ndarray) -> Float64[np.ndarray, "_ kept"]:
    """Columns of the classes that are there; of two classes the second column says it all."""
    columns = answers[:, present] if answers.shape[1] > 1 else answers
    return columns[:, 1:] if columns.shape[1] == 2 else columns


def _sigmoids(answers: Answers, labels: Labels) -> CalibratedClassifierCV:
    every = np.arange(len(labels))
    decisions = FrozenEstimator(_Decisions(np.unique(labels)))
    return CalibratedClassifierCV(decisions, method="sigmoid", cv=[(every, every)], ensemble=False).fit(answers, labels)


class _Decisions(ClassifierMixin, BaseEstimator):
    """A classifier whose features are its decision values."""

    def __init__(self, classes_: np.ndarray) -> None:
        self.classes_ = classes_

    def fit(self, answers: Answers, labels: Labels) -> "_Decisions":
        """Nothing is learned."""
        return self

    def predict(self, answers: Answers) -> Labels:
        """The class of the highest decision value."""
        return np.asarray(self.classes_[predicted_classes(answers)])

    def decision_function(self, answers: Answers) -> np.ndarray:
        """The features; of two classes, one value per row."""
        return answers[:, 0] if answers.shape[1] == 1 else answers
