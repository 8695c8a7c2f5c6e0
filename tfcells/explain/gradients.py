"""Maps from gradients of a logit: Grad-CAM at a layer, integrated gradients at the pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import tensorflow as tf

from tfcells.arrays import Float32, Float64
from tfcells.errors import RequestError
from tfcells.explain.attribution import Attribution, Completeness
from tfcells.explain.baselines import baseline_of
from tfcells.explain.explained import BATCH, Batch, Contrasts, Explained
from tfcells.explain.nested import find_path, map_and_answer

GRADCAM: Final = "gradcam"
INTEGRATED: Final = "ig"
TOLERANCE: Final = 0.01
"""Share of |f(x) - f(baseline)| by which a map's sum may miss it; of one logit where the difference is smaller."""

MOST_STEPS: Final = 512
_FIRST: Final = 16  # equal intervals of the path to begin with
_HALVED: Final = 16  # intervals at a time


def gradcam_maps(
    explained: Explained, pictures: Batch, contrasts: Contrasts, *, layer: str | None = None, batch_size: int = BATCH
) -> Attribution:
    """Grad-CAM: channels of a layer weighted by the mean gradient of the logit, added, negative sums cut off.

    Selvaraju et al. (2017), https://arxiv.org/abs/1610.02391. At a tap that is pooled by `mean` and read by a linear
    probe it is the positive part of the exact map with reference `zero`.

    Args:
        explained: The classifier; models inside models are looked into.
        pictures: At the network's size.
        contrasts: What is explained.
        layer: Name or path of a layer that gives a map; the classifier's own by default.
        batch_size: Pictures in a pass.

    Raises:
        UnknownNameError: If there is no such layer.
        RequestError: If no gradient reaches it.
    """
    path = find_path(explained.model, explained.size, layer or explained.layer)

    def one_pass(batch: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(batch)  # so that what follows is recorded though the weights are frozen
            maps, logits = map_and_answer(explained.model, batch, path)
            value = tf.reduce_sum(tf.cast(logits, tf.float64) * wanted)
        gradient = _required(tape.gradient(value, maps), f"layer {path}")
        weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(tf.cast(weights * maps, tf.float64), axis=-1))

    traced = explained.traced(f"gradcam {path}", one_pass)
    heat = [
        traced(tf.constant(pictures[at : at + batch_size]), tf.constant(contrasts[at : at + batch_size])).numpy()
        for at in range(0, len(pictures), batch_size)
    ]
    return Attribution(method=GRADCAM, heat=np.concatenate(heat), signed=False)


def integrated_maps(
    explained: Explained,
    pictures: Batch,
    contrasts: Contrasts,
    *,
    baseline: str = "border",
    tolerance: float = TOLERANCE,
    most_steps: int = MOST_STEPS,
    batch_size: int = BATCH,
) -> Attribution:
    """Integrated gradients on the straight path from a baseline to the picture, summed over colours.

    Sundararajan et al. (2017), https://arxiv.org/abs/1703.01365. The integral is taken by the trapezoid rule on
    intervals that are halved where they fail: of each one, the rise of the logit is known, so the error that it adds
    is too. It stops when the map's sum is within `tolerance`, or says that it is not.

    Args:
        explained: The classifier.
        pictures: At the network's size.
        contrasts: What is explained.
        baseline: `border`, a plain of the border's colour: the map then says what the cell adds to its surroundings,
            colour included. `blur`: what detail adds, colours being in the baseline already.
        tolerance: Share of |f(x) - f(baseline)|, or of one logit where that is less.
        most_steps: Passes along a path; a picture's gradients of as many are held (4 bytes for each number of it).
        batch_size: Points of a path in a pass.

    Raises:
        UnknownNameError: If there is no such baseline.
        RequestError: If no gradient reaches the pixels, as through a decision tree.
    """
    starts = baseline_of(pictures, baseline)
    ask = _value_and_gradient(explained)
    paths = [
        _Path(ask, start, picture, contrast, batch_size).refined(tolerance, most_steps)
        for start, picture, contrast in zip(starts, pictures, contrasts, strict=True)
    ]
    heat = np.stack([path.map for path in paths])
    rises = np.array([path.rise for path in paths])
    completeness = Completeness(
        claimed=rises,
        found=heat.sum(axis=(1, 2)),
        allowed=tolerance * np.maximum(np.abs(rises), 1.0),
        steps=np.array([len(path.points) for path in paths], dtype=np.int64),
    )
    return Attribution(method=INTEGRATED, heat=heat, signed=True, completeness=completeness)


_Asker = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def _value_and_gradient(explained: Explained) -> _Asker:
    """(points, size, size, 3) and a contrast (classes,) to values (points,) and their gradients by the pixels."""

    def one_pass(batch: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)
            values = tf.linalg.matvec(tf.cast(explained.model(batch, training=False), tf.float64), wanted)
        return values, _required(tape.gradient(values, batch), "the pixels")

    return explained.traced("value and gradient", one_pass)


def _required(gradient: tf.Tensor | None, place: str) -> tf.Tensor:
    if gradient is None:
        raise RequestError(
            f"No gradient reaches {place}: the answer does not depend on it, or by comparisons alone, as in a tree. "
            "Explain it by occlusion or shap, which ask for nothing but answers."
        )
    return gradient


@dataclass(eq=False)
class _Path:
    """Values and gradients at points of the straight path from a baseline (0) to a picture (1)."""

    ask: _Asker
    start: Float32[np.ndarray, "size size 3"]
    end: Float32[np.ndarray, "size size 3"]
    contrast: Float64[np.ndarray, " classes"]
    batch_size: int

    def __post_init__(self) -> None:
        self.points = np.zeros(0)
        self.values = np.zeros(0)
        self.slopes = np.zeros(0)  # of the value along the path
        self._gradients: list[np.ndarray] = []
        self._add(np.linspace(0, 1, _FIRST + 1))

    def _add(self, points: np.ndarray) -> None:
        step = (self.end - self.start).astype(np.float64)
        for at in range(0, len(points), self.batch_size):
            some = points[at : at + self.batch_size]
            batch = (self.start + some[:, None, None, None] * step).astype(np.float32)
            values, gradients = self.ask(tf.constant(batch), tf.constant(self.contrast))
            found = gradients.numpy()
            self._gradients += list(found)
            self.points = np.append(self.points, some)
            self.values = np.append(self.values, values.numpy())
            self.slopes = np.append(self.slopes, (found * step).sum(axis=(1, 2, 3)))
        order = np.argsort(self.points)
        self.points, self.values, self.slopes = self.points[order], self.values[order], self.slopes[order]
        self._gradients = [self._gradients[place] for place in order]

    @property
    def rise(self) -> float:
        """From the baseline's value to the picture's."""
        return float(self.values[-1] - self.values[0])

    @property
    def errors(self) -> np.ndarray:
        """Of each interval, what the trapezoid says minus what the value rises by."""
        widths = np.diff(self.points)
        return np.asarray(widths * (self.slopes[1:] + self.slopes[:-1]) / 2 - np.diff(self.values))

    def refined(self, tolerance: float, most_steps: int) -> "_Path":
        """Halve the worst intervals until all errors together are allowed, or the steps are spent."""
        while abs(self.errors.sum()) > tolerance * max(abs(self.rise), 1.0) and len(self.points) < most_steps:
            room = min(_HALVED, most_steps - len(self.points))
            worst = np.argsort(-np.abs(self.errors), kind="stable")[:room]
            self._add((self.points[worst] + self.points[worst + 1]) / 2)
        return self

    @property
    def map(self) -> Float64[np.ndarray, "size size"]:
        """The integral, summed over colours."""
        widths = np.diff(self.points)
        weights = (np.append(widths, 0) + np.append(0, widths)) / 2
        integral = np.zeros(self.start.shape)
        for weight, gradient in zip(weights, self._gradients, strict=True):
            integral += weight * gradient
        return np.asarray((integral * (self.end - self.start)).sum(axis=2))
