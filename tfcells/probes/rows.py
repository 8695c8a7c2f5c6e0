"""Which rows of a store a split lets learn and be tested, with labels numbered over the classes in use."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from tfcells.arrays import Ids, Labels
from tfcells.errors import EmptyDataError, RequestError
from tfcells.features.store import FeatureStore
from tfcells.images.splits import HOLDOUT, TRAIN, Split
from tfcells.probes.catalog import INNER_FOLDS, PROBES
from tfcells.probes.crossval import SweepRows
from tfcells.probes.reading import Space


@runtime_checkable
class Known(Protocol):
    """What is asked of rows: a store's, or an `ImageTable`."""

    @property
    def ids(self) -> Ids:
        """Row identities."""
        ...

    @property
    def labels(self) -> Labels:
        """Index into `class_names`, -1 where unlabelled."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes."""
        ...


def rows_in_use(
    store: FeatureStore, split: Split, *, seed: int = 0, part: str = TRAIN
) -> tuple[Ids, tuple[str, ...], np.ndarray, SweepRows]:
    """The rows of one part of a split that have features, with labels numbered over the classes in use.

    Returns:
        Ids, names of the classes in use, row numbers in the store (int64), and labels with groups and folds.

    Raises:
        EmptyDataError: If there is none.
        RequestError: If one has no class, or a class of the holdout has no training row.
    """
    return rows_marked(store.rows, split, seed=seed, part=part, whose=str(store.path))


def rows_marked(
    known: Known, split: Split, *, seed: int = 0, part: str = TRAIN, whose: str = "the images"
) -> tuple[Ids, tuple[str, ...], np.ndarray, SweepRows]:
    """`rows_in_use` of rows that may have no features yet."""
    aligned = split.aligned_to(known.ids)
    parts = np.array(aligned.parts, dtype=object)
    used = np.flatnonzero(parts == part)
    if not len(used):
        raise EmptyDataError(f"No row of {whose} is marked {part!r} in the split. Make the split from these images.")
    in_use = np.unique(known.labels[(parts == TRAIN) | (parts == HOLDOUT)])
    _check_classes(in_use, np.unique(known.labels[parts == TRAIN]), known.class_names)
    number = np.full(len(known.class_names), -1, dtype=np.int64)
    number[in_use] = np.arange(len(in_use))
    _, groups = np.unique(np.array(aligned.groups, dtype=object)[used].astype(str), return_inverse=True)
    rows = SweepRows(
        labels=number[known.labels[used]],
        groups=groups.astype(np.int64),
        folds=aligned.folds[used],
        classes=len(in_use),
        seed=seed,
    )
    names = tuple(known.class_names[index] for index in in_use)
    return tuple(known.ids[row] for row in used.tolist()), names, used, rows


def _check_classes(in_use: np.ndarray, learned: np.ndarray, class_names: Sequence[str]) -> None:
    if (in_use < 0).any():
        raise RequestError(
            f"Rows without a class are marked {TRAIN!r} or {HOLDOUT!r} in the split. Mark them 'left_out', or give "
            "them a class."
        )
    unlearned = np.setdiff1d(in_use, learned)
    if len(unlearned):
        raise RequestError(
            f"Class {class_names[unlearned[0]]!r} is in the holdout, but none of its rows is marked {TRAIN!r}: no "
            "probe can learn it. Make the holdout smaller, or leave the class out."
        )


def check_calibration(rows: SweepRows, class_names: Sequence[str], space: Space, *, served: bool = False) -> None:
    """Deal the folds on which a probe that decides is calibrated, and look whether every class is learned in each.

    Args:
        rows: Labels, groups and outer folds.
        class_names: Names of the classes in use.
        space: Probes and inner folds.
        served: Whether a probe is also fitted on all rows.

    Raises:
        RequestError: If a class is in one group of some training rows, or all of its groups there, which hold other
            classes too, came into one inner fold.
    """
    deciding = next((probe for probe in space.probes if PROBES[probe].decides), None)
    if deciding is None:
        return
    _check_groups_of_classes(rows, class_names, deciding)
    for fold in [*rows.fold_numbers, *([None] if served else [])]:
        learning = np.arange(len(rows.labels)) if fold is None else np.flatnonzero(rows.folds != fold)
        training = rows.training(learning)
        for kept, _ in training.folds(space.inner_folds or INNER_FOLDS):
            lost = np.setdiff1d(training.labels, training.labels[kept])
            if len(lost):
                where = "all training rows" if fold is None else f"the training rows of fold {fold}"
                name = class_names[lost[0]]
                raise RequestError(
                    f"Every group of class {name!r} in {where} came into one inner fold, since groups hold other "
                    f"classes too: {deciding} could not be calibrated on groups that it did not learn from. Choose "
                    f"another seed or other numbers of folds, add images of {name!r}, or leave {deciding} out."
                )


def _check_groups_of_classes(rows: SweepRows, class_names: Sequence[str], deciding: str) -> None:
    for fold in rows.fold_numbers:
        learning = rows.folds != fold
        for index, name in enumerate(class_names):
            groups = len(np.unique(rows.groups[learning & (rows.labels == index)]))
            if groups == 1:
                raise RequestError(
                    f"Class {name!r} has 1 group in the training rows of fold {fold}, too few for {deciding}, which is "
                    "calibrated on groups that it did not learn from. Expected 2 or more; choose more folds, add "
                    f"images of {name!r}, or leave {deciding} out."
                )


def check_folds(rows: SweepRows) -> None:
    """Raise `RequestError` if a fold leaves fewer than two classes, or a single group, to learn."""
    for fold in rows.fold_numbers:
        left = len(np.unique(rows.labels[rows.folds != fold]))
        if left < 2:
            raise RequestError(
                f"Without fold {fold} the rows marked {TRAIN!r} have {left} of their classes left to learn. Expected "
                "two or more; a probe tells classes apart, and every class needs rows in two folds."
            )
        if len(np.unique(rows.groups[rows.folds != fold])) < 2:
            raise RequestError(
                f"Without fold {fold} the rows marked {TRAIN!r} are one group, which inner folds cannot part. Expected "
                "two groups or more outside every fold; add groups, or choose more folds."
            )
