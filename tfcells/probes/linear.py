"""Linear readers: what a hyperplane per class can see."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.utils.multiclass import _ovr_decision_function


def logistic(C: float = 1.0) -> LogisticRegression:
    """Multinomial logistic regression, L2-penalised, fitted by L-BFGS; deterministic.

    Args:
        C: Inverse of the penalty's strength.
    """
    return LogisticRegression(C=C, max_iter=2000)


def ridge(alpha: float = 1.0) -> RidgeClassifier:
    """Least squares on class indicators of 1 and -1, L2-penalised; answers with decision values.

    Args:
        alpha: Strength of the penalty.
    """
    return RidgeClassifier(alpha=alpha)


class PairedHyperplanes(ClassifierMixin, BaseEstimator):
    """What a linear `SVC` has learned, as one hyperplane per pair of classes: no row is kept.

    Args:
        coef_: float64 of shape (pairs, features), pairs in the order of `SVC.coef_`.
        intercept_: float64 of shape (pairs,).
        classes_: The classes, in order.
    """

    def __init__(self, coef_: np.ndarray, intercept_: np.ndarray, classes_: np.ndarray) -> None:
        self.coef_, self.intercept_, self.classes_ = coef_, intercept_, classes_
        self.n_features_in_ = coef_.shape[1]

    def fit(self, X: Any, y: Any) -> "PairedHyperplanes":
        """Nothing is learned."""
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Decision values as `SVC` gives them with shape `ovr`: (rows,) for two classes, else (rows, classes)."""
        pairs: np.ndarray = X @ self.coef_.T + self.intercept_
        if len(self.classes_) == 2:
            return pairs[:, 0]
        return np.asarray(_ovr_decision_function(pairs < 0, -pairs, len(self.classes_)))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The class of the highest decision value."""
        values = self.decision_function(X)
        return np.asarray(self.classes_[values.argmax(axis=1) if values.ndim == 2 else (values > 0).astype(np.int64)])
