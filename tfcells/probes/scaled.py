"""Features scaled on their way: scikit-learn's scalers, fitted to one block of columns after the other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from tfcells.arrays import Float64
from tfcells.probes.catalog import SCALERS
from tfcells.probes.gram.columns import ColumnSource, read_block

_COPIES = 4  # as read, as float64, and what a scaler works on
_WIDEST = 4096  # columns; wider gains nothing


def column_blocks(shape: tuple[int, int], *, memory: int) -> Iterator[slice]:
    """Columns of all images in blocks that are worked on within `memory` bytes."""
    images, width = shape
    step = int(np.clip(memory // (8 * _COPIES * images), 1, _WIDEST))
    return (slice(start, min(start + step, width)) for start in range(0, width, step))


def fit_scaler(name: str, source: ColumnSource, *, memory: int) -> Any:
    """scikit-learn's scaler as if fitted on all columns at once, from one pass over the features; None for `none`.

    Args:
        name: Name in `SCALERS`.
        source: Features of the training rows.
        memory: Bytes for a block of columns and what is made of it.
    """
    make = SCALERS[name]
    if make is None:
        return None
    blocks = column_blocks(source.shape, memory=memory)
    parts = [make().fit(read_block(source, block.start, block.stop)) for block in blocks]
    whole = make()
    for learned, values in vars(parts[0]).items():
        if isinstance(values, np.ndarray):  # one number for each column
            setattr(whole, learned, np.concatenate([getattr(part, learned) for part in parts]))
    whole.n_samples_seen_, whole.n_features_in_ = parts[0].n_samples_seen_, source.shape[1]
    return whole


@dataclass(frozen=True, eq=False)
class ScaledColumns:
    """Features as a fitted scaler returns them, float64.

    Attributes:
        source: Features.
        scaler: `MinMaxScaler`, `StandardScaler` or None, fitted.
    """

    source: ColumnSource
    scaler: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Images and columns."""
        return self.source.shape

    def columns(self, start: int, stop: int) -> Float64[np.ndarray, "images width"]:
        """A copy of that many columns, scaled."""
        block = read_block(self.source, start, stop)
        if self.scaler is not None:
            _APPLY[type(self.scaler)](self.scaler, block, slice(start, stop))
        return block

    def whole(self, *, memory: int) -> Float64[np.ndarray, "images width"]:
        """All columns; nothing but them is held beside one block."""
        found = np.empty(self.shape)
        for block in column_blocks(self.shape, memory=memory):
            found[:, block] = self.columns(block.start, block.stop)
        return found


def _apply_range(scaler: MinMaxScaler, block: np.ndarray, columns: slice) -> None:
    block *= scaler.scale_[columns]
    block += scaler.min_[columns]


def _apply_standard(scaler: StandardScaler, block: np.ndarray, columns: slice) -> None:
    block -= scaler.mean_[columns]
    block /= scaler.scale_[columns]


_APPLY: dict[type, Callable[[Any, np.ndarray, slice], None]] = {
    MinMaxScaler: _apply_range,
    StandardScaler: _apply_standard,
}
