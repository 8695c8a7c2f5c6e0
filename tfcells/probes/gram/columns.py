"""Where features come from: anything that gives a block of its columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tfcells.arrays import Float64, Int64, Shaped
from tfcells.errors import RequestError
from tfcells.features.store import FeatureStore

Rows = Int64[np.ndarray, " _"]
"""Row numbers, each at most once."""

Block = Float64[np.ndarray, "images width"]
"""Some columns of all images."""


@runtime_checkable
class ColumnSource(Protocol):
    """Features that are read column block by column block."""

    @property
    def shape(self) -> tuple[int, int]:
        """Images and columns."""
        ...

    def columns(self, start: int, stop: int) -> Shaped[np.ndarray, "images width"]:
        """Columns `start` to `stop` of all images, of any real dtype; may be a view, and is not written to."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayColumns:
    """A matrix in memory or mapped from a file, float or int of shape (images, columns)."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Images and columns."""
        return self.array.shape[0], self.array.shape[1]

    def columns(self, start: int, stop: int) -> Shaped[np.ndarray, "images width"]:
        """A view."""
        return self.array[:, start:stop]


@dataclass(frozen=True, eq=False)
class StackedRows:
    """Matrices that lie one below the other, as the row shards of a store do; none is copied as a whole.

    A block of columns takes a run of bytes from every row of every shard. All blocks together take every byte
    once, so that mapped files are read through once however many shards there are.

    Attributes:
        parts: Real matrices of shape (rows, columns), of equal columns.

    Raises:
        RequestError: If there is none, or their columns differ.
    """

    parts: Sequence[np.ndarray]

    def __post_init__(self) -> None:
        shapes = [part.shape for part in self.parts]
        if not shapes or any(len(shape) != 2 or shape[1] != shapes[0][-1] for shape in shapes):
            raise RequestError(
                f"Parts of shapes {shapes} came. Expected one or more matrices of equal columns; flatten each to "
                "(rows, columns)."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Images and columns."""
        return sum(len(part) for part in self.parts), self.parts[0].shape[1]

    def columns(self, start: int, stop: int) -> Shaped[np.ndarray, "images width"]:
        """A copy of that many columns."""
        return np.concatenate([part[:, start:stop] for part in self.parts])


@dataclass(frozen=True, eq=False)
class SelectedRows:
    """Some rows of a source, in the order given: a training set whose inner folds are asked for."""

    source: ColumnSource
    rows: Rows

    @property
    def shape(self) -> tuple[int, int]:
        """Images and columns."""
        return len(self.rows), self.source.shape[1]

    def columns(self, start: int, stop: int) -> Shaped[np.ndarray, "images width"]:
        """A copy of these rows."""
        return np.asarray(self.source.columns(start, stop)[self.rows])


def as_columns(features: Any) -> ColumnSource:
    """A matrix as a source; a source is returned as it is.

    Raises:
        RequestError: If it is neither, has no row or no column, or does not hold real numbers.
    """
    if isinstance(features, np.ndarray):
        if features.ndim != 2 or features.dtype.kind not in "biuf":
            raise RequestError(
                f"Features of shape {features.shape} and dtype {features.dtype} came. Expected a matrix of real "
                "numbers, one row per image."
            )
        features = ArrayColumns(features)
    if not isinstance(features, ColumnSource):
        raise RequestError(
            f"Features came as {type(features).__name__}. Expected a NumPy array, a map of one, or an object with "
            "`shape` and `columns(start, stop)`."
        )
    if min(features.shape) < 1:
        raise RequestError(f"Features of shape {features.shape} came. Expected one row and one column or more.")
    return features


def select_rows(features: Any, rows: Rows) -> ColumnSource:
    """Some rows of features, in the order given, without copying the others.

    Raises:
        RequestError: If a row is none of the features', or comes twice.
    """
    source = as_columns(features)
    return SelectedRows(source, checked_rows(rows, source.shape[0], least=1))


def stored_columns(store: FeatureStore, key: str) -> StackedRows:
    """One tap of a store, its shards mapped and flattened to (rows, columns), in the order of `store.rows`."""
    return StackedRows([block.reshape(len(block), -1) for block in store.blocks(key) if len(block)])


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Layers side by side, as one source of columns."""

    parts: Sequence[ColumnSource]

    @property
    def shape(self) -> tuple[int, int]:
        """Images and columns."""
        return self.parts[0].shape[0], sum(part.shape[1] for part in self.parts)

    def columns(self, start: int, stop: int) -> Shaped[np.ndarray, "images width"]:
        """Columns `start` to `stop` of all images."""
        found, first = [], 0
        for part in self.parts:
            low, high = max(start - first, 0), min(stop - first, part.shape[1])
            if low < high:
                found.append(part.columns(low, high))
            first += part.shape[1]
        return np.concatenate(found, axis=1)


@dataclass(frozen=True, eq=False)
class TapColumns:
    """Some rows of layers of a store, side by side. Another process that is sent it maps the files anew.

    Attributes:
        store: Features.
        taps: Keys, in column order.
        used: Row numbers, in the order of the source.
    """

    store: FeatureStore
    taps: tuple[str, ...]
    used: Rows

    @cached_property
    def _source(self) -> ColumnSource:
        return select_rows(SideBySide([stored_columns(self.store, tap) for tap in self.taps]), self.used)

    def __getstate__(self) -> dict[str, Any]:
        """Without the maps: joblib would look for the names of their files, which they do not know."""
        return {name: value for name, value in self.__dict__.items() if name != "_source"}

    @property
    def shape(self) -> tuple[int, int]:
        """Images and columns."""
        return self._source.shape

    def columns(self, start: int, stop: int) -> Shaped[np.ndarray, "images width"]:
        """A copy of that many columns."""
        return self._source.columns(start, stop)


def tap_columns(store: FeatureStore, taps: Sequence[str], used: Rows) -> TapColumns:
    """Some rows of layers, streamed column block by column block, in the order of `used`.

    Raises:
        RequestError: If a row is none of the store's, or comes twice.
    """
    checked_rows(used, len(store.rows.ids), least=1)
    return TapColumns(store, tuple(taps), used)


def tap_rows(store: FeatureStore, taps: Sequence[str], rows: np.ndarray) -> Float64[np.ndarray, "rows width"]:
    """Some rows of layers side by side, in the order given, as a row-major float64 copy; no other row is read."""
    layers = [stored_columns(store, tap) for tap in taps]
    found = np.empty((len(rows), sum(layer.shape[1] for layer in layers)))
    first = 0
    for layer in layers:
        stop, above = first + layer.shape[1], 0
        for part in layer.parts:
            here = np.flatnonzero((rows >= above) & (rows < above + len(part)))
            found[here, first:stop] = part[rows[here] - above]
            above += len(part)
        first = stop
    return found


def read_block(source: ColumnSource, start: int, stop: int) -> Block:
    """Columns as a row-major float64 copy.

    Raises:
        RequestError: If a number is not finite; names the first such place.
    """
    block = np.array(source.columns(start, stop), dtype=np.float64, order="C")
    # The sum of a column is finite if and only if its numbers are (and stay below 1e308): no table of flags.
    if not np.isfinite(block.sum(axis=0)).all():
        bad = np.argwhere(~np.isfinite(block))
        row, column = bad[0] if len(bad) else (0, 0)
        raise RequestError(
            f"Features are not finite or overflow in columns {start} to {stop}, first in row {row}, column "
            f"{start + column}. Expected finite numbers; leave that row out, or extract it again."
        )
    return block


def checked_rows(rows: np.ndarray, images: int, *, least: int = 2) -> Rows:
    """Row numbers as int64, after a look at them.

    Raises:
        RequestError: If they are no integers in `[0, images)`, come twice, or are fewer than `least`.
    """
    rows = np.asarray(rows)
    whole = rows.ndim == 1 and rows.dtype.kind in "iu"
    if not whole or len(rows) < least or rows.min() < 0 or rows.max() >= images or len(np.unique(rows)) < len(rows):
        raise RequestError(
            f"Rows of shape {rows.shape} and dtype {rows.dtype} came. Expected {least} or more different row numbers "
            f"in [0, {images}); turn a mask into numbers with np.flatnonzero."
        )
    return rows.astype(np.int64)
