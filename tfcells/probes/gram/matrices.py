"""Gram matrices of scaled features, one per training set, accumulated in float64 while features are streamed.

    K_t = Z_t Z_t^T,   Z_t = (X - mean_t) * scale_t,   mean_t and scale_t learned from the training rows of set t

Rows are shifted by a mean before they are multiplied, or large means would cancel the digits that matter. The
shift is no part of the contract: everything that is read from a matrix centres it with the training rows first,
which removes any shift.

Min-max scaling allows a saving that is exact for the same reason. Centring removes the offset, so that only the
scale matters, and with S any other set of rows

    K_t = K_S + sum over columns j of (scale_tj^2 - scale_Sj^2) x_j x_j^T    (up to a shift)

in which a column counts only if its lowest or highest training value lies in rows that one set holds and the
other does not. K_S is computed once, from all columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg.blas import dsyrk

from tfcells.arrays import Float64
from tfcells.errors import RequestError
from tfcells.probes.gram.columns import Block, ColumnSource, Rows, as_columns, checked_rows, read_block
from tfcells.probes.gram.plan import DEFAULT_MEMORY, GramPlan, plan_grams
from tfcells.probes.gram.scaling import (
    MeansOfColumns,
    Scaling,
    check_scaler,
    group_rows,
    learn_scaling,
    summarise,
)
from tfcells.progress import Progress, silent

_Square = Float64[np.ndarray, "images images"]
_STRIPE = 512  # rows that are mirrored at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Gram:
    """Inner products of all images under the scaling that one training set learned.

    It knows its training rows, so that a fold cannot be centred with other rows than it was scaled with.

    Attributes:
        values: float64 of shape (images, images), symmetric; unique up to a shift of the images.
        training: int64: the rows that scaling was learned from and that centring uses.
        width: Number of columns of the features.
        scaler: `none`, `minmax` or `standard`.
        variance: Variance over all entries of the scaled training rows, which `gamma="scale"` divides by; NaN
            where unknown.

    Raises:
        RequestError: If the matrix is not square, or a training row is none of its rows.
    """

    values: _Square
    training: Rows
    width: int
    scaler: str = "none"
    variance: float = float("nan")

    def __post_init__(self) -> None:
        check_scaler(self.scaler)
        checked_rows(self.training, len(self.values))
        if self.values.shape != (len(self.values),) * 2 or self.values.dtype != np.float64:
            raise RequestError(
                f"A Gram matrix of shape {self.values.shape} and dtype {self.values.dtype} came. Expected a square "
                "of float64, one row and one column per image."
            )

    @property
    def held_out(self) -> Rows:
        """Rows that are not training rows, ascending."""
        return np.setdiff1d(np.arange(len(self.values)), self.training)

    def training_means(self) -> Float64[np.ndarray, " images"]:
        """Each image's mean inner product with the training rows, by which products are centred."""
        weights = np.zeros(len(self.values))
        weights[self.training] = 1 / len(self.training)
        return np.asarray(self.values @ weights)

    def only(self, rows: Rows) -> "Gram":
        """The matrix of these rows alone, a copy in their order; every training row must be among them.

        Raises:
            RequestError: If a training row is not.
        """
        rows = checked_rows(rows, len(self.values))
        place = np.full(len(self.values), -1)
        place[rows] = np.arange(len(rows))
        training = place[self.training]
        if training.min() < 0:
            raise RequestError(
                f"{int((training < 0).sum())} of {len(training)} training rows are not among the {len(rows)} rows "
                "that were to be kept. Expected all: without them there is nothing to centre by."
            )
        return replace(self, values=self.values[np.ix_(rows, rows)], training=training)


def gram_matrices(
    features: Any,
    training_sets: Sequence[Rows],
    *,
    scaler: str,
    memory: int = DEFAULT_MEMORY,
    base: Gram | None = None,
    progress: Progress = silent,
) -> Iterator[Gram]:
    """Gram matrices of all images, one for each training set, scaled by what its rows alone say.

    Features are read in `plan_grams(...).passes` passes of column blocks. Private memory stays within `memory`
    if each matrix is let go before the next is taken. Without scaling all share one array of values.

    Inner folds of an outer training set need its rows alone, and can start from its matrix:

        for outer in gram_matrices(features, outer_sets, scaler="minmax"):
            rows = outer.training
            inner = gram_matrices(select_rows(features, rows), inner_sets, scaler="minmax", base=outer.only(rows))

    Args:
        features: Real numbers of shape (images, columns): an array, a map, or a `ColumnSource`.
        training_sets: Row numbers of each set, two or more, none twice.
        scaler: `none`, `minmax` (scikit-learn's `MinMaxScaler`) or `standard` (`StandardScaler`).
        memory: Bytes of private memory that may be held at once.
        base: A min-max scaled matrix of these very images to start from, whatever rows it was scaled with; used
            for min-max scaling only. Its values are not changed.
        progress: Told of column blocks.

    Returns:
        An iterator of matrices in the order of the sets.

    Raises:
        UnknownNameError: If there is no such scaler.
        RequestError: If rows or base do not fit the features, features are not finite, or memory is too small.
    """
    source = as_columns(features)
    images, columns = source.shape
    if base is not None:
        _check_base(base, source)
    plan = plan_grams(
        images, columns, training_sets, scaler=scaler, memory=memory, has_base=base is not None and scaler == "minmax"
    )
    sets = [checked_rows(rows, images) for rows in training_sets]
    stream = _Stream(source, sets, scaler, plan, base if plan.method == "differences" else None, progress)
    return stream.shared() if plan.method == "shared" else stream.matrices()


def _check_base(base: Gram, source: ColumnSource) -> None:
    images, columns = source.shape
    if (len(base.values), base.width, base.scaler) != (images, columns, "minmax"):
        raise RequestError(
            f"The base is a Gram matrix of {len(base.values)} images and {base.width} columns, scaler "
            f"{base.scaler!r}. Expected {images} images, {columns} columns and 'minmax'; leave the base out, or take "
            "the rows of the features with Gram.only()."
        )


class _Stream:
    """Features on their way into matrices."""

    def __init__(
        self,
        source: ColumnSource,
        sets: list[Rows],
        scaler: str,
        plan: GramPlan,
        base: Gram | None,
        progress: Progress,
    ) -> None:
        self.source, self.scaler, self.plan, self.progress = source, scaler, plan, progress
        whole = np.unique(np.concatenate(sets)) if base is None else base.training
        self.sets = [*sets, whole]  # the last one is what the base is scaled with, and what a shared shift is taken of
        self.base = base.values if base is not None else None
        self.cells = group_rows(self.sets, source.shape[0])
        self.done = 0

    def shared(self) -> Iterator[Gram]:
        """One matrix of unscaled features for every set."""
        matrix = self._empty()
        means = [MeansOfColumns() for _ in self.sets[:-1]]
        for block, scalings in self._blocks(range(len(self.sets))):
            for known, scaling in zip(means, scalings[:-1], strict=True):
                known.add(scaling.scaled_mean)
            _add(matrix, block, scalings[-1])
        values = _mirrored(matrix)
        for rows, known in zip(self.sets, means, strict=False):
            yield self._finished(values, rows, known)

    def matrices(self) -> Iterator[Gram]:
        """One matrix for every set, pass by pass."""
        for group in self.plan.groups():
            matrices, means = self._one_pass(group)
            for number in group:
                matrix = matrices.pop(0)
                if self.base is not None:
                    # Its lower triangle is all that counts; the base is symmetric, so its order does not matter.
                    matrix += self.base.T
                yield self._finished(_mirrored(matrix), self.sets[number], means.pop(0))
                del matrix

    def _one_pass(self, group: range) -> tuple[list[_Square], list[MeansOfColumns]]:
        matrices, means = [self._empty() for _ in group], [MeansOfColumns() for _ in group]
        differences = self.plan.method == "differences"
        base = self._empty() if differences and self.base is None else None
        for block, scalings in self._blocks([*group, len(self.sets) - 1]):
            if base is not None:
                _add(base, block, scalings[-1])
            for matrix, known, scaling in zip(matrices, means, scalings[:-1], strict=True):
                known.add(scaling.scaled_mean)
                if differences:
                    _add_difference(matrix, block, scaling, scalings[-1])
                else:
                    _add(matrix, block, scaling)
        if base is not None:
            self.base = _mirrored(base)
        return matrices, means

    def _blocks(self, numbers: Sequence[int]) -> Iterator[tuple[Block, list[Scaling]]]:
        """Column blocks, each with what the numbered sets say of its columns."""
        columns, width = self.source.shape[1], self.plan.width
        for start in range(0, columns, width):
            block = read_block(self.source, start, min(start + width, columns))
            summary = summarise(block, self.cells)
            yield (
                block,
                [
                    learn_scaling(self.scaler, block, self.sets[number], summary, self.cells.members[number])
                    for number in numbers
                ],
            )
            self.done += 1
            self.progress("gram", self.done, self.plan.passes * self.plan.blocks)

    def _empty(self) -> _Square:
        # Column-major, or BLAS would work on a copy.
        return np.zeros((self.source.shape[0],) * 2, order="F")

    def _finished(self, values: _Square, rows: Rows, means: MeansOfColumns) -> Gram:
        width = self.source.shape[1]
        gram = Gram(values=values, training=rows, width=width, scaler=self.scaler)
        within = (np.diagonal(values)[rows] - gram.training_means()[rows]).mean()
        return replace(gram, variance=float(max(within, 0.0) + means.squares) / width)


def _add(matrix: _Square, block: Block, scaling: Scaling) -> None:
    """Add the inner products of a scaled block to the lower triangle."""
    scaled = block - scaling.mean
    scaled *= scaling.scale
    _accumulate(matrix, scaled, 1.0)


def _add_difference(matrix: _Square, block: Block, scaling: Scaling, base: Scaling) -> None:
    """Add what columns of another scale than the base's change, to the lower triangle.

    A smaller set has a smaller range and a larger scale, so that weights are positive; they are negative only
    where a column is constant in the set, whose scale is 1 by rule.
    """
    weights = scaling.scale**2 - base.scale**2
    for sign in (1.0, -1.0):
        changed = np.flatnonzero(sign * weights > 0)
        if len(changed):
            part = block[:, changed]
            part -= scaling.mean[changed]
            part *= np.sqrt(sign * weights[changed])
            _accumulate(matrix, np.ascontiguousarray(part), sign)


def _accumulate(matrix: _Square, scaled: Block, sign: float) -> None:
    # The transpose of a row-major block is column-major: neither operand is copied.
    dsyrk(sign, scaled.T, beta=1.0, c=matrix, trans=1, lower=1, overwrite_c=1)


def _mirrored(matrix: _Square) -> _Square:
    """Copy the lower triangle into the upper one, in place; returned row-major."""
    for start in range(0, len(matrix), _STRIPE):
        stop = min(start + _STRIPE, len(matrix))
        corner = np.tril(matrix[start:stop, start:stop])
        matrix[start:stop, start:stop] = corner + np.tril(corner, -1).T
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
    return matrix.T
