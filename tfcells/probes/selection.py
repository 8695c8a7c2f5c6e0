"""Choosing layers, scaling, reduction, probe and parameters by inner folds alone, judged by the outer folds once.

Each fold chooses by the luck that readings have in the other folds. A reading that is lucky in two folds is chosen in
each of them for its luck in the other, and both gain; an unlucky one is chosen in neither. The score stays right on
average, but where readings tie its variance is more than that of as many rows: twice as much at the worst (1.4 times
the standard deviation for 20 to 200 equal readings in 5 folds; benchmarks/selection.py). So where readings cannot be
told from the best, a row counts for half of one in the intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tfcells.probes.candidates import LEVEL, Candidate, Scores, score
from tfcells.probes.catalog import Parameters
from tfcells.probes.crossval import OutOfFold, SweepRows, joined_folds
from tfcells.probes.nested import FoldAnswers
from tfcells.probes.reading import Reading, Space
from tfcells.stats.best import against_best
from tfcells.stats.paired import PairedTest, paired_balanced_difference

WORTH_OF_TIES: Final = 0.5
"""Independent rows that a row is worth where folds chose among ties."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """What was chosen within the training rows of one outer fold.

    Attributes:
        fold: The outer fold.
        reading: How the features are read.
        parameters: Of the probe.
        inner: Its inner score, balanced accuracy: the highest of all.
    """

    fold: int
    reading: Reading
    parameters: Parameters
    inner: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """The whole choice, made anew in every outer fold, and how what it chose did there.

    Attributes:
        choices: One per outer fold.
        scores: On the outer folds: what to expect of the whole procedure on new rows.
        predictions: Per row.
        ties: How many other readings cannot be told from the one with the highest outer score; where there is one,
            the intervals are wider (`WORTH_OF_TIES`).
    """

    choices: tuple[Choice, ...]
    scores: Scores
    predictions: OutOfFold
    ties: int

    @property
    def inner_best(self) -> float:
        """Mean over outer folds of the highest inner score."""
        return float(np.mean([choice.inner for choice in self.choices]))

    @property
    def optimism(self) -> float:
        """By how much the highest inner score flatters: inner best minus outer score, in balanced accuracy."""
        return self.inner_best - self.scores.balanced_accuracy.value

    def against(self, best: Candidate, rows: SweepRows) -> PairedTest:
        """The candidate with the highest outer score minus the nested choice: what picking a winner adds."""
        return paired_balanced_difference(best.predictions.hits, self.predictions.hits, rows.labels, rows.groups)


def select(answers: Mapping[int, Sequence[FoldAnswers]], rows: SweepRows, space: Space) -> Selection:
    """Take, in every outer fold, the reading with the highest inner score (the first of equals).

    Args:
        answers: By outer fold, what every reading chose and said there.
        rows: Labels, groups and folds.
        space: What was tried.
    """
    taken = {fold: found[int(np.argmax([entry.inner_best for entry in found]))] for fold, found in answers.items()}
    choices = tuple(
        Choice(
            fold=fold,
            reading=entry.reading,
            parameters=space.parameters(entry.reading.probe)[entry.chosen],
            inner=entry.inner_best,
        )
        for fold, entry in taken.items()
    )
    predictions = joined_folds({fold: entry.probabilities for fold, entry in taken.items()}, rows)
    ties = _ties(answers, rows)
    scores = score(predictions, rows, worth=WORTH_OF_TIES if ties else 1.0)
    return Selection(choices=choices, scores=scores, predictions=predictions, ties=ties)


def _ties(answers: Mapping[int, Sequence[FoldAnswers]], rows: SweepRows) -> int:
    """How many readings cannot be told from the best on the outer folds, all pairs counted."""
    hits = [
        joined_folds({fold: entry.probabilities for fold, entry in zip(answers, entries, strict=True)}, rows).hits
        for entries in zip(*answers.values(), strict=True)
    ]
    found = against_best(np.stack(hits), rows.labels, rows.groups)
    return sum(p >= LEVEL for number, p in enumerate(found.p_adjusted) if number != found.best)
