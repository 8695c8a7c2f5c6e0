"""Does a confidence of 90 % mean right in 9 of 10? Reliability diagrams, and a calibration error without its bias.

The expected calibration error (ECE) of a few hundred rows is above 0 even for a model that is calibrated, for
every bin misses its confidence by chance. A bootstrap repeats that bias instead of showing it (its intervals of a
calibrated model's ECE never hold 0), so the estimate here asks which population would show an ECE like the one
observed, and its interval starts at 0 unless a test says otherwise.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfcells.arrays import Float64, Groups, Hits, Int64
from tfcells.errors import RequestError
from tfcells.stats.clusters import TAIL, count_by_group, effective_share
from tfcells.stats.intervals import Interval, wilson_clustered, wilson_of_share
from tfcells.stats.scored import Confidence, check_confidence

Binning = Literal["width", "mass"]
"""Bins of equal width over [0, 1], or with equally many rows."""

HALVINGS = 12
"""Steps of a bisection; ends are then finer than their Monte Carlo error."""

ROUNDING = 1e-12
"""Sums of the same numbers in another order differ by less."""

LARGEST = 64.0
"""Factor of the pattern of gaps beyond which no population is looked for."""

Places = Int64[np.ndarray, " images"]
BinCounts = Int64[np.ndarray, " bins"]
PerBin = Float64[np.ndarray, " bins"]


@dataclass(frozen=True, eq=False)
class ReliabilityDiagram:
    """Share of rows that are right by confidence; bins without rows are left out.

    Attributes:
        left: `(bins,)`, lower edge, not part of the bin (but 0 is).
        right: `(bins,)`, upper edge, part of the bin.
        count: `(bins,)`, int64, rows.
        confidence: `(bins,)`, mean confidence.
        accuracy: `(bins,)`, share of rows that are right (that are of the class, for one class's probability).
        low: `(bins,)`, lower end of the share's interval at 95 %, by groups.
        high: `(bins,)`, upper end.
    """

    left: Float64[np.ndarray, " bins"]
    right: Float64[np.ndarray, " bins"]
    count: Int64[np.ndarray, " bins"]
    confidence: Float64[np.ndarray, " bins"]
    accuracy: Float64[np.ndarray, " bins"]
    low: Float64[np.ndarray, " bins"]
    high: Float64[np.ndarray, " bins"]

    @property
    def error(self) -> float:
        """The ECE over these bins; `metrics.expected_calibration_error` for top labels and equal widths."""
        return float(self.count @ np.abs(self.confidence - self.accuracy) / self.count.sum())


@dataclass(frozen=True)
class CalibrationError:
    """An ECE, what chance alone would show, and what is left.

    Attributes:
        observed: The ECE of the rows.
        by_chance: Mean ECE of equally many rows, in groups as alike, of a calibrated model with these confidences.
        p_value: How often chance alone shows the observed ECE or more.
        error: The population's ECE without the bias of few rows, and its interval at 95 %; it starts at 0 where
            `p_value` is above 0.025.
    """

    observed: float
    by_chance: float
    p_value: float
    error: Interval

    @property
    def distinguishable(self) -> bool:
        """Whether miscalibration can be told from chance: `p_value` at most 0.05."""
        return self.p_value <= 0.05


def reliability_diagram(
    confidence: Confidence, hits: Hits, groups: Groups, *, bins: int = 15, equal: Binning = "width"
) -> ReliabilityDiagram:
    """Mean confidence and share of hits in bins of confidence, with intervals by groups.

    For top labels pass `scored.top_label(...)`, for a class's probability `scored.one_class(...)`.

    Args:
        confidence: `(images,)`, in [0, 1].
        hits: `(images,)`, whether the row is right, or of the class.
        groups: `(images,)`, group numbers; rows with one number must not be parted.
        bins: Number of bins; equal confidences share one, so there may be fewer of equal mass.
        equal: "width" or "mass".

    Raises:
        RequestError: As in `scored.check_confidence`, or if `bins` is below 1.
    """
    check_confidence(confidence, hits)
    place, edges = _bin(confidence, bins, equal)
    used, place = np.unique(place, return_inverse=True)
    count, mean, share = _means(place, confidence, hits)
    intervals = [wilson_clustered(hits[place == b], groups[place == b]) for b in range(len(used))]
    low, high = np.array([(interval.low, interval.high) for interval in intervals]).T
    return ReliabilityDiagram(edges[used], edges[used + 1], count, mean, share, low, high)


def calibration_error(
    confidence: Confidence,
    hits: Hits,
    groups: Groups,
    *,
    seed: int,
    bins: int = 15,
    equal: Binning = "width",
    resamples: int = 1000,
) -> CalibrationError:
    """Test whether confidences are calibrated, and estimate by how much they are not.

    Consistency resampling (Bröcker & Smith 2007, Increasing the reliability of reliability diagrams; as a test of
    the ECE: Vaicenavicius et al. 2019, Evaluating model calibration in classification): hits are drawn with the
    confidences as chances, and the p-value is the share of draws whose ECE is at least the observed one.

    The estimate comes from the same draws for populations that are miscalibrated, in the pattern of the observed
    gaps and by a factor: it is the ECE of the population of which half of the draws reach the observed one, so it
    is median-unbiased. The interval around it has the room that Wilson's interval gives to an accuracy, and
    starts at 0 where the test cannot tell. Rows of a group miss together: deviations of the draws are widened by
    the design effect of `clusters`, from the gaps' variance between groups.

    Args:
        confidence: `(images,)`, in [0, 1].
        hits: `(images,)`, whether the row is right, or of the class.
        groups: `(images,)`, group numbers; rows with one number must not be parted.
        seed: Seed of the draws.
        bins: Number of bins.
        equal: "width" or "mass".
        resamples: Draws for each population.

    Returns:
        The error; from a single group of several rows, which says nothing, p-value 1 and the interval [0, 1].

    Raises:
        RequestError: As in `reliability_diagram`, or if `resamples` is below 1.
    """
    check_confidence(confidence, hits)
    if resamples < 1:
        raise RequestError(f"{resamples} resamples were asked for. Expected 1 or more; 1,000 is usual.")
    place = np.unique(_bin(confidence, bins, equal)[0], return_inverse=True)[1]
    count, mean, share = _means(place, confidence, hits)
    gap = mean - share
    observed = float(count @ np.abs(gap) / len(hits))
    away = confidence - hits - gap[place]
    cells = np.unique(groups, return_inverse=True)[1] * len(count) + place
    cautious = _effective_share(away, cells, hits, groups)
    if cautious <= 0:
        return CalibrationError(observed, observed, 1.0, Interval(observed, 0.0, 1.0))
    draw = _Draws(count, mean, gap if gap.any() else np.ones_like(gap), resamples, seed)
    by_chance = draw(0.0, cautious)
    # The data are one more draw of the null (Davison & Hinkley 1997, ch. 4): no p-value of 0 from some resamples.
    p_value = float(((by_chance >= observed - ROUNDING).sum() + 1) / (len(by_chance) + 1))
    # Caution guards the claim of a miscalibration; in the estimate it would take off more than the bias.
    value = draw.median_unbiased(observed, 1 / max(1.0, _variance_ratio(away, cells)))
    room = _room(away * np.sign(gap)[place], hits, groups)
    low = 0.0 if p_value > 1 - TAIL else max(0.0, value - room)
    return CalibrationError(observed, float(by_chance.mean()), p_value, Interval(value, low, min(1.0, value + room)))


@dataclass(frozen=True, eq=False)
class _Draws:
    """ECEs of rows drawn from populations whose gaps are a pattern times a factor.

    The same seed serves every factor: what differs between populations is then not chance.
    """

    count: Int64[np.ndarray, " bins"]
    confidence: Float64[np.ndarray, " bins"]
    pattern: Float64[np.ndarray, " bins"]
    resamples: int
    seed: int

    def __call__(self, factor: float, effective: float) -> Float64[np.ndarray, " resamples"]:
        """ECEs, with deviations widened to those of an effective share of the rows."""
        chances = self._chances(factor)
        generator = np.random.default_rng(self.seed)
        drawn = generator.binomial(self.count, chances, size=(self.resamples, len(chances))) / self.count
        gaps = self.confidence - chances - (drawn - chances) / np.sqrt(effective)
        return np.asarray(np.abs(gaps) @ self.count / self.count.sum())

    def median_unbiased(self, observed: float, effective: float) -> float:
        """ECE of the smallest population of which half of the draws reach the observed one."""

        def reached(factor: float) -> bool:
            return float(np.median(self(factor, effective))) >= observed - ROUNDING

        low, high = 0.0, 0.0 if reached(0.0) else 1.0
        while not reached(high) and high < LARGEST:
            low, high = high, 2 * high
        for _ in range(HALVINGS if high > 0 else 0):
            middle = (low + high) / 2
            low, high = (low, middle) if reached(middle) else (middle, high)
        return float(self.count @ np.abs(self.confidence - self._chances(high)) / self.count.sum())

    def _chances(self, factor: float) -> PerBin:
        return np.asarray(np.clip(self.confidence - factor * self.pattern, 0, 1))


def _room(away: Float64[np.ndarray, " images"], hits: Hits, groups: Groups) -> float:
    """How far an error may be below and above its estimate: the room that Wilson's interval gives an accuracy.

    With signs fixed, the ECE is a mean of confidences minus an accuracy, and has the variance of the rows'
    deviations from the gaps. An accuracy of as many rows as give it that variance has the lack of symmetry that
    few misses bring, and room where there is none. Signs may differ from bin to bin, so the larger side of Wilson's
    interval is taken for both.
    """
    rows, right = len(hits), float(hits.sum())
    accuracy = (right + 0.5) / (rows + 1)
    # One more row, right with that chance: rows without a miss are not taken for rows that cannot miss.
    center, variance = (right + accuracy) / (rows + 1), (float(away @ away) + accuracy * (1 - accuracy)) / (rows + 1)
    share = _effective_share(away, groups, hits, groups)
    around = wilson_of_share(right / rows, rows * share * center * (1 - center) / variance)
    return max(around.value - around.low, around.high - around.value)


def _effective_share(away: Float64[np.ndarray, " images"], cells: Groups, hits: Hits, groups: Groups) -> float:
    """Effective share of rows, by the variance of sums of deviations over cells over the one of single rows."""
    sizes, misses = count_by_group(groups, ~hits)
    return effective_share(sizes, misses, np.ones_like(sizes), variance_ratio=_variance_ratio(away, cells))


def _variance_ratio(away: Float64[np.ndarray, " images"], cells: Groups) -> float:
    """Sum of squares of sums over cells over the sum of squares of rows."""
    together, single = np.bincount(np.unique(cells, return_inverse=True)[1], away), float(away @ away)
    return float(together @ together) / single if single > 0 else 1.0


def _means(place: Places, confidence: Confidence, hits: Hits) -> tuple[BinCounts, PerBin, PerBin]:
    """Rows, mean confidence and share of hits of each bin; no bin may be empty."""
    count = np.bincount(place)
    return count, np.bincount(place, confidence) / count, np.bincount(place, hits.astype(np.float64)) / count


def _bin(confidence: Confidence, bins: int, equal: Binning) -> tuple[Places, Float64[np.ndarray, " edges"]]:
    """The bin of each row, open below and closed above, and the edges of all bins."""
    if bins < 1:
        raise RequestError(f"A diagram of {bins} bins was asked for. Expected 1 bin or more; 15 is usual.")
    if equal == "width":
        # As in metrics.expected_calibration_error, so that the two errors are one number.
        return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1), np.linspace(0, 1, bins + 1)
    ranks = np.ceil(np.arange(1, bins) * len(confidence) / bins).astype(np.int64) - 1
    inner = np.unique(np.sort(confidence)[np.maximum(ranks, 0)])
    inner = inner[inner < confidence.max()]
    return np.searchsorted(inner, confidence, side="left"), np.concatenate([[0.0], inner, [1.0]])
