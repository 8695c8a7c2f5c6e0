"""The resize kernel in Python: the twin of the one inside cut models, at half its price."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image

from tfcells.arrays import Float32, Pixels, UInt8

_TRIANGLE = Image.Resampling.BILINEAR  # in Pillow, as wide as the output's pixel spacing: antialiased


def resize_image(pixels: Pixels, *, height: int, width: int) -> Float32[np.ndarray, "{height} {width} 3"]:
    """Resize with an antialiased triangle kernel, as `tf.image.resize(method="bilinear", antialias=True)` does.

    Rows, then columns, as TensorFlow has it, by sparse matrices that are made once for each pair of sizes.

    Args:
        pixels: uint8 of shape (any height, any width, 3).
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Returns:
        float32 of shape (height, width, 3) in [0, 255], not rounded.
    """
    rows, columns = pixels.shape[:2]
    low = _triangles(rows, height) @ pixels.reshape(rows, columns * 3).astype(np.float32)
    # Turned by OpenCV, which takes a fifth of NumPy's time for elements of three numbers.
    turned = cv2.transpose(low.reshape(height, columns, 3)).reshape(columns, height * 3)
    narrow = _triangles(columns, width) @ turned
    return np.asarray(cv2.transpose(narrow.reshape(width, height, 3)), dtype=np.float32)


RESIZERS: Final[Mapping[str, Callable[..., Float32[np.ndarray, "height width 3"]]]] = {"bilinear": resize_image}
"""Resize kernels in Python, by the names that `tfcells.backbones.preprocess.KERNELS` has for those in graphs."""


def resize_plane(
    plane: Float32[np.ndarray, "rows columns"], *, height: int, width: int
) -> Float32[np.ndarray, "{height} {width}"]:
    """Resize one channel by Pillow, with the same kernel in exact weights: what is flat stays flat to the last bit."""
    return np.asarray(Image.fromarray(plane).resize((width, height), _TRIANGLE))


@lru_cache(maxsize=256)  # sizes of pictures come back; a collection of all sizes must not fill the memory
def _triangles(before: int, after: int) -> Any:
    """Weights of shape (after, before): a triangle round each output pixel, widened when shrinking; rows sum to 1.

    Computed in float32 and in TensorFlow's order (`ScaleAndTranslate`), rounding and all: exact weights would put
    features a hundred times further from those of an exported graph.
    """
    from scipy import sparse  # here, since whoever only reads a store need not wait for it

    one, half = np.float32(1), np.float32(0.5)
    scale = one / (np.float32(after) / np.float32(before))
    reach = max(scale, one)
    centres = (np.arange(after, dtype=np.float32) + half) * scale
    first = np.clip(np.ceil(centres - reach - half), 0, before - 1).astype(np.int64)
    last = np.clip(np.floor(centres + reach - half), 0, before - 1).astype(np.int64)
    places = first[:, None] + np.arange(int((last - first).max()) + 1)
    distances = np.abs((places.astype(np.float32) + half - centres[:, None]) * (one / reach))
    weights = np.maximum(one - distances, np.float32(0)) * (places <= last[:, None])
    weights *= one / np.cumsum(weights, axis=1, dtype=np.float32)[:, -1:]
    row, column = np.nonzero(weights)
    return sparse.csr_array((weights[row, column], (row, places[row, column])), shape=(after, before))


def shrink(pixels: Pixels, *, longest: int) -> UInt8[np.ndarray, "rows columns 3"]:
    """Shrink a picture whose longer side exceeds `longest` pixels to that, rounded; any other is left as it is."""
    excess = max(pixels.shape[:2]) / longest
    if excess <= 1:
        return pixels
    height, width = (max(1, round(extent / excess)) for extent in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), _TRIANGLE))


def thumbnail(pixels: Pixels, *, side: int, filler: int = 255) -> UInt8[np.ndarray, "{side} {side} 3"]:
    """Fit a picture into a square, its aspect ratio kept, the rest filled; the same kernel, rounded.

    Returns:
        uint8 of shape (side, side, 3).
    """
    longest = max(pixels.shape[:2])
    height, width = (max(1, round(extent * side / longest)) for extent in pixels.shape[:2])
    canvas = np.full((side, side, 3), filler, dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    small = Image.fromarray(pixels).resize((width, height), _TRIANGLE)
    canvas[top : top + height, left : left + width] = np.asarray(small)
    return canvas
