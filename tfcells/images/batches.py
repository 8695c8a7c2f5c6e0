"""Rows of an `ImageTable` to batches: decoded in parallel, in fixed order, ids travel with pixels.

Threads, since what costs time (file reading, decoding, hashing, resizing) lets go of Python's lock, and nothing
has to be copied between processes.
"""

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from tfcells.arrays import Float32, Pixels
from tfcells.images.checked import read_measured
from tfcells.images.decode import BadImageError
from tfcells.images.table import ImageTable

_AHEAD: Final = 2  # batches decoded ahead of the network
_NOTHING: Final = np.zeros((1, 1, 3), dtype=np.uint8)

Measurement = Float32[np.ndarray, " numbers"]
Resized = Float32[np.ndarray, "size size 3"]


@dataclass(frozen=True, eq=False)
class PictureBatch:
    """Some rows, resized; a place beyond the last row has the id `""`.

    Attributes:
        ids: One per place.
        reasons: Why a row could not be used; empty where all is well.
        pixels: float32 of shape (batch, size, size, 3) in [0, 255]; zeros where there is no picture.
        measured: float32 of shape (batch, numbers), of the full-size pixels.
    """

    ids: list[str]
    reasons: list[str]
    pixels: Float32[np.ndarray, "batch size size 3"]
    measured: Float32[np.ndarray, "batch numbers"]


def image_batches(
    table: ImageTable,
    *,
    resize: Callable[[Pixels], Resized],
    size: int,
    batch_size: int,
    start: int = 0,
    stop: int | None = None,
    measure: Callable[[Pixels], Measurement] | None = None,
    workers: int | None = None,
) -> Generator[PictureBatch, None, None]:
    """Decode, check and resize rows `start` to `stop`, in order, in batches of one fixed size.

    A row that cannot be read, or whose pixels are no longer those of the table, comes as zeros with the reason
    beside it: one bad file neither ends a run nor moves its neighbours to another place in their batch. At most
    two batches wait for whoever takes them: a slow network or disk makes the decoding wait, not the memory grow.

    Args:
        table: The rows.
        resize: From uint8 (height, width, 3) to float32 (size, size, 3); the backbone's own kernel.
        size: Side of the resized pictures, in pixels.
        batch_size: Rows per batch; the last batch is filled up with zeros and the id `""`.
        start: First row.
        stop: Row after the last; the end of the table by default.
        measure: Something to compute from the full-size pixels on the way, float32 of shape (numbers,).
        workers: Threads; one per core by default.

    Raises:
        ValueError: If `resize` gives another size.
    """
    stop = len(table) if stop is None else stop
    width = 0 if measure is None else len(measure(_NOTHING))

    blank = np.zeros(width, dtype=np.float32)

    def fill(batch: PictureBatch, place: int, row: int) -> None:
        batch.ids[place] = table.ids[row]
        try:
            pixels, measured = read_measured(table, row, (lambda pixels: blank) if measure is None else measure)
        except BadImageError as fault:
            batch.reasons[place] = _as_text(str(fault))
            return
        batch.measured[place] = measured
        resized = resize(pixels)
        if resized.shape != (size, size, 3):
            raise ValueError(f"resize gave {tuple(resized.shape)}. Expected ({size}, {size}, 3).")
        batch.pixels[place] = resized

    pool = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), thread_name_prefix="decode")
    waiting: deque[tuple[PictureBatch, list[Future[None]]]] = deque()
    try:
        for first in range(start, stop, batch_size):
            batch = _blank(batch_size, size, width)
            rows = range(first, min(first + batch_size, stop))
            waiting.append((batch, [pool.submit(fill, batch, place, row) for place, row in enumerate(rows)]))
            if len(waiting) > _AHEAD:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _blank(batch_size: int, size: int, width: int) -> PictureBatch:
    return PictureBatch(
        ids=[""] * batch_size,
        reasons=[""] * batch_size,
        pixels=np.zeros((batch_size, size, size, 3), dtype=np.float32),
        measured=np.zeros((batch_size, width), dtype=np.float32),
    )


def _finished(batch: PictureBatch, rows: list[Future[None]]) -> PictureBatch:
    for row in rows:
        row.result()
    return batch


def _as_text(reason: str) -> str:
    """A file's name may hold what is no valid text; a reason is written to files that are."""
    return reason.encode("utf-8", "backslashreplace").decode()
