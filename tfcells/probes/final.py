"""The chosen probe, fitted once on every row outside the holdout, and tested once on the holdout."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

from tfcells.arrays import Probabilities
from tfcells.features.store import FeatureStore
from tfcells.images.splits import HOLDOUT, Split
from tfcells.probes.calibration import calibrated_probe
from tfcells.probes.catalog import INNER_FOLDS, PROBES, THREADS, Parameters, class_probabilities
from tfcells.probes.crossval import OutOfFold, SweepRows, out_of_fold
from tfcells.probes.gram.columns import stored_columns, tap_columns, tap_rows
from tfcells.probes.memory import check_held
from tfcells.probes.nested import MEMORY, answer_fold
from tfcells.probes.reading import Reading, Space
from tfcells.probes.rows import rows_in_use
from tfcells.probes.streamed import fit_streamed

_COPIES: Final = 4  # of rows that are asked: as read, scaled, and what a probe makes of them


@dataclass(frozen=True, kw_only=True, eq=False)
class FinalProbe:
    """A fitted probe and what it reads.

    Attributes:
        probe: Fitted scikit-learn classifier, calibrated; its classes are numbers into `class_names`.
        reading: Layers, scaler, reduction, probe.
        parameters: Of the probe.
        class_names: Names of its classes.
        calibration: `sigmoid` or `temperature`, what its probabilities come from; see `tfcells.probes.calibration`.
        inner_folds: On whose answers it was calibrated.
    """

    probe: Any
    reading: Reading
    parameters: Parameters
    class_names: tuple[str, ...]
    calibration: str
    inner_folds: int

    @property
    def taps(self) -> tuple[str, ...]:
        """Keys of the features, in column order."""
        return self.reading.taps

    def probabilities(self, store: FeatureStore, rows: np.ndarray, *, memory: int = MEMORY) -> Probabilities:
        """Class probabilities of rows of a store, float64 of shape (len(rows), classes).

        Args:
            store: Features.
            rows: Numbers of rows.
            memory: Bytes for a block of rows and what is made of it.
        """
        width = sum(layer.shape[1] for layer in (stored_columns(store, tap) for tap in self.taps))
        step = max(1, memory // (_COPIES * 8 * width))
        told = np.zeros((len(rows), len(self.class_names)))
        for start in range(0, len(rows), step):
            vectors = tap_rows(store, self.taps, rows[start : start + step])
            told[start : start + step] = class_probabilities(self.probe, vectors, classes=len(self.class_names))
        return told


def fit_final(
    store: FeatureStore,
    split: Split,
    reading: Reading,
    *,
    space: Space | None = None,
    seed: int = 0,
    memory: int = MEMORY,
) -> FinalProbe:
    """Fit a reading on all rows that are marked `train`, its parameters chosen by inner folds over them.

    The same inner folds calibrate its probabilities. Features are streamed: beside a few times `memory` bytes, what
    the probe itself keeps is held, its components or support vectors.

    Args:
        store: Features.
        split: Rows by part.
        reading: Layers, scaler, reduction, probe.
        space: Parameters and inner folds.
        seed: For whatever is drawn, and for inner folds.
        memory: Bytes for features or matrices.

    Raises:
        RequestError: If the probe would have to hold features that do not fit (see `tfcells.probes.memory`), cannot
            be calibrated, or there are fewer components than asked for.
    """
    space = space or Space()
    _, class_names, used, rows = rows_in_use(store, split, seed=seed)
    source = tap_columns(store, reading.taps, used)
    check_held(reading, images=source.shape[0], width=source.shape[1], memory=memory)
    (found,) = answer_fold(source, rows, space, [reading], fold=None, memory=memory)
    parameters = space.parameters(reading.probe)[found.chosen]
    with threadpool_limits(THREADS):
        probe = fit_streamed(source, rows.training(np.arange(len(used))), reading, parameters, memory=memory)
        if found.held_out is not None:
            probe = calibrated_probe(reading.probe, probe, found.held_out)
    return FinalProbe(
        probe=probe,
        reading=reading,
        parameters=parameters,
        class_names=class_names,
        calibration="sigmoid" if PROBES[reading.probe].decides else "temperature",
        inner_folds=space.inner_folds or INNER_FOLDS,
    )


def refit(
    store: FeatureStore,
    split: Split,
    reading: Reading,
    parameters: Parameters,
    *,
    space: Space | None = None,
    seed: int = 0,
    memory: int = MEMORY,
) -> FinalProbe:
    """`fit_final` with parameters that are known."""
    space = space or Space()
    settled = {reading.probe: {name: (value,) for name, value in parameters.items()}}
    space = replace(space, grids=settled, inner_folds=space.inner_folds or INNER_FOLDS)
    return fit_final(store, split, reading, space=space, seed=seed, memory=memory)


def ask_holdout(
    final: FinalProbe, store: FeatureStore, split: Split, *, memory: int = MEMORY
) -> tuple[OutOfFold, SweepRows]:
    """Ask a fitted probe about the rows that are marked `holdout`, within so many bytes for features.

    Raises:
        EmptyDataError: If there is none.
    """
    _, _, used, rows = rows_in_use(store, split, part=HOLDOUT)
    return out_of_fold(final.probabilities(store, used, memory=memory), rows.labels), rows
