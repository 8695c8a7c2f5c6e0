"""Intervals at 95 % for numbers from independent or grouped rows.

Which one to take, by what benchmarks/coverage.py found:

    a share of rows right                            wilson, wilson_clustered
    balanced accuracy, macro-F1, a class's recall    wilson_of_metric
    AUC                                              curves.auc_interval
    calibration error                                calibration.calibration_error
    anything else of the probabilities               bootstrap.cluster_bootstrap_rows
    anything else that is a function of the table    bootstrap.cluster_bootstrap
    a difference in accuracy on the same rows        paired.paired_difference
    ... in balanced accuracy                         paired.paired_balanced_difference
    a difference on other rows                       difference_of_independent
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfcells.arrays import Float64, Groups, Hits, Int64
from tfcells.errors import RequestError
from tfcells.stats.clusters import Counts, count_by_group, effective_share, jackknife_variance, normal_quantile
from tfcells.stats.metrics import GroupedConfusion, Tables, Values

TableMetric = Callable[[Tables], Values]
"""A number per confusion table, vectorised over leading axes; counts may be fractions."""

CHUNK = 2**22
"""Float64 numbers that a bootstrap holds at a time (32 MiB)."""

Table = Float64[np.ndarray, "classes classes"]
Replicates = Float64[np.ndarray, "kinds"]


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % interval.

    Attributes:
        value: The estimate.
        low: Lower end, at most `value`.
        high: Upper end, at least `value`.
    """

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.value, self.low, self.high]).all() and self.low <= self.value <= self.high):
            raise RequestError(
                f"An interval of {self.value} from {self.low} to {self.high} was asked for. Expected three finite "
                "numbers, the value between the ends. Was the metric computed on a class without rows?"
            )


def wilson(successes: float | int, total: float | int) -> Interval:
    """Wilson's score interval of a share of independent rows.

    Wilson (1927), Probable inference, the law of succession, and statistical inference; recommended by Brown,
    Cai & DasGupta (2001). Numbers need not be whole, so effective ones do as well.

    Args:
        successes: Rows that count.
        total: All rows.

    Raises:
        RequestError: If `total` is 0 or below, or `successes` is not in [0, total].
    """
    if not (total > 0 and 0 <= successes <= total):
        raise RequestError(
            f"{successes} successes of {total} rows came. Expected at least one row and no more successes than rows."
        )
    return wilson_of_share(successes / total, float(total))


def wilson_clustered(hits: Hits, groups: Groups, *, worth: float = 1.0) -> Interval:
    """Wilson's interval of a share of rows, at the effective number of rows of the groups.

    The variance with groups is the jackknife's over groups, as the share is a ratio when groups differ in size;
    see `clusters` for the design effect and its sources. With one row per group it is `wilson` exactly; with a
    single group of several rows it is [0, 1].

    Args:
        hits: `(images,)`, whether a row counts.
        groups: `(images,)`, group numbers; rows with one number must not be parted.
        worth: How many independent rows a row is worth for reasons that rows and groups do not show.

    Raises:
        RequestError: If there is no row.
    """
    if len(hits) == 0:
        raise RequestError("No rows came. Expected at least one row to take a share of.")
    sizes, misses = count_by_group(groups, ~hits)
    share = float(hits.mean())
    if (sizes == 1).all():
        return wilson_of_share(share, worth * len(hits))
    one_each = np.ones_like(sizes)
    effective = effective_share(sizes, misses, one_each, variance_ratio=_ratio_of_share(sizes, misses))
    return wilson_of_share(share, worth * len(hits) * effective)


def wilson_of_metric(grouped: GroupedConfusion, metric: TableMetric, *, worth: float = 1.0) -> Interval:
    """Wilson's interval of any metric in [0, 1] that is a smooth function of the confusion table.

    The metric is treated as a share of as many rows as would give it its variance: value (1 - value) / n_eff.
    That variance is the product of two parts. For independent rows, the delta method on the table whose recalls
    are drawn towards the accuracy with the weight of one row, so that a rare class without a miss is not taken
    for a perfect one. For groups, the design effect: the jackknife's variance over groups, divided by the delta
    method's, then treated as in `clusters`. No randomness; for accuracy it is `wilson_clustered`; it does not
    collapse at a perfect score, where a bootstrap says [1, 1].

    Args:
        grouped: Confusion tables of the groups.
        metric: `balanced_accuracy`, `macro_f1`, or another function of tables with values in [0, 1].
        worth: As in `wilson_clustered`.

    Raises:
        RequestError: If the metric's value on all rows is not in [0, 1].
    """
    total = grouped.total.astype(np.float64)
    value = float(metric(total))
    if not 0 <= value <= 1:
        raise RequestError(
            f"A metric of value {value} came. Expected one in [0, 1]; take cluster_bootstrap() for other ranges."
        )
    rows = total.sum()
    independent = _variance_per_row(total, metric)
    jackknife = _jackknife_variance(grouped, metric)
    ratio = jackknife / (independent / (rows - 1)) if independent > 0 and rows > 1 else 1.0
    share = effective_share(grouped.sizes, grouped.misses, grouped.times, variance_ratio=ratio)
    smooth = _draw_towards_accuracy(total)
    center, spread = float(metric(smooth)), _variance_per_row(smooth, metric)
    # Without spread, as with one class only, the metric is no worse known than a share of the rows.
    like_a_share = center * (1 - center) / spread if spread > 0 else 1.0
    return wilson_of_share(value, worth * rows * share * like_a_share)


def difference_of_independent(a: Interval, b: Interval) -> Interval:
    """Interval of `a - b` for numbers from different rows, from their two intervals.

    Newcombe (1998), Interval estimation for the difference between independent proportions, method 10; as a
    recipe for any two independent intervals, MOVER of Zou & Donner (2008). Keeps each interval's asymmetry.
    """
    value = a.value - b.value
    down = np.hypot(a.value - a.low, b.high - b.value)
    up = np.hypot(a.high - a.value, b.value - b.low)
    return Interval(value, float(value - down), float(value + up))


def wilson_of_share(share: float, total: float) -> Interval:
    """Wilson's interval in a form that ends in [0, 1] when the total goes to 0."""
    z = normal_quantile()
    center = (share * total + z * z / 2) / (total + z * z)
    half = z * np.sqrt(total * share * (1 - share) + z * z / 4) / (total + z * z)
    # At shares 0 and 1 the end is the share itself; the formula misses it by rounding.
    low = 0.0 if share == 0 else max(0.0, min(center - half, share))
    high = 1.0 if share == 1 else min(1.0, max(center + half, share))
    return Interval(share, float(low), float(high))


def _ratio_of_share(sizes: Counts, misses: Counts) -> float:
    """Variance of the share of misses with groups (jackknife over groups) over without (jackknife over rows)."""
    rows, groups = sizes.sum(), len(sizes)
    share = misses.sum() / rows
    if groups == 1 or share in (0, 1):
        return 1.0
    return jackknife_variance(misses, sizes) / float(share * (1 - share) / (rows - 1))


def leave_one_out(grouped: GroupedConfusion, metric: TableMetric) -> Replicates:
    """The metric without one group, once per distinct table."""
    total = grouped.total
    width = grouped.tables[0].size
    return np.concatenate([metric((total - part).astype(np.float64)) for part in chunks(grouped.tables, width=width)])


def _jackknife_variance(grouped: GroupedConfusion, metric: TableMetric) -> float:
    """Delete-one-group jackknife variance, centred at the mean of the replicates."""
    left_out = leave_one_out(grouped, metric)
    known = ~np.isnan(left_out)
    times, left_out = grouped.times[known], left_out[known]
    if times.sum() < 2:
        return 0.0
    mean = (times @ left_out) / times.sum()
    return float((times.sum() - 1) / times.sum() * (times @ (left_out - mean) ** 2))


def _variance_per_row(table: Table, metric: TableMetric) -> float:
    """Delta-method variance of the metric times the number of rows, for independent rows."""
    cells = table.reshape(-1)
    used = np.flatnonzero(cells)
    slopes = np.concatenate([_slopes(table, part, metric) for part in chunks(used, width=2 * len(cells))])
    shares = cells[used] / cells.sum()
    return float(shares @ (slopes - shares @ slopes) ** 2)


def _slopes(table: Table, places: Int64[np.ndarray, " cells"], metric: TableMetric) -> Float64[np.ndarray, " cells"]:
    """Slope of the metric by the share of rows in some cells that have rows, by central differences."""
    cells = table.reshape(-1)
    steps = 1e-4 * cells[places]
    moved = np.repeat(cells[None], 2 * len(places), axis=0)
    moved[np.arange(len(places)), places] += steps
    moved[np.arange(len(places)) + len(places), places] -= steps
    up, down = np.split(metric(moved.reshape(-1, *table.shape)), 2)
    return np.asarray((up - down) / (2 * steps) * cells.sum())


def _draw_towards_accuracy(table: Table) -> Table:
    """The table with every class's recall drawn towards the accuracy by one row; row sums stay.

    The added misses are spread evenly over the other classes that occur. An accuracy of 0 or 1 is first moved
    off the edge by half a row.
    """
    rows, per_class, right = table.sum(), table.sum(axis=1), np.diag(table)
    accuracy = right.sum() / rows
    if accuracy in (0, 1):
        accuracy = (right.sum() + 0.5) / (rows + 1)
    occurs = ((per_class > 0) | (table.sum(axis=0) > 0)).astype(np.float64)
    others = occurs * (1 - np.eye(len(table)))
    added = (1 - accuracy) * others / np.maximum(others.sum(axis=1, keepdims=True), 1) + accuracy * np.eye(len(table))
    return np.asarray((table + added) * (per_class / (per_class + added.sum(axis=1)))[:, None])


def chunks(array: np.ndarray, *, width: int) -> list[np.ndarray]:
    """Slices along the first axis, of at most CHUNK numbers when each entry needs `width` of them."""
    step = max(1, CHUNK // width)
    return [array[first : first + step] for first in range(0, len(array), step)]
