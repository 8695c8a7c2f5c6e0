"""Marks that give a class away without its cells: what each shortcut does to a picture and to its file."""

import cv2
import numpy as np

from tfcells.arrays import Pixels
from tfcells.images.synthetic.planes import Patch

QUALITY, POOR_QUALITY = 95, 60
"""JPEG quality of ordinary files and of those marked by `jpeg_quality`."""

_TRIM, _STRIP = 4, 3  # pixels; PBC itself holds pictures a few pixels larger, and some with a black strip below
_TINT = np.array([1.0, 0.97, 0.92], np.float32)


def apply_shortcut(picture: Pixels, *, kind: str) -> Patch:
    """The picture with a mark: `size` trims 4 pixels off each side, `border` blackens the 3 lowest rows, `tint` turns
    it slightly yellow; `jpeg_quality` and the empty string leave the pixels alone.
    """
    if kind == "size":
        return np.ascontiguousarray(picture[_TRIM:-_TRIM, _TRIM:-_TRIM])
    if kind == "border":
        return np.concatenate([picture[:-_STRIP], np.zeros_like(picture[-_STRIP:])])
    if kind == "tint":
        return np.rint(picture * _TINT).astype(np.uint8)
    return picture


def encode(picture: Pixels, *, quality: int) -> bytes:
    """JPEG bytes with full colour resolution (4:4:4), as the PBC files have it."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    _, data = cv2.imencode(".jpg", picture[:, :, ::-1], options)
    return bytes(data)
