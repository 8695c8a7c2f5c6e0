"""What an audit finds: a frozen value, by id."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tfcells.arrays import Features, Ids
from tfcells.errors import RequestError
from tfcells.images.audit.evidence import Thresholds
from tfcells.images.audit.quality import Measures, Odd
from tfcells.images.audit.self_check import SelfCheck
from tfcells.images.table import Quarantined

Kind = Literal["exact", "exact-oriented", "near", "possible"]


class Pair(NamedTuple):
    """Two pictures of the same thing.

    Attributes:
        id_a: The smaller id.
        id_b: The larger one.
        kind: `exact` (the same pixels), `exact-oriented` (the same pixels after turning by right angles or mirroring),
            `near` (a copy, confirmed by geometry and pixels), `possible` (not enough evidence; never joined).
        score: Median correlation of the blocks of the overlap, -1 to 1; 1 for the exact kinds.
    """

    id_a: str
    id_b: str
    kind: Kind
    score: float


class LabelConflict(NamedTuple):
    """Copies of one picture that are filed under several classes.

    Attributes:
        group: Their group.
        labels: Class by id, of the labelled members.
        exact: Whether two pictures with the very same pixels disagree; at least one label is wrong then. Overlapping
            fields may show different cells, and both labels be right.
    """

    group: str
    labels: Mapping[str, str]
    exact: bool


@dataclass(frozen=True)
class Embeddings:
    """Features that say which pictures look alike, with the rows they belong to; the audit takes neighbours from them.

    Attributes:
        ids: Row identities; pictures without one are looked for by local features alone.
        vectors: Float of shape (images, features), one row per id.

    Raises:
        RequestError: If ids and rows are not equally many, or an id comes twice.
    """

    ids: Ids
    vectors: Features

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.vectors):
            raise RequestError(
                f"{len(self.ids):,} ids but {len(self.vectors):,} rows of embeddings. Expected one row per id."
            )
        if len(set(self.ids)) != len(self.ids):
            raise RequestError("An id comes more than once in the embeddings. Expected one row per id.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """What is wrong, or may be, with a collection of pictures.

    Attributes:
        ids: Every picture that could be read, sorted.
        pairs: Confirmed pairs before closure, and possible ones, sorted. Of k pictures with the same pixels the
            k - 1 pairs with the smallest id are listed.
        groups: Group by id, for all of `ids`: connected by confirmed pairs, named by the smallest id; a picture alone
            is its own group.
        quarantined: Pictures that cannot be read, and why.
        odd: Pictures that are unlike the rest.
        label_conflicts: Groups that hold more than one class.
        class_counts: Pictures per class, unlabelled ones left out.
        unlabelled: Pictures without a class.
        sizes: Pictures per size, the most frequent first.
        measures: Size, light, colour and sharpness by id.
        marked: Pictures that carry a mark in a place where most pictures of their size do.
        thresholds: What was required of a pair.
        self_check: How well that worked on these pictures.
        compared: Pairs that were looked at.
        sources: Where candidate pairs came from: `local features`, and `embeddings` if there were any.
        seed: The audit's seed.
    """

    ids: Ids
    pairs: tuple[Pair, ...]
    groups: Mapping[str, str]
    quarantined: tuple[Quarantined, ...]
    odd: tuple[Odd, ...]
    label_conflicts: tuple[LabelConflict, ...]
    class_counts: Mapping[str, int]
    unlabelled: int
    sizes: Mapping[str, int]
    measures: Mapping[str, Measures]
    marked: int
    thresholds: Thresholds
    self_check: SelfCheck
    compared: int
    sources: tuple[str, ...]
    seed: int

    @property
    def confirmed(self) -> tuple[Pair, ...]:
        """The pairs that join groups."""
        return tuple(pair for pair in self.pairs if pair.kind != "possible")

    @property
    def possible(self) -> tuple[Pair, ...]:
        """The pairs that join nothing, for people to look at."""
        return tuple(pair for pair in self.pairs if pair.kind == "possible")
