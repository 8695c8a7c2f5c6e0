"""Raw intensities: the pixels themselves, at a small size."""

import numpy as np

from tfcells.arrays import Float32, Pixels
from tfcells.images.resize import resize_image


def raw_intensities(pixels: Pixels, *, side: int) -> Float32[np.ndarray, " numbers"]:
    """Resize a picture and lay its pixels in a row.

    Args:
        pixels: Canonical.
        side: Of the small picture, in pixels; the aspect ratio is not kept.

    Returns:
        float32 of shape (3 side²,), red, green, blue of one pixel after the other, in grey levels of [0, 255].
    """
    return resize_image(pixels, height=side, width=side).reshape(-1)
