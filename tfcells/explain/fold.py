"""A fitted probe folded into one weight vector and one bias per class, in float64, where it is affine in features."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tfcells.arrays import Float64, Int64
from tfcells.errors import RequestError

INSTEAD: Final = "Explain it by occlusion or shap, which ask for nothing but answers."


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldedProbe:
    """Logits that are affine in the features: `features @ weights.T + bias`.

    Of a logistic regression, their softmax is the probe's answer, temperature included; of a probe with sigmoids,
    sigmoid of each logit is what the probe normalises over classes. With two classes and one decision value z, the
    logits are -z/2 and z/2, so that their difference is z and neither class is nothing but zero.

    Attributes:
        weights: float64 of shape (classes, features).
        bias: float64 of shape (classes,).
        mean: float64 of shape (features,): features of the average training picture, where a scaler or a PCA knows
            them; None else.
        classes: int64 of shape (classes,): what the probe calls its classes.
        sigmoids: Whether the probe's probabilities are the sigmoids of three logits or more, divided by their sum;
            else the softmax, which with two classes is the same.
    """

    weights: Float64[np.ndarray, "classes features"]
    bias: Float64[np.ndarray, " classes"]
    mean: Float64[np.ndarray, " features"] | None
    classes: Int64[np.ndarray, " classes"]
    sigmoids: bool = False

    def logits(self, features: np.ndarray) -> Float64[np.ndarray, "images classes"]:
        """Logits of features of shape (images, features), computed in float64."""
        told: np.ndarray = features.astype(np.float64) @ self.weights.T + self.bias
        return told


def fold_probe(probe: Any) -> FoldedProbe:
    """Fold scaler, components, hyperplanes, temperature or sigmoids into weights and biases of the raw features.

    Args:
        probe: Fitted: a pipeline of `StandardScaler`, `MinMaxScaler`, PCA (anything with orthonormal `components_` and
            `mean_`), and `LogisticRegression`, `RidgeClassifier` or, for two classes, hyperplanes; it may stand in a
            temperature or in `CalibratedClassifierCV`.

    Raises:
        RequestError: If it is not affine, or not known to be; says why and what to use.
    """
    classes = np.asarray(probe.classes_, dtype=np.int64)
    if hasattr(probe, "temperature") and hasattr(probe, "floor"):
        inner = fold_probe(probe.estimator)
        by = float(probe.temperature)
        return FoldedProbe(weights=inner.weights / by, bias=inner.bias / by, mean=inner.mean, classes=classes)
    if isinstance(probe, CalibratedClassifierCV):
        return _calibrated(probe, classes)
    weights, bias, mean = _decision(probe)
    if len(weights) == 1:
        weights, bias = np.vstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return FoldedProbe(weights=weights, bias=bias, mean=mean, classes=classes)


def _calibrated(probe: CalibratedClassifierCV, classes: np.ndarray) -> FoldedProbe:
    """Sigmoids over decision values: sigmoid(-(slope z + offset)), so the logit is affine in z."""
    (fitted,) = probe.calibrated_classifiers_
    weights, bias, mean = _decision(fitted.estimator)
    if any(not hasattr(curve, "a_") for curve in fitted.calibrators):
        raise RequestError(f"A probe calibrated by {type(fitted.calibrators[0]).__name__} has no logit. {INSTEAD}")
    slope = -np.array([curve.a_ for curve in fitted.calibrators])
    offset = -np.array([curve.b_ for curve in fitted.calibrators])
    weights, bias = slope[:, None] * weights, slope * bias + offset
    sigmoids = len(weights) > 1
    if not sigmoids:
        weights, bias = np.vstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return FoldedProbe(weights=weights, bias=bias, mean=mean, classes=classes, sigmoids=sigmoids)


def _decision(model: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Weights (values, features), biases (values,) and mean features of decision values: one for two classes."""
    if isinstance(model, FrozenEstimator):
        return _decision(model.estimator)
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    weights, bias = _hyperplanes(steps[-1])
    mean = None
    for step in reversed(steps[:-1]):
        weights, bias, mean = _through(step, weights, bias, mean)
    return weights, bias, mean


def _through(
    step: Any, weights: np.ndarray, bias: np.ndarray, mean: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Weights and biases of what goes into a step, from those of what comes out of it."""
    if isinstance(step, StandardScaler) and step.with_mean and step.with_std:
        folded = weights / step.scale_
        return folded, bias - folded @ step.mean_, np.asarray(step.mean_, dtype=np.float64)
    if isinstance(step, MinMaxScaler) and not step.clip:
        before = None if mean is None else (mean - step.min_) / step.scale_
        return weights * step.scale_, bias + weights @ step.min_, before
    if hasattr(step, "components_") and hasattr(step, "mean_"):
        components = np.asarray(step.components_, dtype=np.float64)
        centre = np.asarray(step.mean_, dtype=np.float64)
        # What it does is asked of itself: whitening, say, would give another score than 1.
        if np.allclose(step.transform(centre + components), np.eye(len(components)), atol=1e-6):
            folded = weights @ components
            return folded, bias - folded @ centre, centre
    raise RequestError(f"{type(step).__name__}, as it was fitted, is no affine step that can be folded. {INSTEAD}")


def _hyperplanes(model: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(model, (LogisticRegression, RidgeClassifier)):
        return np.atleast_2d(np.asarray(model.coef_, np.float64)), np.atleast_1d(np.asarray(model.intercept_, float))
    name = type(model).__name__
    if type(model) in _NOT_AFFINE and not (isinstance(model, SVC) and model.kernel == "linear"):
        raise RequestError(f"{name} has no exact map: {_NOT_AFFINE[type(model)](model)}. {INSTEAD}")
    if hasattr(model, "coef_") and hasattr(model, "decision_function"):
        if len(model.classes_) > 2:
            raise RequestError(
                f"{name} of {len(model.classes_)} classes has no exact map: it counts the votes of one hyperplane for "
                f"each pair of classes, so no class has a logit of its own. {INSTEAD}"
            )
        # Of two classes, signs are asked of the model: they differ between those that keep hyperplanes.
        features = model.coef_.shape[1]
        bias = model.decision_function(np.zeros((1, features))).reshape(1)
        weights: np.ndarray = np.asarray(model.coef_, dtype=np.float64).reshape(1, features)
        told = model.decision_function(weights).reshape(1) - bias
        return weights * np.sign(float(told[0]) or 1.0), np.asarray(bias, dtype=np.float64)
    raise RequestError(f"{name} has no exact map: it is not known to be affine in the features. {INSTEAD}")


_NOT_AFFINE: Final[Mapping[type, Callable[[Any], str]]] = {
    SVC: lambda model: f"its kernel {model.kernel!r} bends the features",
    KNeighborsClassifier: lambda _: "it compares whole vectors with those of training pictures",
    DecisionTreeClassifier: lambda _: "it compares features with thresholds",
    RandomForestClassifier: lambda _: "it compares features with thresholds",
}
