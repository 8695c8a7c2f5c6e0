"""SHAP (Lundberg & Lee 2017): partitions of the picture, and expected gradients; extra `explain`."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

import keras
import numpy as np
import tensorflow as tf

from tfcells.errors import MissingExtraError
from tfcells.explain.attribution import ROUNDING, Attribution, Completeness
from tfcells.explain.baselines import baseline_of
from tfcells.explain.explained import BATCH, Batch, Contrasts, Explained
from tfcells.explain.untouched import untouched_gradients

PARTITION: Final = "shap_partition"
GRADIENT: Final = "shap_gradient"
TOLERANCE: Final = 0.01


def partition_maps(
    explained: Explained,
    pictures: Batch,
    contrasts: Contrasts,
    *,
    fill: str = "border",
    evaluations: int = 400,
    batch_size: int = BATCH,
) -> Attribution:
    """Owen values over halves of halves of the picture, by shap's PartitionExplainer; summed over colours.

    Args:
        explained: The classifier; nothing but its answers is used.
        pictures: At the network's size.
        contrasts: What is explained.
        fill: What takes the place of hidden parts: `border` or `blur`.
        evaluations: Pictures asked for each map; more give finer parts.
        batch_size: Pictures in a pass.

    Raises:
        MissingExtraError: If shap is not installed.
        UnknownNameError: If there is no such filling.
    """
    shap = require_shap()
    heat, claimed, largest = [], [], []
    for picture, contrast, filling in zip(pictures, contrasts, baseline_of(pictures, fill), strict=True):

        def ask(batch: np.ndarray, contrast: np.ndarray = contrast) -> np.ndarray:
            told = explained.logits(np.asarray(batch, dtype=np.float32), batch_size=batch_size) @ contrast
            return np.asarray(told)

        with _apart():
            explainer = shap.PartitionExplainer(ask, shap.maskers.Image(filling, picture.shape))
            found = explainer(picture[None], max_evals=evaluations, batch_size=batch_size, silent=True)
        heat.append(np.asarray(found.values, dtype=np.float64).reshape(picture.shape).sum(axis=2))
        ends = ask(np.stack([filling, picture]))
        claimed.append(float(ends[1] - ends[0]))
        largest.append(max(float(np.abs(ends).max()), 1.0))
    rises, maps = np.array(claimed), np.stack(heat)
    completeness = Completeness(
        claimed=rises,
        found=maps.sum(axis=(1, 2)),
        allowed=TOLERANCE * np.maximum(np.abs(rises), 1.0),
        steps=np.full(len(maps), evaluations, dtype=np.int64),
    )
    # A part's number is shared out over its pixels, and there are no more parts than evaluations.
    rounding = ROUNDING * np.array(largest) * min(1.0, evaluations / explained.size**2)
    return Attribution(method=PARTITION, heat=maps, signed=True, completeness=completeness, rounding=rounding)


def expected_gradient_maps(
    explained: Explained,
    pictures: Batch,
    contrasts: Contrasts,
    *,
    background: Batch | None = None,
    samples: int = 64,
    seed: int = 0,
    batch_size: int = BATCH,
) -> Attribution:
    """Expected gradients, by shap's GradientExplainer: integrated gradients from many baselines, by drawing points.

    Its sums are estimates, so they are not held against anything.

    Args:
        explained: The classifier; differentiable.
        pictures: At the network's size.
        contrasts: What is explained.
        background: Baselines, such as other pictures; the plain of the picture's border colour by default.
        samples: Points drawn for each map.
        seed: Of the drawing.
        batch_size: Points in a pass.

    Raises:
        MissingExtraError: If shap is not installed.
    """
    shap = require_shap()
    heat = []
    for picture, contrast in zip(pictures, contrasts, strict=True):
        others = baseline_of(picture[None], "border") if background is None else background
        with _apart(), _unjoined(explained.model):
            explainer = shap.GradientExplainer(_one_value(explained, contrast), others, batch_size=batch_size)
            found = explainer.shap_values(picture[None], nsamples=samples, rseed=seed)
        heat.append(np.asarray(found, dtype=np.float64).reshape(picture.shape).sum(axis=2))
    return Attribution(method=GRADIENT, heat=np.stack(heat), signed=True)


def require_shap() -> ModuleType:
    """The package, or `MissingExtraError`."""
    try:
        with _apart():
            import shap
    except ImportError as missing:
        raise MissingExtraError("shap", extra="explain") from missing
    module: ModuleType = shap
    return module


@contextmanager
def _apart() -> Iterator[None]:
    """Whatever shap does to gradients, to NumPy's own generator, which it seeds, and warns of stays inside."""
    state = np.random.get_state()
    try:
        with untouched_gradients(), warnings.catch_warnings():
            # It uses what its dependencies will take away, of which whoever explains a picture is no judge.
            for kind in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        np.random.set_state(state)


@contextmanager
def _unjoined(model: keras.Model) -> Iterator[None]:
    """A model that is made part of others inside forgets them: it would keep every one of them for good."""
    kept = [(nodes, list(nodes)) for nodes in (model._inbound_nodes, model._outbound_nodes)]
    try:
        yield
    finally:
        for nodes, before in kept:
            nodes[:] = before


def _one_value(explained: Explained, contrast: np.ndarray) -> keras.Model:
    """The model with one number for an answer: what is explained."""

    def told(logits: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.linalg.matvec(tf.cast(logits, tf.float64), contrast)[:, None], tf.float32)

    pixels = keras.Input((explained.size, explained.size, 3), dtype="float32", name="explained_pixels")
    # In float64 inside, or Keras would round the logits first; shap takes float32.
    # With names of their own, or layers that are made later would be called otherwise.
    answer = keras.layers.Lambda(told, output_shape=(1,), dtype="float64", name="explained_value")(
        explained.model(pixels)
    )
    return keras.Model([pixels], answer, name="explained_values")  # a list, as shap hands it
