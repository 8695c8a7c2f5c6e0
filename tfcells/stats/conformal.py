"""Prediction sets that hold the true class as often as promised, whatever the model (split conformal prediction).

Vovk, Gammerman & Shafer (2005), Algorithmic learning in a random world; Angelopoulos & Bates (2023), Conformal
prediction: a gentle introduction. Rows that the model was not trained on give each class a score of how strange
it is; a set holds the classes that are no stranger than most true classes were.

Rows of one group are not exchangeable with a new row, groups are with a new group. So every group weighs the
same, its rows share its weight, and one more group, the new one, is taken to be stranger than all: the quantile
of Lee, Barber & Willett (2023), Distribution-free inference with hierarchical data. It promises coverage of a
row drawn from a new group. Of the choices of Dunn, Wasserman & Ramdas (2022, Distribution-free prediction sets
for two-layer hierarchical models) it has the guarantee of one row per group, but uses all rows and no seed; with
one row per group it is the usual order statistic, the ceil((n + 1)(1 - alpha))-th smallest of n scores.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfcells.arrays import Float64, Groups, Hits, Labels, Probabilities
from tfcells.errors import RequestError
from tfcells.stats.intervals import Interval, wilson_clustered
from tfcells.stats.scored import check_probabilities, check_scored

Score = Literal["lac", "aps"]
"""How strange a class is: see `ConformalRule`."""

ROUNDING = 1e-12
"""Scores are sums of probabilities; ones that are nearer than this are equal."""

Scores = Float64[np.ndarray, " images"]
ClassScores = Float64[np.ndarray, "images classes"]


@dataclass(frozen=True, eq=False)
class ConformalRule:
    """Thresholds that turn probabilities into sets of classes.

    Attributes:
        score: "lac", one minus the probability of a class (Sadinle, Lei & Wasserman 2019, Least ambiguous
            set-valued classifiers with bounded error levels): the smallest sets on average. "aps", the
            probability of all likelier classes together with its own (Romano, Sesia & Candès 2020,
            Classification with valid and adaptive coverage): larger sets for harder rows.
        alpha: Share of sets that may miss the true class.
        thresholds: `(classes,)`, a class is in the set if its score is at most this; infinite where there were
            too few rows to leave the class out of any set. All equal unless calibrated per class.
        randomised: Whether "aps" counts a drawn part of a class's own probability, as its authors do, instead of
            all of it: both cover as promised, the drawn part with smaller sets for confident models. Sets may be
            empty, as with "lac".
        groups: Groups that it was calibrated on.
    """

    score: Score
    alpha: float
    thresholds: Float64[np.ndarray, " classes"]
    randomised: bool
    groups: int

    def sets(self, probabilities: Probabilities, *, seed: int | None = None) -> np.ndarray:
        """Which classes are in the set of each row, bool `(images, classes)`.

        Args:
            probabilities: `(images, classes)`, of the model that the rule was calibrated for.
            seed: Seed of the parts that a randomised rule draws; not that of the calibration.

        Raises:
            RequestError: If the rows are no probabilities of as many classes, or a randomised rule has no seed.
        """
        check_probabilities(probabilities)
        if probabilities.shape[1] != len(self.thresholds):
            raise RequestError(
                f"Probabilities of {probabilities.shape[1]} classes came. Expected {len(self.thresholds)}, as in "
                "the calibration."
            )
        if self.randomised and seed is None:
            raise RequestError("A randomised rule came without a seed. Expected a seed, an integer.")
        parts = _parts(len(probabilities), seed if self.randomised else None)
        return np.asarray(_class_scores(probabilities, self.score, parts) <= self.thresholds + ROUNDING)


@dataclass(frozen=True, eq=False)
class MeasuredCoverage:
    """What sets do on rows that they were not calibrated on, over repeated splits of the groups.

    Attributes:
        coverage: Share of sets with the true class. The interval is that of one split's test rows, averaged over
            splits: splits share rows, so many of them do not narrow it.
        per_class: Coverage by true class; None for a class without rows.
        by_split: `(splits,)`, coverage in each split, to show how much it depends on the calibration rows.
        mean_size: Mean number of classes in a set.
        singletons: Share of sets of one class.
        empty: Share of sets without a class.
        alpha: Share that may miss.
    """

    coverage: Interval
    per_class: tuple[Interval | None, ...]
    by_split: Float64[np.ndarray, " splits"]
    mean_size: float
    singletons: float
    empty: float
    alpha: float


def calibrate(
    probabilities: Probabilities,
    true: Labels,
    groups: Groups,
    *,
    alpha: float = 0.1,
    score: Score = "lac",
    per_class: bool = False,
    seed: int | None = None,
) -> ConformalRule:
    """Thresholds of prediction sets, from rows that the model was not trained on.

    On all out-of-fold rows it gives the final rule. The guarantee is for one model; out-of-fold rows come from
    several, each trained on fewer rows than the model that is served, so there it is near, not exact.
    `measure_coverage` says how near.

    Args:
        probabilities: `(images, classes)`.
        true: `(images,)`, class indices.
        groups: `(images,)`, group numbers; rows with one number must not be parted.
        alpha: Share of sets that may miss the true class, in (0, 1). Fewer than 1 / alpha - 1 groups leave no
            choice but all classes, and the thresholds are infinite.
        score: "lac" or "aps".
        per_class: Promise the coverage for each true class (Vovk's Mondrian categories), from its rows alone.
        seed: Makes "aps" randomised; must be None for "lac", which has nothing to draw.

    Raises:
        RequestError: As in `scored.check_scored`, or if `alpha`, `score` or `seed` is not as above.
    """
    check_scored(probabilities, true)
    if not 0 < alpha < 1:
        raise RequestError(f"A share of {alpha} misses was asked for. Expected one between 0 and 1, like 0.1.")
    if score not in ("lac", "aps") or (score == "lac" and seed is not None):
        raise RequestError(f"Score {score!r} with seed {seed} was asked for. Expected 'lac' without, or 'aps'.")
    classes = probabilities.shape[1]
    strange = _class_scores(probabilities, score, _parts(len(true), seed))[np.arange(len(true)), true]
    if per_class:
        of = [true == k for k in range(classes)]
        thresholds = [_quantile(strange[rows], groups[rows], alpha) for rows in of]
    else:
        thresholds = [_quantile(strange, groups, alpha)] * classes
    return ConformalRule(score, alpha, np.array(thresholds), seed is not None, len(np.unique(groups)))


def measure_coverage(
    probabilities: Probabilities,
    true: Labels,
    groups: Groups,
    *,
    seed: int,
    alpha: float = 0.1,
    score: Score = "lac",
    per_class: bool = False,
    randomised: bool = False,
    splits: int = 50,
) -> MeasuredCoverage:
    """Calibrate on half of the groups, look at the other half, again and again.

    Rows are counted alike here, whereas the promise counts groups alike; they differ where large groups are
    harder or easier than small ones.

    Args:
        probabilities: `(images, classes)`, out of fold.
        true: `(images,)`, class indices.
        groups: `(images,)`, group numbers; a group is never on both sides.
        seed: Seed of the splits, and of a randomised score.
        alpha: As in `calibrate`, like `score` and `per_class`.
        score: "lac" or "aps".
        per_class: Thresholds per class.
        randomised: Whether "aps" is randomised.
        splits: How many splits.

    Raises:
        RequestError: As in `calibrate`, or if there are fewer than two groups or no split.
    """
    check_scored(probabilities, true)
    number = np.unique(groups, return_inverse=True)[1]
    count = int(number.max()) + 1
    if count < 2 or splits < 1:
        raise RequestError(
            f"{count} groups and {splits} splits came. Expected at least two groups, one to calibrate on and one to "
            "look at, and one split."
        )
    seeds = np.random.default_rng(seed).integers(2**31, size=(splits, 3)).tolist()
    found, sizes = [], []
    for order_seed, first, second in seeds:
        calibration = np.random.default_rng(order_seed).permutation(count)[number] < (count + 1) // 2
        rule = calibrate(
            probabilities[calibration],
            true[calibration],
            number[calibration],
            alpha=alpha,
            score=score,
            per_class=per_class,
            seed=first if randomised else None,
        )
        test = np.flatnonzero(~calibration)
        sets = rule.sets(probabilities[test], seed=second)
        found.append((test, np.asarray(sets[np.arange(len(test)), true[test]])))
        sizes.append(sets.sum(axis=1))
    size = np.concatenate(sizes)
    classes = probabilities.shape[1]
    return MeasuredCoverage(
        coverage=_mean_interval([wilson_clustered(hits, number[rows]) for rows, hits in found]),
        per_class=tuple(_of_class(found, number, true == k) for k in range(classes)),
        by_split=np.array([hits.mean() for _, hits in found]),
        mean_size=float(size.mean()),
        singletons=float((size == 1).mean()),
        empty=float((size == 0).mean()),
        alpha=alpha,
    )


def _quantile(strange: Scores, groups: Groups, alpha: float) -> float:
    """The smallest score at or below which groups of weight (G + 1)(1 - alpha) lie; infinite if there is none."""
    if len(strange) == 0:
        return np.inf
    number, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    order = np.argsort(strange, kind="stable")
    below = np.cumsum(1 / sizes[number[order]])
    place = np.searchsorted(below, (len(sizes) + 1) * (1 - alpha) - 1e-9, side="left")
    return float(strange[order[place]]) if place < len(order) else np.inf


def _class_scores(probabilities: Probabilities, score: Score, parts: Scores) -> ClassScores:
    """How strange each class would be, `(images, classes)`."""
    if score == "lac":
        return np.asarray(1 - probabilities)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    falling = np.take_along_axis(probabilities, order, axis=1)
    scores = np.empty_like(probabilities)
    likelier = np.cumsum(falling, axis=1) - falling
    np.put_along_axis(scores, order, likelier + parts[:, None] * falling, axis=1)
    return scores


def _parts(rows: int, seed: int | None) -> Scores:
    """The part of a class's own probability that counts in each row: drawn, or all of it."""
    return np.ones(rows) if seed is None else np.random.default_rng(seed).random(rows)


def _of_class(found: list[tuple[np.ndarray, np.ndarray]], number: Groups, members: Hits) -> Interval | None:
    """Coverage of a class's rows over splits; None where it has none."""
    kept = [(rows[members[rows]], hits[members[rows]]) for rows, hits in found]
    intervals = [wilson_clustered(hits, number[rows]) for rows, hits in kept if len(rows)]
    return _mean_interval(intervals) if intervals else None


def _mean_interval(intervals: list[Interval]) -> Interval:
    """Means of values and of ends."""
    value, low, high = np.mean([(one.value, one.low, one.high) for one in intervals], axis=0).tolist()
    return Interval(value, min(low, value), max(high, value))
