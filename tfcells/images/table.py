"""`ImageTable`: the rows everything else speaks about. A row is known by its id, never by its place."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from tfcells.arrays import Groups, Ids, Labels
from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.sources import PixelSource


class Quarantined(NamedTuple):
    """A picture that was left out by name, and why."""

    id: str
    reason: str


class FileFacts(NamedTuple):
    """What was seen of a row when its file was decoded.

    Attributes:
        sha256: Of the file's bytes; empty where the source has no files.
        width, height: Of the picture, in pixels; 0 where nobody has looked.
    """

    sha256: str = ""
    width: int = 0
    height: int = 0


class KnownFile(NamedTuple):
    """What the bytes of a file decode to, known from an earlier time.

    Attributes:
        pixels: SHA-256 of the canonical pixels and shape.
        width, height: In pixels.
    """

    pixels: str
    width: int
    height: int


KnownFiles = Mapping[str, KnownFile]
"""By SHA-256 of a file's bytes."""

NOTHING_KNOWN: Final[KnownFiles] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTable:
    """Pictures with identity, classes and groups; a frozen value.

    Attributes:
        ids: Row identities, unique: the path relative to the data root, or the source's own id.
        digests: SHA-256 of each row's canonical pixels and shape.
        labels: int64 of shape (images,); index into `class_names`, -1 where unlabelled.
        class_names: The classes; sorted, unless somebody gave them an order.
        groups: Group name per row; rows of one group must never be parted by a split. A row that is alone
            carries its own id.
        metadata: Further columns by name, one string per row.
        quarantine: What was left out, and why.
        source: Gives a row's pixels.
        files: Bytes and size of each row's picture; without them, nothing is known of either.
    """

    ids: Ids
    digests: tuple[str, ...]
    labels: Labels
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    source: PixelSource
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    quarantine: tuple[Quarantined, ...] = ()
    files: tuple[FileFacts, ...] = ()

    def __post_init__(self) -> None:
        if not self.files:
            object.__setattr__(self, "files", (FileFacts(),) * len(self.ids))
        columns = {
            "digests": self.digests,
            "labels": self.labels,
            "groups": self.groups,
            "files": self.files,
            **{f"metadata {name!r}": column for name, column in self.metadata.items()},
        }
        for name, column in columns.items():
            if len(column) != len(self.ids):
                raise RequestError(
                    f"{len(self.ids)} ids but {len(column)} {name}. Each row has one of both; "
                    "were they filtered separately?"
                )
        if len(set(self.ids)) != len(self.ids):
            twice = sorted(id for id, count in Counter(self.ids).items() if count > 1)[:3]
            raise RequestError(f"Ids must be unique, but these come more than once: {', '.join(twice)}.")
        if len(self.labels) and not -1 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise RequestError(
                f"Labels must lie in -1 (unlabelled) to {len(self.class_names) - 1}, the index of the last "
                f"class; they lie in {self.labels.min()} to {self.labels.max()}."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}: {count}" for name, count in self.class_counts().items())
        return (
            f"ImageTable({len(self)} images, {len(set(self.groups))} groups, classes {{{counts}}}, "
            f"{len(self.quarantine)} quarantined)"
        )

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """Row number by id."""
        return {id: row for row, id in enumerate(self.ids)}

    @cached_property
    def group_codes(self) -> Groups:
        """Groups as numbers: int64 of shape (images,), in order of first appearance."""
        return codes_of(self.groups)

    def class_counts(self) -> dict[str, int]:
        """Images per class, unlabelled ones left out."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    def take(self, rows: Sequence[int] | np.ndarray) -> "ImageTable":
        """Return the table of these rows, in this order; classes stay as they are."""
        numbers = np.asarray(rows)
        if numbers.dtype == bool:
            numbers = np.arange(len(self))[numbers]  # which refuses a mask of another length
        picked = numbers.tolist()
        return replace(
            self,
            ids=tuple(self.ids[row] for row in picked),
            digests=tuple(self.digests[row] for row in picked),
            labels=self.labels[numbers.astype(np.int64)],
            groups=tuple(self.groups[row] for row in picked),
            metadata={name: tuple(column[row] for row in picked) for name, column in self.metadata.items()},
            files=tuple(self.files[row] for row in picked),
        )

    def with_groups(self, group_of: Mapping[str, str]) -> "ImageTable":
        """Return the table with these groups joined to the ones it has (transitively).

        Args:
            group_of: Group name by id; ids that are missing keep the groups they have.

        Raises:
            UnknownNameError: If an id is neither a row nor in quarantine.
        """
        known = set(self.ids) | {entry.id for entry in self.quarantine}
        strange = [id for id in group_of if id not in known]
        if strange:
            raise UnknownNameError("id in the groups", strange[0], self.ids)
        listed = tuple(f"listed {group_of[id]}" if id in group_of else f"alone {id}" for id in self.ids)
        return replace(self, groups=joined_groups(self.ids, [self.groups, listed]))


def codes_of(names: Iterable[str]) -> Groups:
    """Number names in order of first appearance: int64 of shape (names,)."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def joined_groups(ids: Sequence[str], partitions: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Join partitions: rows that share a group in any of them share one in the result (union-find).

    Args:
        ids: Row identities.
        partitions: Each gives one group name per row.

    Returns:
        One group name per row: the smallest id in the joined group.
    """
    parent = list(range(len(ids)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for partition in partitions:
        first: dict[str, int] = {}
        for row, name in enumerate(partition):
            parent[root(row)] = root(first.setdefault(name, row))
    roots = [root(row) for row in range(len(ids))]
    smallest: dict[int, str] = {}
    for row, top in enumerate(roots):
        smallest[top] = min(smallest.get(top, ids[row]), ids[row])
    return tuple(smallest[top] for top in roots)
