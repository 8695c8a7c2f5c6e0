"""Probabilities of a probe made softer or sharper by one number, learned from rows it had not seen.

Temperature scaling, Guo et al. (2017), On calibration of modern neural networks: logits are divided by a temperature,
which changes no predicted class. Logits are here the logarithms of the probabilities, as they are for a logistic
regression; `FLOOR` is added first.
"""

from typing import Any, Final

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from tfcells.arrays import Float64, Labels, Probabilities

FLOOR: Final = 0.01
"""Added to every probability before its logarithm is taken. Neighbours and leaves say 0 of a class that none of a few
rows has; at 1e-12, as scikit-learn has it, such rows alone would set the temperature, and 0.4 would become 0.25."""

_SHARPEST, _SOFTEST = 0.01, 100.0  # temperatures


def fit_temperature(told: Probabilities, labels: Labels) -> float:
    """The temperature at which held-out rows are most likely, with one made-up row beside them.

    The made-up row has the mean loss of all rows over all classes, as if its class were unknown. Without it, rows that
    are all answered rightly would ask for certainty.

    Args:
        told: Probabilities of rows that the probe had not seen, one or more.
        labels: Their classes, numbers of columns.

    Returns:
        Above 1 where the probe was too sure of itself; between 0.01 and 100.
    """
    logits = np.log(told + FLOOR)
    wanted = logits[np.arange(len(labels)), labels].sum() + logits.mean()

    def slope(sharpness: float) -> float:
        """Of the log loss, which is convex in the inverse of the temperature."""
        expected = (softmax(sharpness * logits, axis=1) * logits).sum(axis=1)
        return float(expected.sum() + expected.mean() - wanted)

    least, most = 1 / _SOFTEST, 1 / _SHARPEST
    if slope(least) >= 0:
        return _SOFTEST
    return _SHARPEST if slope(most) <= 0 else 1 / float(brentq(slope, least, most, xtol=1e-13))


def scaled(told: Probabilities, temperature: float) -> Probabilities:
    """Probabilities at a temperature; the highest column, the first of equals, stays the highest.

    Args:
        told: float64 of shape (images, classes).
        temperature: Above 0.
    """
    found: np.ndarray = softmax(np.log(told + FLOOR) / temperature, axis=1)
    rows, highest = np.arange(len(told)), told.argmax(axis=1)
    # What differs by rounding alone may have become equal.
    lost = rows[found.argmax(axis=1) != highest]
    found[lost, highest[lost]] = np.nextafter(found[lost].max(axis=1, initial=0.0), 2.0)
    return found


class TemperatureScaled(ClassifierMixin, BaseEstimator):
    """A fitted probe whose probabilities are scaled.

    Args:
        estimator: Fitted, with `predict_proba`.
        temperature: See `fit_temperature`.

    Attributes:
        floor: See `FLOOR`.
        classes_: Of the estimator.
    """

    floor = FLOOR

    def __init__(self, estimator: Any, *, temperature: float) -> None:
        self.estimator = estimator
        self.temperature = temperature

    @property
    def classes_(self) -> np.ndarray:
        """The classes, in the order of the columns."""
        return np.asarray(self.estimator.classes_)

    def predict_proba(self, X: Any) -> Float64[np.ndarray, "images classes"]:
        """Scaled probabilities."""
        return scaled(self.estimator.predict_proba(X), self.temperature)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class, which is the estimator's own."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])
