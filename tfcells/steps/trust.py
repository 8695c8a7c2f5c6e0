"""What stands behind a number: shortcuts, the leak tax, probabilities, the learning curve, labels to look at again."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tfcells.features.store import FeatureStore
from tfcells.images.cues import read_cues
from tfcells.images.splits import Split
from tfcells.images.table import ImageTable
from tfcells.probes.catalog import INNER_FOLDS, Parameters
from tfcells.probes.gram.columns import ColumnSource, tap_columns
from tfcells.probes.labels_needed import learning_json
from tfcells.probes.leak import leak_tax, leak_tax_json, no_leak_tax
from tfcells.probes.nested import MEMORY
from tfcells.probes.probabilities import probabilities_json
from tfcells.probes.review import ReviewList, review_list
from tfcells.probes.rows import rows_in_use
from tfcells.probes.shortcuts import probe_shortcuts, shortcuts_json
from tfcells.probes.sweep import Sweep
from tfcells.progress import Progress, silent

LISTED: Final = 100
"""Rows of the review list."""

DEALINGS: Final = 3
"""Of random and of grouped folds, for the leak tax."""


def shortcuts_of(table: ImageTable, sweep: Sweep, *, workers: int, progress: Progress = silent) -> dict[str, Any]:
    """What can be told of the classes without looking at the cells; see `tfcells.probes.shortcuts`."""
    cues = read_cues(table, workers=workers, progress=progress)
    found = probe_shortcuts(cues.aligned_to(sweep.ids), sweep.ids, sweep.rows, deep=sweep.best.predictions)
    return shortcuts_json(found)


def trust_json(
    store: FeatureStore,
    split: Split,
    sweep: Sweep,
    *,
    seed: int,
    workers: int = 1,
    memory: int = MEMORY,
    progress: Progress = silent,
) -> dict[str, Any]:
    """`probabilities`, `leak_tax` and `learning_curve` of a sweep's best candidate."""
    _, _, used, _ = rows_in_use(store, split)
    features = tap_columns(store, sweep.best.taps, used)
    inner_folds = sweep.space.inner_folds or INNER_FOLDS
    leak = _leak_json(
        features, sweep, inner_folds=inner_folds, seed=seed, workers=workers, memory=memory, progress=progress
    )
    learning = learning_json(
        features,
        sweep.rows,
        sweep.best.reading,
        sweep.best.parameters,
        inner_folds=inner_folds,
        workers=workers,
        memory=memory,
        progress=progress,
    )
    return {
        "probabilities": probabilities_json(sweep.best.predictions, sweep.rows, sweep.class_names, seed=seed),
        "leak_tax": leak,
        "learning_curve": learning,
    }


def review_of(sweep: Sweep) -> ReviewList:
    """Rows whose out-of-fold probabilities contradict their labels."""
    return review_list(sweep.ids, sweep.rows, sweep.best.predictions, sweep.class_names, limit=LISTED)


def _leak_json(
    features: ColumnSource,
    sweep: Sweep,
    *,
    inner_folds: int,
    seed: int,
    workers: int,
    memory: int,
    progress: Progress,
) -> dict[str, Any]:
    """The leak tax of the best candidate, or why there is none: it must not end a study whose numbers stand."""
    rows, best = sweep.rows, sweep.best
    fewest = min(len(np.unique(rows.groups[rows.labels == label])) for label in range(rows.classes))
    if fewest < 2:
        reason = "a class has a single group, which no folds part"
        return leak_tax_json(no_leak_tax(best.reading, rows.groups, reason=reason))
    images, width = features.shape
    found = leak_tax(
        features,
        rows.labels,
        rows.groups,
        reading=best.reading,
        parameters=_usual(best.parameters),
        folds=min(5, fewest),
        # Each dealing of a layer that is usually too wide to be held reads it again from disk. Whatever memory
        # was allowed here, there are as many: no number depends on it.
        repeats=DEALINGS if 8 * images * width <= MEMORY else 2,
        inner_folds=inner_folds,
        seed=seed,
        workers=workers,
        memory=memory,
        progress=progress,
    )
    return leak_tax_json(found)


def _usual(parameters: Sequence[Parameters]) -> Parameters:
    """What most folds chose, the first of equals: one choice for both kinds of folds."""
    return max(parameters, key=list(parameters).count)
