"""The learning curve: how well the best reads the features it has when it learns from fewer images, and from more."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tfcells.arrays import Features
from tfcells.errors import RequestError
from tfcells.probes.catalog import Parameters, class_probabilities, fit_probe
from tfcells.probes.crossval import SweepRows
from tfcells.probes.reading import Reading, components_of
from tfcells.probes.summary import interval_json
from tfcells.progress import Progress, silent
from tfcells.stats.learning import fit_learning_curve, labels_needed, training_sizes

SHARES: Final = (0.1, 0.2, 0.35, 0.6, 1.0)
"""Training sets of the curve, as shares of a fold's training rows."""

_FEWEST: Final = 60  # training rows, below which a curve would be drawn through noise


def learning_json(
    vectors: Features,
    rows: SweepRows,
    reading: Reading,
    parameters: Sequence[Parameters],
    *,
    progress: Progress = silent,
) -> dict[str, Any] | None:
    """Fit the reading on parts of each fold's training rows, ask it about the fold, and extend the curve.

    Sizes are nested and hold whole groups. Each fold keeps the parameters that were chosen for
    it. The curve is an inverse power law; nothing
    is said beyond ten times the largest size.

    Args:
        vectors: float of shape (images, features) in the order of the rows.
        rows: Labels, groups and folds.
        reading: Scaler, reduction and probe.
        parameters: Of the probe, as chosen in each fold.
        progress: Told how far it is.

    Returns:
        `points` (mean accuracy by size), `predicted` at twice and ten times the rows there are, `limit` (the accuracy
        that no number of rows exceeds), `half_the_errors` (how many rows that takes); None where there are too few
        rows or groups for a curve.
    """
    smallest = min(int((rows.folds != fold).sum()) for fold in rows.fold_numbers)
    if smallest < _FEWEST:
        return None
    sizes = np.unique((np.array(SHARES) * smallest).round().astype(np.int64))
    try:
        accuracy, found = _accuracies(vectors, rows, reading, parameters, sizes, progress)
    except RequestError:  # a part in which a class lies in one group, or none at all: no curve without it
        return None
    curve = fit_learning_curve(found, accuracy)
    last = int(found[-1])
    now = float(accuracy[:, -1].mean())
    half = labels_needed(curve, min(0.999, 1 - (1 - now) / 2))
    return {
        "points": [
            {"rows": int(size), "accuracy": float(mean)}
            for size, mean in zip(found, accuracy.mean(axis=0), strict=True)
        ],
        "predicted": [{"rows": size, **interval_json(curve.predict(size))} for size in (2 * last, 10 * last)],
        "limit": 1 - float(curve.asymptote),
        "half_the_errors": {
            "target": float(half.target),
            "rows": None if half.size is None else int(half.size),
            "low": None if half.low is None else int(half.low),
            "high": None if half.high is None else int(half.high),
            "statement": half.statement,
        },
    }


def _accuracies(
    vectors: Features,
    rows: SweepRows,
    reading: Reading,
    parameters: Sequence[Parameters],
    sizes: np.ndarray,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy by fold and size, float64 of shape (folds, sizes), and the mean number of rows of each size."""
    folds = rows.fold_numbers
    accuracy, taken = np.zeros((len(folds), len(sizes))), np.zeros((len(folds), len(sizes)))
    progress("learning curve", 0, accuracy.size)
    for number, fold in enumerate(folds):
        learning, asked = np.flatnonzero(rows.folds != fold), np.flatnonzero(rows.folds == fold)
        parts = training_sizes(rows.labels[learning], rows.groups[learning], sizes=sizes, seed=rows.seed + number)
        for place, part in enumerate(parts):
            own = learning[part]
            fitted = fit_probe(
                reading.probe,
                vectors[own],
                rows.labels[own],
                rows.groups[own],
                scaler=reading.scaler,
                components=components_of(reading.reduction),
                parameters=parameters[number],
                seed=rows.seed,
            )
            said = class_probabilities(fitted, vectors[asked], classes=rows.classes).argmax(axis=1)
            accuracy[number, place], taken[number, place] = np.mean(said == rows.labels[asked]), len(own)
            progress("learning curve", number * len(sizes) + place + 1, accuracy.size)
    return accuracy, taken.mean(axis=0).round().astype(np.int64)
