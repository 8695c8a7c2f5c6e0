"""The chosen probe, fitted once on every row outside the holdout, and tested once on the holdout."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcells.arrays import Probabilities
from tfcells.features.store import FeatureStore
from tfcells.images.splits import HOLDOUT, Split
from tfcells.probes.catalog import INNER_FOLDS, Parameters, class_probabilities, fit_probe
from tfcells.probes.crossval import OutOfFold, SweepRows, out_of_fold
from tfcells.probes.reading import Reading, Space, components_of
from tfcells.probes.rows import rows_in_use
from tfcells.probes.sweep import tune


@dataclass(frozen=True, kw_only=True, eq=False)
class FinalProbe:
    """A fitted probe and what it reads.

    Attributes:
        probe: Fitted scikit-learn classifier; its classes are numbers into `class_names`.
        reading: Layers, scaler, reduction, probe.
        parameters: Of the probe.
        class_names: Names of its classes.
    """

    probe: Any
    reading: Reading
    parameters: Parameters
    class_names: tuple[str, ...]

    @property
    def taps(self) -> tuple[str, ...]:
        """Keys of the features, in column order."""
        return self.reading.taps

    def probabilities(self, store: FeatureStore, rows: np.ndarray) -> Probabilities:
        """Class probabilities of rows of a store, float64 of shape (len(rows), classes)."""
        return class_probabilities(self.probe, store.table(self.taps).vectors[rows], classes=len(self.class_names))


def fit_final(
    store: FeatureStore, split: Split, reading: Reading, *, space: Space | None = None, seed: int = 0
) -> FinalProbe:
    """Fit a reading on all rows that are marked `train`, its parameters chosen by inner folds over them.

    Args:
        store: Features.
        split: Rows by part.
        reading: Layers, scaler, reduction, probe.
        space: Parameters and inner folds.
        seed: For whatever is drawn, and for inner folds.
    """
    space = space or Space()
    _, _, used, rows = rows_in_use(store, split, seed=seed)
    parameters = tune(store, used, rows, reading, space)
    return refit(store, split, reading, parameters, space=space, seed=seed)


def refit(
    store: FeatureStore,
    split: Split,
    reading: Reading,
    parameters: Parameters,
    *,
    space: Space | None = None,
    seed: int = 0,
) -> FinalProbe:
    """`fit_final` with parameters that are known."""
    space = space or Space()
    _, class_names, used, rows = rows_in_use(store, split, seed=seed)
    probe = fit_probe(
        reading.probe,
        store.table(reading.taps).vectors[used],
        rows.labels,
        rows.groups,
        scaler=reading.scaler,
        components=components_of(reading.reduction),
        parameters=parameters,
        inner_folds=space.inner_folds or INNER_FOLDS,
        seed=seed,
    )
    return FinalProbe(probe=probe, reading=reading, parameters=parameters, class_names=class_names)


def ask_holdout(final: FinalProbe, store: FeatureStore, split: Split) -> tuple[OutOfFold, SweepRows]:
    """Ask a fitted probe about the rows that are marked `holdout`.

    Raises:
        EmptyDataError: If there is none.
    """
    _, _, used, rows = rows_in_use(store, split, part=HOLDOUT)
    return out_of_fold(final.probabilities(store, used), rows.labels), rows
