"""What is explained: a function from pixels to one logit per class, its Keras graph, and its linear probe if any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfcells.arrays import Float32, Float64
from tfcells.backbones.cut import cut_resized
from tfcells.backbones.open import OpenBackbone
from tfcells.backbones.taps import Tap, tap_keys
from tfcells.errors import RequestError, UnknownNameError
from tfcells.explain.fold import FoldedProbe, fold_probe

Batch = Float32[np.ndarray, "images size size 3"]
"""Pictures at the network's size, RGB in [0, 255]."""

Contrasts = Float64[np.ndarray, "images classes"]
"""What is explained of each picture: the logit is the sum of these times the logits of the classes."""

BATCH = 16  # pictures in a pass; with gradients through MobileNetV2 at 224 px, about 1 GiB


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearReading:
    """Pooled taps, side by side, read by a folded probe.

    Attributes:
        folded: Weights and biases of the features.
        taps: In the order of the features.
        maps: Keras model from pixels at the network's size to each tap's own output, by `tap_keys`.
        shapes: Of each tap's output, (height, width, channels).
    """

    folded: FoldedProbe
    taps: tuple[Tap, ...]
    maps: keras.Model
    shapes: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Explained:
    """A classifier that can be asked, differentiated and taken apart.

    Attributes:
        model: Keras model from (images, size, size, 3) float32 in [0, 255] to logits (images, classes).
        class_names: Names of the columns of its answer.
        size: Side of its input, in pixels.
        layer: Name or path of the map that Grad-CAM looks at; the last map of the graph by default.
        linear: How features are read, for exact maps; None where they cannot be had.
        why_not_exact: The reason, where `linear` is None.
        sigmoids: Whether probabilities are the sigmoids of the logits divided by their sum, as of `FoldedProbe`; else
            their softmax.
        graphs: What was traced so far, by name; copies with other numbers in the same network share it.
    """

    model: keras.Model
    class_names: tuple[str, ...]
    size: int
    layer: str | None = None
    linear: LinearReading | None = None
    why_not_exact: str = ""
    sigmoids: bool = False
    graphs: dict[str, Any] = field(default_factory=dict, repr=False)

    def traced(self, name: str, steps: Callable[..., Any]) -> Callable[..., Any]:
        """TensorFlow operations as one graph, traced once for each shape: the first of this name is kept."""
        if name not in self.graphs:
            self.graphs[name] = tf.function(steps, autograph=False, reduce_retracing=True)
        graph: Callable[..., Any] = self.graphs[name]
        return graph

    def logits(self, pictures: Batch, *, batch_size: int = BATCH) -> Float64[np.ndarray, "images classes"]:
        """Logits, computed `batch_size` pictures at a time."""
        ask = self.traced("logits", lambda pixels: self.model(pixels, training=False))
        parts = [ask(tf.constant(pictures[at : at + batch_size])) for at in range(0, len(pictures), batch_size)]
        told = np.concatenate([part.numpy() for part in parts]) if parts else np.zeros((0, len(self.class_names)))
        return told.astype(np.float64)

    def values(
        self, pictures: Batch, contrasts: Contrasts, *, batch_size: int = BATCH
    ) -> Float64[np.ndarray, " images"]:
        """The logit, or difference of logits, that is explained of each picture."""
        told: np.ndarray = (self.logits(pictures, batch_size=batch_size) * contrasts).sum(axis=1)
        return told

    def predicted(self, pictures: Batch) -> list[str]:
        """The class of the highest logit, by name."""
        return [self.class_names[index] for index in self.logits(pictures).argmax(axis=1)]

    def contrast(self, towards: str, against: str | None = None) -> Float64[np.ndarray, " classes"]:
        """What asks for the logit of a class, or for how much it exceeds that of another.

        Raises:
            UnknownNameError: If there is no such class.
            RequestError: If both are the same.
        """
        found = np.zeros(len(self.class_names))
        for name, sign in ((towards, 1.0), (against, -1.0)):
            if name is None:
                continue
            if name not in self.class_names:
                raise UnknownNameError("class", name, self.class_names)
            found[self.class_names.index(name)] += sign
        if not found.any():
            raise RequestError(f"The difference of {towards!r} and {against!r} is always 0. Expected two classes.")
        return found


def probability_of(logits: np.ndarray, contrast: np.ndarray, *, sigmoids: bool = False) -> Float64[np.ndarray, " rows"]:
    """How probable what is explained is, as the classifier says it, for curves of deletion and insertion.

    Args:
        logits: (rows, classes).
        contrast: (classes,): of a class, its probability among all classes; of a difference, among the two.
        sigmoids: See `Explained`.
    """
    if sigmoids:
        logits = -np.logaddexp(0, -logits)  # shares of sigmoids are the softmax of their logarithms
    if (contrast < 0).any():
        return np.asarray(1 / (1 + np.exp(-np.clip(logits @ contrast, -500, 500))))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray((powers @ contrast) / powers.sum(axis=1))


def explain_probe(
    backbone: OpenBackbone,
    taps: Sequence[Tap],
    probe: Any,
    class_names: Sequence[str],
    *,
    head: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> Explained:
    """A backbone with a fitted probe on its pooled taps.

    Args:
        backbone: From `open_backbone`.
        taps: In the order of the features.
        probe: Fitted classifier; its classes are numbers into `class_names`.
        class_names: Names of the classes.
        head: For a probe that is not affine: TensorFlow's features, float64 (images, features), to the probabilities
            of the probe's classes. What is explained is then their logarithm.

    Raises:
        RequestError: If the probe is not affine and there is no `head`, or it reads other features.
    """
    pixels = keras.Input((backbone.size, backbone.size, 3), name="pixels", dtype="float32")
    pooled = cut_resized(backbone, taps)(pixels)
    columns = [ops.reshape(pooled[key], (-1, int(np.prod(pooled[key].shape[1:])))) for key in tap_keys(taps)]
    features = ops.concatenate([ops.cast(part, "float64") for part in columns], axis=1)
    names = tuple(class_names[index] for index in np.asarray(probe.classes_, dtype=np.int64))
    folded = None
    try:
        folded, refused = fold_probe(probe), why_not_exact(taps)
    except RequestError as reason:
        if head is None:
            raise
        refused = str(reason)
        answer = _log_probabilities(head, len(names))(features)
    if folded is not None:
        _check_width(folded, int(features.shape[1]), taps)
        answer = _affine(folded)(features)
    model = keras.Model(pixels, answer, name=f"{backbone.row.name}_explained")
    linear = None
    if folded is not None and not refused:
        linear, refused = _linear(backbone, taps, folded)
    return Explained(
        model=model,
        class_names=names,
        size=backbone.size,
        layer=taps[-1].layer,
        linear=linear,
        why_not_exact=refused,
        sigmoids=folded is not None and folded.sigmoids,
    )


def with_probe(explained: Explained, probe: Any) -> Explained:
    """The same network with another affine probe on the same features: nothing is built or traced again.

    The network is shared, so the classifier that was handed in answers with the new probe from now on: use one at a
    time.

    Raises:
        RequestError: If there was no affine probe, or this one has other features or classes.
    """
    linear = explained.linear
    if linear is None:
        raise RequestError(f"There is no affine probe to be replaced. {explained.why_not_exact}")
    folded = fold_probe(probe)
    if folded.weights.shape != linear.folded.weights.shape or (folded.classes != linear.folded.classes).any():
        raise RequestError(
            f"A probe of {folded.weights.shape} classes and features came for one of {linear.folded.weights.shape}. "
            "Expected the same features and the same classes."
        )
    explained.model.get_layer("probe").set_weights([folded.weights.T, folded.bias])
    return replace(explained, linear=replace(linear, folded=folded), sigmoids=folded.sigmoids)


def explain_network(
    model: keras.Model, class_names: Sequence[str], *, size: int | None = None, layer: str | None = None
) -> Explained:
    """A Keras model from pixels in [0, 255] to logits, such as a fine-tuned one.

    Args:
        model: Functional or sequential, from (images, size, size, 3) to (images, classes).
        class_names: Names of the classes.
        size: Side of its input in pixels, where the model takes any.
        layer: For Grad-CAM; the last map by default.

    Raises:
        RequestError: If it ends in a softmax or sigmoid, has no fixed size, or another number of classes.
    """
    side = size or model.input_shape[1]
    if side is None:
        raise RequestError(f"{model.name} takes pictures of any size. Expected `size`, in pixels.")
    if model.output_shape[-1] != len(class_names):
        raise RequestError(
            f"{model.name} answers with {model.output_shape[-1]} numbers for {len(class_names)} classes. Expected one "
            "logit for each."
        )
    last = model.layers[-1]
    ending = getattr(getattr(last, "activation", None), "__name__", type(last).__name__.lower())
    if ending in ("softmax", "sigmoid"):
        raise RequestError(
            f"{model.name} ends in a {ending}, where gradients vanish for pictures it is sure of. Expected logits: "
            "leave the last activation out."
        )
    reason = "A network has no exact map unless what it pools is read by a linear probe. Use integrated gradients."
    return Explained(model=model, class_names=tuple(class_names), size=int(side), layer=layer, why_not_exact=reason)


def why_not_exact(taps: Sequence[Tap]) -> str:
    """Why pooled taps have no exact map, or nothing."""
    for tap in taps:
        if tap.pooling in ("max", "gem"):
            takes = "keeps the largest of each channel" if tap.pooling == "max" else "raises to a power"
            return (
                f"Tap {tap} has no exact map: pooling {tap.pooling!r} {takes}, so cells do not add up to a feature. "
                "Pool by `mean` or `flatten`, or use integrated gradients."
            )
    return ""


def _log_probabilities(ask: Callable[[tf.Tensor], tf.Tensor], classes: int) -> keras.layers.Layer:
    """Logarithms of the probabilities that TensorFlow operations give, of shape (images, classes)."""

    def logarithms(features: tf.Tensor) -> tf.Tensor:
        return tf.math.log(tf.cast(ask(features), tf.float64) + 1e-6)  # a vote of 0 is no certainty

    return keras.layers.Lambda(logarithms, output_shape=(classes,), dtype="float64", name="probe")


def _affine(folded: FoldedProbe) -> keras.layers.Dense:
    # In float64: weights divided by small deviations cancel, which float32 would round to 1e-3 of a logit.
    dense = keras.layers.Dense(len(folded.bias), dtype="float64", name="probe")
    dense.build((None, folded.weights.shape[1]))
    dense.set_weights([folded.weights.T, folded.bias])
    return dense


def _check_width(folded: FoldedProbe, width: int, taps: Sequence[Tap]) -> None:
    if folded.weights.shape[1] != width:
        raise RequestError(
            f"The probe reads {folded.weights.shape[1]:,} features, taps {', '.join(map(str, taps))} give {width:,}. "
            "Expected the taps that it was fitted on, in their order."
        )


def _linear(backbone: OpenBackbone, taps: Sequence[Tap], folded: FoldedProbe) -> tuple[LinearReading | None, str]:
    """How the taps are read, or why they have no exact map."""
    raw = tuple(dict.fromkeys(Tap(tap.layer, "none") for tap in taps))
    maps = cut_resized(backbone, raw)
    shapes = tuple(tuple(maps.output[tap.layer].shape[1:]) for tap in taps)
    for tap, shape in zip(taps, shapes, strict=True):
        if len(shape) != 3:
            return None, f"Tap {tap} gives shape {shape}, which has no height and width. Use integrated gradients."
    return LinearReading(folded=folded, taps=tuple(taps), maps=maps, shapes=shapes), ""
