"""How Gram matrices will be computed: method, passes, block width and bytes; decided before anything is read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from tfcells.errors import RequestError
from tfcells.probes.gram.columns import Rows, checked_rows
from tfcells.probes.gram.scaling import check_scaler

DEFAULT_MEMORY: Final = 2 * 2**30

_NUMBER: Final = 8  # bytes of a float64
_GIB: Final = 2**30
# As read, as float64, scaled for one training set, and rows gathered on the way: four copies at the worst.
_COPIES: Final = 4
_NARROWEST: Final = 64  # columns per block; BLAS is slow on narrower ones
_EASY: Final = 256  # as few as this are given up for one more matrix at once
_WIDEST: Final = 4096  # wider gains nothing


@dataclass(frozen=True, kw_only=True)
class GramPlan:
    """What `gram_matrices` will do.

    Attributes:
        method: `shared`: nothing is scaled, one matrix serves every set. `direct`: one matrix per set from all
            columns. `differences`: one base matrix from all columns, and per set only the columns whose scale
            differs from the base's.
        sets: Number of training sets.
        sets_per_pass: Training sets whose matrices are held at once.
        width: Columns per block.
        blocks: Blocks in one pass.
        bytes: Private memory at the peak: the matrices of one pass, the base's, and the blocks.
    """

    method: Literal["shared", "direct", "differences"]
    sets: int
    sets_per_pass: int
    width: int
    blocks: int
    bytes: int

    @property
    def passes(self) -> int:
        """How often the features are read."""
        return 1 if self.method == "shared" else -(-self.sets // self.sets_per_pass)

    def groups(self) -> list[range]:
        """Numbers of the training sets of each pass."""
        return [
            range(start, min(start + self.sets_per_pass, self.sets))
            for start in range(0, self.sets, self.sets_per_pass)
        ]


def how_to_allow(needed: int) -> str:
    """What a refusal says of raising the limit.

    Args:
        needed: Bytes.
    """
    gib = math.ceil(100 * needed / _GIB) / 100  # no less than is needed
    return f"allow {gib:.2f} GiB: `probes.memory` of a config, `tfcells probe --memory`; in Python `memory`, in bytes"


def plan_grams(
    images: int,
    columns: int,
    training_sets: Sequence[Rows],
    *,
    scaler: str,
    memory: int = DEFAULT_MEMORY,
    has_base: bool = False,
) -> GramPlan:
    """Plan the Gram matrices of these training sets; nothing is read.

    Args:
        images: Rows of the features.
        columns: Columns of the features.
        training_sets: Row numbers of each set.
        scaler: `none`, `minmax` or `standard`.
        memory: Bytes of private memory that may be held at once, the matrices of one pass included.
        has_base: Whether the caller brings a matrix to start from, which then is the caller's memory.

    Raises:
        UnknownNameError: If there is no such scaler.
        RequestError: If there is no set, its rows are not those of the features, or the memory does not hold one
            matrix and a narrow block.
    """
    check_scaler(scaler)
    if not training_sets:
        raise RequestError("No training set came. Expected one or more arrays of row numbers.")
    sets = [checked_rows(rows, images) for rows in training_sets]
    matrix, column = images * images * _NUMBER, images * _NUMBER * _COPIES
    narrow = min(columns, _NARROWEST) * column
    if memory < matrix + narrow:
        raise RequestError(
            f"{memory:,} bytes of memory were allowed. One Gram matrix of {images:,} images and a narrow block of "
            f"columns take {matrix + narrow:,}. Use fewer images, or {how_to_allow(matrix + narrow)}."
        )
    # Matrices come first, as each pass reads everything; blocks take what is left.
    room = max(1, (memory - min(columns, _EASY) * column) // matrix)
    method: Literal["shared", "direct", "differences"] = "direct"
    if scaler == "none":
        method = "shared"
    elif scaler == "minmax" and room >= (1 if has_base else 2) and _differences_pay(sets, has_base=has_base):
        method = "differences"
    own_base = int(method == "differences" and not has_base)
    together = len(sets) if method == "shared" else min(len(sets), room - own_base)
    held = 1 if method == "shared" else together + own_base
    width = min(columns, _WIDEST, (memory - held * matrix) // column)
    return GramPlan(
        method=method,
        sets=len(sets),
        sets_per_pass=together,
        width=width,
        blocks=-(-columns // width),
        bytes=held * matrix + width * column,
    )


def _differences_pay(sets: Sequence[Rows], *, has_base: bool) -> bool:
    """Whether a base and its differences are expected to cost less than every matrix from all columns.

    A set's range differs from that of all sets together only in columns whose lowest or highest value lies in
    the rows it leaves out: of continuous columns at most twice the share of those rows, fewer where extremes are
    tied, as the zeros of a ReLU are.
    """
    whole = len(np.unique(np.concatenate(sets)))
    changed = sum(min(1.0, 2 * (1 - len(rows) / whole)) for rows in sets)
    return has_base or 1 + changed < len(sets)
