"""Pictures at the network's size, read anew or kept in memory from the last epoch. No TensorFlow here."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from tfcells.arrays import Float32, UInt8
from tfcells.errors import DamageError, UnknownNameError
from tfcells.finetune.augment import augment, picture_seed
from tfcells.images.checked import read_checked
from tfcells.images.decode import BadImageError
from tfcells.images.resize import RESIZERS
from tfcells.images.table import ImageTable

BUDGET: Final = 2 * 2**30
"""Bytes that a cache may take unless told otherwise: 14,000 pictures of 224 pixels in 8 bits."""

Exact = Float32[np.ndarray, "size size 3"]
Rounded = UInt8[np.ndarray, "size size 3"]


class PictureCache:
    """Decoded and resized pictures by the digest of their full-size pixels, up to a budget.

    What finds no room is decoded again whenever it is wanted. Nothing makes room for anything else: an epoch wants
    every picture once, so that what was thrown out would always be wanted again before what came in its place.
    Safe to use from several threads.

    Args:
        budget: Bytes that pictures may take; 0 keeps none.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self._kept: dict[tuple[object, ...], tuple[np.ndarray, float]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Bytes that the kept pictures take."""
        return self._bytes

    def fetch(self, key: tuple[object, ...], read: Callable[[], tuple[np.ndarray, float]]) -> tuple[np.ndarray, float]:
        """Return what is kept under a key, or read it, and keep it while there is room."""
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        found = read()
        found[0].flags.writeable = False  # it is handed out again and again
        with self._lock:
            if key not in self._kept and self._bytes + found[0].nbytes <= self.budget:
                self._kept[key] = found
                self._bytes += found[0].nbytes
        return found


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of a table at one size.

    Attributes:
        table: The rows.
        size: Side of the square in pixels.
        kernel: Name of the resize kernel in `tfcells.images.resize.RESIZERS`.
        cache: What keeps pictures.
    """

    table: ImageTable
    size: int
    kernel: str
    cache: PictureCache

    def __post_init__(self) -> None:
        if self.kernel not in RESIZERS:
            raise UnknownNameError("resize kernel", self.kernel, RESIZERS)

    def exact(self, row: int) -> Exact:
        """A row's picture as features are made of: float32 in [0, 255], not rounded.

        Raises:
            DamageError: If the picture cannot be read, or is not the table's any more.
        """
        return self._fetch(row, "exact", lambda resized: resized)[0]

    def rounded(self, row: int) -> tuple[Rounded, float]:
        """The same in 8 bits, and its width over height before it became a square.

        Raises:
            DamageError: As `exact`.
        """
        return self._fetch(row, "rounded", _eight_bits)

    def variant(self, row: int, *, seed: int, epoch: int, copy: int = 0) -> Rounded:
        """A row's picture, augmented: what an epoch of training by a seed shows of it.

        Args:
            row: Of the table.
            seed: Of the training.
            epoch: Counted from 0.
            copy: 0 for the first appearance in the epoch; see `tfcells.finetune.draws`.

        Raises:
            DamageError: As `exact`.
        """
        pixels, aspect = self.rounded(row)
        variant = picture_seed("variant", seed, epoch, self.table.ids[row], copy)
        return augment(pixels, seed=variant, aspect=aspect)

    def _fetch(self, row: int, form: str, finish: Callable[[Exact], Exact | Rounded]) -> tuple[np.ndarray, float]:
        def read() -> tuple[np.ndarray, float]:
            try:
                pixels = read_checked(self.table, row)
            except BadImageError as fault:
                raise DamageError(
                    f"Picture {self.table.ids[row]!r} cannot be learned from: {fault}. Expected the pictures as they "
                    "were when the folder was read; put the file back, or read the folder again."
                ) from fault
            height, width = pixels.shape[:2]
            return finish(RESIZERS[self.kernel](pixels, height=self.size, width=self.size)), width / height

        return self.cache.fetch((self.table.digests[row], self.size, self.kernel, form), read)


def _eight_bits(resized: Exact) -> Rounded:
    rounded: Rounded = np.rint(resized).clip(0, 255).astype(np.uint8)
    return rounded
