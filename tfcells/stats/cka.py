"""How alike two sets of features of the same rows are, whatever their axes."""

import numpy as np

from tfcells.arrays import Features, Float, Float64
from tfcells.errors import RequestError

Gram = Float64[np.ndarray, "images images"]
Others = Float[np.ndarray, "others numbers"]

_FEWEST = 4


def linear_cka(first: Features, second: Others) -> float:
    """Linear centred kernel alignment of two representations, debiased.

    Kornblith et al. (2019), Similarity of neural network representations revisited, arXiv:1905.00414, with the
    unbiased estimator of HSIC of Song et al. (2012), Feature selection via dependence maximization. The plain one
    is near 1 for any two sets of features that are wider than there are rows; this one is 0 on average for unrelated
    ones, and may fall below it. 1 where one is a rotation, a shift or a multiple of the other.

    Args:
        first: (images, features).
        second: (images, other features), of the same rows in the same order.

    Raises:
        RequestError: If the numbers of rows differ, there are fewer than 4, a number is not finite, or the rows of
            one side are all alike.
    """
    if len(first) != len(second) or len(first) < _FEWEST:
        raise RequestError(
            f"Features of {len(first)} and {len(second)} rows came. Expected the same rows twice, {_FEWEST} or more."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise RequestError("Features that are not finite came. Expected numbers; was the network damaged?")
    one, other = _gram(first), _gram(second)
    own, others = _hsic(one, one), _hsic(other, other)
    if own <= 0 or others <= 0:
        raise RequestError("The rows of one side are all alike. Expected features that tell some rows apart.")
    return float(_hsic(one, other) / np.sqrt(own * others))


def _gram(features: Features) -> Gram:
    """Inner products of centred rows of unit size on average, without the diagonal."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    size = np.sqrt((centred**2).sum() / len(centred))
    gram: Gram = (centred / size if size > 0 else centred) @ (centred / size if size > 0 else centred).T
    np.fill_diagonal(gram, 0.0)
    return gram


def _hsic(one: Gram, other: Gram) -> float:
    """Equation 5 of Song et al. (2012), of Gram matrices without their diagonals."""
    rows = len(one)
    sums, others = one.sum(axis=1), other.sum(axis=1)
    trace = float((one * other).sum())
    both = float(sums.sum() * others.sum()) / ((rows - 1) * (rows - 2))
    return (trace + both - 2 * float(sums @ others) / (rows - 2)) / (rows * (rows - 3))
