"""Features as one training set sees them: scaled and reduced by what its rows alone say.

Where images outnumber features, a view holds the scaled features themselves. Where features outnumber images they
are never held: a view is then made of inner products, by one streamed pass for all training sets that share their
rows, and without a reduction it is turned into as few axes as there are training rows. Probes that read inner
products alone cannot tell (`ProbeKind.turnable`); the others are given the features, if memory allows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfcells.arrays import Float, Float64, Int64
from tfcells.probes.catalog import SCALERS
from tfcells.probes.gram import Gram, fold_pca, fold_pcas, gram_matrices, select_rows
from tfcells.probes.gram.columns import ColumnSource
from tfcells.probes.reading import NO_REDUCTION, components_of

Rows = Int64[np.ndarray, "_"]
"""Row numbers, of any count."""


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """What probes are given of one training set and of the rows it is asked about.

    Attributes:
        learning: float of shape (training, axes).
        asked: float of shape (asked, axes).
        width: Columns that `gamma` counts: of the features, or of the scores after a reduction.
        variance: Variance over all entries of what the training rows are before they are turned.
    """

    learning: Float[np.ndarray, "training axes"]
    asked: Float[np.ndarray, "asked axes"]
    width: int
    variance: float

    @cached_property
    def distances(self) -> tuple[Float64[np.ndarray, "training training"], Float64[np.ndarray, "asked training"]]:
        """Squared Euclidean distances of training rows, and of asked rows, to training rows."""
        lengths = (self.learning**2).sum(axis=1)
        among = _squared(self.learning, lengths, self.learning, lengths)
        np.fill_diagonal(among, 0.0)
        return among, _squared(self.asked, (self.asked**2).sum(axis=1), self.learning, lengths)


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """A training set with the rows it is asked about, and the inner training sets that are part of it.

    Attributes:
        learning: Row numbers of the training set.
        asked: Row numbers it is asked about; may be none.
        inner: Pairs of row numbers, both parts of `learning`.
    """

    learning: Rows
    asked: Rows
    inner: Sequence[tuple[Rows, Rows]]

    @property
    def sets(self) -> list[tuple[Rows, Rows]]:
        """The inner sets, then the set itself."""
        return [*self.inner, (self.learning, self.asked)]


def views(
    source: ColumnSource, family: Family, *, scaler: str, reductions: Sequence[str], turn: bool, memory: int
) -> Iterator[dict[str, View]]:
    """Views of each set of a family, in the order of `Family.sets`; by reduction.

    Args:
        source: Features of all rows.
        family: Training sets.
        scaler: Name in `SCALERS`.
        reductions: See `Reading`.
        turn: Whether features that outnumber images may be turned; else they are held.
        memory: Bytes for matrices. Features that have to be held are held: see `tfcells.probes.memory`.
    """
    images, width = source.shape
    if width <= images or not turn:
        yield from _held_views(source, family, scaler=scaler, reductions=reductions, memory=memory)
        return
    for gram, learning, asked in _grams(source, family, scaler, memory):
        yield {reduction: _gram_view(gram, reduction, learning, asked) for reduction in reductions}


def _gram_view(gram: Gram, reduction: str, learning: Rows, asked: Rows) -> View:
    pca = fold_pca(gram, n_components=components_of(reduction))
    scores = pca.scores[learning]
    if reduction != NO_REDUCTION:
        return View(learning=scores, asked=pca.scores[asked], width=pca.n_components, variance=float(scores.var()))
    # Asked rows also have a part that is square to all training rows. It is no part of any inner product with them,
    # but it is of the distances: it gets an axis of its own, on which every training row lies at zero.
    apart = _apart(gram, pca.scores, asked)
    return View(
        learning=np.pad(scores, ((0, 0), (0, 1))),
        asked=np.concatenate([pca.scores[asked], apart[:, None]], axis=1),
        width=gram.width,
        variance=gram.variance,
    )


def _apart(gram: Gram, scores: Float64[np.ndarray, "images components"], asked: Rows) -> Float64[np.ndarray, " asked"]:
    """Distance of asked rows from the space of the training rows."""
    means = gram.training_means()
    lengths = np.diagonal(gram.values)[asked] - 2 * means[asked] + means[gram.training].mean()
    return np.asarray(np.sqrt(np.maximum(lengths - (scores[asked] ** 2).sum(axis=1), 0.0)))


def _grams(source: ColumnSource, family: Family, scaler: str, memory: int) -> Iterator[tuple[Gram, Rows, Rows]]:
    """Gram matrices in the order of `Family.sets`, each with the places of its training rows and asked rows."""
    if scaler == "none":  # one matrix serves every set
        grams = gram_matrices(source, [learning for learning, _ in family.sets], scaler=scaler, memory=memory)
        for gram, (learning, asked) in zip(grams, family.sets, strict=True):
            yield gram, learning, asked
        return
    (outer,) = gram_matrices(source, [family.learning], scaler=scaler, memory=memory)
    if family.inner:
        place = np.full(source.shape[0], -1)
        place[family.learning] = np.arange(len(family.learning))
        inner = gram_matrices(
            select_rows(source, family.learning),
            [place[learning] for learning, _ in family.inner],
            scaler=scaler,
            memory=memory,
            # Most columns have the same range in an inner set: only the others are multiplied again.
            base=outer.only(family.learning) if scaler == "minmax" else None,
        )
        for gram, (learning, asked) in zip(inner, family.inner, strict=True):
            yield gram, place[learning], place[asked]
    yield outer, family.learning, family.asked


def _held_views(
    source: ColumnSource, family: Family, *, scaler: str, reductions: Sequence[str], memory: int
) -> Iterator[dict[str, View]]:
    images, width = source.shape
    features = np.asarray(source.columns(0, width), dtype=np.float64)
    reduced = {
        reduction: fold_pcas(
            features,
            [learning for learning, _ in family.sets],
            n_components=components_of(reduction),
            scaler=scaler,
            memory=max(memory, 8 * (5 * images * width + 4 * width * width)),
        )
        for reduction in reductions
        if reduction != NO_REDUCTION
    }
    for learning, asked in family.sets:
        found: dict[str, View] = {}
        for reduction in reductions:
            if reduction == NO_REDUCTION:
                found[reduction] = _scaled_view(features, scaler, learning, asked)
            else:
                pca = next(reduced[reduction])
                scores = pca.scores[learning]
                found[reduction] = View(
                    learning=scores, asked=pca.scores[asked], width=pca.n_components, variance=float(scores.var())
                )
        yield found


def _scaled_view(features: Float64[np.ndarray, "images width"], scaler: str, learning: Rows, asked: Rows) -> View:
    make = SCALERS[scaler]
    own, other = features[learning], features[asked]
    if make is not None:
        fitted: Any = make().fit(own)
        own = fitted.transform(own)
        other = fitted.transform(other) if len(asked) else other
    return View(learning=own, asked=other, width=features.shape[1], variance=float(own.var()))


def _squared(
    rows: Float[np.ndarray, "rows axes"],
    row_lengths: Float[np.ndarray, " rows"],
    others: Float[np.ndarray, "others axes"],
    other_lengths: Float[np.ndarray, " others"],
) -> Float64[np.ndarray, "rows others"]:
    products = rows @ others.T
    products *= -2.0
    products += row_lengths[:, None]
    products += other_lengths
    return np.asarray(np.maximum(products, 0.0, out=products))
