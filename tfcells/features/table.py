"""`FeatureTable`: one matrix of features with the rows it belongs to; a value that travels between stages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcells.arrays import Features, Ids, Labels
from tfcells.errors import RequestError, UnknownNameError


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureTable:
    """Features of some taps, with identity.

    Attributes:
        vectors: float32 of shape (images, features); several taps stand side by side.
        ids: Row identities.
        labels: int64 of shape (images,), -1 where unlabelled.
        class_names: Class names.
        taps: The layers, in the order of their columns.
        widths: Number of columns of each tap.
        pooling: How they were pooled; `mean+flatten` where they differ.
    """

    vectors: Features
    ids: Ids
    labels: Labels
    class_names: tuple[str, ...]
    taps: tuple[str, ...]
    widths: tuple[int, ...]
    pooling: str

    def __post_init__(self) -> None:
        if not len(self.vectors) == len(self.ids) == len(self.labels):
            raise RequestError(
                f"{len(self.vectors)} vectors, {len(self.ids)} ids and {len(self.labels)} labels. Each image has one "
                "of each; were they filtered separately?"
            )
        if len(self.taps) != len(self.widths) or sum(self.widths) != self.vectors.shape[1]:
            raise RequestError(
                f"Taps {self.taps} of widths {self.widths} do not add up to {self.vectors.shape[1]} columns."
            )

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Row numbers of these ids, int64 of shape (len(ids),).

        Raises:
            UnknownNameError: If an id is none of the table's.
        """
        place = {id: row for row, id in enumerate(self.ids)}
        for id in ids:
            if id not in place:
                raise UnknownNameError("id of the features", id, self.ids)
        return np.array([place[id] for id in ids], dtype=np.int64)
