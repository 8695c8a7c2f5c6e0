"""Thumbnails pasted at their coordinates."""

from typing import Final

import numpy as np

from tfcells.arrays import Pictures, Points, UInt8
from tfcells.errors import RequestError

_MARGIN: Final = 0.02


def mosaic(
    points: Points, thumbnails: Pictures, *, width: int = 4000, height: int = 3000
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Paste every thumbnail with its centre at its point; later rows lie on top.

    Args:
        points: (images, 2); the first axis runs right, the second up.
        thumbnails: uint8 of shape (images, side, side, 3).
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.

    Returns:
        uint8 of shape (height, width, 3) on white.

    Raises:
        RequestError: If there is no thumbnail, or they are larger than the picture.
    """
    side = thumbnails.shape[1]
    if not len(thumbnails) or side > min(width, height):
        raise RequestError(
            f"{len(thumbnails)} thumbnails of {side} pixels for a mosaic of {width} x {height}. Expected one or more, "
            "no larger than the mosaic."
        )
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    low, high = points.min(axis=0), points.max(axis=0)
    place = (points - low) / np.where(high > low, high - low, 1.0)
    place = _MARGIN + (1 - 2 * _MARGIN) * place
    left = (place[:, 0] * (width - side)).astype(int)
    top = ((1 - place[:, 1]) * (height - side)).astype(int)
    for x, y, picture in zip(left, top, thumbnails, strict=True):
        canvas[y : y + side, x : x + side] = picture
    return canvas
