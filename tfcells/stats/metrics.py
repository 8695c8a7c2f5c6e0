"""Metrics as pure functions of confusion tables, or of probabilities and row weights.

Every function is vectorised over leading axes, so the 2,000 resamples of a bootstrap are one call. A table
holds counts or weights: rows are true classes, columns predicted ones. Values come back as float64 arrays, of
no dimension when one table came.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tfcells.arrays import Confusion, Float64, Groups, Hits, Int64, Labels, Probabilities, Shaped
from tfcells.errors import RequestError

Tables = Shaped[np.ndarray, "*batch classes classes"]
PerClass = Float64[np.ndarray, "*batch classes"]
Values = Float64[np.ndarray, "*batch"]
Members = Int64[np.ndarray, "_ size"]
RowWeights = Float64[np.ndarray, "*batch images"]


def confusion(true: Labels, predicted: Labels, *, classes: int) -> Confusion:
    """Count rows by true class (first axis) and predicted class (second axis).

    Args:
        true: `(images,)`, class indices.
        predicted: `(images,)`, class indices.
        classes: Number of classes; a class may be without rows.

    Raises:
        RequestError: If a label is not in `[0, classes)`; unlabelled rows (-1) must be left out before.
    """
    cells = _cells(true, predicted, classes)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True, eq=False)
class GroupedConfusion:
    """The distinct confusion tables of the groups, and how many groups have each.

    Groups with equal tables are interchangeable: 100,000 single rows of 8 classes are at most 64 tables. It also
    makes every number computed from here independent of the order of rows and of the names of groups. Tables are
    dense: meant for some dozens of classes, not for thousands.

    Attributes:
        tables: `(kinds, classes, classes)`, int64 counts.
        times: `(kinds,)`, int64, groups with this table.
    """

    tables: Int64[np.ndarray, "kinds classes classes"]
    times: Int64[np.ndarray, " kinds"]

    def __post_init__(self) -> None:
        if len(self.tables) == 0 or len(self.times) != len(self.tables) or self.times.min() < 1:
            raise RequestError(
                f"{len(self.tables)} tables came with {len(self.times)} counts of groups. Expected at least one table "
                "and for each the number of groups that have it, 1 or more. Build it with confusion_by_group()."
            )

    @property
    def total(self) -> Confusion:
        """The table of all rows together, `(classes, classes)`."""
        return np.tensordot(self.times, self.tables, axes=1)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.times.sum())

    @property
    def sizes(self) -> Int64[np.ndarray, " kinds"]:
        """Rows in one group with this table."""
        return np.asarray(self.tables.sum(axis=(1, 2)))

    @property
    def misses(self) -> Int64[np.ndarray, " kinds"]:
        """Wrongly classified rows in one group with this table."""
        return np.asarray(self.sizes - np.trace(self.tables, axis1=1, axis2=2))


def confusion_by_group(true: Labels, predicted: Labels, groups: Groups, *, classes: int) -> GroupedConfusion:
    """Count one confusion table per group and fold equal tables together.

    Args:
        true: `(images,)`, class indices.
        predicted: `(images,)`, class indices.
        groups: `(images,)`, group numbers of any value; rows with one number must not be parted.
        classes: Number of classes.

    Raises:
        RequestError: If there is no row, or a label is not in `[0, classes)`.
    """
    cells = _cells(true, predicted, classes)
    if len(cells) == 0:
        raise RequestError("No rows came. Expected at least one labelled and classified row.")
    number = np.unique(groups, return_inverse=True)[1]
    order = np.lexsort((cells, number))
    cells, size_of = cells[order], np.bincount(number)
    starts = np.cumsum(size_of) - size_of
    tables, times = [], []
    for size in np.unique(size_of):  # groups of unequal size have unequal tables
        members = cells[starts[size_of == size][:, None] + np.arange(size)]  # (groups of this size, size), sorted
        kinds, counts = _distinct_rows(members)
        places = np.arange(len(kinds))[:, None] * classes**2 + kinds
        tables.append(np.bincount(places.reshape(-1), minlength=len(kinds) * classes**2))
        times.append(counts)
    return GroupedConfusion(np.concatenate(tables).reshape(-1, classes, classes), np.concatenate(times))


def _distinct_rows(members: Members) -> tuple[Members, Int64[np.ndarray, " kinds"]]:
    """Distinct rows in lexical order, and how often each comes; np.unique is slow for rows of small tables."""
    if len(members) > 1:
        members = members[np.lexsort(members.T[::-1])]
    first = np.append(True, (members[1:] != members[:-1]).any(axis=1)).nonzero()[0]
    return members[first], np.diff(first, append=len(members))


def accuracy(tables: Tables) -> Values:
    """Share of rows classified rightly; NaN for an empty table."""
    return _share(_diagonal(tables).sum(axis=-1), tables.sum(axis=(-2, -1)))


def recall(tables: Tables) -> PerClass:
    """Share of each true class found; NaN for a class without rows."""
    return _share(_diagonal(tables), tables.sum(axis=-1))


def precision(tables: Tables) -> PerClass:
    """Share of each predicted class that is right; NaN for a class never predicted."""
    return _share(_diagonal(tables), tables.sum(axis=-2))


def f1(tables: Tables) -> PerClass:
    """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN).

    0 for a class that is only in the truth or only predicted; NaN for a class in neither.
    """
    return _share(2 * _diagonal(tables), tables.sum(axis=-1) + tables.sum(axis=-2))


def balanced_accuracy(tables: Tables) -> Values:
    """Mean recall over the classes that have rows; classes without rows are left out of the mean."""
    return _mean_of_numbers(recall(tables))


def macro_f1(tables: Tables) -> Values:
    """Mean F1 over the classes that are in the truth or were predicted; classes in neither are left out.

    scikit-learn's `f1_score(average="macro", zero_division=0)`.
    """
    return _mean_of_numbers(f1(tables))


def auc(probabilities: Probabilities, true: Labels, *, weights: RowWeights | None = None) -> Values:
    """Area under the ROC curve, each class against the rest, averaged over the classes that have rows.

    Ties count one half (Mann-Whitney). NaN where all weight is on one class.

    Args:
        probabilities: `(images, classes)`.
        true: `(images,)`, class indices.
        weights: `(..., images)`, how often each row counts; every row once if None.

    Raises:
        RequestError: If a label is not in `[0, classes)`.
    """
    weights = _weights(probabilities, true, weights)
    columns = [_auc_one(probabilities[:, k], true == k, weights) for k in range(probabilities.shape[1])]
    return _mean_of_numbers(np.stack(columns, axis=-1))


def expected_calibration_error(
    probabilities: Probabilities, true: Labels, *, bins: int = 15, weights: RowWeights | None = None
) -> Values:
    """Mean distance of confidence from accuracy over bins of equal width in confidence, weighted by rows.

    Guo et al. (2017), On calibration of modern neural networks. Confidence is the largest probability. The
    number is biased upwards on few rows: even a calibrated model scores above 0.

    Args:
        probabilities: `(images, classes)`.
        true: `(images,)`, class indices.
        bins: Number of bins over [0, 1].
        weights: `(..., images)`, how often each row counts; every row once if None.

    Raises:
        RequestError: If a label is not in `[0, classes)`, or `bins` is below 1.
    """
    if bins < 1:
        raise RequestError(f"Calibration over {bins} bins was asked for. Expected 1 bin or more; 15 is usual.")
    weights = _weights(probabilities, true, weights)
    confidence = probabilities.max(axis=1)
    gap = confidence - (probabilities.argmax(axis=1) == true)
    # Bins are open below and closed above, as in the paper: 1.0 is in the last one.
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.zeros((len(true), bins))
    gaps[np.arange(len(true)), place] = gap
    return _share(np.abs(weights @ gaps).sum(axis=-1), weights.sum(axis=-1))


def _auc_one(scores: Float64[np.ndarray, " images"], positive: Hits, weights: RowWeights) -> Values:
    """Weighted Mann-Whitney statistic of one class, as a share; NaN where one side has no weight."""
    wrong = np.flatnonzero(~positive)
    wrong = wrong[np.argsort(scores[wrong], kind="stable")]
    wrong_weight = np.cumsum(weights[..., wrong], axis=-1)
    wrong_weight = np.concatenate([np.zeros((*weights.shape[:-1], 1)), wrong_weight], axis=-1)  # below the k-th
    lower = np.searchsorted(scores[wrong], scores[positive], side="left")
    equal = np.searchsorted(scores[wrong], scores[positive], side="right")
    right = weights[..., positive]
    won = (right * (wrong_weight[..., lower] + wrong_weight[..., equal])).sum(axis=-1) / 2
    return _share(won, right.sum(axis=-1) * wrong_weight[..., -1])


def _weights(probabilities: Probabilities, true: Labels, weights: RowWeights | None) -> RowWeights:
    """Row weights, after a look at the labels."""
    _check_labels(true, probabilities.shape[1], "true")
    return np.ones(len(true)) if weights is None else weights


def _cells(true: Labels, predicted: Labels, classes: int) -> Int64[np.ndarray, " images"]:
    """Each row's place in the flattened confusion table."""
    _check_labels(true, classes, "true")
    _check_labels(predicted, classes, "predicted")
    return np.asarray(true * classes + predicted)


def _check_labels(labels: Labels, classes: int, name: str) -> None:
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise RequestError(
            f"{int(outside.sum())} of {len(labels)} {name} labels are not in [0, {classes}), the first is "
            f"{int(labels[outside][0])}. Expected class indices; leave unlabelled rows (-1) out before scoring."
        )


def _diagonal(tables: Tables) -> Shaped[np.ndarray, "*batch classes"]:
    return np.asarray(np.diagonal(tables, axis1=-2, axis2=-1))


def _share(part: ArrayLike, whole: ArrayLike) -> Values:
    """`part / whole` in float64, NaN where the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def _mean_of_numbers(values: PerClass) -> Values:
    """Mean over the last axis without the NaN entries; NaN where there is nothing else."""
    known = ~np.isnan(values)
    return _share(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))
