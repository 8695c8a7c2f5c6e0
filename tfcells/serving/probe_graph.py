"""Fitted scikit-learn probes as TensorFlow operations, in float64, attribute by attribute.

Each function takes a fitted estimator and returns a `Stage`: a `tf.Module` that holds the estimator's numbers as
variables and maps (batch, columns) float64 to (batch, columns) float64. No scikit-learn is left in the graph.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import tensorflow as tf
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tfcells.errors import RequestError


class Stage(tf.Module):
    """One step of a probe."""

    def __init__(self, **numbers: np.ndarray) -> None:
        super().__init__()
        # Variables, not constants: a graph definition may not exceed 2 GB, and neighbours alone can.
        for name, values in numbers.items():
            setattr(self, name, tf.Variable(values, trainable=False, name=name))

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """(batch, columns) float64 to (batch, columns) float64."""
        raise TypeError(f"{type(self).__name__} defines no operation; use one of its subclasses.")


class Standardise(Stage):
    """`StandardScaler`."""

    def __init__(self, scaler: StandardScaler) -> None:
        if not (scaler.with_mean and scaler.with_std):
            raise RequestError(
                f"StandardScaler with with_mean={scaler.with_mean} and with_std={scaler.with_std} cannot be exported. "
                "Expected both."
            )
        super().__init__(mean=scaler.mean_, scale=scaler.scale_)

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """Subtract the mean, divide by the standard deviation."""
        return (columns - self.mean) / self.scale


class Range(Stage):
    """`MinMaxScaler`."""

    def __init__(self, scaler: MinMaxScaler) -> None:
        if scaler.clip:
            raise RequestError("MinMaxScaler with clip=True cannot be exported. Expected clip=False.")
        super().__init__(scale=scaler.scale_, offset=scaler.min_)

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """Multiply and shift to the range of the training rows."""
        return columns * self.scale + self.offset


class Components(Stage):
    """Scores on principal components: scikit-learn's `PCA`, or whatever stands where it stood."""

    def __init__(self, reduction: Any) -> None:
        components = np.asarray(reduction.components_, dtype=np.float64)
        mean = np.asarray(reduction.mean_, dtype=np.float64)
        # What it does is asked of itself: this package does not know the one that holds it. Each component, seen
        # from the mean, must have a score of 1 on itself and 0 on the others.
        told = reduction.transform(mean + components)
        if not np.allclose(told, np.eye(len(components)), atol=1e-6):
            raise RequestError(
                f"{type(reduction).__name__} cannot be exported: its scores are not (features - mean_) times its "
                "orthonormal components_. Expected that, without whitening."
            )
        # The mean's scores are subtracted, not the mean from every row: one product of what is there anyway.
        super().__init__(components=components, mean_scores=components @ mean)

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """(batch, columns) to (batch, components)."""
        return tf.matmul(columns, self.components, transpose_b=True) - self.mean_scores


class Ridge(Stage):
    """Decision values of `RidgeClassifier`: one column for two classes, else one per class."""

    def __init__(self, model: RidgeClassifier) -> None:
        super().__init__(
            weights=np.atleast_2d(np.asarray(model.coef_, dtype=np.float64)),
            bias=np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64)),
        )

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """(batch, 1) for two classes, else (batch, classes)."""
        return tf.matmul(columns, self.weights, transpose_b=True) + self.bias


class Logistic(Stage):
    """`LogisticRegression`: softmax, or one sigmoid for two classes."""

    def __init__(self, model: LogisticRegression) -> None:
        weights, bias = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
        if len(weights) == 1:  # two classes: a sigmoid is a softmax against zero
            weights, bias = np.vstack([np.zeros_like(weights), weights]), np.concatenate([[0.0], bias])
        super().__init__(weights=weights, bias=bias)

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """Class probabilities."""
        return tf.nn.softmax(tf.matmul(columns, self.weights, transpose_b=True) + self.bias)


class Neighbors(Stage):
    """`KNeighborsClassifier` by Euclidean distance with Dudani's weights."""

    def __init__(self, model: KNeighborsClassifier) -> None:
        # What the weights do is asked of themselves: this package does not know the one that holds them.
        dudani = callable(model.weights) and np.allclose(model.weights(np.array([[1.0, 2.0, 4.0]])), [[1, 2 / 3, 0]])
        if model.effective_metric_ != "euclidean" or not dudani:
            raise RequestError(
                f"KNeighborsClassifier with metric {model.effective_metric_!r} and weights {model.weights!r} cannot be "
                "exported. Expected Euclidean distance and Dudani's weights."
            )
        images = np.asarray(model._fit_X, dtype=np.float64)
        super().__init__(images=images, members=np.eye(len(model.classes_))[model._y])
        self.count = min(int(model.n_neighbors), len(images))

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """Weighted shares of the classes among the nearest training images."""
        squared = _squared_distances(columns, self.images)
        nearest, places = tf.math.top_k(-squared, k=self.count)
        distances = tf.sqrt(tf.maximum(-nearest, 0.0))
        closest, farthest = distances[:, :1], distances[:, -1:]
        span = farthest - closest
        weights = tf.where(span > 0, (farthest - distances) / tf.where(span > 0, span, 1.0), tf.ones_like(distances))
        votes = tf.einsum("bn,bnc->bc", weights, tf.gather(self.members, places))
        return votes / tf.reduce_sum(votes, axis=1, keepdims=True)


class SupportVectors(Stage):
    """Decision values of an `SVC`: one column for two classes, else one per class as scikit-learn derives them."""

    def __init__(self, model: SVC) -> None:
        if model.kernel not in ("rbf", "linear") or (
            len(model.classes_) > 2 and model.decision_function_shape != "ovr"
        ):
            raise RequestError(
                f"SVC with kernel {model.kernel!r} and shape {model.decision_function_shape!r} cannot be exported. "
                "Expected kernel 'rbf' or 'linear', and shape 'ovr'."
            )
        super().__init__(
            vectors=np.asarray(model.support_vectors_, dtype=np.float64),
            pair_weights=_pair_weights(model),
            bias=np.asarray(model.intercept_, dtype=np.float64),
        )
        self.linear, self.gamma, self.classes = model.kernel == "linear", float(model._gamma), len(model.classes_)

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """(batch, 1) for two classes, else (batch, classes)."""
        if self.linear:
            kernel = tf.matmul(columns, self.vectors, transpose_b=True)
        else:
            kernel = tf.exp(-self.gamma * _squared_distances(columns, self.vectors))
        return _votes(tf.matmul(kernel, self.pair_weights, transpose_b=True) + self.bias, self.classes)


class Hyperplanes(Stage):
    """Decision values of a linear machine that is kept as one hyperplane per pair of classes."""

    def __init__(self, model: Any) -> None:
        super().__init__(weights=np.asarray(model.coef_, np.float64), bias=np.asarray(model.intercept_, np.float64))
        self.classes = len(model.classes_)
        # What it does is asked of itself: others have coefficients of as many rows, one for each class.
        rows = np.random.default_rng(0).normal(size=(8, self.weights.shape[1]))
        pairs = self.classes * (self.classes - 1) // 2
        told = np.asarray(model.decision_function(rows)).reshape(len(rows), -1)
        if self.weights.shape[0] != pairs or not np.allclose(told, self(rows)):
            raise RequestError(
                f"{type(model).__name__} cannot be exported: its decision values are not the votes of its {pairs} "
                "hyperplanes, one for each pair of classes. Expected that."
            )

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """(batch, 1) for two classes, else (batch, classes)."""
        return _votes(tf.matmul(columns, self.weights, transpose_b=True) + self.bias, self.classes)


class Calibrated(Stage):
    """`CalibratedClassifierCV` by sigmoids with one fitted estimator."""

    def __init__(self, model: CalibratedClassifierCV) -> None:
        if len(model.calibrated_classifiers_) != 1 or model.method != "sigmoid":
            raise RequestError(
                f"CalibratedClassifierCV with method {model.method!r} and {len(model.calibrated_classifiers_)} "
                "estimators cannot be exported. Expected method 'sigmoid' and ensemble=False."
            )
        fitted = model.calibrated_classifiers_[0]
        super().__init__(
            slope=np.array([sigmoid.a_ for sigmoid in fitted.calibrators]),
            offset=np.array([sigmoid.b_ for sigmoid in fitted.calibrators]),
        )
        self.decide = stage_of(fitted.estimator)

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """Sigmoids of the decision values, normalised over classes."""
        positive = tf.sigmoid(-(self.slope * self.decide(columns) + self.offset))
        if positive.shape[1] == 1:
            return tf.concat([1 - positive, positive], axis=1)
        total = tf.reduce_sum(positive, axis=1, keepdims=True)
        uniform = tf.ones_like(positive) / positive.shape[1]
        return tf.where(total > 0, positive / tf.where(total > 0, total, 1.0), uniform)


class Tempered(Stage):
    """Probabilities of an estimator at a temperature: softmax of log(probability + floor) / temperature."""

    def __init__(self, model: Any) -> None:
        super().__init__(floor=np.array(model.floor), temperature=np.array(model.temperature))
        self.estimate = stage_of(model.estimator)

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """Scaled class probabilities."""
        return tf.nn.softmax(tf.math.log(self.estimate(columns) + self.floor) / self.temperature)


class Tree(Stage):
    """`DecisionTreeClassifier`: all rows walk down together, one level per step."""

    def __init__(self, model: DecisionTreeClassifier) -> None:
        tree = model.tree_
        values = tree.value[:, 0, :]
        super().__init__(
            left=tree.children_left.astype(np.int32),
            right=tree.children_right.astype(np.int32),
            feature=np.maximum(tree.feature, 0).astype(np.int32),
            threshold=tree.threshold.astype(np.float64),
            shares=values / values.sum(axis=1, keepdims=True),
        )
        self.depth = int(tree.max_depth)

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """Class shares of the leaf each row ends in."""
        columns = tf.cast(tf.cast(columns, tf.float32), tf.float64)  # scikit-learn compares float32 features
        node = tf.zeros(tf.shape(columns)[:1], tf.int32)
        for _ in range(self.depth):
            value = tf.gather(columns, tf.gather(self.feature, node), batch_dims=1)
            goes_left = value <= tf.gather(self.threshold, node)
            following = tf.where(goes_left, tf.gather(self.left, node), tf.gather(self.right, node))
            node = tf.where(following >= 0, following, node)  # a leaf has no children: stay
        return tf.gather(self.shares, node)


class Forest(Stage):
    """`RandomForestClassifier`: the mean of its trees; all rows walk down all trees together."""

    def __init__(self, model: RandomForestClassifier) -> None:
        trees = [estimator.tree_ for estimator in model.estimators_]
        starts = np.cumsum([0, *(tree.node_count for tree in trees)])
        values = np.concatenate([tree.value[:, 0, :] for tree in trees])

        def children(side: str) -> np.ndarray:
            nodes = [getattr(tree, side) for tree in trees]
            moved = [np.where(own >= 0, own + start, -1) for own, start in zip(nodes, starts, strict=False)]
            return np.concatenate(moved).astype(np.int32)

        super().__init__(
            roots=starts[:-1].astype(np.int32),
            left=children("children_left"),
            right=children("children_right"),
            feature=np.concatenate([np.maximum(tree.feature, 0) for tree in trees]).astype(np.int32),
            threshold=np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
            shares=values / values.sum(axis=1, keepdims=True),
        )
        self.depth = max(int(tree.max_depth) for tree in trees)

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """Class shares of the leaves each row ends in, averaged over trees."""
        columns = tf.cast(tf.cast(columns, tf.float32), tf.float64)  # scikit-learn compares float32 features
        node = tf.repeat(self.roots[None, :], tf.shape(columns)[0], axis=0)  # (batch, trees)
        for _ in range(self.depth):
            value = tf.gather(columns, tf.gather(self.feature, node), batch_dims=1)
            goes_left = value <= tf.gather(self.threshold, node)
            following = tf.where(goes_left, tf.gather(self.left, node), tf.gather(self.right, node))
            node = tf.where(following >= 0, following, node)  # a leaf has no children: stay
        return tf.reduce_mean(tf.gather(self.shares, node), axis=1)


class Chain(Stage):
    """`Pipeline`: one stage after another."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.stages = [stage_of(step) for _, step in pipeline.steps]

    def __call__(self, columns: tf.Tensor) -> tf.Tensor:
        """The last stage's answer."""
        for stage in self.stages:
            columns = stage(columns)
        return columns


_STAGES: Final[Mapping[type, Callable[[Any], Stage]]] = {
    CalibratedClassifierCV: Calibrated,
    DecisionTreeClassifier: Tree,
    KNeighborsClassifier: Neighbors,
    LogisticRegression: Logistic,
    MinMaxScaler: Range,
    Pipeline: Chain,
    RandomForestClassifier: Forest,
    RidgeClassifier: Ridge,
    StandardScaler: Standardise,
    SVC: SupportVectors,
}


def stage_of(estimator: Any) -> Stage:
    """Return a fitted estimator as operations.

    Raises:
        RequestError: If this kind of estimator, or its setting, cannot be exported.
    """
    if hasattr(estimator, "components_") and hasattr(estimator, "mean_"):
        return Components(estimator)
    if hasattr(estimator, "temperature") and hasattr(estimator, "floor"):
        return Tempered(estimator)
    if type(estimator) not in _STAGES and hasattr(estimator, "coef_") and hasattr(estimator, "decision_function"):
        return Hyperplanes(estimator)
    if type(estimator) not in _STAGES:
        raise RequestError(
            f"{type(estimator).__name__} cannot be exported. "
            f"Expected one of: {', '.join(sorted(kind.__name__ for kind in _STAGES))}."
        )
    return _STAGES[type(estimator)](estimator)


def _squared_distances(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """(batch, columns) and (images, columns) to (batch, images)."""
    cross = tf.matmul(left, right, transpose_b=True)
    return tf.reduce_sum(left**2, axis=1)[:, None] - 2 * cross + tf.reduce_sum(right**2, axis=1)[None, :]


def _votes(decisions: tf.Tensor, classes: int) -> tf.Tensor:
    """Decision values of pairs of classes, (batch, pairs), as scikit-learn's shape `ovr`; of two classes unchanged."""
    if classes == 2:
        return decisions
    first, second = (tf.one_hot(side, classes, dtype=tf.float64) for side in np.triu_indices(classes, 1))
    wins = tf.cast(decisions >= 0, tf.float64)
    votes = wins @ first + (1 - wins) @ second
    confidence = decisions @ first - decisions @ second
    # Confidence breaks ties between votes, squeezed so that it never outweighs one.
    return votes + confidence / (3 * (tf.abs(confidence) + 1))


def _pair_weights(model: SVC) -> np.ndarray:
    """Coefficients of every pair of classes over all support vectors, (pairs, vectors).

    libsvm stores, per support vector of class i, one coefficient for each other class; see its README, "sv_coef".
    """
    coefficients = np.asarray(model.dual_coef_, dtype=np.float64)
    classes = len(model.classes_)
    if classes == 2:
        return coefficients
    bounds = np.concatenate([[0], np.cumsum(model.n_support_)])
    weights = np.zeros((classes * (classes - 1) // 2, len(model.support_vectors_)))
    for pair, (first, second) in enumerate(zip(*np.triu_indices(classes, 1), strict=True)):
        own, other = slice(*bounds[first : first + 2]), slice(*bounds[second : second + 2])
        weights[pair, own] = coefficients[second - 1, own]
        weights[pair, other] = coefficients[first, other]
    return weights
