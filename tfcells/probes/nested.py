"""One outer fold: parameters are chosen by inner folds within its training rows, then its own rows are asked once.

Varma & Simon (2006), BMC Bioinformatics 7:91: the score by which something was chosen flatters it. Here whatever is
chosen (parameters, scaling, reduction, probe, layers) is chosen by inner scores alone, and the rows of the outer fold
judge what was chosen. The inner folds' answers at what was chosen also calibrate its probabilities. Groups are whole
in both loops.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from tfcells.arrays import Float64, Labels, Probabilities
from tfcells.probes.calibration import HeldOut, calibrated
from tfcells.probes.catalog import INNER_FOLDS, PROBES, THREADS, Parameters, Training
from tfcells.probes.crossval import SweepRows
from tfcells.probes.gram.columns import ColumnSource
from tfcells.probes.memory import check_held, check_long
from tfcells.probes.paths import Answers, answer_path, predicted_classes
from tfcells.probes.reading import NO_REDUCTION, Reading, Space, components_of
from tfcells.probes.views import Family, View, views
from tfcells.stats.metrics import balanced_accuracy, confusion

MEMORY: Final = 3 * 2**29
"""Bytes for features or matrices in one process, where nobody gives another limit; answers do not depend on it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldAnswers:
    """What one reading chose in one outer fold, and what it said of the fold's rows.

    Attributes:
        reading: How the features were read.
        inner: float64 of shape (combinations,): balanced accuracy over the inner folds' rows; NaN where nothing
            was chosen.
        chosen: Number of the combination that was taken.
        probabilities: float64 of shape (asked, classes), calibrated.
        held_out: What inner folds said of the training rows at the combination that was taken; kept where nobody is
            asked, for whoever fits the probe on all rows.
    """

    reading: Reading
    inner: Float64[np.ndarray, " combinations"]
    chosen: int
    probabilities: Probabilities
    held_out: HeldOut | None = None

    @property
    def inner_best(self) -> float:
        """The inner score of what was chosen."""
        return float(self.inner[self.chosen])


def answer_fold(
    source: ColumnSource,
    rows: SweepRows,
    space: Space,
    readings: Sequence[Reading],
    *,
    fold: int | None,
    memory: int = MEMORY,
) -> list[FoldAnswers]:
    """Choose parameters within the training rows of a fold, and ask about the fold's rows.

    Args:
        source: Features of the rows, in their order.
        rows: Labels, groups and folds.
        space: Parameters and inner folds.
        readings: All of the same layers, those of the source.
        fold: The outer fold; None to learn from all rows and to ask about none.
        memory: Bytes for features or matrices.

    Raises:
        RequestError: If a probe that decides cannot be calibrated, or features do not fit.
    """
    learning = np.flatnonzero(rows.folds != fold) if fold is not None else np.arange(len(rows.labels))
    asked = np.flatnonzero(rows.folds == fold) if fold is not None else np.arange(0)
    check_long(readings[0], images=source.shape[0], width=source.shape[1], memory=memory)
    training = rows.training(learning)
    inner = _inner_folds(training, readings, space)
    family = Family(
        learning=learning, asked=asked, inner=[(learning[learns], learning[tested]) for learns, tested in inner]
    )
    found: dict[Reading, FoldAnswers] = {}
    with threadpool_limits(THREADS):
        for scaler, turn, alike in _alike(readings):
            if not turn:
                check_held(alike[0], images=source.shape[0], width=source.shape[1], memory=memory)
            found |= _answer_alike(source, rows, space, alike, family, scaler=scaler, turn=turn, memory=memory)
    return [found[reading] for reading in readings]


def _inner_folds(training: Training, readings: Sequence[Reading], space: Space) -> list[tuple[np.ndarray, np.ndarray]]:
    """Chosen on them or not, every probe is calibrated on the inner folds."""
    deciding = next((reading.probe for reading in readings if PROBES[reading.probe].decides), None)
    if deciding is not None:
        return training.calibration_folds(deciding, space.inner_folds or INNER_FOLDS)
    if space.inner_folds:
        return training.folds(space.inner_folds)
    # Asked for by nobody, they must not refuse what the whole training set allows: some components, a scale.
    counts = [wanted for reading in readings if isinstance(wanted := components_of(reading.reduction), int)]
    least = max([2, *counts])
    return [(learning, asked) for learning, asked in training.folds() if len(learning) >= least]


def _alike(readings: Sequence[Reading]) -> list[tuple[str, bool, list[Reading]]]:
    """Readings by scaler and by whether features may be turned for them; each such set shares its views."""
    found: dict[tuple[str, bool], list[Reading]] = {}
    for reading in readings:
        turn = PROBES[reading.probe].turnable or reading.reduction != NO_REDUCTION
        found.setdefault((reading.scaler, turn), []).append(reading)
    return [(scaler, turn, alike) for (scaler, turn), alike in found.items()]


def _answer_alike(
    source: ColumnSource,
    rows: SweepRows,
    space: Space,
    readings: Sequence[Reading],
    family: Family,
    *,
    scaler: str,
    turn: bool,
    memory: int,
) -> dict[Reading, FoldAnswers]:
    reductions = list(dict.fromkeys(reading.reduction for reading in readings))
    parts = views(source, family, scaler=scaler, reductions=reductions, turn=turn, memory=memory)
    choosing = {reading: _Choosing(reading, rows, space, family) for reading in readings}
    for learning, asked in family.inner:
        view_of = next(parts)
        for reading in readings:
            choosing[reading].see(view_of[reading.reduction], learning, asked)
    if not len(family.asked):
        return {reading: choosing[reading].choice() for reading in readings}
    view_of = next(parts)
    return {reading: choosing[reading].answer(view_of[reading.reduction]) for reading in readings}


class _Choosing:
    """Inner answers of one reading, collected until its parameters can be chosen."""

    def __init__(self, reading: Reading, rows: SweepRows, space: Space, family: Family) -> None:
        self.reading, self.rows, self.family = reading, rows, family
        self.parameters: list[Parameters] = space.parameters(reading.probe)
        self.chooses = space.inner_folds > 0
        columns = 1 if PROBES[reading.probe].decides and rows.classes == 2 else rows.classes
        self.answers = np.zeros((len(self.parameters), len(rows.labels), columns))
        self.fair = np.zeros(len(rows.labels), dtype=bool)

    def see(self, view: View, learning: np.ndarray, asked: np.ndarray) -> None:
        """Take in what is said of an inner fold's rows."""
        self.answers[:, asked] = self._ask(view, learning, self.parameters)
        learned = np.unique(self.rows.labels[learning])
        self.fair[asked] = np.isin(self.rows.labels[asked], learned) & (len(learned) > 1)

    def choice(self) -> FoldAnswers:
        """Choose; nobody is asked."""
        inner = self._inner_scores()
        chosen = int(np.argmax(inner)) if len(inner) > 1 else 0
        return FoldAnswers(
            reading=self.reading,
            inner=inner,
            chosen=chosen,
            probabilities=np.zeros((0, self.rows.classes)),
            held_out=self._held_out(self.answers[chosen]),
        )

    def answer(self, view: View) -> FoldAnswers:
        """Choose, fit on the whole training set and ask about the outer fold's rows."""
        choice = self.choice()
        (answers,) = self._ask(view, self.family.learning, [self.parameters[choice.chosen]])
        known = self._held_out(self.answers[choice.chosen])
        probabilities = calibrated(self.reading.probe, known, answers, classes=self.rows.classes)
        return replace(choice, probabilities=probabilities, held_out=None)

    def _ask(self, view: View, learning: np.ndarray, parameters: Sequence[Parameters]) -> list[Answers]:
        training = self.rows.training(learning)
        return answer_path(self.reading.probe, view, training, parameters, classes=self.rows.classes)

    def _held_out(self, answers: Answers) -> HeldOut:
        known = self.family.learning
        return HeldOut(answers=answers[known], labels=self.rows.labels[known], fair=self.fair[known])

    def _predicted(self, known: HeldOut) -> Labels:
        """Classes as they will be predicted: after sigmoids, or the inner score would be of something else.

        A temperature changes none.
        """
        answers = known.answers
        if PROBES[self.reading.probe].decides:
            answers = calibrated(self.reading.probe, known, answers, classes=self.rows.classes)
        return predicted_classes(answers)

    def _inner_scores(self) -> Float64[np.ndarray, " combinations"]:
        if not self.chooses or not self.family.inner:
            return np.full(len(self.parameters), np.nan)
        every = [self._held_out(answers) for answers in self.answers]
        tables = [confusion(known.labels, self._predicted(known), classes=self.rows.classes) for known in every]
        return np.asarray(balanced_accuracy(np.stack(tables)))
