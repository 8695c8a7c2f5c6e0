"""The chosen probe, fitted once on every row outside the holdout, and tested once on the holdout."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcells.arrays import Probabilities
from tfcells.features.store import FeatureStore
from tfcells.images.splits import HOLDOUT, Split
from tfcells.probes.catalog import class_probabilities, fit_probe
from tfcells.probes.crossval import OutOfFold, SweepRows, out_of_fold
from tfcells.probes.sweep import rows_in_use


@dataclass(frozen=True, kw_only=True, eq=False)
class FinalProbe:
    """A fitted probe and what it reads.

    Attributes:
        probe: Fitted scikit-learn classifier; its classes are numbers into `class_names`.
        kind: Name of the probe.
        taps: Keys of the features, in column order.
        class_names: Names of its classes.
    """

    probe: Any
    kind: str
    taps: tuple[str, ...]
    class_names: tuple[str, ...]

    def probabilities(self, store: FeatureStore, rows: np.ndarray) -> Probabilities:
        """Class probabilities of rows of a store, float64 of shape (len(rows), classes)."""
        return class_probabilities(self.probe, store.table(self.taps).vectors[rows], classes=len(self.class_names))


def fit_final(store: FeatureStore, split: Split, *, taps: Sequence[str], kind: str, seed: int = 0) -> FinalProbe:
    """Fit a probe on all rows that are marked `train`."""
    _, class_names, used, rows = rows_in_use(store, split, seed=seed)
    vectors = store.table(taps).vectors[used]
    probe = fit_probe(kind, vectors, rows.labels, rows.groups, seed=seed)
    return FinalProbe(probe=probe, kind=kind, taps=tuple(taps), class_names=class_names)


def ask_holdout(final: FinalProbe, store: FeatureStore, split: Split) -> tuple[OutOfFold, SweepRows]:
    """Ask a fitted probe about the rows that are marked `holdout`.

    Raises:
        EmptyDataError: If there is none.
    """
    _, _, used, rows = rows_in_use(store, split, part=HOLDOUT)
    return out_of_fold(final.probabilities(store, used), rows.labels), rows
