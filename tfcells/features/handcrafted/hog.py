"""Histograms of oriented gradients (Dalal and Triggs 2005), in scikit-image's form."""

from typing import Final

import numpy as np

from tfcells.arrays import Float32, Float64, Pixels
from tfcells.features.handcrafted.grey import grey_levels
from tfcells.images.resize import resize_plane

_EPSILON: Final = 1e-5
_CLIPPED: Final = 0.2  # of the Hys in L2-Hys: no single gradient may rule a block


def oriented_gradients(
    pixels: Pixels, *, side: int, orientations: int, cell: int, block: int
) -> Float32[np.ndarray, " numbers"]:
    """Histograms of oriented gradients of a picture in grey, resized to a square.

    Equal to `skimage.feature.hog` of the resized grey picture in [0, 1], with L2-Hys as block norm.

    Args:
        pixels: Canonical.
        side: Of the square in pixels; the aspect ratio is not kept.
        orientations: Bins of unsigned gradient directions in 180 degrees.
        cell: Side of a cell in pixels.
        block: Side of a block in cells; blocks overlap by all but one cell.

    Returns:
        float32 of shape (blocks² block² orientations,), where blocks = side / cell - block + 1; block rows, block
        columns, cell rows, cell columns, orientations.
    """
    plane = resize_plane(grey_levels(pixels) / 255, height=side, width=side)
    return _normalised(_cell_histograms(plane.astype(np.float64), orientations, cell), block).astype(np.float32)


def _cell_histograms(
    plane: Float64[np.ndarray, "side side"], orientations: int, cell: int
) -> Float64[np.ndarray, "cells cells {orientations}"]:
    """Mean gradient magnitude of each cell in each bin of directions."""
    down, right = np.zeros_like(plane), np.zeros_like(plane)
    down[1:-1] = plane[2:] - plane[:-2]
    right[:, 1:-1] = plane[:, 2:] - plane[:, :-2]
    bins = np.floor(np.rad2deg(np.arctan2(down, right)) % 180 / (180 / orientations)).astype(np.int64)
    magnitude = np.hypot(down, right)
    # A rounding error below zero degrees becomes 180 of them, which is in no bin.
    magnitude[bins == orientations] = 0
    bins[bins == orientations] = 0
    cells = len(plane) // cell
    place = np.arange(len(plane)) // cell
    slots = ((place[:, None] * cells + place) * orientations + bins).reshape(-1)
    sums = np.bincount(slots, weights=magnitude.reshape(-1), minlength=cells * cells * orientations)
    return sums.reshape(cells, cells, orientations) / cell**2


def _normalised(
    histograms: Float64[np.ndarray, "cells cells orientations"], block: int
) -> Float64[np.ndarray, " numbers"]:
    windows = np.lib.stride_tricks.sliding_window_view(histograms, (block, block), axis=(0, 1))
    blocks = windows.transpose(0, 1, 3, 4, 2)  # sliding windows come last
    blocks = np.minimum(blocks / _length(blocks), _CLIPPED)
    return np.asarray(blocks / _length(blocks)).reshape(-1)


def _length(blocks: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.sum(blocks**2, axis=(2, 3, 4), keepdims=True) + _EPSILON**2))
