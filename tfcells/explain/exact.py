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
from tfcells.explain.attribution import ROUNDING, Attribution, Completeness, Heat, spread
from tfcells.explain.explained import BATCH, Batch, Contrasts, Explained, LinearReading

EXACT: Final = "exact"
TOLERANCE: Final = 1e-4
"""Of a logit: how far cells and bias may be from what the network in float32 answers."""

REFERENCES: Final = ("border", "mean", "zero")
_BORDER: Final = 1 / 16  # of a side, and at least one place


def exact_maps(
    explained: Explained,
    pictures: Batch,
    contrasts: Contrasts,
    *,
    reference: str = "border",
    batch_size: int = BATCH,
) -> Attribution:
    """What each cell of each tap adds to the logit, computed in float64 from activations in float32.

    Args:
        explained: With a linear probe on taps that are pooled by `mean` or `flatten`.
        pictures: At the network's size.
        contrasts: What is explained.
        reference: What a place that adds nothing holds. `border`: what the picture's own border holds in the median,
            so that a map says what the cell adds to its surroundings, as the baselines of other methods do. `mean`:
            the features of the average training picture, as scaler or PCA know them. `zero`: no activation at all.
            They differ by one number in all places of a tap pooled by `mean`: where a map is highest is the same.
        batch_size: Pictures in a pass.

    Returns:
        Maps whose sum, plus `rest`, is the logit: `rest` is what a picture is answered with that holds the reference
        everywhere. Several taps: one map each in `parts`; `heat` is their sum on
        the finest of their grids.

    Raises:
        RequestError: If the probe is not affine or a pooling does not add up; says why and what to use.
        UnknownNameError: If there is no such reference.
    """
    linear = _linear_of(explained, reference)
    weights = contrasts @ linear.folded.weights  # (images, features)
    rest: np.ndarray = contrasts @ linear.folded.bias
    rounding = np.zeros(len(pictures))
    parts: dict[str, list[Heat]] = {str(tap): [] for tap in linear.taps}
    ask = explained.traced("maps of taps", lambda pixels: linear.maps(pixels, training=False))
    for at in range(0, len(pictures), batch_size):
        maps = ask(tf.constant(pictures[at : at + batch_size]))
        start = 0
        for tap, shape in zip(linear.taps, linear.shapes, strict=True):
            width = int(np.prod(shape)) if tap.pooling == "flatten" else shape[2]
            mine = weights[at : at + batch_size, start : start + width]
            activations = maps[tap.layer].numpy().astype(np.float64)
            offset = _offset(linear, slice(start, start + width), reference, activations, flat=tap.pooling == "flatten")
            rest[at : at + batch_size] += (mine * offset).sum(axis=1)
            parts[str(tap)].append(_SHARES[tap.pooling](activations, mine, offset))
            terms = _SHARES[tap.pooling](np.abs(activations), np.abs(mine), np.zeros_like(offset))
            rounding[at : at + batch_size] += ROUNDING * terms.max(axis=(1, 2))
            start += width
    whole = {tap: np.concatenate(found) for tap, found in parts.items()}
    finest = max(max(shape[:2]) for shape in linear.shapes)
    heat = sum(
        (found if found.shape[1:] == (finest, finest) else spread(found, size=finest) for found in whole.values()),
        np.zeros((len(pictures), finest, finest)),
    )
    found = heat.sum(axis=(1, 2)) + rest
    completeness = Completeness(
        claimed=explained.values(pictures, contrasts, batch_size=batch_size),
        found=found,
        allowed=np.full(len(pictures), TOLERANCE),
        steps=np.zeros(len(pictures), dtype=np.int64),
    )
    return Attribution(
        method=EXACT, heat=heat, signed=True, completeness=completeness, rest=rest, parts=whole, rounding=rounding
    )


def _linear_of(explained: Explained, reference: str) -> LinearReading:
    if reference not in REFERENCES:
        raise UnknownNameError("reference of an exact map", reference, REFERENCES)
    if explained.linear is None:
        raise RequestError(explained.why_not_exact)
    return explained.linear


def _offset(
    linear: LinearReading, columns: slice, reference: str, activations: np.ndarray, *, flat: bool
) -> Float64[np.ndarray, "images columns"]:
    """The features that add nothing, of each picture."""
    images, rows, across = activations.shape[:3]
    if reference == "border":
        width = max(1, round(_BORDER * min(rows, across)))
        frame = np.ones((rows, across), dtype=bool)
        frame[width : rows - width, width : across - width] = False
        held = np.median(activations[:, frame], axis=1)  # (images, channels)
        return np.tile(held, (1, rows * across)) if flat else np.asarray(held)
    known = linear.folded.mean if reference == "mean" else None
    offset = np.zeros(columns.stop - columns.start) if known is None else known[columns]
    return np.broadcast_to(offset, (images, len(offset)))


def _mean_shares(activations: np.ndarray, weights: np.ndarray, offset: np.ndarray) -> Heat:
    """A feature is the mean over places: each gives its part of it."""
    found = (
        np.einsum("ihwc,ic->ihw", activations, weights, optimize=True) - (weights * offset).sum(axis=1)[:, None, None]
    )
    return np.asarray(found / (activations.shape[1] * activations.shape[2]))


def _flat_shares(activations: np.ndarray, weights: np.ndarray, offset: np.ndarray) -> Heat:
    """A feature is a channel at a place."""
    shape = activations.shape
    return np.asarray((weights * (activations.reshape(shape[0], -1) - offset)).reshape(shape).sum(axis=3))


_SHARES: Final[dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Heat]]] = {
    "mean": _mean_shares,
    "flatten": _flat_shares,
}
