"""Abstention: answer only where the model is confident, and know what that gives.

Geifman & El-Yaniv (2017), Selective classification for deep neural networks. Coverage is the share of rows that
are answered, those whose confidence is at least a threshold; accuracy is the share of answers that are right.
"""

from dataclasses import dataclass

import numpy as np

from tfcells.arrays import Float64, Groups, Hits, Int64
from tfcells.errors import RequestError
from tfcells.stats.intervals import Interval, wilson_clustered
from tfcells.stats.scored import Confidence, check_confidence

POINTS = 100
"""Most points of a coverage curve: more cannot be told apart in a figure."""

STEPS = 20
"""Thresholds that are tried for a target: the ones that answer 5 %, 10 %, ... 100 % of the rows."""


@dataclass(frozen=True, eq=False)
class CoverageCurve:
    """Accuracy of the answered rows by threshold, most confident rows first.

    Each interval is for its threshold alone; all of them together hold less often.

    Attributes:
        threshold: `(points,)`, falling.
        answered: `(points,)`, int64, rows whose confidence is at least the threshold.
        coverage: `(points,)`, share of rows answered, rising to 1.
        accuracy: `(points,)`, share of answered rows that are right.
        low: `(points,)`, lower end of its interval at 95 % by groups.
        high: `(points,)`, upper end.
    """

    threshold: Float64[np.ndarray, " points"]
    answered: Int64[np.ndarray, " points"]
    coverage: Float64[np.ndarray, " points"]
    accuracy: Float64[np.ndarray, " points"]
    low: Float64[np.ndarray, " points"]
    high: Float64[np.ndarray, " points"]


@dataclass(frozen=True)
class Abstention:
    """A threshold that keeps an accuracy, or the finding that none was shown to.

    Attributes:
        target: The accuracy that was asked for.
        rows: Rows that came.
        threshold: Answer where the confidence is at least this; None if no threshold passes.
        answered: Rows that it answers; 0 if there is none.
        accuracy: Accuracy of the answers, its interval for this threshold alone; None if there is none.
        coverage: Share of rows answered, with its interval; None if there is none.
        best_low: Highest lower end of any threshold tried: how much could be promised.
    """

    target: float
    rows: int
    threshold: float | None
    answered: int
    accuracy: Interval | None
    coverage: Interval | None
    best_low: float

    @property
    def statement(self) -> str:
        """One sentence that promises no more than was shown."""
        if self.threshold is None or self.accuracy is None:
            return (
                f"No confidence threshold was shown to keep an accuracy of {self.target:.1%}: the best lower bound "
                f"is {self.best_low:.1%}. More rows or a better model are needed, or a lower target."
            )
        return (
            f"At a confidence of {self.threshold:.3f} or more, {self.answered} of {self.rows} rows are answered, "
            f"{self.accuracy.value:.1%} of them rightly; on new rows of the same kind at least "
            f"{self.target:.1%} are right, which is wrong for about 1 in 20 sets of rows like this one."
        )


def coverage_curve(confidence: Confidence, hits: Hits, groups: Groups, *, points: int = POINTS) -> CoverageCurve:
    """Accuracy against coverage, with intervals by groups at each threshold.

    Args:
        confidence: `(images,)`, in [0, 1], e.g. from `scored.top_label`.
        hits: `(images,)`, whether a row is classified rightly.
        groups: `(images,)`, group numbers; rows with one number must not be parted.
        points: Most thresholds; where there are more distinct confidences, evenly spread coverages are taken.

    Raises:
        RequestError: As in `scored.check_confidence`, or if `points` is below 1.
    """
    check_confidence(confidence, hits)
    if points < 1:
        raise RequestError(f"A curve of {points} points was asked for. Expected 1 or more; {POINTS} is usual.")
    thresholds = _thresholds(confidence, points)
    kept = [confidence >= threshold for threshold in thresholds]
    intervals = [wilson_clustered(hits[keep], groups[keep]) for keep in kept]
    answered = np.array([int(keep.sum()) for keep in kept])
    accuracy, low, high = np.array([(one.value, one.low, one.high) for one in intervals]).T
    return CoverageCurve(thresholds, answered, answered / len(hits), accuracy, low, high)


def threshold_for_accuracy(confidence: Confidence, hits: Hits, groups: Groups, *, target: float) -> Abstention:
    """The lowest confidence threshold that was shown to keep the accuracy of the answers at a target.

    A threshold passes if the lower end of its interval at 95 % is at least the target, which is wrong for 1 in 40
    sets of rows. Taking the lowest of several that pass is wrong more often. So few are tried, `STEPS` evenly
    spread coverages; they share most of their rows, and accuracy falls as coverage rises, which leaves but the
    few near the target to be wrong about. benchmarks/simulations.py measures how often the promise fails: below
    1 in 20.

    Args:
        confidence: `(images,)`, in [0, 1], e.g. from `scored.top_label`.
        hits: `(images,)`, whether a row is classified rightly.
        groups: `(images,)`, group numbers; rows with one number must not be parted.
        target: Accuracy in (0, 1). At 95 %, 73 independent rows without a miss are the fewest that pass.

    Raises:
        RequestError: As in `scored.check_confidence`, or if the target is not in (0, 1).
    """
    if not 0 < target < 1:
        raise RequestError(
            f"An accuracy of {target} was asked for. Expected one between 0 and 1, like 0.98; no number of rows "
            "shows that a model is always right."
        )
    curve = coverage_curve(confidence, hits, groups, points=STEPS)
    passing = np.flatnonzero(curve.low >= target)
    best = float(curve.low.max())
    if len(passing) == 0:
        return Abstention(target, len(hits), None, 0, None, None, best)
    last = int(passing[-1])
    threshold = float(curve.threshold[last])
    accuracy = Interval(float(curve.accuracy[last]), float(curve.low[last]), float(curve.high[last]))
    coverage = wilson_clustered(confidence >= threshold, groups)
    return Abstention(target, len(hits), threshold, int(curve.answered[last]), accuracy, coverage, best)


def _thresholds(confidence: Confidence, points: int) -> Float64[np.ndarray, " points"]:
    """Confidences at evenly spread coverages, falling, the lowest one last; equal ones once."""
    falling = np.sort(confidence)[::-1]
    places = np.ceil(np.arange(1, points + 1) * len(falling) / points).astype(np.int64) - 1
    return np.asarray(np.unique(falling[places])[::-1])
