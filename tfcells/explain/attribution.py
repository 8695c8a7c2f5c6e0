"""A map over a picture and what it claims: the value that every method returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np

from tfcells.arrays import Float64
from tfcells.errors import RequestError

Heat = Float64[np.ndarray, "images rows columns"]
"""One number per place of a map's own grid; positive speaks for what is explained."""

ROUNDING: Final = 1e-6
"""Of a number's size: how far numbers in float32 that should be equal may lie apart."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Completeness:
    """Whether maps add up to what they explain.

    Attributes:
        claimed: float64 of shape (images,): what a map's numbers must add up to.
        found: float64 of shape (images,): what they add up to.
        allowed: float64 of shape (images,): how far they may differ.
        steps: int64 of shape (images,): passes that were spent on each; 0 where there is no choice.
    """

    claimed: Float64[np.ndarray, " images"]
    found: Float64[np.ndarray, " images"]
    allowed: Float64[np.ndarray, " images"]
    steps: np.ndarray

    @property
    def error(self) -> Float64[np.ndarray, " images"]:
        """How far they differ."""
        return np.asarray(np.abs(self.found - self.claimed))

    @property
    def reached(self) -> np.ndarray:
        """bool of shape (images,)."""
        return np.asarray(self.error <= self.allowed)


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """Maps of one method.

    Attributes:
        method: Its name.
        heat: On the method's own grid, which covers the picture evenly.
        signed: Whether negative numbers speak against what is explained; else there are none.
        completeness: For methods whose maps must add up to something.
        rest: float64 of shape (images,): what a map's sum lacks of the logit; of exact maps, None for others.
        parts: Maps of single taps, whose sum, spread to pixels, is `heat`'s; by tap, empty for other methods.
        rounding: float64 of shape (images,): how far the numbers of a map may lie apart by rounding alone, of methods
            that subtract answers or activations from one another; None of others.
    """

    method: str
    heat: Heat
    signed: bool
    completeness: Completeness | None = None
    rest: Float64[np.ndarray, " images"] | None = None
    parts: Mapping[str, Heat] = field(default_factory=dict)
    rounding: Float64[np.ndarray, " images"] | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.heat).all():
            raise RequestError(
                f"The map of {self.method} is not finite. Expected numbers: are the model's weights damaged?"
            )

    @property
    def flat(self) -> np.ndarray:
        """Whether a map is the same everywhere up to rounding, and so points nowhere: bool of shape (images,)."""
        numbers = self.heat.reshape(len(self.heat), -1)
        allowed = ROUNDING * np.abs(numbers).max(axis=1)
        if self.rounding is not None:
            allowed = np.maximum(allowed, self.rounding)
        return np.asarray(np.ptp(numbers, axis=1) <= allowed)


def spread(heat: Heat, *, size: int) -> Float64[np.ndarray, "images {size} {size}"]:
    """Maps on pixels: each cell's number is shared out evenly over the area that it covers, so sums are kept.

    Args:
        heat: Of any grid; (images, rows, columns).
        size: Side of the picture, in pixels.

    Returns:
        (images, size, size), with the sum of `heat` for each image, up to rounding.
    """
    rows, columns = heat.shape[1:]
    return np.asarray(np.einsum("pr,irc,qc->ipq", _shares(rows, size), heat, _shares(columns, size), optimize=True))


def binned(heat: Heat, *, side: int) -> Float64[np.ndarray, "images {side} {side}"]:
    """Maps on another grid of `side` x `side` cells, sums kept: what finer cells hold is added up."""
    return spread(heat, size=side)


@lru_cache(maxsize=64)
def _shares(cells: int, pixels: int) -> np.ndarray:
    """How much of each cell lies in each pixel, float64 of shape (pixels, cells); columns sum to 1."""
    edges = np.arange(pixels + 1) * (cells / pixels)  # of pixels, in cells
    low, high = edges[:-1, None], edges[1:, None]
    first = np.arange(cells)[None, :]
    overlap: np.ndarray = np.clip(np.minimum(high, first + 1) - np.maximum(low, first), 0, None)
    return np.asarray(overlap / overlap.sum(axis=0, keepdims=True))
