"""Comparisons of two models on the same rows, and of two procedures over resampled splits."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from tfcells.arrays import Float64, Groups, Hits, Int64, Labels
from tfcells.errors import RequestError
from tfcells.stats.clusters import (
    Counts,
    Numbers,
    count_by_group,
    effective_share,
    jackknife_variance,
    normal_quantile,
    quantile_of_t,
    share_of_numbers,
)
from tfcells.stats.intervals import Interval

SMALLEST_P = 1e-12
"""The sign-flip distribution comes from a Fourier transform; below this its rounding errors speak."""

EQUAL = 1e-9
"""Differences of accuracies that are nearer than this differ by rounding only."""

STEPS, STEPS_PER_GROUP = 20_000, 50
"""Whole numbers that weighted differences of groups sum up to; the slack for rounding is then under 0.04 sigma."""

ROUNDING_SIGMAS = 8
"""By Hoeffding's inequality (1963) rounding errors of random signs sum up to more with a chance below 3e-14."""

CountsOfClass = Int64[np.ndarray, "groups classes"]
PerClass = Float64[np.ndarray, "classes"]


@dataclass(frozen=True)
class PairedTest:
    """A difference, its interval, and how likely one as large is without any.

    Attributes:
        difference: First minus second.
        p_value: Two-sided.
        method: The test's name, for a table's footnote.
        undecided: Whether nothing can be said of chance, so that p is 1 by convention alone.
    """

    difference: Interval
    p_value: float
    method: str
    undecided: bool = False


@dataclass(frozen=True)
class Pair:
    """Two models on the same rows: all that a test of theirs says, for an interval at any quantile.

    Attributes:
        wins: Effective number of rows that only the first has right.
        losses: Effective number of rows that only the second has right.
        rows: Effective number of all rows.
        value: First minus second.
        p_value: Two-sided.
        method: The test's name.
    """

    wins: float
    losses: float
    rows: float
    value: float
    p_value: float
    method: str

    def at(self, z: float | None) -> PairedTest:
        """The test, with the interval at a normal quantile; 1.96 if None."""
        return PairedTest(_tango(self.wins, self.losses, self.rows, value=self.value, z=z), self.p_value, self.method)


def paired_difference(hits_a: Hits, hits_b: Hits, groups: Groups, *, z: float | None = None) -> PairedTest:
    """Compare two models' accuracy on the same rows.

    With one row per group the test is McNemar's (1947) exact one, a binomial test of the discordant rows. With
    groups it flips the sign of whole groups' differences; the distribution over all 2^groups flips is exact, by a
    Fourier transform (after Pagano & Tritchler 1983, On obtaining permutation distributions in polynomial time),
    so there is no seed and no Monte Carlo error. Fewer than 6 groups that differ cannot reach 0.05.

    The interval is Tango's (1998) score interval of a paired difference, at the effective number of rows of the
    groups (`clusters`). It keeps a width when no row is discordant. Sign flips assume that without a difference
    the models could be swapped within a group; two models whose misses are grouped unlike break that, so with
    groups the p-value is at least the one of the score test that the interval inverts. Hence p <= 0.05 is never
    said of an interval that holds 0. The price is power on few groups at high accuracy.

    Args:
        hits_a: `(images,)`, whether the first model is right.
        hits_b: `(images,)`, whether the second model is right.
        groups: `(images,)`, group numbers; rows with one number must not be parted.
        z: Normal quantile of the interval: 1.96, or more where it is one of several.

    Raises:
        RequestError: If there is no row.
    """
    return _pair(hits_a, hits_b, groups).at(z)


def paired_balanced_difference(
    hits_a: Hits, hits_b: Hits, labels: Labels, groups: Groups, *, z: float | None = None
) -> PairedTest:
    """Compare two models' balanced accuracy (mean recall over the classes that occur) on the same rows.

    A row weighs 1 / (classes x rows of its class). With equally many rows of each class this is
    `paired_difference`. Else the signs of whole groups' weighted differences are flipped, single rows being groups
    of one. The distribution over all flips is as exact as there: the differences are whole numbers, being
    multiples of one over the least common multiple of the classes' rows. Where those get too large for the Fourier
    transform they are rounded, and sums that could be as far as the observed one but for rounding count as such.

    The interval is Tango's (1998) at the weighted shares of wins and losses, and at the number of independent rows
    without classes whose difference has the same variance (as Korn & Graubard 1998 do for a share): the one of a
    mean of class means (Kish 1965, Survey Sampling), with each class's shares drawn by one row towards the mean
    over classes, so that a rare class without a discordant row is not taken for one that cannot have any. Groups
    enter as in `clusters`, with weights. The p-value is at least the one of the score test that the interval
    inverts. Hence p <= 0.05 is never said of an interval that holds 0.

    Args:
        hits_a: `(images,)`, whether the first model is right.
        hits_b: `(images,)`, whether the second model is right.
        labels: `(images,)`, class indices.
        groups: `(images,)`, group numbers; rows with one number must not be parted.
        z: Normal quantile of the interval: 1.96, or more where it is one of several.

    Raises:
        RequestError: If there is no row, or one without a label.
    """
    return balanced_pair(hits_a, hits_b, labels, groups).at(z)


def balanced_pair(hits_a: Hits, hits_b: Hits, labels: Labels, groups: Groups) -> Pair:
    """What `paired_balanced_difference` computes before it needs to know the quantile: nearly all of its work."""
    _refuse_no_rows(hits_a)
    if labels.min() < 0:
        raise RequestError(
            f"{int((labels < 0).sum())} of {len(labels)} labels are negative, the lowest is {int(labels.min())}. "
            "Expected class indices; leave unlabelled rows (-1) out before comparing."
        )
    rows = np.unique(labels, return_counts=True)[1]
    if (rows == rows[0]).all():
        return _pair(hits_a, hits_b, groups)
    sizes = _count(np.ones_like(hits_a), labels, groups)
    wins, losses = _count(hits_a & ~hits_b, labels, groups), _count(hits_b & ~hits_a, labels, groups)
    won, lost = float((wins.sum(axis=0) / rows).mean()), float((losses.sum(axis=0) / rows).mean())
    effective = _rows_like_these(sizes, wins, losses) * _weighted_share(sizes, wins, losses)
    p_value = max(_weighted_sign_flip(wins - losses, rows), _score_test(won * effective, lost * effective))
    method = "sign-flip and score test, classes weighted alike"
    return Pair(won * effective, lost * effective, effective, won - lost, p_value, method)


def corrected_resampled_t(differences: Float64[np.ndarray, " splits"], *, n_train: int, n_test: int) -> PairedTest:
    """Compare two procedures by their differences over repeated splits of the same rows.

    Nadeau & Bengio (2003), Inference for the generalization error: training sets overlap, so the variance of the
    mean is (1 / splits + n_test / n_train) times the sample variance, with t at splits - 1 degrees of freedom.
    Differences that are all equal say nothing of their spread: p is 1, the interval [-1, 1] and the test undecided.

    Args:
        differences: `(splits,)`, first minus second, e.g. in accuracy on each split's test rows.
        n_train: Training rows of a split (groups, if splits part groups).
        n_test: Test rows of a split, counted alike.

    Raises:
        RequestError: If there are fewer than two differences, one is not in [-1, 1], or a size is below 1.
    """
    splits = len(differences)
    if splits < 2 or n_train < 1 or n_test < 1:
        raise RequestError(
            f"{splits} differences came, from {n_train} training and {n_test} test rows. Expected at least two "
            "splits, each with training and test rows."
        )
    if not (np.abs(differences) <= 1).all():
        raise RequestError(
            f"The differences reach from {differences.min()} to {differences.max()}. Expected differences of "
            "metrics in [0, 1]."
        )
    method = "corrected resampled t test"
    mean = float(differences.mean())
    if np.ptp(differences) < EQUAL:
        return PairedTest(Interval(mean, -1.0, 1.0), 1.0, method, undecided=True)
    error = float(np.sqrt((1 / splits + n_test / n_train) * differences.var(ddof=1)))
    half = error * quantile_of_t(splits - 1)
    p_value = 2 * float(special.stdtr(splits - 1, -abs(mean) / error))
    return PairedTest(Interval(mean, mean - half, mean + half), p_value, method)


def _pair(hits_a: Hits, hits_b: Hits, groups: Groups) -> Pair:
    """Two models' accuracies, see `paired_difference`."""
    _refuse_no_rows(hits_a)
    sizes, wins, losses = count_by_group(groups, hits_a & ~hits_b, hits_b & ~hits_a)
    share = _effective_share(sizes, wins, losses)
    won, lost = float(wins.sum()), float(losses.sum())
    if (sizes == 1).all():
        p_value, method = _mcnemar(int(won), int(lost)), "exact McNemar test"
    else:
        p_value = max(_sign_flip(wins - losses), _score_test(won * share, lost * share))
        method = "sign-flip and score test over groups"
    return Pair(won * share, lost * share, len(hits_a) * share, (won - lost) / len(hits_a), p_value, method)


def _refuse_no_rows(hits: Hits) -> None:
    if len(hits) == 0:
        raise RequestError("No rows came. Expected the hits of two models on at least one common row.")


def _count(chosen: Hits, labels: Labels, groups: Groups) -> CountsOfClass:
    """Chosen rows of each group (first axis) and class that occurs (second axis)."""
    group, label = (np.unique(names, return_inverse=True)[1] for names in (groups, labels))
    shape = int(group.max()) + 1, int(label.max()) + 1
    cells = group * shape[1] + label
    return np.bincount(cells[chosen], minlength=shape[0] * shape[1]).reshape(shape)


def _mcnemar(wins: int, losses: int) -> float:
    """Two-sided binomial p-value that wins and losses are equally likely."""
    return min(1.0, 2 * float(stats.binom.cdf(min(wins, losses), wins + losses, 0.5)))


def _sign_flip(differences: Counts) -> float:
    """Share of all sign flips of the groups' differences whose sum is at least as far from 0."""
    magnitudes, times = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    return _share_of_flips(magnitudes, times, reach=abs(int(differences.sum())))


def _weighted_sign_flip(differences: CountsOfClass, rows: Counts) -> float:
    """The same for sums of differences that weigh 1 / rows of the class."""
    common = math.lcm(*rows.tolist())
    weights = np.array([common // count for count in rows.tolist()], dtype=object)  # may be beyond int64
    kinds, times = np.unique(differences, axis=0, return_counts=True)
    sums = kinds.astype(object) @ weights
    times, sums = times[sums != 0], sums[sums != 0]
    if len(sums) == 0:
        return 1.0
    sums //= math.gcd(*sums)
    total, observed = int(times @ np.abs(sums)), abs(int(times @ sums))
    steps = STEPS + STEPS_PER_GROUP * int(times.sum())
    if total <= steps:
        return _share_of_flips(np.abs(sums).astype(np.int64), times, reach=observed)
    magnitudes = (2 * np.abs(sums) * steps + total) // (2 * total)
    errors = ((magnitudes * total - np.abs(sums) * steps) / total).astype(np.float64)
    slack = min(float(times @ np.abs(errors)), ROUNDING_SIGMAS * float(np.sqrt(times @ errors**2))) + EQUAL
    return _share_of_flips(magnitudes.astype(np.int64), times, reach=observed * steps / total - slack)


def _share_of_flips(magnitudes: Counts, times: Counts, *, reach: float | int) -> float:
    """Share of all sign flips of whole numbers, some of them several times, whose sum is `reach` or more from 0.

    Flipping a set of numbers lowers the largest sum, T = sum |d|, by twice their |d|. The lowered part's
    characteristic function is the product of (1 + exp(i w |d|)) / 2 over numbers, a phase times cosines; one half
    of it is the other's mirror image.
    """
    largest = int(magnitudes @ times)
    points = largest + 1
    index = np.arange(points // 2 + 1)
    cosines = np.ones(len(index))
    distinct, place = np.unique(magnitudes, return_inverse=True)
    for magnitude, count in zip(distinct, np.bincount(place, weights=times), strict=True):
        cosines *= np.cos(np.pi * (magnitude * index % (2 * points)) / points) ** count
    phase = np.exp(1j * np.pi * (largest * index % (2 * points)) / points)
    chances = np.fft.hfft(phase * cosines, n=points) / points
    far = np.abs(largest - 2 * np.arange(points)) >= reach
    fewest = 2.0 ** (1 - min(int(times.sum()), 1000))  # the data and their mirror image are always among the flips
    return float(np.clip(chances[far].sum(), max(fewest, SMALLEST_P), 1.0))


def _effective_share(sizes: Counts, wins: Counts, losses: Counts) -> float:
    """Effective number of rows as a share of the rows, by what the groups do to the mean difference."""
    rows = int(sizes.sum())
    value = (wins - losses).sum() / rows
    independent = float(((wins + losses).sum() / rows - value**2) / max(rows - 1, 1))
    known = len(sizes) > 1 and independent > 0
    ratio = jackknife_variance(wins - losses, sizes) / independent if known else 1.0
    once = np.ones_like(sizes)
    return effective_share(sizes, wins + losses, once, variance_ratio=ratio, parts=(wins, losses))


def _rows_like_these(sizes: CountsOfClass, wins: CountsOfClass, losses: CountsOfClass) -> float:
    """Independent rows without classes whose mean difference has the variance that these have as independent rows."""
    rows = sizes.sum(axis=0)
    won, lost = _draw_towards_mean(wins, sizes), _draw_towards_mean(losses, sizes)
    of_one = won.mean() + lost.mean() - (won.mean() - lost.mean()) ** 2
    if of_one < EQUAL:  # all rows are alike, and there is nothing but their weights
        return float(len(rows) ** 2 / (1 / rows).sum())
    return float(of_one / ((won + lost - (won - lost) ** 2) / rows).sum() * len(rows) ** 2)


def _draw_towards_mean(counts: CountsOfClass, sizes: CountsOfClass) -> PerClass:
    """Share of each class's rows, drawn towards the mean over classes by one row, or one group of equal groups."""
    shares, groups = counts.sum(axis=0) / sizes.sum(axis=0), _effective_groups(sizes)
    return np.asarray((groups * shares + shares.mean()) / (groups + 1))


def _effective_groups(sizes: CountsOfClass) -> PerClass:
    """Number of groups of equal size that carry the same weight, for each class."""
    return np.asarray(sizes.sum(axis=0) ** 2 / (sizes**2).sum(axis=0))


def _weighted_share(sizes: CountsOfClass, wins: CountsOfClass, losses: CountsOfClass) -> float:
    """`clusters.effective_share` where rows weigh 1 / rows of their class; with equal weights it is that."""
    if (sizes.sum(axis=1) == 1).all():
        return 1.0
    if len(sizes) == 1:
        return 0.0
    weights, discordant = 1 / sizes.sum(axis=0), wins + losses
    every, *kinds = (
        _effective_numbers(counts, weights) for counts in (sizes, discordant, sizes - discordant, wins, losses)
    )
    return share_of_numbers(every, kinds, variance_ratio=_variance_ratio(sizes, wins, losses))


def _effective_numbers(counts: CountsOfClass, weights: PerClass) -> Numbers:
    """Of counted rows, and of groups with counted rows, (sum w)^2 / sum w^2; 0 without."""
    of_groups = counts @ weights
    total = float(of_groups.sum())
    if total == 0:
        return 0.0, 0.0
    return total**2 / float((counts @ weights**2).sum()), total**2 / float(of_groups @ of_groups)


def _variance_ratio(sizes: CountsOfClass, wins: CountsOfClass, losses: CountsOfClass) -> float:
    """Variance of the balanced difference with groups over without, from differences centred in each class.

    A class's mean takes one of its groups' freedom, so G / (G - 1) is made up for in each class, 3 at most.
    """
    rows, differences = sizes.sum(axis=0), wins - losses
    sums = differences.sum(axis=0)
    groups = _effective_groups(sizes)
    lost_freedom = np.sqrt(groups / np.maximum(groups - 1, groups / 3))
    together = (differences - sizes * (sums / rows)) @ (lost_freedom / rows)
    apart = float((((wins + losses).sum(axis=0) / rows - (sums / rows) ** 2) / rows).sum())
    return float(together @ together) / apart if apart > 0 else 1.0


def _score_test(wins: float, losses: float) -> float:
    """McNemar's chi-squared p-value without continuity correction; numbers need not be whole."""
    if wins == losses:
        return 1.0
    return float(2 * special.ndtr(-abs(wins - losses) / np.sqrt(wins + losses)))


def _tango(wins: float, losses: float, rows: float, *, value: float, z: float | None) -> Interval:
    """Tango's interval of the mean difference; numbers need not be whole, and no rows give [-1, 1]."""
    z = normal_quantile() if z is None else z
    low, high = -_tango_upper(losses, wins, rows, z), _tango_upper(wins, losses, rows, z)
    return Interval(value, min(low, value), max(high, value))


def _tango_upper(wins: float, losses: float, rows: float, z: float) -> float:
    """Upper end: the largest difference whose score statistic does not fall below -z.

    Tango (1998), Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design. The statistic falls in the difference, so 60 halvings of [estimate, 1] find the end.
    """
    if rows <= 0:
        return 1.0
    low, high = (wins - losses) / rows, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        a = 2 * rows
        b = -wins - losses + (2 * rows - wins + losses) * middle
        c = -losses * middle * (1 - middle)
        chance_of_loss = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        deviation = math.sqrt(max(rows * (2 * chance_of_loss + middle * (1 - middle)), 0.0))
        if wins - losses - rows * middle >= -z * deviation:
            low = middle
        else:
            high = middle
    return float(high)
