"""The exact map of a linear probe on pooled features: what each place of a tap's grid adds to the logit.

The logit is affine in the features, and a mean over places is a sum of what single places hold, so nothing is
approximated: cells and bias add up to the logit. It is the class activation map of Zhou et al. (2016,
https://arxiv.org/abs/1512.04150) with scaler, components and calibration of a fitted probe folded in.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import tensorflow as tf

from tfcells.arrays import Float64
from tfcells.errors import RequestError, UnknownNameError
from tfcells.explain.attribution import Attribution, Completeness, Heat, spread
from tfcells.explain.explained import BATCH, Batch, Contrasts, Explained, LinearReading

EXACT: Final = "exact"
TOLERANCE: Final = 1e-4
"""Of a logit: how far cells and bias may be from what the network in float32 answers."""

REFERENCES: Final = ("mean", "zero")


def exact_maps(
    explained: Explained,
    pictures: Batch,
    contrasts: Contrasts,
    *,
    reference: str = "mean",
    batch_size: int = BATCH,
) -> Attribution:
    """What each cell of each tap adds to the logit, computed in float64 from activations in float32.

    Args:
        explained: With a linear probe on taps that are pooled by `mean` or `flatten`.
        pictures: At the network's size.
        contrasts: What is explained.
        reference: What a cell that adds nothing holds. `mean`: the features of the average training picture, as scaler
            or PCA know them; the bias is then what the probe answers for that picture. `zero`: no activation at all.
            The two differ by the same number in every cell of a tap pooled by `mean`.
        batch_size: Pictures in a pass.

    Returns:
        Maps whose sum, plus `exact_bias`, is the logit. Several taps: one map each in `parts`; `heat` is their sum on
        the finest of their grids.

    Raises:
        RequestError: If the probe is not affine or a pooling does not add up; says why and what to use.
        UnknownNameError: If there is no such reference.
    """
    linear = _linear_of(explained, reference)
    weights = contrasts @ linear.folded.weights  # (images, features)
    parts: dict[str, list[Heat]] = {str(tap): [] for tap in linear.taps}
    ask = explained.traced("maps of taps", lambda pixels: linear.maps(pixels, training=False))
    for at in range(0, len(pictures), batch_size):
        maps = ask(tf.constant(pictures[at : at + batch_size]))
        start = 0
        for tap, shape in zip(linear.taps, linear.shapes, strict=True):
            width = int(np.prod(shape)) if tap.pooling == "flatten" else shape[2]
            mine = weights[at : at + batch_size, start : start + width]
            offset = _offset(linear, slice(start, start + width), reference)
            activations = maps[tap.layer].numpy().astype(np.float64)
            parts[str(tap)].append(_SHARES[tap.pooling](activations, mine, offset))
            start += width
    whole = {tap: np.concatenate(found) for tap, found in parts.items()}
    finest = max(max(shape[:2]) for shape in linear.shapes)
    heat = sum(
        (found if found.shape[1:] == (finest, finest) else spread(found, size=finest) for found in whole.values()),
        np.zeros((len(pictures), finest, finest)),
    )
    found = heat.sum(axis=(1, 2)) + exact_bias(explained, contrasts, reference=reference)
    completeness = Completeness(
        claimed=explained.values(pictures, contrasts, batch_size=batch_size),
        found=found,
        allowed=np.full(len(pictures), TOLERANCE),
        steps=np.zeros(len(pictures), dtype=np.int64),
    )
    return Attribution(method=EXACT, heat=heat, signed=True, completeness=completeness, parts=whole)


def exact_bias(
    explained: Explained, contrasts: Contrasts, *, reference: str = "mean"
) -> Float64[np.ndarray, " images"]:
    """What exact maps leave to be added: float64 of shape (images,)."""
    folded = _linear_of(explained, reference).folded
    bias: np.ndarray = contrasts @ folded.bias
    if reference == "mean" and folded.mean is not None:
        bias = bias + contrasts @ (folded.weights @ folded.mean)
    return bias


def _linear_of(explained: Explained, reference: str) -> LinearReading:
    if reference not in REFERENCES:
        raise UnknownNameError("reference of an exact map", reference, REFERENCES)
    if explained.linear is None:
        raise RequestError(explained.why_not_exact)
    return explained.linear


def _offset(linear: LinearReading, columns: slice, reference: str) -> np.ndarray:
    """The features that add nothing: float64 of shape (columns,)."""
    if reference == "zero" or linear.folded.mean is None:
        return np.zeros(columns.stop - columns.start)
    return linear.folded.mean[columns]


def _mean_shares(activations: np.ndarray, weights: np.ndarray, offset: np.ndarray) -> Heat:
    """A feature is the mean over places: each gives its part of it."""
    found = np.einsum("ihwc,ic->ihw", activations, weights, optimize=True) - (weights @ offset)[:, None, None]
    return np.asarray(found / (activations.shape[1] * activations.shape[2]))


def _flat_shares(activations: np.ndarray, weights: np.ndarray, offset: np.ndarray) -> Heat:
    """A feature is a channel at a place."""
    shape = activations.shape
    return np.asarray((weights * (activations.reshape(shape[0], -1) - offset)).reshape(shape).sum(axis=3))


_SHARES: Final[dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Heat]]] = {
    "mean": _mean_shares,
    "flatten": _flat_shares,
}
