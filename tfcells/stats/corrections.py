"""Corrections of p-values for many comparisons."""

import numpy as np

from tfcells.arrays import Float64
from tfcells.errors import RequestError


def holm(p_values: Float64[np.ndarray, " tests"]) -> Float64[np.ndarray, " tests"]:
    """Adjusted p-values that keep the chance of any false finding at the level, whatever the dependence.

    Holm (1979), A simple sequentially rejective multiple test procedure. The k-th smallest of m is multiplied by
    m - k + 1, then made no smaller than the one before it and no larger than 1.

    Args:
        p_values: `(tests,)`, in [0, 1]; may be empty.

    Returns:
        `(tests,)`, in the order that came; never below the raw ones.

    Raises:
        RequestError: If a p-value is NaN or not in [0, 1].
    """
    wrong = ~((p_values >= 0) & (p_values <= 1))
    if wrong.any():
        raise RequestError(
            f"{int(wrong.sum())} of {len(p_values)} p-values are not in [0, 1], the first is {p_values[wrong][0]}. "
            "Expected the p-value of a test that was made; leave the others out."
        )
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted
