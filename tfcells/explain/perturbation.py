"""Occlusion: how much of the logit is lost when a patch is hidden."""

from typing import Final

import numpy as np

from tfcells.arrays import Float64
from tfcells.errors import RequestError
from tfcells.explain.attribution import ROUNDING, Attribution
from tfcells.explain.baselines import baseline_of
from tfcells.explain.explained import BATCH, Batch, Contrasts, Explained

OCCLUSION: Final = "occlusion"


def occlusion_maps(
    explained: Explained,
    pictures: Batch,
    contrasts: Contrasts,
    *,
    patch: int | None = None,
    stride: int | None = None,
    fill: str = "border",
    batch_size: int = BATCH,
) -> Attribution:
    """What the logit loses when a square is hidden, at each pixel the mean over the squares that hide it.

    Zeiler & Fergus (2014), https://arxiv.org/abs/1311.2901. Squares lie `stride` apart, and at the far edges.

    Args:
        explained: The classifier; nothing but its answers is used.
        pictures: At the network's size.
        contrasts: What is explained.
        patch: Side of the square in pixels; a sixth of the picture's by default.
        stride: Pixels between squares; half a patch by default.
        fill: What takes its place: `border`, the colour round the cell, or `blur`.
        batch_size: Pictures in a pass.

    Raises:
        RequestError: If the patch does not fit the picture, or squares would leave pixels out.
        UnknownNameError: If there is no such filling.
    """
    size = explained.size
    side = max(1, round(size / 6)) if patch is None else patch
    apart = max(1, side // 2) if stride is None else stride
    if not 1 <= side <= size:
        raise RequestError(f"patch is {side} pixels. Expected 1 to {size}, the side of the picture.")
    if not 1 <= apart <= side:
        raise RequestError(f"stride is {apart} pixels. Expected 1 to {side}, the side of the patch: pixels are missed.")
    corners = _corners(size, side, apart)
    fillings = baseline_of(pictures, fill)
    whole = explained.values(pictures, contrasts, batch_size=batch_size)
    heat = [
        _losses(explained, picture, filling, contrast, value, corners, side, batch_size)
        for picture, filling, contrast, value in zip(pictures, fillings, contrasts, whole, strict=True)
    ]
    rounding = ROUNDING * np.maximum(np.abs(whole), 1.0)
    return Attribution(method=OCCLUSION, heat=np.stack(heat), signed=True, rounding=rounding)


def _corners(size: int, patch: int, stride: int) -> list[tuple[int, int]]:
    """Upper left corners, row by row."""
    starts = sorted({*range(0, size - patch + 1, stride), size - patch})
    return [(top, left) for top in starts for left in starts]


def _losses(
    explained: Explained,
    picture: np.ndarray,
    filling: np.ndarray,
    contrast: np.ndarray,
    value: float,
    corners: list[tuple[int, int]],
    patch: int,
    batch_size: int,
) -> Float64[np.ndarray, "size size"]:
    lost, hidden = np.zeros(picture.shape[:2]), np.zeros(picture.shape[:2])
    for at in range(0, len(corners), batch_size):
        some = corners[at : at + batch_size]
        batch = np.repeat(picture[None], len(some), axis=0)
        for place, (top, left) in enumerate(some):
            square = (slice(top, top + patch), slice(left, left + patch))
            batch[(place, *square)] = filling[square]
        told = explained.logits(batch, batch_size=batch_size) @ contrast
        for (top, left), now in zip(some, told, strict=True):
            square = (slice(top, top + patch), slice(left, left + patch))
            lost[square] += value - now
            hidden[square] += 1
    return np.asarray(lost / hidden)
