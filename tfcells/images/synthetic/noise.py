"""Random fields: everything that looks organic in a generated picture is one of these."""

import cv2
import numpy as np
from jaxtyping import UInt8

from tfcells.images.synthetic.planes import Plane


def random_bytes(rng: np.random.Generator, count: int) -> UInt8[np.ndarray, "bytes"]:
    """Even random bytes, straight from the generator's 64-bit words: `rng.bytes` takes five times as long."""
    words: np.ndarray = rng.bit_generator.random_raw(count // 8 + 1)
    return words.view(np.uint8)[:count]


def white_field(rng: np.random.Generator, shape: tuple[int, int]) -> Plane:
    """Uncorrelated noise, zero mean and unit variance, float32 (height, width).

    Uniform bytes, not normal deviates: they cost a tenth, and every field is blurred afterwards, so that the
    central limit theorem hides the difference.
    """
    height, width = shape
    raw = random_bytes(rng, height * width).reshape(shape)
    return (raw.astype(np.float32) - np.float32(127.5)) * np.float32(1 / 73.9)


def soften(plane: Plane, *, sigma: float) -> Plane:
    """Gaussian blur cut at 2.5 standard deviations: OpenCV's own choice for float32 reaches to 4 and costs double."""
    side = 2 * int(np.ceil(2.5 * sigma)) + 1
    return cv2.GaussianBlur(plane, (side, side), sigma)


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], *, scale: float) -> Plane:
    """Slowly varying noise of about unit variance, float32 (height, width).

    Args:
        rng: Where the randomness comes from.
        shape: Height and width in pixels.
        scale: Distance in pixels over which the field changes.
    """
    height, width = shape
    # Drawn on a grid of half that spacing and smoothed there, so that cheap linear enlarging shows no facets.
    spacing = scale / 2
    coarse = (int(height / spacing) + 5, int(width / spacing) + 5)
    grid = cv2.GaussianBlur(rng.standard_normal(coarse, dtype=np.float32), (5, 5), 1.0) * np.float32(3.3)
    size = (int(coarse[1] * spacing), int(coarse[0] * spacing))
    field = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR)
    top, left = (field.shape[0] - height) // 2, (field.shape[1] - width) // 2
    return field[top : top + height, left : left + width]


def band_field(rng: np.random.Generator, shape: tuple[int, int], *, fine: float, coarse: float) -> Plane:
    """Noise between two length scales, zero mean and unit variance, float32 (height, width).

    This is the texture of chromatin and of stained protein: grains of one size, without slow drift.

    Args:
        rng: Where the randomness comes from.
        shape: Height and width in pixels.
        fine: Standard deviation in pixels of the blur that sets the grain.
        coarse: Standard deviation in pixels of the blur that is taken away.
    """
    grain = soften(white_field(rng, shape), sigma=fine)
    # The slow part is blurred at half the size: a wide blur is dear.
    half = (max(shape[1] // 2, 1), max(shape[0] // 2, 1))
    small = soften(cv2.resize(grain, half, interpolation=cv2.INTER_AREA), sigma=coarse / 2)
    field = grain - cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return field * np.float32(1 / (float(cv2.meanStdDev(field)[1][0, 0]) + 1e-6))
