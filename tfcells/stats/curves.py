"""Curves over all thresholds of a class's probability, ready to plot, and the interval of the area under one.

A row is called positive where its score is at least the threshold, so rows of equal score are called together
and a curve has a point per distinct score. Thresholds fall along a ROC curve and rise along a threshold curve.
"""

from dataclasses import dataclass

import numpy as np

from tfcells.arrays import Float64, Groups, Hits, Labels, Probabilities
from tfcells.errors import RequestError
from tfcells.stats.clusters import Counts, count_by_group, effective_number, effective_share, quantile_of_t
from tfcells.stats.intervals import Interval, wilson_of_share
from tfcells.stats.scored import check_scored, one_class

Points = Float64[np.ndarray, " points"]
Scores = Float64[np.ndarray, " images"]
PerCurve = Float64[np.ndarray, " curves"]


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Receiver operating characteristic, from (0, 0) to (1, 1); lines join its points.

    Attributes:
        threshold: `(points,)`, falling from infinity.
        false_positive_rate: `(points,)`, rising.
        true_positive_rate: `(points,)`, rising.
    """

    threshold: Float64[np.ndarray, " points"]
    false_positive_rate: Float64[np.ndarray, " points"]
    true_positive_rate: Float64[np.ndarray, " points"]

    @property
    def area(self) -> float:
        """Area under the lines; `metrics.auc` of the same rows."""
        return float(np.trapezoid(self.true_positive_rate, self.false_positive_rate))


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """What calling a class at a threshold would give, for each distinct score.

    Attributes:
        threshold: `(points,)`, rising.
        sensitivity: `(points,)`, share of the class's rows that are called; recall.
        specificity: `(points,)`, share of the other rows that are not called.
        positive_predictive_value: `(points,)`, share of called rows that are of the class; precision. It holds
            for the class's share among these rows only.
        f1: `(points,)`, harmonic mean of sensitivity and positive predictive value.
    """

    threshold: Float64[np.ndarray, " points"]
    sensitivity: Float64[np.ndarray, " points"]
    specificity: Float64[np.ndarray, " points"]
    positive_predictive_value: Float64[np.ndarray, " points"]
    f1: Float64[np.ndarray, " points"]


def roc_curve(probabilities: Probabilities, true: Labels, *, of_class: int) -> RocCurve:
    """ROC curve of one class against the rest.

    Args:
        probabilities: `(images, classes)`.
        true: `(images,)`, class indices.
        of_class: Index of the class.

    Raises:
        RequestError: As in `scored.one_class`, or if all rows or none are of the class.
    """
    threshold, hit, false = _called(*one_class(probabilities, true, of_class=of_class), of_class=of_class)
    return RocCurve(threshold, false / false[-1], hit / hit[-1])


def threshold_curve(probabilities: Probabilities, true: Labels, *, of_class: int) -> ThresholdCurve:
    """Sensitivity, specificity, positive predictive value and F1 of a class by threshold; as `roc_curve`."""
    threshold, hit, false = (
        values[:0:-1] for values in _called(*one_class(probabilities, true, of_class=of_class), of_class=of_class)
    )
    positive, negative = hit[0], false[0]
    return ThresholdCurve(
        threshold, hit / positive, 1 - false / negative, hit / (hit + false), 2 * hit / (hit + false + positive)
    )


def auc_interval(
    probabilities: Probabilities, true: Labels, groups: Groups, *, of_class: int | None = None
) -> Interval:
    """Area under the ROC curve and its interval at 95 %, without resampling.

    A row's placement is the share of rows of the other side that it is ranked rightly against, and the variance
    of the area is the one of the mean placements (DeLong, DeLong & Clarke-Pearson 1988, Comparing the areas under
    two or more correlated receiver operating characteristic curves), summed over groups first where rows are
    grouped (Obuchowski 1997, Nonparametric analysis of clustered ROC curve data). The rest is what
    `intervals.wilson_of_metric` does: Wilson's interval of as many rows as would give a share that variance, with
    the design effect of `clusters`, and each class's placements drawn by one row towards the mean area, so that a
    rare class that happens to be ranked without a fault is not taken for a perfect one.

    Args:
        probabilities: `(images, classes)`.
        true: `(images,)`, class indices.
        groups: `(images,)`, group numbers; rows with one number must not be parted.
        of_class: A class against the rest; the mean over the classes that have rows if None, as in `metrics.auc`.

    Raises:
        RequestError: As in `roc_curve`.
    """
    check_scored(probabilities, true)
    classes = np.unique(true).tolist() if of_class is None else [of_class]
    areas, influence = _areas_and_influence(probabilities, true, classes)
    value = float(areas.mean())
    pull = value if 0 < value < 1 else (value * len(true) + 0.5) / (len(true) + 1)
    rows = np.array([min((true == k).sum(), (true != k).sum()) for k in classes], dtype=np.float64)
    center = float(((rows * areas + pull) / (rows + 1)).mean())
    # What one more row of each class adds to the variance, ranked wholly right or wrong with the chance `pull`.
    added = (pull * (1 - pull) + rows / (rows + 1) * (areas - pull) ** 2) / (rows + 1) / rows
    variance = float(influence @ influence + added.sum() / len(classes) ** 2)
    predicted = probabilities.argmax(axis=1)
    missed = predicted != true if of_class is None else (predicted == of_class) != (true == of_class)
    share = _share_of_groups(influence, missed, groups)
    return wilson_of_share(value, center * (1 - center) / variance * share)


def _areas_and_influence(probabilities: Probabilities, true: Labels, classes: list[int]) -> tuple[PerCurve, Scores]:
    """Area of each class, and by how much each row moves their mean."""
    areas, influence = np.empty(len(classes)), np.zeros(len(true))
    for place, k in enumerate(classes):
        scores, positive = one_class(probabilities, true, of_class=k)
        _refuse_one_sided(positive, of_class=k)
        placements = _placements(scores, positive)
        areas[place] = placements[positive].mean()
        side = np.where(positive, positive.sum(), (~positive).sum())
        influence += (placements - areas[place]) / side / len(classes)
    return areas, influence


def _share_of_groups(influence: Scores, missed: Hits, groups: Groups) -> float:
    """Effective share of rows, by what groups do to the sum of the rows' influences."""
    sizes, misses = count_by_group(groups, missed)
    single = float(influence @ influence)
    together = np.bincount(np.unique(groups, return_inverse=True)[1], weights=influence)
    ratio = len(sizes) / max(len(sizes) - 1, 1) * float(together @ together) / single if single > 0 else 1.0
    share = effective_share(sizes, misses, np.ones_like(sizes), variance_ratio=ratio)
    return share * _few_groups_decide(sizes, together) if len(sizes) < len(groups) else share


def _few_groups_decide(sizes: Counts, together: Float64[np.ndarray, " kinds"]) -> float:
    """A factor below 1 where a variance between groups comes from a few of them, as with a rare class's groups.

    Satterthwaite (1946), An approximate distribution of estimates of variance components: squares that differ
    are known like fewer equal ones. Student's quantile for so many would be squared here; it is not, by simulation:
    groups that differ by chance alone lower that number too, and 50 alike would then cover 98 % instead of 95.
    """
    squares = together**2
    degrees = squares.sum() ** 2 / max(float(squares @ squares), np.finfo(np.float64).tiny)
    groups = effective_number(sizes, np.ones_like(sizes))
    if groups <= 2:
        return 1.0
    return min(1.0, quantile_of_t(groups - 1) / quantile_of_t(max(degrees, 1.0)))


def _placements(scores: Scores, positive: Hits) -> Scores:
    """Share of the other side that each row is ranked rightly against; ties count one half."""
    placements = np.empty(len(scores))
    for side, sign in ((positive, 1), (~positive, -1)):
        others = np.sort(sign * scores[~side])
        own = sign * scores[side]
        below = np.searchsorted(others, own, side="left") + np.searchsorted(others, own, side="right")
        placements[side] = below / (2 * len(others))
    return placements


def _called(scores: Scores, positive: Hits, *, of_class: int) -> tuple[Points, Points, Points]:
    """Thresholds from infinity down, and the rows of the class and of the rest that are called at each."""
    _refuse_one_sided(positive, of_class=of_class)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # of each distinct score
    hit, false = (np.cumsum(side[order])[last].astype(np.float64) for side in (positive, ~positive))
    return (
        np.concatenate([[np.inf], scores[order][last]]),
        np.concatenate([[0.0], hit]),
        np.concatenate([[0.0], false]),
    )


def _refuse_one_sided(positive: Hits, *, of_class: int) -> None:
    if positive.all() or not positive.any():
        raise RequestError(
            f"{int(positive.sum())} of {len(positive)} rows are of class {of_class}. Expected rows of it and of "
            "other classes, to rank them against each other."
        )
