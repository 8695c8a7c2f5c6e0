"""Which pairs are worth a closer look: each picture's nearest others, by blocks, never as a table of all pairs."""

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Final, NamedTuple

import numpy as np

from tfcells.arrays import Float32, Int64
from tfcells.images.audit.vocabulary import Codes

NEAREST: Final = 6
"""Neighbours asked for per picture, and as many for its mirror image. More rounds find more than more neighbours."""

_BLOCK: Final = 256  # rows at a time: 20 MB of likenesses among 20,000 pictures


class Candidate(NamedTuple):
    """Two rows, the first the smaller, and whether one of them must be mirrored."""

    first: int
    second: int
    mirrored: bool


def nearest_outside(
    asking: Codes, answering: Codes, components: Int64[np.ndarray, " pictures"], *, count: int, pool: Executor
) -> Int64[np.ndarray, "pictures count"]:
    """The rows most alike each row, outside its own component.

    Args:
        asking: float32 of shape (pictures, axes), unit rows or zeros; zeros ask for nothing.
        answering: The same for what is looked for: the same codes, or those of the mirror images.
        components: int64 of shape (pictures,); a picture never finds those of its own component.
        count: How many each row finds.
        pool: Where the blocks are computed.

    Returns:
        int64 of shape (pictures, count), -1 where there are not so many; ties go to the smaller row number.
    """
    found = np.full((len(asking), count), -1, dtype=np.int64)
    askers = np.flatnonzero(asking.any(axis=1))

    def look(start: int) -> None:
        rows = askers[start : start + _BLOCK]
        likeness = asking[rows] @ answering.T
        likeness[components[rows][:, None] == components[None, :]] = -np.inf
        found[rows] = _largest(likeness, count)

    list(pool.map(look, range(0, len(askers), _BLOCK)))  # the list makes errors come out
    return found


def candidates_of(neighbours: Int64[np.ndarray, "pictures count"], *, mirrored: bool) -> Iterator[Candidate]:
    """Each pair that a table of neighbours holds, maybe twice."""
    for row, found in enumerate(neighbours.tolist()):
        for other in found:
            if other >= 0:
                yield Candidate(min(row, other), max(row, other), mirrored)


def _largest(likeness: Float32[np.ndarray, "rows pictures"], count: int) -> Int64[np.ndarray, "rows count"]:
    found = np.full((len(likeness), count), -1, dtype=np.int64)
    wanted = min(count, likeness.shape[1])
    top = np.argpartition(-likeness, wanted - 1, axis=1)[:, :wanted]
    values = np.take_along_axis(likeness, top, axis=1)
    order = np.lexsort((top, -values), axis=1)
    top, values = np.take_along_axis(top, order, axis=1), np.take_along_axis(values, order, axis=1)
    found[:, :wanted] = np.where(np.isfinite(values), top, -1)
    return found
