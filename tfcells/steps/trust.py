"""What stands behind a number: shortcuts, the leak tax, probabilities, the learning curve, labels to look at again."""

from typing import Any

import numpy as np

from tfcells.features.store import FeatureStore
from tfcells.images.cues import read_cues
from tfcells.images.splits import Split
from tfcells.images.table import ImageTable
from tfcells.probes.gram.columns import tap_columns
from tfcells.probes.labels_needed import learning_json
from tfcells.probes.leak import leak_tax, leak_tax_json
from tfcells.probes.nested import MEMORY
from tfcells.probes.probabilities import probabilities_json
from tfcells.probes.review import ReviewList, review_list
from tfcells.probes.rows import rows_in_use
from tfcells.probes.shortcuts import probe_shortcuts, shortcuts_json
from tfcells.probes.sweep import Sweep
from tfcells.progress import Progress, silent

LISTED = 100
"""Rows of the review list."""


def shortcuts_of(table: ImageTable, sweep: Sweep, *, workers: int, progress: Progress = silent) -> dict[str, Any]:
    """What can be told of the classes without looking at the cells; see `tfcells.probes.shortcuts`."""
    cues = read_cues(table, workers=workers, progress=progress)
    found = probe_shortcuts(cues.aligned_to(sweep.ids), sweep.ids, sweep.rows, deep=sweep.best.predictions)
    return shortcuts_json(found)


def trust_json(
    store: FeatureStore, split: Split, sweep: Sweep, *, seed: int, workers: int = 1, progress: Progress = silent
) -> dict[str, Any]:
    """`probabilities`, `leak_tax` and `learning_curve` of a sweep's best candidate."""
    vectors = _vectors(store, split, sweep)
    leak = learning = None
    if vectors is not None:
        fewest = min(
            len(np.unique(sweep.rows.groups[sweep.rows.labels == label])) for label in range(sweep.rows.classes)
        )
        folds = min(5, fewest)
        if folds >= 2:
            leak = leak_tax_json(
                leak_tax(
                    vectors,
                    sweep.rows.labels,
                    sweep.rows.groups,
                    probe=sweep.best.probe,
                    folds=folds,
                    repeats=3,
                    seed=seed,
                    workers=workers,
                    progress=progress,
                )
            )
        learning = learning_json(vectors, sweep.rows, sweep.best.reading, sweep.best.parameters, progress=progress)
    return {
        "probabilities": probabilities_json(sweep.best.predictions, sweep.rows, sweep.class_names, seed=seed),
        "leak_tax": leak,
        "learning_curve": learning,
    }


def review_of(sweep: Sweep) -> ReviewList:
    """Rows whose out-of-fold probabilities contradict their labels."""
    return review_list(sweep.ids, sweep.rows, sweep.best.predictions, sweep.class_names, limit=LISTED)


def _vectors(store: FeatureStore, split: Split, sweep: Sweep) -> np.ndarray | None:
    """Features of the best candidate, or None where they do not fit into the memory of one process."""
    _, _, used, _ = rows_in_use(store, split)
    if 8 * len(used) * tap_columns(store, sweep.best.taps, used).shape[1] > MEMORY:
        return None
    return np.asarray(store.table(sweep.best.taps).vectors[used])
