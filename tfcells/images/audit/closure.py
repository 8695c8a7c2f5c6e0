"""From pairs to groups, and again from groups to pairs, until nothing new appears."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tfcells.arrays import Int64
from tfcells.images.audit.candidates import NEAREST, Candidate, candidates_of, nearest_outside
from tfcells.images.audit.evidence import Evidence
from tfcells.images.audit.vocabulary import Codes
from tfcells.progress import Progress

ALL_PAIRS: Final = 24
"""Up to so many pictures every pair is looked at: neighbours mean nothing among few."""

_EVERYBODY: Final = 2
_ROUNDS: Final = (2, NEAREST, 2 * NEAREST, 2 * NEAREST)
"""Neighbours outside its own component that a picture asks for, round by round. The first round joins most copies, and
what is joined need not be compared any more. After `_EVERYBODY` rounds only pictures that have found a copy ask
further: where a picture has some copies it tends to have more, and overlapping fields come in chains."""

_CHUNK: Final = 256  # comparisons in flight per worker

Components = Int64[np.ndarray, " pictures"]
"""The component of each picture, named by its smallest row."""

Compare = Callable[[Candidate], Evidence | None]


class Search:
    """Finds the pairs worth comparing and compares them, each once.

    Args:
        codes: float32 of shape (pictures, axes), unit rows; zeros where a picture has no keypoints.
        mirrored: The same of the mirror images.
        known: Pairs to be compared whatever their codes say: int64 of shape (pictures, count), -1 for none.
        compare: Gives the evidence for one pair.
        pool: Where pairs are compared.
        progress: Told how far it is.

    Attributes:
        evidence: By pair, for every pair that was compared.
    """

    def __init__(
        self,
        codes: Codes,
        mirrored: Codes,
        known: Int64[np.ndarray, "pictures count"],
        *,
        compare: Compare,
        pool: Executor,
        progress: Progress,
    ) -> None:
        self._sides = ((codes, False), (mirrored, True))
        self._known, self._compare, self._pool, self._progress = known, compare, pool, progress
        self.evidence: dict[Candidate, Evidence | None] = {}

    def run(self, is_copy: Callable[[Evidence | None], bool]) -> Components:
        """Compare round by round.

        Args:
            is_copy: Says whether evidence is enough to join two pictures.

        Returns:
            The component of each picture.
        """
        components = self._joined(is_copy)
        for number, nearest in enumerate(_ROUNDS):
            self.compare(self._asked(components, nearest, everybody=number < _EVERYBODY))
            components = self._joined(is_copy)
        return components

    def compare(self, candidates: Iterable[Candidate]) -> None:
        """Compare pairs that were not compared before."""
        new = sorted(set(candidates) - self.evidence.keys())
        self._progress("comparing", 0, len(new))
        for start in range(0, len(new), _CHUNK):
            chunk = new[start : start + _CHUNK]
            self.evidence.update(zip(chunk, self._pool.map(self._compare, chunk), strict=True))
            self._progress("comparing", start + len(chunk), len(new))

    def _asked(self, components: Components, nearest: int, *, everybody: bool) -> set[Candidate]:
        count = len(components)
        if count <= ALL_PAIRS:
            return {Candidate(a, b, side) for b in range(count) for a in range(b) for side in (False, True)}
        members = np.bincount(components, minlength=count)[components] > 1
        pairs: set[Candidate] = set()
        for codes, mirrored in self._sides:
            asking = codes if everybody else codes * members[:, None].astype(np.float32)
            found = nearest_outside(asking, self._sides[0][0], components, count=nearest, pool=self._pool)
            pairs.update(candidates_of(found, mirrored=mirrored))
            pairs.update(candidates_of(self._known, mirrored=mirrored))
        return {pair for pair in pairs if components[pair.first] != components[pair.second]}

    def _joined(self, is_copy: Callable[[Evidence | None], bool]) -> Components:
        return components_of(len(self._known), [pair for pair, found in self.evidence.items() if is_copy(found)])


def components_of(count: int, pairs: Sequence[tuple[int, ...] | Candidate]) -> Components:
    """The smallest row that each of rows 0 to count - 1 is connected with by pairs."""
    links = np.array([pair[:2] for pair in pairs], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
    _, numbers = connected_components(graph, directed=False)
    smallest = np.full(count, count, dtype=np.int64)
    np.minimum.at(smallest, numbers, np.arange(count))
    named: np.ndarray = smallest[numbers]
    return named
