"""Kernels and distances between images, read from a Gram matrix.

Distances and Gaussian kernels do not depend on where the origin is; linear kernels are centred by the training
rows, which support vectors and ridge with an intercept cannot tell from not centring.
"""

from typing import Literal

import numpy as np

from tfcells.arrays import Float64, Int64
from tfcells.errors import RequestError
from tfcells.probes.gram.columns import Rows
from tfcells.probes.gram.matrices import Gram

Gamma = Literal["scale", "auto"] | float

_Pairs = Float64[np.ndarray, "rows others"]


def centred_products(gram: Gram, rows: Rows, others: Rows) -> _Pairs:
    """Inner products of rows with others, after the mean of the training rows is taken from both.

    Returns:
        A new float64 array of shape (len(rows), len(others)).
    """
    means = gram.training_means()
    products: np.ndarray = gram.values[np.ix_(rows, others)]
    products -= means[rows][:, None]
    products -= means[others] - means[gram.training].mean()
    return products


def linear_kernel(gram: Gram, rows: Rows, others: Rows) -> _Pairs:
    """Inner products of scaled rows, centred by the training rows; float64 of shape (len(rows), len(others))."""
    return centred_products(gram, rows, others)


def squared_distances(gram: Gram, rows: Rows, others: Rows) -> _Pairs:
    """Squared Euclidean distances between scaled rows; float64 of shape (len(rows), len(others)).

    Exactly 0 from a row to itself; elsewhere rounding is that of the rows' squared distances from their mean.
    """
    lengths = np.diagonal(gram.values)
    distances: np.ndarray = gram.values[np.ix_(rows, others)]
    distances *= -2.0
    distances += lengths[rows][:, None]
    distances += lengths[others]
    np.maximum(distances, 0.0, out=distances)
    distances[rows[:, None] == others] = 0.0
    return distances


def rbf_kernel(gram: Gram, rows: Rows, others: Rows, *, gamma: Gamma = "scale") -> _Pairs:
    """Gaussian kernel exp(-gamma d^2) between scaled rows; float64 of shape (len(rows), len(others)).

    Args:
        gram: Inner products under a training set's scaling.
        rows: Row numbers.
        others: Row numbers.
        gamma: As in scikit-learn's `SVC` fitted on the scaled training rows; see `resolve_gamma`.
    """
    kernel = squared_distances(gram, rows, others)
    kernel *= -resolve_gamma(gamma, width=gram.width, variance=gram.variance)
    return np.asarray(np.exp(kernel, out=kernel))


def resolve_gamma(gamma: Gamma, *, width: int, variance: float) -> float:
    """The number that scikit-learn's `SVC` takes for `gamma`.

    Args:
        gamma: `scale`: 1 / (width * variance), or 1 where nothing varies; `auto`: 1 / width; or the number itself.
        width: Columns that the kernel reads: of the features, or of the scores after a reduction.
        variance: Variance over all entries of the training rows: `Gram.variance`, or `training_scores.var()`.

    Raises:
        RequestError: If it is none of these, or `scale` is asked for where the variance is not known.
    """
    if gamma == "auto":
        return 1.0 / width
    if gamma == "scale" and not np.isnan(variance):
        return 1.0 / (width * variance) if variance else 1.0
    if isinstance(gamma, str) or not gamma >= 0:
        raise RequestError(
            f"gamma={gamma!r} came, with a variance of {variance}. Expected 'scale' (of a known variance), 'auto', or "
            "a number from 0."
        )
    return float(gamma)


def nearest(distances: _Pairs, count: int) -> tuple[Float64[np.ndarray, "rows count"], Int64[np.ndarray, "rows count"]]:
    """The nearest others of each row, nearest first, ties to the first column.

    Args:
        distances: From `squared_distances`.
        count: How many, at most as many as there are columns.

    Returns:
        Squared distances, and the columns they stand in.

    Raises:
        RequestError: If there are not so many.
    """
    if not 1 <= count <= distances.shape[1]:
        raise RequestError(
            f"{count} neighbours of {distances.shape[1]} rows were asked for. Expected 1 or more of them."
        )
    places = np.argsort(distances, axis=1, kind="stable")[:, :count].astype(np.int64)
    return np.take_along_axis(distances, places, axis=1), places
