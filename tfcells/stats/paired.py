"""Comparisons of two models on the same rows, and of two procedures over resampled splits."""

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from tfcells.arrays import Float64, Groups, Hits
from tfcells.errors import RequestError
from tfcells.stats.clusters import TAIL, Counts, effective_share, normal_quantile
from tfcells.stats.intervals import Interval

SMALLEST_P = 1e-12
"""The sign-flip distribution comes from a Fourier transform; below this its rounding errors speak."""

EQUAL = 1e-9
"""Differences of accuracies that are nearer than this differ by rounding only."""


@dataclass(frozen=True)
class PairedTest:
    """A difference, its interval, and how likely one as large is without any.

    Attributes:
        difference: First minus second.
        p_value: Two-sided.
        method: The test's name, for a table's footnote.
    """

    difference: Interval
    p_value: float
    method: str


def paired_difference(hits_a: Hits, hits_b: Hits, groups: Groups) -> PairedTest:
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

    Raises:
        RequestError: If there is no row.
    """
    if len(hits_a) == 0:
        raise RequestError("No rows came. Expected the hits of two models on at least one common row.")
    number = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(number)
    wins = np.bincount(number[hits_a & ~hits_b], minlength=len(sizes))
    losses = np.bincount(number[hits_b & ~hits_a], minlength=len(sizes))
    share = _effective_share(sizes, wins, losses)
    won, lost = float(wins.sum()), float(losses.sum())
    difference = _tango(won * share, lost * share, len(hits_a) * share, value=(won - lost) / len(hits_a))
    if (sizes == 1).all():
        return PairedTest(difference, _mcnemar(int(won), int(lost)), "exact McNemar test")
    p_value = max(_sign_flip(wins - losses), _score_test(won * share, lost * share))
    return PairedTest(difference, p_value, "sign-flip and score test over groups")


def corrected_resampled_t(differences: Float64[np.ndarray, " splits"], *, n_train: int, n_test: int) -> PairedTest:
    """Compare two procedures by their differences over repeated splits of the same rows.

    Nadeau & Bengio (2003), Inference for the generalization error: training sets overlap, so the variance of the
    mean is (1 / splits + n_test / n_train) times the sample variance, with t at splits - 1 degrees of freedom.
    Differences that are all equal say nothing of their spread: p is 1 and the interval [-1, 1].

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
        return PairedTest(Interval(mean, -1.0, 1.0), 1.0, f"{method}, undecided: the splits do not differ")
    error = float(np.sqrt((1 / splits + n_test / n_train) * differences.var(ddof=1)))
    half = error * float(special.stdtrit(splits - 1, TAIL))
    p_value = 2 * float(special.stdtr(splits - 1, -abs(mean) / error))
    return PairedTest(Interval(mean, mean - half, mean + half), p_value, method)


def _mcnemar(wins: int, losses: int) -> float:
    """Two-sided binomial p-value that wins and losses are equally likely."""
    return min(1.0, 2 * float(stats.binom.cdf(min(wins, losses), wins + losses, 0.5)))


def _sign_flip(differences: Counts) -> float:
    """Share of all sign flips of the groups' differences whose sum is at least as far from 0.

    Flipping a set of groups lowers the largest sum, T = sum |d|, by twice their |d|. The lowered part's
    characteristic function is the product of (1 + exp(i w |d|)) / 2 over groups, a phase times cosines.
    """
    magnitudes, times = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if len(magnitudes) == 0:
        return 1.0
    largest = int(magnitudes @ times)
    points = largest + 1
    index = np.arange(points)
    cosines = np.ones(points)
    for magnitude, count in zip(magnitudes, times, strict=True):
        cosines *= np.cos(np.pi * (magnitude * index % (2 * points)) / points) ** count
    phase = np.exp(1j * np.pi * (largest * index % (2 * points)) / points)
    chances = np.fft.fft(phase * cosines).real / points
    far = np.abs(largest - 2 * index) >= abs(int(differences.sum()))
    fewest = 2.0 ** (1 - min(int(times.sum()), 1000))  # the data and their mirror image are always among the flips
    return float(np.clip(chances[far].sum(), max(fewest, SMALLEST_P), 1.0))


def _effective_share(sizes: Counts, wins: Counts, losses: Counts) -> float:
    """Effective number of rows as a share of the rows, by what the groups do to the mean difference."""
    rows, groups = int(sizes.sum()), len(sizes)
    value = (wins - losses).sum() / rows
    ratio = 1.0
    independent = ((wins + losses).sum() / rows - value**2) / max(rows - 1, 1)
    if groups > 1 and independent > 0:
        left_out = ((wins - losses).sum() - (wins - losses)) / (rows - sizes)
        ratio = float((groups - 1) * left_out.var() / independent)
    once = np.ones_like(sizes)
    return effective_share(sizes, wins + losses, once, variance_ratio=ratio, parts=(wins, losses))


def _score_test(wins: float, losses: float) -> float:
    """McNemar's chi-squared p-value without continuity correction; numbers need not be whole."""
    if wins == losses:
        return 1.0
    return float(2 * special.ndtr(-abs(wins - losses) / np.sqrt(wins + losses)))


def _tango(wins: float, losses: float, rows: float, *, value: float) -> Interval:
    """Tango's interval of the mean difference; numbers need not be whole, and no rows give [-1, 1]."""
    low, high = -_tango_upper(losses, wins, rows), _tango_upper(wins, losses, rows)
    return Interval(value, min(low, value), max(high, value))


def _tango_upper(wins: float, losses: float, rows: float) -> float:
    """Upper end: the largest difference whose score statistic does not fall below -z.

    Tango (1998), Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design. The statistic falls in the difference, so 60 halvings of [estimate, 1] find the end.
    """
    if rows <= 0:
        return 1.0
    z = normal_quantile()
    low, high = (wins - losses) / rows, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        a = 2 * rows
        b = -wins - losses + (2 * rows - wins + losses) * middle
        c = -losses * middle * (1 - middle)
        chance_of_loss = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        deviation = np.sqrt(max(rows * (2 * chance_of_loss + middle * (1 - middle)), 0.0))
        if wins - losses - rows * middle >= -z * deviation:
            low = middle
        else:
            high = middle
    return float(high)
