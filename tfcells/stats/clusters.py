"""What groups do to a sample size.

Rows of one group (copies of a cell, one slide, one patient) tend to be right or wrong together, so n rows say
less than n independent rows would. The design effect (Kish 1965, Survey Sampling) is the factor by which the
variance grows; n divided by it is the effective number of rows, and an interval for independent rows that is
given that number is an interval for grouped rows (Korn & Graubard 1998, Confidence intervals for proportions
with small expected number of positive counts estimated from survey data, Survey Methodology 24).

No method knows of a kind of group that the data lack. Where one group of 20 rows in a few hundred is lost as a
whole, and else 98 % of rows are right, 50 to 100 groups rarely show it, and a nominal 95 % are 77 to 88 %.
Where rows are less alike than that, the same caution is too much: 98 to 99 % with 50 groups and 98 % right.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from tfcells.arrays import Groups, Hits, Int64

LEVEL = 0.95
"""Nominal coverage of every interval in tfcells."""

TAIL = 0.5 + LEVEL / 2
"""The quantile that leaves half of the rest above it, 0.975."""

PRIOR_GROUPS = 0.2
"""How many wrong groups the worst case weighs when the design effect is estimated.

Chosen by simulation. At 98 % accuracy in 50 groups of 20 rows, 0 covers correlated rows in 85 to 92 % instead of
95, and 0.5 makes the interval of independent rows half as wide again as needed.
"""

Counts = Int64[np.ndarray, "kinds"]
"""Whole numbers, one per kind of group; kinds that occur several times have a count beside them."""

Numbers = tuple[float, float]
"""Effective numbers of rows, and of the groups they are in."""


def effective_share(
    sizes: Counts, rare: Counts, times: Counts, *, variance_ratio: float, parts: tuple[Counts, ...] = ()
) -> float:
    """Effective number of rows, as a share of the rows; exactly 1 when every group is a single row.

    Two things are added to Korn & Graubard's ratio of variances, because few groups know their own design
    effect badly. The estimate is drawn towards the worst case (a group is right or wrong as a whole) with the
    weight of `PRIOR_GROUPS` wrong groups, so no wrong row at all gives the worst case. And quantiles of t
    replace the normal one, by the effective number of groups (theirs), and by the one of the groups that have
    the outcome, or lack it: 40 wrong rows from 3 groups are known like 3.

    Args:
        sizes: `(kinds,)`, rows in a group.
        rare: `(kinds,)`, rows in a group with one of two outcomes; which one does not matter.
        times: `(kinds,)`, how many groups are like this.
        variance_ratio: Variance with groups over variance without; not looked at if one outcome is missing.
        parts: Outcomes that may be grouped each in its own way, e.g. wins and losses.

    Returns:
        A share in [0, 1]; 0 for a single group of several rows, which says nothing about other groups.
    """
    if (sizes == 1).all():
        return 1.0
    every, *kinds = (
        (float(times @ counts), effective_number(counts, times)) for counts in (sizes, rare, sizes - rare, *parts)
    )
    return share_of_numbers(every, kinds, variance_ratio=variance_ratio)


def share_of_numbers(every: Numbers, kinds: Sequence[Numbers], *, variance_ratio: float) -> float:
    """`effective_share` from effective numbers of rows and of groups, for rows of any weights.

    Args:
        every: All rows, and the groups they are in.
        kinds: Rows with an outcome and the groups that have it; rows without it; then parts of the outcome.
        variance_ratio: Variance with groups over variance without; not looked at if one outcome is missing.
    """
    rows, groups = every
    worst = rows / groups
    rare_groups = min(of_groups for _, of_groups in kinds[:2])
    estimate = max(variance_ratio, 1.0) if rare_groups > 0 else worst
    design_effect = (estimate * rare_groups + worst * PRIOR_GROUPS) / (rare_groups + PRIOR_GROUPS)
    few_groups = quantile_of_t(rows - 1) / quantile_of_t(groups - 1)
    # The quantile for counted rows over the one for the groups they come from; one more of each.
    few_of_one_kind = min(quantile_of_t(of_rows + 1) / quantile_of_t(of_groups + 1) for of_rows, of_groups in kinds)
    return min(few_groups, few_of_one_kind) ** 2 / design_effect


def count_by_group(groups: Groups, *chosen: Hits) -> tuple[Counts, ...]:
    """Rows of each group, and how many of them each choice of rows holds."""
    number = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(number)
    return sizes, *(np.bincount(number[rows], minlength=len(sizes)) for rows in chosen)


def jackknife_variance(sums: Counts, sizes: Counts) -> float:
    """Delete-one-group jackknife variance of a mean over rows, from groups' sums and rows; of two groups or more.

    The mean is a ratio where groups differ in size: what is left is divided by the rows that are left.
    """
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    return float((len(sizes) - 1) * left_out.var())


def effective_number(counts: Counts, times: Counts) -> float:
    """Number of groups of equal size that carry the same weight, (sum c)^2 / sum c^2; 0 without counts."""
    squares = float(times @ counts**2)
    return float(times @ counts) ** 2 / squares if squares > 0 else 0.0


def expanded_normal_quantile(groups: float) -> float:
    """The normal quantile a bootstrap needs on few groups: sqrt(G / (G - 1)) times t's at G - 1.

    Hesterberg (2015), What teachers should know about the bootstrap, The American Statistician 69.
    """
    return float(np.sqrt(groups / (groups - 1))) * quantile_of_t(groups - 1)


def normal_quantile() -> float:
    """1.96, the standard normal's quantile at `TAIL`."""
    return float(special.ndtri(TAIL))


def quantile_of_t(degrees: float | int) -> float:
    """Student's quantile at `TAIL`; infinite without degrees of freedom."""
    return float(special.stdtrit(degrees, TAIL)) if degrees > 0 else np.inf
