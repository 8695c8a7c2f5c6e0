"""Out-of-fold predictions: every row is answered once, by a probe that never saw its group."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from tfcells.arrays import Features, Float, Groups, Hits, Int64, Labels, Probabilities
from tfcells.probes.catalog import Training, class_probabilities, fit_probe


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepRows:
    """The rows a sweep learns from and is tested on; labels are numbered over the classes in use.

    Attributes:
        labels: int64 of shape (images,).
        groups: int64 of shape (images,).
        folds: int64 of shape (images,): the fold in which a row is tested.
        classes: Number of classes.
        seed: For whatever a probe draws.
    """

    labels: Labels
    groups: Groups
    folds: Int64[np.ndarray, " images"]
    classes: int
    seed: int

    @property
    def fold_numbers(self) -> list[int]:
        """The folds that occur, sorted."""
        return [int(fold) for fold in np.unique(self.folds)]

    def training(self, rows: np.ndarray) -> Training:
        """Labels and groups of some rows."""
        return Training(self.labels[rows], self.groups[rows], self.seed)


@dataclass(frozen=True, kw_only=True, eq=False)
class OutOfFold:
    """What a probe said of rows it had not seen.

    Attributes:
        probabilities: float64 of shape (images, classes).
        predicted: int64 of shape (images,): the most probable class.
        hits: bool of shape (images,).
    """

    probabilities: Probabilities
    predicted: Labels
    hits: Hits


def cross_validate(vectors: Features, kind: str, rows: SweepRows, *, workers: int = 1) -> OutOfFold:
    """Cross-validate one probe at its default parameters, on features scaled as it is usual for it.

    Args:
        vectors: float of shape (images, features).
        kind: Name of the probe.
        rows: Labels, groups and folds of the images.
        workers: Processes; the answer does not depend on them.
    """
    tasks = (delayed(_one_fold)(vectors, kind, rows, fold) for fold in rows.fold_numbers)
    answers = Parallel(n_jobs=workers, max_nbytes="1M")(tasks)
    return joined_folds(dict(zip(rows.fold_numbers, answers, strict=True)), rows)


def joined_folds(answers: Mapping[int, Float[np.ndarray, "_ classes"]], rows: SweepRows) -> OutOfFold:
    """Predictions for all rows from the probabilities that each fold's rows got."""
    probabilities = np.zeros((len(rows.labels), rows.classes))
    for fold, answer in answers.items():
        probabilities[rows.folds == fold] = answer
    return out_of_fold(probabilities, rows.labels)


def out_of_fold(probabilities: Probabilities, labels: Labels) -> OutOfFold:
    """Probabilities to predictions and hits; ties go to the first class."""
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    return OutOfFold(probabilities=probabilities, predicted=predicted, hits=predicted == labels)


def _one_fold(vectors: Features, kind: str, rows: SweepRows, fold: int) -> Float[np.ndarray, "tested classes"]:
    learning, tested = rows.folds != fold, rows.folds == fold
    probe = fit_probe(kind, vectors[learning], rows.labels[learning], rows.groups[learning], seed=rows.seed)
    return class_probabilities(probe, vectors[tested], classes=rows.classes)
