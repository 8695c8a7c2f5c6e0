"""How many principal components are kept, and which way they point."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Final, TypeGuard

import numpy as np

from tfcells.arrays import Float64
from tfcells.errors import RequestError

Wanted = int | float | None
"""Number of components, share of the variance between 0 and 1, or None for all that rounding can tell from none."""

_EPS: Final = float(np.finfo(np.float64).eps)


def is_count(wanted: Wanted) -> TypeGuard[int]:
    """Whether a whole number came, Python's or NumPy's; 1 is a number of components, 1.0 is no share."""
    return isinstance(wanted, Integral)


def _is_wanted(wanted: Any) -> bool:
    if wanted is None or not isinstance(wanted, Real):
        return wanted is None
    return float(wanted) >= 1 if isinstance(wanted, Integral) else 0 < float(wanted) < 1


def check_wanted(wanted: Any) -> None:
    """Raise `RequestError` unless a number of components is 1 or more, a share between 0 and 1, or None."""
    if not _is_wanted(wanted):
        raise RequestError(
            f"n_components={wanted!r} came. Expected a whole number from 1, a share of the variance between 0 and 1 "
            "(such as 0.8), or None for all."
        )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Chooses a number of components when the eigenvalues are known.

    Attributes:
        wanted: See `Wanted`.
        images: Training rows.
        width: Columns of the features.
        floor: Eigenvalues up to here are rounding, for reasons the eigenvalues themselves do not show.
    """

    wanted: Wanted
    images: int
    width: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_wanted(self.wanted)
        most = min(self.images, self.width)
        if is_count(self.wanted) and self.wanted > most:
            raise RequestError(
                f"n_components={self.wanted} must be between 1 and min(n_samples, n_features)={most}: "
                f"{self.images} training rows of {self.width} columns have no more. Ask for fewer, or for a share."
            )

    def spectrum(self, values: Float64[np.ndarray, " values"]) -> Float64[np.ndarray, " axes"]:
        """Eigenvalues of min(images, width) axes, largest first, none below 0."""
        return np.asarray(np.maximum(values[: min(self.images, self.width)], 0.0))

    def count(self, values: Float64[np.ndarray, " values"]) -> int:
        """Components to keep.

        A share takes the first components whose variances add up to more than it: scikit-learn's rule,
        `searchsorted(cumsum(ratio), share, side="right") + 1`. Never more come back than rounding can tell from
        no variance at all; the others would be arbitrary axes on which every training row lies at zero.

        Args:
            values: All eigenvalues, largest first.

        Raises:
            RequestError: If no eigenvalue is above rounding: the training rows are all equal.
        """
        spectrum = self.spectrum(values)
        rank = int((spectrum > max(spectrum[0] * len(values) * _EPS, self.floor)).sum())
        if rank == 0:
            raise RequestError(
                f"{self.images} training rows of {self.width} columns are all equal, or differ by rounding only. "
                "Expected features that vary; was the right layer extracted?"
            )
        if self.wanted is None:
            return rank
        if is_count(self.wanted):
            return min(int(self.wanted), rank)
        ratio = spectrum / spectrum.sum()
        return min(int(np.searchsorted(np.cumsum(ratio), self.wanted, side="right")) + 1, rank)


def largest_signs(axes: Float64[np.ndarray, "rows axes"]) -> Float64[np.ndarray, " axes"]:
    """For each column, the sign of its entry of largest size (the first of equals): 1 or -1."""
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return np.where(largest < 0, -1.0, 1.0)
