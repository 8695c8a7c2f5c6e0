"""Who teaches a network, who chooses its epoch and who is asked: rows of a table, groups never parted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcells.arrays import Groups, Ids, Int64, Labels
from tfcells.config import TaughtImagesConfig
from tfcells.errors import RequestError
from tfcells.images.splits import HOLDOUT, LEFT_OUT, TRAIN, VALIDATION, Split, assign_parts, split_table
from tfcells.images.table import ImageTable, codes_of

Rows = Int64[np.ndarray, "_"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TaughtFold:
    """One training, by the numbers of rows.

    Attributes:
        number: Of the fold, from 0.
        training: Rows that teach.
        validation: Rows that the epoch is chosen by; none where nothing is chosen.
        asked: Rows that are asked once, at the end.
    """

    number: int
    training: Rows
    validation: Rows
    asked: Rows

    @property
    def watched(self) -> Rows:
        """Rows that are looked at after every epoch: those that choose, or else those that are asked."""
        return self.validation if len(self.validation) else self.asked

    @property
    def learning(self) -> Rows:
        """All rows that are not asked."""
        return np.sort(np.concatenate([self.training, self.validation]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Taught:
    """All trainings of a study, on the rows that its split uses.

    Attributes:
        table: The rows in use.
        labels: int64 of shape (images,), numbered over the classes in use.
        class_names: The classes in use.
        groups: int64 of shape (images,).
        folds: One training each; together they ask every row once, or one asks the holdout.
        split: Of all rows.
    """

    table: ImageTable
    labels: Labels
    class_names: tuple[str, ...]
    groups: Groups
    folds: tuple[TaughtFold, ...]
    split: Split

    @property
    def asked(self) -> Rows:
        """Rows that are asked, in the order of the table."""
        return np.sort(np.concatenate([fold.asked for fold in self.folds]))

    @property
    def ids(self) -> Ids:
        """Row identities."""
        return self.table.ids

    def digests_of(self, rows: Rows) -> tuple[str, ...]:
        """Digests of the pixels of rows."""
        return tuple(self.table.digests[row] for row in rows.tolist())


def deal_rows(table: ImageTable, images: TaughtImagesConfig, *, seed: int) -> Taught:
    """Split a table: one holdout, or folds; and within what is left, the rows that the epoch is chosen by.

    Raises:
        RequestError: If it cannot be split so.
    """
    once = images.folds == 1
    split = split_table(
        table,
        folds=2 if once else images.folds,
        holdout=images.holdout if once else 0.0,
        validation=images.validation if once else 0.0,
        seed=seed,
    )
    kept = np.flatnonzero([part != LEFT_OUT for part in split.parts])
    used = table.take(kept)
    in_use, labels = np.unique(used.labels, return_inverse=True)
    groups = codes_of(used.groups)
    parts = np.array([split.parts[row] for row in kept.tolist()], dtype=object)
    if once:
        parted = [np.flatnonzero(parts == part) for part in (TRAIN, VALIDATION, HOLDOUT)]
        folds: Sequence[TaughtFold] = [_fold(0, *parted)]
    else:
        folds = [
            _fold(number, *_within(labels, groups, split.folds[kept], number, images, seed=seed))
            for number in range(images.folds)
        ]
    names = tuple(table.class_names[index] for index in in_use.tolist())
    for fold in folds:
        _check_taught(fold, labels, names)
    return Taught(
        table=used,
        labels=labels.astype(np.int64),
        class_names=names,
        groups=groups,
        folds=tuple(folds),
        split=split,
    )


def _fold(number: int, training: Rows, validation: Rows, asked: Rows) -> TaughtFold:
    return TaughtFold(number=number, training=training, validation=validation, asked=asked)


def _within(
    labels: Labels, groups: Groups, fold_of: Rows, number: int, images: TaughtImagesConfig, *, seed: int
) -> tuple[Rows, Rows, Rows]:
    """Rows that teach, choose and are asked in one of several folds."""
    learning, asked = np.flatnonzero(fold_of != number), np.flatnonzero(fold_of == number)
    if not images.validation:
        return learning, learning[:0], asked
    share = images.validation * len(labels) / len(learning)
    if share >= 1:
        raise RequestError(
            f"images.validation = {images.validation:g} was asked for with {images.folds} folds, which leaves no row "
            "to teach. Expected less."
        )
    # Another seed than the folds', and than that of the other folds.
    side = assign_parts(labels[learning], groups[learning], shares=[1 - share, share], seed=seed + 2 + number)
    return learning[side == 0], learning[side == 1], asked


def _check_taught(fold: TaughtFold, labels: Labels, class_names: Sequence[str]) -> None:
    untaught = np.setdiff1d(labels, labels[fold.training])
    if len(untaught):
        raise RequestError(
            f"No row of class {class_names[int(untaught[0])]!r} teaches in fold {fold.number}: its groups went to the "
            "rows that choose and that are asked. Expected more groups of it; choose fewer folds, a smaller "
            "images.validation or another seed."
        )
