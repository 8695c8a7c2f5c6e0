"""A reading whose parameters are known, fitted on some rows and asked for the class of others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from tfcells.arrays import Labels
from tfcells.probes.calibration import HeldOut, calibrated
from tfcells.probes.catalog import INNER_FOLDS, PROBES, THREADS, Parameters
from tfcells.probes.crossval import SweepRows
from tfcells.probes.gram.columns import ColumnSource
from tfcells.probes.memory import check_long
from tfcells.probes.nested import MEMORY
from tfcells.probes.paths import answer_path, predicted_classes
from tfcells.probes.reading import NO_REDUCTION, Reading
from tfcells.probes.views import Family, views


@dataclass(frozen=True, kw_only=True, eq=False)
class Refit:
    """What is fitted on which rows, and who is asked.

    Attributes:
        rows: Labels and groups of all rows of the source; folds play no part.
        reading: How features are read.
        parameters: Of the probe.
        learning: int64, numbers of the rows that are learned from.
        asked: int64, numbers of the rows that are asked about.
    """

    rows: SweepRows
    reading: Reading
    parameters: Parameters
    learning: np.ndarray
    asked: np.ndarray

    def predict(self, source: ColumnSource, *, inner_folds: int = INNER_FOLDS, memory: int = MEMORY) -> Labels:
        """Classes of the asked rows, int64: those that the nested sweep predicts at these parameters.

        Args:
            source: Features of all rows; read column block by column block where they outnumber the rows.
            inner_folds: For the sigmoids of probes that answer with decision values; a temperature changes no class.
            memory: Bytes for features or matrices.

        Raises:
            RequestError: If a probe cannot be calibrated, or features have to be held and do not fit.
        """
        check_long(self.reading, images=source.shape[0], width=source.shape[1], memory=memory)
        kind = PROBES[self.reading.probe]
        training = self.rows.training(self.learning)
        inner = training.calibration_folds(self.reading.probe, inner_folds) if kind.decides else []
        family = Family(
            learning=self.learning,
            asked=self.asked,
            inner=[(self.learning[learns], self.learning[tested]) for learns, tested in inner],
        )
        turn = kind.turnable or self.reading.reduction != NO_REDUCTION
        with threadpool_limits(THREADS):
            answers = self._answers(source, family, turn=turn, memory=memory)
        said = answers.pop()
        if kind.decides:
            tested = np.concatenate([asked for _, asked in family.inner])
            known = HeldOut(
                answers=np.concatenate(answers), labels=self.rows.labels[tested], fair=np.ones(len(tested), dtype=bool)
            )
            said = calibrated(self.reading.probe, known, said, classes=self.rows.classes)
        return predicted_classes(said)

    def _answers(self, source: ColumnSource, family: Family, *, turn: bool, memory: int) -> list[np.ndarray]:
        """What is said of the asked rows of each set of a family."""
        reading = self.reading
        parts = views(source, family, scaler=reading.scaler, reductions=[reading.reduction], turn=turn, memory=memory)
        return [
            answer_path(
                reading.probe,
                view[reading.reduction],
                self.rows.training(learning),
                [self.parameters],
                classes=self.rows.classes,
            )[0]
            for view, (learning, _) in zip(parts, family.sets, strict=True)
        ]


def predict_each(
    source: ColumnSource,
    refits: Sequence[Refit],
    *,
    inner_folds: int = INNER_FOLDS,
    workers: int = 1,
    memory: int = MEMORY,
) -> Iterator[Labels]:
    """`Refit.predict` of each, in order, as they come; the answer does not depend on the number of processes.

    The memory is that of one process.
    """
    tasks = (delayed(Refit.predict)(refit, source, inner_folds=inner_folds, memory=memory) for refit in refits)
    answers: Any = Parallel(n_jobs=workers, max_nbytes="1M", return_as="generator")(tasks)
    yield from answers
