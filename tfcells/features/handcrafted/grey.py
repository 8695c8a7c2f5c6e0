"""Grey levels of a colour picture."""

from typing import Final

import numpy as np

from tfcells.arrays import Float32, Pixels

_LUMA: Final = np.array([0.2125, 0.7154, 0.0721], dtype=np.float32)  # Rec. 709, in scikit-image's rounding


def grey_levels(pixels: Pixels) -> Float32[np.ndarray, "height width"]:
    """Luma of each pixel in [0, 255], as scikit-image's `rgb2gray` weighs the channels."""
    return pixels.astype(np.float32) @ _LUMA
