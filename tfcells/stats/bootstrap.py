"""Intervals at 95 % by resampling groups, for any metric.

For metrics of the confusion table in [0, 1], `intervals.wilson_of_metric` covers better on few groups, few
errors and rare classes, and needs no seed.
"""

from collections.abc import Callable

import numpy as np
from scipy import special

from tfcells.arrays import Float64, Groups
from tfcells.errors import RequestError
from tfcells.stats.clusters import Counts, effective_number, expanded_normal_quantile
from tfcells.stats.intervals import Interval, TableMetric, chunks, leave_one_out, wilson_of_share
from tfcells.stats.metrics import GroupedConfusion, RowWeights, Values

RowMetric = Callable[[RowWeights], Values]
"""A number per vector of row weights, vectorised over leading axes."""

JACKKNIFE_BLOCKS = 1000
"""Above this many groups the jackknife over row weights leaves out blocks of neighbouring groups."""

Weights = Float64[np.ndarray, "some kinds"]
Scores = Float64[np.ndarray, "some"]
Resampled = Float64[np.ndarray, "resamples"]
Replicates = Float64[np.ndarray, "kinds"]


def cluster_bootstrap(grouped: GroupedConfusion, metric: TableMetric, *, seed: int, resamples: int = 2000) -> Interval:
    """Interval of a function of the confusion table by resampling groups (BCa).

    Efron (1987), Better bootstrap confidence intervals: bias-corrected, and accelerated by the jackknife over
    groups; its normal quantile is expanded for few groups (Hesterberg 2015). Where the correction is undefined
    (every resample on one side of the value, or a skewness out of its range) the percentiles are taken as they
    are. Where no resample differs from the value, as at a perfect score, Wilson's interval at the effective
    number of groups is returned. The ends are moved to the value where they would exclude it.

    Resampling groups is drawing multinomial weights for the distinct tables, so 2,000 resamples are one matrix
    product; they depend on the seed and the set of tables, not on the order of rows or the names of groups.

    Args:
        grouped: Confusion tables of the groups.
        metric: Function of tables, vectorised over leading axes; may be NaN on some resamples, which are left out.
        seed: Seed of the resampling.
        resamples: How many resamples.

    Raises:
        RequestError: If the metric is NaN on all rows or on most resamples, or never varies and is not in [0, 1].
    """
    tables = grouped.tables.reshape(len(grouped.tables), -1).astype(np.float64)
    side = grouped.tables.shape[1]
    generator = np.random.default_rng(seed)

    def score(weights: Weights) -> Scores:
        return metric((weights @ tables).reshape(-1, side, side))

    values = _resample(score, generator, grouped.times, resamples)
    left_out = leave_one_out(grouped, metric)
    groups = effective_number(grouped.sizes, grouped.times)
    return _bca(float(metric(grouped.total)), values, left_out, grouped.times, groups)


def cluster_bootstrap_rows(metric: RowMetric, groups: Groups, *, seed: int, resamples: int = 2000) -> Interval:
    """Interval of a function of row weights by resampling groups: AUC, calibration error, any mean over rows.

    The method is `cluster_bootstrap`'s. Groups are resampled in the order in which they first appear, so their
    names do not matter; another order of rows changes the draws, hence the ends by their Monte Carlo error.

    Example:
        `cluster_bootstrap_rows(lambda weights: auc(probabilities, true, weights=weights), groups, seed=0)`

    Args:
        metric: Function of weights `(..., images)`; 0 leaves a row out, 2 counts it twice.
        groups: `(images,)`, group numbers; rows with one number must not be parted.
        seed: Seed of the resampling.
        resamples: How many resamples.

    Raises:
        RequestError: If there is no row, or as in `cluster_bootstrap`.
    """
    if len(groups) == 0:
        raise RequestError("No rows came. Expected at least one row to resample.")
    _, first, number, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    appearance = np.argsort(np.argsort(first))
    number = appearance[number]
    times = np.ones(len(sizes), dtype=np.int64)
    generator = np.random.default_rng(seed)

    def score(weights: Weights) -> Scores:
        return metric(weights[:, number])

    values = _resample(score, generator, times, resamples, width=len(groups))
    blocks = number * min(JACKKNIFE_BLOCKS, len(sizes)) // len(sizes)
    left_out = np.concatenate(
        [
            metric((part[:, None] != blocks[None, :]).astype(np.float64))
            for part in chunks(np.arange(blocks.max() + 1), width=len(groups))
        ]
    )
    value = float(metric(np.ones(len(groups))))
    once = np.ones(len(left_out), dtype=np.int64)
    return _bca(value, values, left_out, once, effective_number(sizes.astype(np.int64), times))


def _resample(
    score: Callable[[Weights], Scores],
    generator: np.random.Generator,
    times: Counts,
    resamples: int,
    *,
    width: int = 0,
) -> Resampled:
    """Scores of multinomial weights for kinds of groups that occur `times` often each."""
    groups = times.sum()
    return np.concatenate(
        [
            score(generator.multinomial(groups, times / groups, size=len(part)).astype(np.float64))
            for part in chunks(np.arange(resamples), width=max(width, len(times)))
        ]
    )


def _bca(
    value: float,
    values: Resampled,
    left_out: Replicates,
    times: Counts,
    groups: float,
) -> Interval:
    """The bootstrap's ends from its resamples and the jackknife's replicates, see `cluster_bootstrap`."""
    _check_resamples(value, values)
    values = values[np.isfinite(values)]
    near = 1e-12 * max(1.0, abs(value))  # sums of the same numbers in another order
    if np.abs(values - value).max() <= near:
        return _without_spread(value, groups)
    z = expanded_normal_quantile(groups)
    # Ties count one half, for the metric of a few hundred rows has few distinct values.
    below = (np.mean(values < value - near) + np.mean(values <= value + near)) / 2
    ends = np.array([-z, z])
    if 0 < below < 1:
        shifted = special.ndtri(below) + ends
        scale = 1 - _acceleration(left_out, times) * shifted
        ends = special.ndtri(below) + shifted / scale if (scale > 0).all() else ends
    low, high = np.quantile(values, special.ndtr(ends))
    return Interval(value, float(min(low, value)), float(max(high, value)))


def _acceleration(left_out: Replicates, times: Counts) -> float:
    """Efron's constant, a sixth of the skewness of the jackknife's replicates; 0 if they do not differ."""
    known = np.isfinite(left_out)
    left_out, times = left_out[known], times[known]
    away = (times @ left_out) / max(times.sum(), 1) - left_out
    squares = float(times @ away**2)
    return float(times @ away**3) / (6 * squares**1.5) if squares > 0 else 0.0


def _check_resamples(value: float, values: Resampled) -> None:
    numbers = int(np.isfinite(values).sum())
    if not np.isfinite(value) or numbers < len(values) / 2:
        raise RequestError(
            f"The metric is {value} on all rows, and a number on {numbers} of {len(values)} resamples. Expected a "
            "number on most. Is a class without rows, or in one group only?"
        )


def _without_spread(value: float, groups: float) -> Interval:
    """Wilson's interval at the effective number of groups, for a metric that no resample changed."""
    if not 0 <= value <= 1:
        raise RequestError(
            f"Every resample of the groups gave the same value, {value}, which is not in [0, 1]. Expected a metric "
            "that varies between groups; is there only one group?"
        )
    return wilson_of_share(value, groups if groups > 1 else 0.0)
