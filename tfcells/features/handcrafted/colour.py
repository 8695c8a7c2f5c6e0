"""Colour statistics, the baseline to beat: what colours a picture has, and nothing about where."""

from typing import Final

import cv2
import numpy as np

from tfcells.arrays import Float32, Pixels

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


def colour_statistics(pixels: Pixels) -> Float32[np.ndarray, "21"]:
    """What colours a picture has, and nothing about where.

    Returns:
        float32 of shape (21,): per channel (red, green, blue) the mean, the standard deviation and the 5, 25,
        50, 75 and 95 % quantiles, in grey levels of [0, 255].
    """
    levels = np.arange(256)
    numbers: list[float] = []
    for channel in range(3):
        # By OpenCV, in a third of NumPy's time; float32 counts up to 16.7 million pixels of one level exactly.
        counts = cv2.calcHist([pixels], [channel], None, [256], [0, 256]).reshape(-1).astype(np.int64)
        total = counts.sum()
        mean = float(counts @ levels) / total
        variance = float(counts @ (levels - mean) ** 2) / total
        cumulated = np.cumsum(counts) / total
        numbers += [mean, variance**0.5, *np.searchsorted(cumulated, QUANTILES).tolist()]
    return np.array(numbers, dtype=np.float32)
