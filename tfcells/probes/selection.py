"""Choosing layers, scaling, reduction, probe and parameters by inner folds alone, judged by the outer folds once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfcells.probes.candidates import Candidate, Scores, score
from tfcells.probes.catalog import Parameters
from tfcells.probes.crossval import OutOfFold, SweepRows, joined_folds
from tfcells.probes.nested import FoldAnswers
from tfcells.probes.reading import Reading, Space
from tfcells.stats.paired import PairedTest, paired_balanced_difference


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
    """

    choices: tuple[Choice, ...]
    scores: Scores
    predictions: OutOfFold

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
    return Selection(choices=choices, scores=score(predictions, rows), predictions=predictions)
