"""The resize kernel in Python, for code without TensorFlow: Pillow's, the twin of the one inside cut models."""

import numpy as np
from PIL import Image

from tfcells.arrays import Float32, Pixels, UInt8

_TRIANGLE = Image.Resampling.BILINEAR  # in Pillow, as wide as the output's pixel spacing: antialiased


def resize_image(pixels: Pixels, *, height: int, width: int) -> Float32[np.ndarray, "{height} {width} 3"]:
    """Resize with an antialiased triangle kernel, as `tf.image.resize(method="bilinear", antialias=True)` does.

    Args:
        pixels: uint8 of shape (any height, any width, 3).
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Returns:
        float32 of shape (height, width, 3) in [0, 255], not rounded.
    """
    planes = (pixels[:, :, channel].astype(np.float32) for channel in range(3))
    return np.stack([resize_plane(plane, height=height, width=width) for plane in planes], axis=-1)


def resize_plane(
    plane: Float32[np.ndarray, "rows columns"], *, height: int, width: int
) -> Float32[np.ndarray, "{height} {width}"]:
    """Resize one channel, with the same kernel."""
    return np.asarray(Image.fromarray(plane).resize((width, height), _TRIANGLE))


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
