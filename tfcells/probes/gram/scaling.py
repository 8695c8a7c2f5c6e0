"""What scikit-learn's scalers learn from the training rows of each set, for one block of columns.

Training sets of a cross-validation share most of their rows. Rows that every set treats alike form a cell; sums
and extremes are taken once per cell and put together for each set, so that thirty sets cost little more than one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from jaxtyping import Bool
from sklearn.preprocessing import StandardScaler

from tfcells.arrays import Float64
from tfcells.errors import UnknownNameError
from tfcells.probes.gram.columns import Block, Rows

SCALERS: Final = ("none", "minmax", "standard")

_PerColumn = Float64[np.ndarray, " width"]
_PerCell = Float64[np.ndarray, "cells width"]


def check_scaler(name: str) -> None:
    """Raise `UnknownNameError` for a name that is no scaler."""
    if name not in SCALERS:
        raise UnknownNameError("scaler", name, SCALERS)


@dataclass(frozen=True, eq=False)
class Cells:
    """Rows grouped by the training sets that hold them.

    Attributes:
        rows: Row numbers of each cell; rows of no training set are in none.
        members: bool of shape (sets, cells).
    """

    rows: tuple[Rows, ...]
    members: Bool[np.ndarray, "sets cells"]


def group_rows(training_sets: Sequence[Rows], images: int) -> Cells:
    """Group rows by the sets that hold them."""
    holds = np.zeros((len(training_sets), images), dtype=bool)
    for place, rows in enumerate(training_sets):
        holds[place, rows] = True
    members, cell = np.unique(holds, axis=1, return_inverse=True)
    used = np.flatnonzero(members.any(axis=0))
    return Cells(tuple(np.flatnonzero(cell.reshape(-1) == number) for number in used), members[:, used])


@dataclass(frozen=True, eq=False)
class BlockSummary:
    """Sums and extremes of a block's columns over each cell, float64 of shape (cells, width)."""

    sums: _PerCell
    lowest: _PerCell
    highest: _PerCell


def summarise(block: Block, cells: Cells) -> BlockSummary:
    """Sums and extremes per cell."""
    sums, lowest, highest = (np.empty((len(cells.rows), block.shape[1])) for _ in range(3))
    for place, rows in enumerate(cells.rows):
        part = block[rows]
        part.sum(axis=0, out=sums[place])
        part.min(axis=0, out=lowest[place])
        part.max(axis=0, out=highest[place])
    return BlockSummary(sums, lowest, highest)


@dataclass(frozen=True, eq=False)
class Scaling:
    """What one training set says of a block's columns, float64 of shape (width,).

    Attributes:
        mean: Mean over the training rows, unscaled.
        scale: Factor of each column.
        scaled_mean: Mean over the training rows of the column as scikit-learn's scaler returns it.
    """

    mean: _PerColumn
    scale: _PerColumn
    scaled_mean: _PerColumn


def learn_scaling(
    scaler: str, block: Block, rows: Rows, summary: BlockSummary, members: Bool[np.ndarray, " cells"]
) -> Scaling:
    """Scale of each column as scikit-learn's scaler learns it from the training rows in float64.

    `minmax`: one over the range, and 1 where the range is below 10 machine epsilons (`MinMaxScaler`).
    `standard`: one over the standard deviation with ddof 0, and 1 where scikit-learn's bound on the rounding of
    a variance cannot tell the column from a constant; `StandardScaler` itself is asked.

    Args:
        scaler: Name in `SCALERS`.
        block: Some columns of all images.
        rows: The training rows.
        summary: Of this block.
        members: The cells of these rows.
    """
    mean = summary.sums[members].sum(axis=0) / len(rows)
    if scaler == "none":
        return Scaling(mean, np.ones_like(mean), mean)
    if scaler == "standard":
        return Scaling(mean, 1 / StandardScaler().fit(block[rows]).scale_, np.zeros_like(mean))
    lowest = summary.lowest[members].min(axis=0)
    span = summary.highest[members].max(axis=0) - lowest
    scale = 1 / np.where(span < 10 * np.finfo(np.float64).eps, 1.0, span)
    return Scaling(mean, scale, (mean - lowest) * scale)


@dataclass
class MeansOfColumns:
    """Mean of the scaled columns' means, and the sum of squared deviations from it, put together block by block.

    With the trace of the centred Gram matrix they give the variance over all entries, which `gamma="scale"`
    divides by. Blocks are merged as in Chan, Golub & LeVeque (1983), which stays exact where means are large.
    """

    count: int = field(default=0)
    mean: float = field(default=0.0)
    squares: float = field(default=0.0)

    def add(self, means: _PerColumn) -> None:
        """Take in the means of more columns."""
        count, mean = len(means), float(means.mean())
        total, apart = self.count + count, mean - self.mean
        self.squares += float(((means - mean) ** 2).sum()) + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count = total
