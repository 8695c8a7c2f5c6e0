"""Stain statistics: how much dye there is, and how its colour looks to a person."""

import math
from typing import Final

import numpy as np

from tfcells.arrays import Float32, Pixels, UInt8
from tfcells.features.handcrafted.colour import QUANTILES
from tfcells.images.resize import shrink

# Ruifrok and Johnston (2001), in scikit-image's rounding: haematoxylin, eosin, DAB as optical densities of red,
# green and blue. DAB stands for what the other two leave unexplained.
_DYES: Final = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_DARKEST: Final = 1e-6  # transmitted light that stands for none; densities are in units of its logarithm
_XYZ_OF_RGB: Final = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_WHITE: Final = np.array([0.95047, 1.0, 1.08883])  # D65, 2 degree observer

Planes = UInt8[np.ndarray, "3 pixels"]
Channel = Float32[np.ndarray, " pixels"]
Channels = Float32[np.ndarray, "3 pixels"]


def stain_statistics(pixels: Pixels, *, longest: int) -> Float32[np.ndarray, "58"]:
    """Statistics of stains and of perceived colour over all pixels.

    Args:
        pixels: Canonical.
        longest: A picture with a longer side, in pixels, is shrunk to it first: time and memory are bounded.

    Returns:
        float32 of shape (58,). For haematoxylin, eosin, DAB (densities as of `skimage.color.rgb2hed`), saturation,
        value (in [0, 1]), L, a, b (CIE 1976, D65) each the mean, the standard deviation and the 5, 25, 50, 75 and
        95 % quantiles; then the mean of cosine and of sine of the hue, weighted by saturation.
    """
    planes = np.ascontiguousarray(shrink(pixels, longest=longest).reshape(-1, 3).T)
    hue, saturation, value = hue_saturation_value(planes)
    numbers: list[float] = []
    for channel in (*dye_densities(planes), saturation, value, *lab(planes)):
        ordered = np.sort(channel)
        places = [math.ceil(share * len(ordered)) - 1 for share in QUANTILES]
        mean, spread = ordered.mean(dtype=np.float64), ordered.std(dtype=np.float64)
        numbers += [mean, spread, *ordered[places].tolist()]
    numbers += [float(np.mean(saturation * function(hue), dtype=np.float64)) for function in (np.cos, np.sin)]
    return np.array(numbers, dtype=np.float32)


def dye_densities(planes: Planes) -> Channels:
    """Colour deconvolution: densities of haematoxylin, eosin and DAB, none negative."""
    light = np.maximum(np.arange(256) / 255, _DARKEST)
    density = (np.log(light) / np.log(_DARKEST)).astype(np.float32)[planes]
    return np.asarray(np.maximum(np.linalg.inv(_DYES).T.astype(np.float32) @ density, 0))


def hue_saturation_value(planes: Planes) -> tuple[Channel, Channel, Channel]:
    """Hue in radians (0 where there is none), saturation and value in [0, 1]."""
    red, green, blue = planes.astype(np.float32) / 255
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    some = np.where(chroma > 0, chroma, 1)
    sixths = np.where(value == green, 2 + (blue - red) / some, 4 + (red - green) / some)
    sixths = np.where(value == red, (green - blue) / some, sixths)  # also where all are equal: none
    return sixths * np.float32(np.pi / 3), chroma / np.where(value > 0, value, 1), value


def lab(planes: Planes) -> Channels:
    """CIE 1976 L in [0, 100], a and b of sRGB."""
    levels = np.arange(256) / 255
    linear = np.where(levels > 0.04045, ((levels + 0.055) / 1.055) ** 2.4, levels / 12.92).astype(np.float32)
    light = (_XYZ_OF_RGB / _WHITE[:, None]).astype(np.float32) @ linear[planes]
    x, y, z = np.where(light > 0.008856, np.cbrt(light), 7.787 * light + 16 / 116)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])
