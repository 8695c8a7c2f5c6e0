"""Which pictures an epoch draws, and in which order: a pure function of seed, epoch and ids. No TensorFlow here."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from tfcells.arrays import Ids, Labels
from tfcells.errors import EmptyDataError, RequestError, UnknownNameError
from tfcells.finetune.augment import picture_seed
from tfcells.finetune.settings import SAMPLINGS

NATURAL: Final = "natural"


class Draw(NamedTuple):
    """One appearance of a picture in an epoch.

    Attributes:
        row: Of the table.
        copy: 0 for its first appearance in the epoch, 1 for its second, and so on.
    """

    row: int
    copy: int


def epoch_draws(
    ids: Ids, rows: Sequence[int] | np.ndarray, labels: Labels, *, sampling: str, seed: int, epoch: int
) -> list[Draw]:
    """Draw as many pictures as there are rows, shuffled anew in every epoch.

    `natural` draws every row once. `balanced` shares the epoch among the classes that are there, evenly; where that
    does not come out, classes chosen by the epoch get one more. Within a class every row is drawn equally often; where
    that does not come out, rows chosen by the epoch are drawn once more. So a rare class repeats its pictures, and of
    a frequent one each epoch sees another part.

    Order and choice go by digests of seed, epoch and id: they depend neither on the numbers of rows nor on the order
    in which rows are given.

    Args:
        ids: Of the table.
        rows: To draw from, each once; at least one.
        labels: Class index of every row of the table.
        sampling: `natural` or `balanced`.
        seed: Of the training.
        epoch: Counted from 0.

    Raises:
        UnknownNameError: If the sampling is unknown.
        EmptyDataError: If there is no row.
        RequestError: If rows repeat, or one has no class.
    """
    if sampling not in SAMPLINGS:
        raise UnknownNameError("sampling", sampling, SAMPLINGS)
    known = check_rows(ids, rows, labels)
    drawn = _once(known) if sampling == NATURAL else _balanced(ids, known, labels, seed=seed, epoch=epoch)
    return sorted(drawn, key=lambda draw: (picture_seed("order", seed, epoch, ids[draw.row], draw.copy), draw))


def check_rows(ids: Ids, rows: Sequence[int] | np.ndarray, labels: Labels) -> list[int]:
    """Return rows as numbers, once they can be learned from.

    Raises:
        EmptyDataError: If there is none.
        RequestError: If they repeat, if labels are not those of the table, or a row has none.
    """
    numbers = [int(row) for row in rows]
    if not numbers:
        raise EmptyDataError("There are no rows to learn from. Expected one or more.")
    if len(labels) != len(ids):
        raise RequestError(
            f"{len(labels)} labels for a table of {len(ids)} rows. Expected one for every row of the table, used or "
            "not."
        )
    if len(set(numbers)) < len(numbers):
        raise RequestError(f"{len(numbers)} rows, of which {len(set(numbers))} are different. Expected each row once.")
    for row in numbers:
        if labels[row] < 0:
            raise RequestError(f"Picture {ids[row]!r} has no class. Expected labelled rows; leave it out.")
    return numbers


def even_batches(draws: Sequence[Draw], batch_size: int, *, replicas: int = 1) -> list[list[Draw]]:
    """Part draws into as few batches as their size allows, none much shorter than another.

    They differ in length by one picture for each replica at most: each picture of an epoch counts, and no small last
    batch makes a step, or statistics, of two or three pictures.

    Args:
        draws: Of an epoch.
        batch_size: Of the longest batch.
        replicas: Among which a strategy parts each batch. Every length is a multiple of it, since Keras adds up what
            replicas get; up to `replicas - 1` last draws are left out for it, which are others in every epoch.

    Raises:
        RequestError: If batches or draws are fewer than replicas.
    """
    number = count_batches(len(draws), batch_size, replicas=replicas)
    least, longer = divmod(len(draws) // replicas, number)
    starts = [replicas * (least * batch + min(batch, longer)) for batch in range(number + 1)]
    return [list(draws[start:stop]) for start, stop in itertools.pairwise(starts)]


def count_batches(draws: int, batch_size: int, *, replicas: int = 1) -> int:
    """How many batches `even_batches` makes of so many draws.

    Raises:
        RequestError: If batches or draws are fewer than replicas.
    """
    for what, number in ((f"Batches of {batch_size} pictures", batch_size), (f"{draws} pictures", draws)):
        if number < replicas:
            raise RequestError(f"{what} for {replicas} replicas. Expected {replicas} or more, one for each.")
    return -(-(draws // replicas) // (batch_size // replicas))


def _once(rows: Iterable[int]) -> list[Draw]:
    return [Draw(row, 0) for row in rows]


def _balanced(ids: Ids, rows: list[int], labels: Labels, *, seed: int, epoch: int) -> list[Draw]:
    members: dict[int, list[int]] = {}
    for row in rows:
        members.setdefault(int(labels[row]), []).append(row)
    share, extra = divmod(len(rows), len(members))
    classes = sorted(members, key=lambda label: picture_seed("class", seed, epoch, label))
    drawn = []
    for place, label in enumerate(classes):
        mine = sorted(members[label], key=lambda row: (picture_seed("choice", seed, epoch, ids[row]), row))
        passes, rest = divmod(share + (place < extra), len(mine))
        drawn += [Draw(row, copy) for copy in range(passes) for row in mine]
        drawn += [Draw(row, passes) for row in mine[:rest]]
    return drawn
