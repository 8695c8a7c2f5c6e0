"""Local binary patterns: rotation-invariant uniform ones (Ojala, Pietikäinen and Mäenpää 2002), as histograms."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from tfcells.arrays import Float32, Float64, Int64, Pixels, UInt8
from tfcells.features.handcrafted.grey import grey_levels
from tfcells.images.resize import shrink

_BAND: Final = 32  # rows at a time: what is computed of them stays in the processor's cache


def local_binary_patterns(
    pixels: Pixels, *, circles: Sequence[tuple[int, int]], longest: int
) -> Float32[np.ndarray, " numbers"]:
    """How often each pattern occurs around the pixels of a picture, in grey, circle by circle.

    Args:
        pixels: Canonical.
        circles: Neighbours and radius in pixels of each.
        longest: A picture with a longer side, in pixels, is shrunk to it first: time and memory are bounded.

    Returns:
        float32 of shape (sum of neighbours + 2,): for each circle the shares of pixels with 0, 1, ... neighbours
        at least as bright in one run, and last the share of pixels whose neighbours change more than twice.
    """
    grey = np.rint(grey_levels(shrink(pixels, longest=longest))).astype(np.uint8)
    shares = [
        np.bincount(uniform_patterns(grey, neighbours, radius).reshape(-1), minlength=neighbours + 2) / grey.size
        for neighbours, radius in circles
    ]
    return np.concatenate(shares).astype(np.float32)


def uniform_patterns(
    grey: UInt8[np.ndarray, "height width"], neighbours: int, radius: int
) -> Int64[np.ndarray, "height width"]:
    """The pattern of each pixel, 0 to `neighbours` + 1.

    Equal to `skimage.feature.local_binary_pattern(grey, neighbours, radius, method="uniform")`, whose rounding is
    kept where neighbours are as bright as their pixel: outside the picture is black, neighbours lie anticlockwise
    from the right at coordinates rounded to five decimals, and are interpolated between four pixels.
    """
    angles = 2 * np.pi * np.arange(neighbours) / neighbours
    downs, rights = np.round(-radius * np.sin(angles), 5), np.round(radius * np.cos(angles), 5)
    framed = np.pad(grey.astype(np.float64), radius + 1)
    return np.concatenate(
        [
            _patterns(framed, start, min(start + _BAND, len(grey)), downs, rights, radius + 1)
            for start in range(0, len(grey), _BAND)
        ]
    )


def _patterns(
    framed: Float64[np.ndarray, "rows columns"],
    start: int,
    stop: int,
    downs: Float64[np.ndarray, " neighbours"],
    rights: Float64[np.ndarray, " neighbours"],
    margin: int,
) -> Int64[np.ndarray, "band width"]:
    """Patterns of the pixels in rows `start` to `stop` of a picture in a black frame."""
    own = framed[start + margin : stop + margin, margin:-margin]
    bright, changes = np.zeros(own.shape, dtype=np.int8), np.zeros(own.shape, dtype=np.int8)
    before = None
    for down, right in zip(downs.tolist(), rights.tolist(), strict=True):
        brighter = _shifted(framed, start, stop, down, right, margin) >= own
        bright += brighter
        if before is not None:
            changes += brighter != before
        before = brighter
    return np.where(changes <= 2, bright, np.int64(len(downs) + 1))


def _shifted(
    framed: Float64[np.ndarray, "rows columns"], start: int, stop: int, down: float, right: float, margin: int
) -> Float64[np.ndarray, "band width"]:
    """Those rows as they are at coordinates moved by `down` and `right`, interpolated."""
    top, below = int(np.floor(down)), int(np.ceil(down))
    left, after = int(np.floor(right)), int(np.ceil(right))
    width = framed.shape[1] - 2 * margin
    rows = framed[start + margin + top : stop + margin + below]
    across = rows[:, margin + left : margin + left + width]
    if after > left:
        share = _share(0, width, right)
        across = (1 - share) * across + share * rows[:, margin + after : margin + after + width]
    if below == top:
        return across
    share = _share(start, stop, down)[:, None]
    return np.asarray((1 - share) * across[:-1] + share * across[1:])


def _share(start: int, stop: int, shift: float) -> Float64[np.ndarray, " places"]:
    """The share of the later of two pixels at each moved coordinate, rounded as that coordinate is."""
    moved = np.arange(start, stop) + shift
    return np.asarray(moved - np.floor(moved))
