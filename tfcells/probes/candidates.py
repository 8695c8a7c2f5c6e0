"""Ways to read features, judged on the same rows: scores with intervals, and everything against the best."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tfcells.arrays import Confusion
from tfcells.probes.catalog import Parameters
from tfcells.probes.crossval import OutOfFold, SweepRows, out_of_fold
from tfcells.probes.reading import NO_REDUCTION, Reading
from tfcells.stats.best import against_best
from tfcells.stats.intervals import Interval, wilson_clustered, wilson_of_metric
from tfcells.stats.metrics import balanced_accuracy, confusion_by_group, macro_f1
from tfcells.stats.paired import PairedTest, paired_balanced_difference

CHANCE: Final = "chance"
LEVEL: Final = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Three numbers with 95 % intervals, and the table of counts they come from.

    Attributes:
        accuracy: Share of hits; Wilson's interval with the effective number of groups.
        balanced_accuracy: Mean recall over classes; Wilson's interval on a jackknife over groups.
        macro_f1: Mean F1 over classes; likewise.
        confusion: int64 of shape (classes, classes): rows are true classes.
    """

    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    confusion: Confusion


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One way to read the features, and how it did on rows it had not seen.

    Attributes:
        reading: Layers, scaler, reduction, probe.
        pooling: How the layers were pooled.
        parameters: What the inner folds of each outer fold chose, in the order of the folds.
        inner_best: Mean over outer folds of the inner score (balanced accuracy) that the choice was made by; None
            where nothing was chosen.
        scores: On the outer folds.
        predictions: Per row.
        against_best: Paired test of the best candidate's balanced accuracy against this one's, its interval for all
            candidates at once; None for the best.
        p_adjusted: Its p-value after all pairs are counted, since the best was picked on these rows; None likewise.
    """

    reading: Reading
    pooling: str
    scores: Scores
    predictions: OutOfFold
    parameters: tuple[Parameters, ...] = ()
    inner_best: float | None = None
    against_best: PairedTest | None = None
    p_adjusted: float | None = None

    @property
    def taps(self) -> tuple[str, ...]:
        """Keys of the features, in column order."""
        return self.reading.taps

    @property
    def probe(self) -> str:
        """Name of the probe."""
        return self.reading.probe

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.reading.title

    @property
    def optimism(self) -> float | None:
        """By how much the score that parameters were chosen by flatters: inner best minus outer score."""
        return None if self.inner_best is None else self.inner_best - self.scores.balanced_accuracy.value

    @property
    def tied_with_best(self) -> bool:
        """Whether the best cannot be told from this one at 5 %, all pairs counted."""
        return self.p_adjusted is None or self.p_adjusted >= LEVEL


def score(predictions: OutOfFold, rows: SweepRows, *, worth: float = 1.0) -> Scores:
    """Three numbers with their intervals; rows of one group count together, and each for `worth` independent ones."""
    grouped = confusion_by_group(rows.labels, predictions.predicted, rows.groups, classes=rows.classes)
    return Scores(
        accuracy=wilson_clustered(predictions.hits, rows.groups, worth=worth),
        balanced_accuracy=wilson_of_metric(grouped, balanced_accuracy, worth=worth),
        macro_f1=wilson_of_metric(grouped, macro_f1, worth=worth),
        confusion=grouped.total,
    )


def chance(rows: SweepRows) -> Candidate:
    """Always the class that is most frequent among all rows in use, so that balanced accuracy is 1 / classes.

    The most frequent class of the training rows would be the rarer one among the rows of the fold: on balanced
    classes such a guess lies below chance, and flatters whatever stands beside it.
    """
    counts = np.bincount(rows.labels, minlength=rows.classes)
    probabilities = np.tile(counts / counts.sum(), (len(rows.labels), 1))
    predictions = out_of_fold(probabilities, rows.labels)
    reading = Reading(taps=(), scaler="none", reduction=NO_REDUCTION, probe=CHANCE)
    return Candidate(reading=reading, pooling="none", scores=score(predictions, rows), predictions=predictions)


def compared_with_best(
    candidates: Sequence[Candidate], baselines: Sequence[Candidate], rows: SweepRows
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Compare everything with the first candidate, the best; all pairs are counted (`stats.best`)."""
    every = [*candidates, *baselines]
    found = against_best(np.stack([entry.predictions.hits for entry in every]), rows.labels, rows.groups, best=0)
    compared = [
        replace(entry, against_best=test, p_adjusted=None if test is None else p)
        for entry, test, p in zip(every, found.tests, found.p_adjusted, strict=True)
    ]
    return tuple(compared[: len(candidates)]), tuple(compared[len(candidates) :])


def concatenation(candidates: Sequence[Candidate], rows: SweepRows) -> tuple[Candidate, Candidate, PairedTest] | None:
    """All layers together against the best single layer, each read in its best way."""
    together = next((entry for entry in candidates if len(entry.taps) > 1), None)
    single = next((entry for entry in candidates if len(entry.taps) == 1), None)
    if together is None or single is None:
        return None
    return (
        together,
        single,
        paired_balanced_difference(together.predictions.hits, single.predictions.hits, rows.labels, rows.groups),
    )
