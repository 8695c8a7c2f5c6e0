"""The learning curve: how well the best reads the features it has when it learns from fewer images, and from more."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from tfcells.arrays import Features, Labels
from tfcells.errors import RequestError
from tfcells.probes.catalog import INNER_FOLDS, PROBES, Parameters
from tfcells.probes.crossval import SweepRows
from tfcells.probes.gram.columns import ColumnSource, as_columns
from tfcells.probes.nested import MEMORY
from tfcells.probes.reading import Reading
from tfcells.probes.refit import Refit, predict_each
from tfcells.probes.summary import interval_json
from tfcells.progress import Progress, silent
from tfcells.stats.learning import fit_learning_curve, labels_needed, training_sizes

SIZES: Final = 5
"""Training sets of the curve; the largest is all of a fold's training rows, the others have equal ratios."""

_SMALLEST: Final = (0.1, 0.15, 0.2, 0.3, 0.4)  # shares of it; the first at which every class can be learned
_FEWEST: Final = 60  # training rows, below which a curve would be drawn through noise


def learning_json(
    features: Features | ColumnSource,
    rows: SweepRows,
    reading: Reading,
    parameters: Sequence[Parameters],
    *,
    inner_folds: int = INNER_FOLDS,
    workers: int = 1,
    memory: int = MEMORY,
    progress: Progress = silent,
) -> dict[str, Any] | None:
    """Fit the reading on parts of each fold's training rows, ask it about the fold, and extend the curve.

    Sizes are nested and hold whole groups. Each fold keeps the parameters that were chosen for it. The curve is an
    inverse power law; nothing is said beyond ten times the largest size.

    Args:
        features: float of shape (images, features) in the order of the rows, or their columns; never held where they
            outnumber the images.
        rows: Labels, groups and folds.
        reading: Scaler, reduction and probe.
        parameters: Of the probe, as chosen in each fold.
        inner_folds: For the calibration of probes that answer with decision values.
        workers: Processes; the answer does not depend on them.
        memory: Bytes for features or matrices in each process.
        progress: Told how far it is.

    Returns:
        `points` (mean accuracy by size), `predicted` at twice and ten times the rows there are, `limit` (the accuracy
        that no number of rows exceeds), `half_the_errors` (how many rows that takes); None where there are too few
        rows or groups for a curve.
    """
    smallest = min(int((rows.folds != fold).sum()) for fold in rows.fold_numbers)
    if smallest < _FEWEST:
        return None
    found = None
    for share in _SMALLEST:
        sizes = np.geomspace(share * smallest, smallest, SIZES)
        refits = _refits(rows, reading, parameters, sizes)
        if refits is not None:
            answers = predict_each(
                as_columns(features), refits, inner_folds=inner_folds, workers=workers, memory=memory
            )
            found = _accuracies(refits, answers, len(rows.fold_numbers), progress)
        if found is not None:
            break
    if found is None:
        return None
    accuracy, taken = found
    curve = fit_learning_curve(taken, accuracy)
    last = int(taken[-1])
    now = float(accuracy[:, -1].mean())
    half = labels_needed(curve, min(0.999, 1 - (1 - now) / 2))
    return {
        "points": [
            {"rows": int(size), "accuracy": float(mean)}
            for size, mean in zip(taken, accuracy.mean(axis=0), strict=True)
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


def _refits(
    rows: SweepRows, reading: Reading, parameters: Sequence[Parameters], sizes: np.ndarray
) -> list[Refit] | None:
    """Every size of the first fold, then of the next; None where the smallest lack a class that is to be learned."""
    refits, groups_needed = [], 2 if PROBES[reading.probe].decides else 1  # to be calibrated on other groups
    for number, fold in enumerate(rows.fold_numbers):
        learning, asked = np.flatnonzero(rows.folds != fold), np.flatnonzero(rows.folds == fold)
        labels, groups = rows.labels[learning], rows.groups[learning]
        try:
            parts = training_sizes(labels, groups, sizes=sizes.round().astype(np.int64), seed=rows.seed + number)
        except RequestError:  # fewer rows than one group of each class has
            return None
        known = [len(np.unique(groups[parts[0]][labels[parts[0]] == label])) for label in np.unique(labels)]
        if min(known) < groups_needed:
            return None
        refits += [
            Refit(rows=rows, reading=reading, parameters=parameters[number], learning=learning[part], asked=asked)
            for part in parts
        ]
    return refits


def _accuracies(
    refits: Sequence[Refit], answers: Iterable[Labels], folds: int, progress: Progress
) -> tuple[np.ndarray, np.ndarray] | None:
    """Accuracy by fold and size, float64 of shape (folds, sizes), and the mean number of rows of each size.

    None where the smallest sizes have fewer rows than components, or inner folds of theirs lose a class, or two sizes
    are one because groups are large.
    """
    accuracy = []
    progress("learning curve", 0, len(refits))
    try:
        for refit, said in zip(refits, answers, strict=True):
            accuracy.append(np.mean(said == refit.rows.labels[refit.asked]))
            progress("learning curve", len(accuracy), len(refits))
    except RequestError:
        return None
    taken = np.array([len(refit.learning) for refit in refits]).reshape(folds, -1).mean(axis=0).round()
    if (np.diff(taken) <= 0).any():
        return None
    return np.array(accuracy).reshape(folds, -1), taken.astype(np.int64)
