"""Learning curves: what more labels would bring, and when nobody can say.

Errors are taken to fall like a + b n^-c with the number n of training rows (Cortes et al. 1994, Learning curves:
asymptotic values and rate of convergence; for images Hestness et al. 2017, Deep learning scaling is predictable,
empirically). Sizes that were tried say little about the asymptote a, and the curves of many models have an elbow
that comes later, so nothing is said about more than `REACH` times the largest size.
"""

from dataclasses import dataclass

import numpy as np

from tfcells.arrays import Float64, Groups, Int64, Labels
from tfcells.errors import RequestError
from tfcells.stats.clusters import normal_quantile, quantile_of_t
from tfcells.stats.intervals import Interval

REACH = 10.0
"""How many times the largest size that was tried the curve is followed."""

EXPONENTS = np.geomspace(0.05, 2.0, 80)
"""Exponents c that are tried: published ones lie between 0.07 and 1."""

FEWEST_SIZES = 4
"""A curve of three parameters needs a fourth point to be contradicted."""

OUTLIER = 4.0
"""Robust standard deviations from its size's median at which an error is cut off: a run that failed."""

SMALLEST_SPREAD = 1e-4
"""Standard deviation between repeats below which none is believed: scores of few rows are often equal."""

NUMBERS = 400
"""Sizes at which a target is looked for."""

Sizes = Int64[np.ndarray, " sizes"]
Order = Int64[np.ndarray, " groups"]
Errors = Float64[np.ndarray, "repeats sizes"]
PerSize = Float64[np.ndarray, " sizes"]
PerNumber = Float64[np.ndarray, " numbers"]


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """A fitted curve, error = asymptote + scale * n ** -exponent.

    Attributes:
        sizes: `(sizes,)`, int64, training rows, rising.
        scores: `(sizes,)`, mean score at each size.
        asymptote: Error that no number of labels would undercut, if the curve goes on like this.
        scale: Factor of the part that falls.
        exponent: How fast it falls.
        size_errors: `(sizes,)`, standard error of each mean score within repeats.
        shared_room: Half of the interval at 95 % of what all sizes share: repeats, and the rows scored on.
        quantile: Student's quantile for the degrees of freedom of `size_errors`.
    """

    sizes: Int64[np.ndarray, " sizes"]
    scores: Float64[np.ndarray, " sizes"]
    asymptote: float
    scale: float
    exponent: float
    size_errors: Float64[np.ndarray, " sizes"]
    shared_room: float
    quantile: float

    def predict(self, size: float | int) -> Interval:
        """The mean score at a number of training rows, with its interval at 95 %.

        The interval holds every score that some curve goes through whose sum of squares, in standard errors, is
        within a squared quantile of the smallest one (a profile likelihood; Bates & Watts 1988, Nonlinear
        regression analysis). It knows that small asymptotes with slow falls fit as well as large ones with fast
        falls, which a standard error at the best fit does not.

        Raises:
            RequestError: If the size is below the smallest one tried, or above `REACH` times the largest.
        """
        _check_reach(size, self.sizes)
        value, low, high = self._scores_at(np.array([float(size)]))
        return Interval(float(value[0]), float(low[0]), float(high[0]))

    def _scores_at(self, numbers: PerNumber) -> tuple[PerNumber, PerNumber, PerNumber]:
        """Score and interval's ends at each of some sizes."""
        value = np.clip(self.asymptote + self.scale * numbers**-self.exponent, 0, 1)
        least, most = _profile(self.sizes, 1 - self.scores, self.size_errors, numbers, self.quantile)
        low = np.clip(value - np.hypot(value - np.minimum(least, value), self.shared_room), 0, 1)
        high = np.clip(value + np.hypot(np.maximum(most, value) - value, self.shared_room), 0, 1)
        return 1 - value, 1 - high, 1 - low


@dataclass(frozen=True)
class LabelsNeeded:
    """Training rows that a target score takes, as far as the curve is followed.

    Attributes:
        target: The score that was asked for.
        size: Rows at which the fitted curve reaches it; None if not within `limit`.
        low: Rows at which the most hopeful curve that fits reaches it; None if not even that one within `limit`.
        high: Rows at which the least hopeful one does; None if not within `limit`.
        current: Rows of the largest size tried.
        limit: `REACH` times as many.
        asymptote: Score that the fitted curve never exceeds.
        faultless: Whether no error was made at the largest size tried.
    """

    target: float
    size: int | None
    low: int | None
    high: int | None
    current: int
    limit: int
    asymptote: float
    faultless: bool

    @property
    def statement(self) -> str:
        """One or two sentences that promise no more than the curve shows."""
        target, limit = f"{self.target:.1%}", f"{self.limit:,} training images, as far as this curve can be followed"
        if self.faultless:
            return f"No error was made after learning from {self.current:,} images: there is none to halve."
        if self.low is None:
            return f"{target} is out of reach: no curve that fits the points gets there within {limit}."
        if self.size is None:
            beyond = ", and its asymptote lies below" if self.asymptote < self.target else ""
            return (
                f"{target} is not to be expected: the fitted curve does not reach it within {limit}{beyond}. At the "
                f"very least it takes {self.low:,} images."
            )
        if self.high is not None and self.high <= self.current:
            return f"{target} is reached with {self.size:,} training images; no more labels are needed for it."
        high = "more than " + f"{self.limit:,}" if self.high is None else f"{self.high:,}"
        between = f"(95 % interval: {self.low:,} to {high})"
        if self.size <= self.current:
            return (
                f"{target} is probably reached already: the fitted curve gets there at {self.size:,} images {between}."
            )
        return (
            f"{target} takes about {self.size:,} training images {between}, {self.size - self.current:,} more than "
            f"the {self.current:,} there are."
        )


def fit_learning_curve(sizes: Sizes, scores: Errors, *, test_error: float = 0.0) -> LearningCurve:
    """Fit an inverse power law to scores at several training sizes.

    For each of `EXPONENTS` the other two parameters are a linear least-squares problem with bounds, so the fit has
    no start values and no local optima. Errors are weighted by their variance between repeats, which is taken to
    change with size like a power. Runs further than `OUTLIER` robust standard deviations from the median of their
    size are cut off there. If the curve misses the means by more than repeats differ, the errors are widened by
    as much (Birge 1932, The calculation of errors by the method of least squares).

    Args:
        sizes: `(sizes,)`, int64, training rows, rising; at least `FEWEST_SIZES`.
        scores: `(repeats, sizes)`, accuracy, balanced accuracy or another score in [0, 1]. A row is one repeat
            (seed or fold) over all sizes; the part that its scores share, e.g. an easy fold, is not mistaken for
            noise of the curve. At least two repeats.
        test_error: Standard error of a score that all repeats share because they are scored on the same rows,
            e.g. the width of its clustered interval divided by 3.92. Resampling repeats cannot show it.

    Raises:
        RequestError: If there are too few sizes or repeats, sizes do not rise, a score is not in [0, 1], or
            `test_error` is negative.
    """
    _check_scores(sizes, scores, test_error)
    errors = _cut_outliers(1 - scores)
    repeats = len(errors)
    mean = errors.mean(axis=0)
    offsets = errors.mean(axis=1) - errors.mean()
    spread = _smooth_spread(sizes, errors - offsets[:, None] - mean)
    asymptote, scale, exponent, misfit = _fit(sizes, mean, spread / np.sqrt(repeats))
    widened = np.sqrt(max(1.0, misfit / (len(sizes) - 3)))
    # What repeats have in common, without what the noise of single scores adds to their means.
    between = max(0.0, float(offsets.var(ddof=1)) - float((spread**2).mean()) / len(sizes))
    return LearningCurve(
        sizes=sizes,
        scores=1 - mean,
        asymptote=asymptote,
        scale=scale,
        exponent=exponent,
        size_errors=spread / np.sqrt(repeats) * widened,
        shared_room=float(
            np.hypot(quantile_of_t(repeats - 1) * np.sqrt(between / repeats), normal_quantile() * test_error)
        ),
        quantile=quantile_of_t((repeats - 1) * (len(sizes) - 1)),
    )


def labels_needed(curve: LearningCurve, target: float) -> LabelsNeeded:
    """How many training rows a target score takes, with the interval that the curve's interval gives.

    Raises:
        RequestError: If the target is not in (0, 1).
    """
    if not 0 < target < 1:
        raise RequestError(f"A score of {target} was asked for. Expected one between 0 and 1, like 0.95.")
    current, limit = int(curve.sizes[-1]), int(REACH * curve.sizes[-1])
    numbers = np.unique(np.geomspace(curve.sizes[0], limit, NUMBERS).round())
    value, low, high = curve._scores_at(numbers)
    size, latest, earliest = (_first_at_least(scores, target, numbers) for scores in (value, low, high))
    faultless = bool(curve.scores[-1] >= 1)
    return LabelsNeeded(target, size, earliest, latest, current, limit, 1 - curve.asymptote, faultless)


def training_sizes(
    labels: Labels, groups: Groups, *, sizes: Sizes, seed: int
) -> tuple[Int64[np.ndarray, " chosen"], ...]:
    """Nested subsets of a training set: each holds the one before it, whole groups, and classes in proportion.

    Groups are put in one order, of which every size takes a beginning. Within the class that most of a group's
    rows have, groups are shuffled; then classes are dealt out evenly. The first group of each class comes first,
    so that every class is in every subset.

    Args:
        labels: `(images,)`, class indices of the training rows.
        groups: `(images,)`, group numbers; a group is in a subset as a whole or not at all.
        sizes: `(sizes,)`, int64, rows wanted, rising.
        seed: Seed of the shuffling.

    Returns:
        For each size, `(chosen,)` row indices in rising order: as near to the size as whole groups come, so take
        their number for the size.

    Raises:
        RequestError: If there is no row, a label is negative, or sizes do not rise from the number of rows that
            the first groups have to at most all rows.
    """
    if len(labels) == 0 or (labels < 0).any():
        raise RequestError(
            f"{len(labels)} rows came, {int((labels < 0).sum())} of them without a label. Expected labelled rows."
        )
    number = np.unique(groups, return_inverse=True)[1]
    order, head = _deal(labels, number, np.random.default_rng(seed))
    reached = np.cumsum(np.bincount(number)[order])
    if len(sizes) == 0 or (np.diff(sizes) <= 0).any() or sizes[0] < reached[head - 1] or sizes[-1] > len(labels):
        raise RequestError(
            f"Sizes {sizes.tolist()} were asked for. Expected rising ones from {int(reached[head - 1])}, one group of "
            f"each class, to {len(labels)}, all rows."
        )
    rank = np.argsort(order)[number]
    last = [int(np.abs(reached - size).argmin()) for size in sizes]
    return tuple(np.flatnonzero(rank <= max(place, head - 1)) for place in last)


def _deal(labels: Labels, number: Groups, generator: np.random.Generator) -> tuple[Order, int]:
    """An order of groups whose beginnings are stratified, and how many groups give each class its first."""
    classes = int(labels.max()) + 1
    sizes = np.bincount(number)
    cell, count = np.unique(number * classes + labels, return_counts=True)
    by_count = np.lexsort((cell, count))  # the last one of a group is its most frequent class
    stratum = np.empty(len(sizes), dtype=np.int64)
    stratum[cell[by_count] // classes] = cell[by_count] % classes
    shuffled = generator.permutation(len(sizes))
    turn, first = np.empty(len(sizes)), 0
    for k in np.unique(stratum):
        members = shuffled[stratum[shuffled] == k]
        rows = np.cumsum(sizes[members])
        turn[members] = (rows - sizes[members] / 2) / rows[-1]
        turn[members[0]] = -1.0
        first += 1
    return shuffled[np.argsort(turn[shuffled], kind="stable")], first


def _fit(sizes: Sizes, mean: PerSize, deviation: PerSize) -> tuple[float, float, float, float]:
    """Asymptote, scale, exponent and sum of squares of the best curve with asymptote and scale not below 0."""
    asymptote, scale, squares = _lines(sizes, mean, deviation)
    best = int(squares.argmin())
    return float(asymptote[best]), float(scale[best]), float(EXPONENTS[best]), float(squares[best])


def _profile(
    sizes: Sizes, mean: PerSize, deviation: PerSize, numbers: PerNumber, quantile: float
) -> tuple[PerNumber, PerNumber]:
    """Least and most error at each number, over all bounded curves within a squared quantile of the best one.

    For one exponent the sum of squares is a quadratic in (asymptote, scale), hence in the error at a number: the
    curves within are an ellipse, whose ends in that direction are known. Ends beyond a bound are left out; the
    curves on the bounds, where the asymptote is 0 or the scale is, have a quadratic each of one parameter.
    """
    s, sx, sxx, sy, sxy = _sums(sizes, mean, deviation)
    x = numbers[None, :] ** -EXPONENTS[:, None]
    allowed = float(_lines(sizes, mean, deviation)[2].min()) + quantile**2
    total = float((mean / deviation) @ (mean / deviation))
    det = s * sxx - sx**2
    scale = (s * sxy - sx * sy) / det
    asymptote = (sy - scale * sx) / s
    room = _root(allowed - (total - asymptote * sy - scale * sxy)) / det
    # The end of the ellipse is the centre moved along (inverse normal matrix) @ (1, x).
    length = np.sqrt(det * (sxx - 2 * x * sx + x**2 * s))
    step_a, step_b = room * det * (sxx - x * sx) / length, room * det * (x * s - sx) / length
    ends = []
    for sign in (-1, 1):
        a, b = asymptote + sign * step_a, scale + sign * step_b
        ends.append(np.where((a >= 0) & (b >= 0), a + b * x, np.nan))
        on_scale = sxy / sxx + sign * _root(allowed - (total - sxy**2 / sxx)) / np.sqrt(sxx)
        ends.append(np.where(on_scale >= 0, on_scale * x, np.nan))
        flat = sy / s + sign * _root(allowed - (total - sy**2 / s)) / np.sqrt(s)
        ends.append(np.where(flat >= 0, flat + 0 * x, np.nan))
    errors = np.concatenate(ends)
    return np.nanmin(errors, axis=0), np.nanmax(errors, axis=0)


def _root(squares: np.ndarray) -> np.ndarray:
    """Square root, NaN below 0: no curve is within."""
    return np.sqrt(np.where(squares >= 0, squares, np.nan))


def _sums(sizes: Sizes, mean: PerSize, deviation: PerSize) -> tuple[np.ndarray, ...]:
    """Weighted sums of 1, x, x x, y and x y with x = n^-c, a column over exponents each."""
    weight = deviation**-2.0
    x = sizes[None, :] ** -EXPONENTS[:, None]
    sums = np.full(len(x), weight.sum()), x @ weight, x**2 @ weight, np.full(len(x), weight @ mean), x @ (weight * mean)
    return tuple(column[:, None] for column in sums)


def _lines(sizes: Sizes, mean: PerSize, deviation: PerSize) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Asymptote, scale and sum of squares of the bounded least-squares curve of each exponent."""
    s, sx, sxx, sy, sxy = (column[:, 0] for column in _sums(sizes, mean, deviation))
    scale = np.maximum((s * sxy - sx * sy) / (s * sxx - sx**2), 0)
    asymptote = (sy - scale * sx) / s
    below = asymptote < 0
    scale, asymptote = np.where(below, sxy / sxx, scale), np.where(below, 0.0, asymptote)
    x = sizes[None, :] ** -EXPONENTS[:, None]
    squares = ((mean - asymptote[:, None] - scale[:, None] * x) / deviation) ** 2
    return asymptote, scale, squares.sum(axis=1)


def _smooth_spread(sizes: Sizes, residuals: Errors) -> PerSize:
    """Standard deviation between repeats at each size, as a power of the size: few repeats know few of them.

    Residuals from repeat means and size means keep (repeats - 1)(sizes - 1) degrees of freedom. The exponent is
    kept in [-1, 0]: scores do not spread more with more rows.
    """
    repeats, count = residuals.shape
    # A score of all repeats that is the same to the last digit is a coincidence of few test rows.
    found = np.sqrt((residuals**2).mean(axis=0)) + SMALLEST_SPREAD
    logs = np.log(sizes / sizes.mean())
    away = logs - logs.mean()
    power = float(np.clip(away @ np.log(found) / (away @ away), -1.0, 0.0))
    shape = np.exp(power * logs)
    degrees = (repeats - 1) * (count - 1)
    level = np.sqrt(((residuals / shape) ** 2).sum() / degrees)
    return np.asarray(np.maximum(level, SMALLEST_SPREAD) * shape)


def _cut_outliers(errors: Errors) -> Errors:
    """Errors within `OUTLIER` robust standard deviations of the median of their size; as they are below 4 repeats."""
    if len(errors) < 4:
        return errors
    middle = np.median(errors, axis=0)
    # Pooled over sizes; 1.4826 makes a median of distances the standard deviation of normal ones.
    robust = 1.4826 * max(float(np.median(np.abs(errors - middle))), SMALLEST_SPREAD)
    return np.asarray(np.clip(errors, middle - OUTLIER * robust, middle + OUTLIER * robust))


def _first_at_least(scores: PerNumber, target: float, numbers: PerNumber) -> int | None:
    reached = np.flatnonzero(scores >= target)
    return int(numbers[reached[0]]) if len(reached) else None


def _check_reach(size: float | int, sizes: Sizes) -> None:
    if not sizes[0] <= size <= REACH * sizes[-1]:
        raise RequestError(
            f"The score at {size:g} training rows was asked for. Expected a number from {sizes[0]}, the smallest that "
            f"was tried, to {int(REACH * sizes[-1])}, {REACH:g} times the largest; try larger ones to see further."
        )


def _check_scores(sizes: Sizes, scores: Errors, test_error: float) -> None:
    if scores.ndim != 2 or scores.shape[1] != len(sizes) or len(scores) < 2 or len(sizes) < FEWEST_SIZES:
        raise RequestError(
            f"Scores of shape {scores.shape} came for {len(sizes)} sizes. Expected (repeats, sizes) with at least 2 "
            f"repeats and {FEWEST_SIZES} sizes; fewer do not show a curve and its noise."
        )
    if (sizes < 1).any() or (np.diff(sizes) <= 0).any():
        raise RequestError(f"Sizes {sizes.tolist()} came. Expected rising numbers of training rows, from 1.")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise RequestError(
            f"The scores reach from {scores.min()} to {scores.max()}. Expected accuracies or other scores in [0, 1]; "
            "leave out repeats in which a size failed."
        )
    if not 0 <= test_error < 1:
        raise RequestError(f"A test error of {test_error} came. Expected a standard error in [0, 1).")
