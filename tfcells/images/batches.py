"""Rows of an `ImageTable` to tf.data batches: parallel decode, fixed order, ids travel with pixels."""

from collections.abc import Callable
from typing import Final

import numpy as np
import tensorflow as tf

from tfcells.arrays import Float32, Pixels
from tfcells.images.checked import read_measured
from tfcells.images.decode import BadImageError
from tfcells.images.table import ImageTable

_PREFETCHED: Final = 2  # batches decoded ahead of the network
_NOTHING: Final = np.zeros((1, 1, 3), dtype=np.uint8)

Measurement = Float32[np.ndarray, " numbers"]


def image_batches(
    table: ImageTable,
    *,
    resize: Callable[[tf.Tensor], tf.Tensor],
    size: int,
    batch_size: int,
    start: int = 0,
    stop: int | None = None,
    measure: Callable[[Pixels], Measurement] | None = None,
) -> tf.data.Dataset:
    """Decode, check and resize rows `start` to `stop`, in order, in batches of one fixed size.

    A row that cannot be read, or whose pixels are no longer those of the table, comes as zeros with the reason
    beside it: one bad file neither ends a run nor moves its neighbours to another place in their batch.

    Args:
        table: The rows.
        resize: From uint8 (height, width, 3) to float32 (size, size, 3); the backbone's own kernel.
        size: Side of the resized pictures, in pixels.
        batch_size: Rows per batch; the last batch is filled up with zeros and the id `""`.
        start: First row.
        stop: Row after the last; the end of the table by default.
        measure: Something to compute from the full-size pixels on the way, float32 of shape (numbers,).

    Returns:
        A dataset of dicts: `id` (batch_size,) string, `pixels` (batch_size, size, size, 3) float32 in
        [0, 255], `reason` (batch_size,) string, empty where all is well, `measured` (batch_size, numbers).
    """
    stop = len(table) if stop is None else stop
    width = 0 if measure is None else len(measure(_NOTHING))

    def load(row: np.int64) -> tuple[bytes, Pixels, bytes, Measurement]:
        blank = np.zeros(width, dtype=np.float32)
        if row >= stop:
            return b"", _NOTHING, b"", blank
        id = table.ids[int(row)].encode()
        try:
            pixels, measured = read_measured(table, int(row), (lambda pixels: blank) if measure is None else measure)
            return id, pixels, b"", measured
        except BadImageError as fault:
            return id, _NOTHING, str(fault).encode("utf-8", "backslashreplace"), blank

    @tf.autograph.experimental.do_not_convert  # there is no control flow in it
    def prepare(row: tf.Tensor) -> dict[str, tf.Tensor]:
        id, pixels, reason, measured = tf.numpy_function(load, [row], (tf.string, tf.uint8, tf.string, tf.float32))
        pixels.set_shape((None, None, 3))
        resized = tf.ensure_shape(resize(pixels), (size, size, 3))
        return {
            "id": tf.ensure_shape(id, ()),
            "pixels": resized,
            "reason": tf.ensure_shape(reason, ()),
            "measured": tf.ensure_shape(measured, (width,)),
        }

    batches = -(-(stop - start) // batch_size)
    rows = tf.data.Dataset.range(start, start + batches * batch_size)
    return (
        rows.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(_PREFETCHED)
    )
