"""Batches to learn from and to validate by, as TensorFlow datasets.  [TensorFlow]

Read, resized and augmented by threads of Python's own: decoding, resizing and OpenCV let go of Python's lock, order
stays that of the draws, and at most a few batches wait for the network.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import numpy as np
import tensorflow as tf

from tfcells.arrays import Float32, Int64, Labels
from tfcells.errors import DamageError, RequestError, UnknownNameError
from tfcells.finetune.draws import Draw, check_rows, epoch_draws, even_batches
from tfcells.finetune.pictures import PictureCache, Pictures
from tfcells.finetune.settings import AUGMENTATIONS
from tfcells.images.table import ImageTable

_AHEAD: Final = 2  # batches made ahead of the network
_FAULT: Final = re.compile(rf"{DamageError.__name__}: (Picture .*?)\n", re.DOTALL)

Example = Float32[np.ndarray, "..."]
Weights = Float32[np.ndarray, " weights"]  # not the dimension of labels: the words of a mismatch are ours
Batch = tuple[Float32[np.ndarray, "batch ..."], Int64[np.ndarray, " batch"], Float32[np.ndarray, " batch"]]


def training_batches(
    table: ImageTable,
    rows: Sequence[int] | np.ndarray,
    labels: Labels,
    *,
    size: int,
    kernel: str = "bilinear",
    batch_size: int,
    epoch: int,
    seed: int,
    augmentation: str = "cells",
    sampling: str = "natural",
    weights: Weights | None = None,
    cache: PictureCache | None = None,
    replicas: int = 1,
    workers: int | None = None,
) -> tf.data.Dataset:
    """One epoch of pictures to learn from, as (pixels, labels, weights).

    Order and pixels are a pure function of the seed, the epoch and each row's id: threads, the cache and other rows
    change no bit of them. As many pictures as rows; see `epoch_draws`. Batches differ in length by one at most, the
    last ones being shorter; see `even_batches`. Without augmentation, pixels are those that features are made of;
    augmented ones are whole numbers.

    Args:
        table: The pictures.
        rows: Which of them to learn from.
        labels: int64 of shape (images,): class index of every row of the table, not of `rows` alone.
        size: Side of the pictures in pixels.
        kernel: By which they are resized; that of the network.
        batch_size: Length of the longest batch.
        epoch: Counted from 0.
        seed: Of the training.
        augmentation: `none`, or `cells` (see `tfcells.finetune.augment`).
        sampling: `natural` or `balanced`; see `epoch_draws`.
        weights: float32 of shape (images,): weight of every row of the table in the loss; 1 by default.
        cache: Keeps decoded pictures for the next epoch; none are kept by default.
        replicas: Of the strategy that parts each batch; see `even_batches`.
        workers: Threads; one per core by default.

    Returns:
        A dataset of known length of float32 (batch, size, size, 3) in [0, 255], int64 (batch,), float32 (batch,).
        A picture that cannot be read ends it with TensorFlow's error around ours: see `faults_by_name`.

    Raises:
        UnknownNameError: If augmentation, sampling or kernel are unknown.
        EmptyDataError: If there is no row.
        RequestError: If rows repeat or have no class, labels or weights are not those of the table, or batches are
            smaller than replicas are many.
    """
    if augmentation not in AUGMENTATIONS:
        raise UnknownNameError("augmentation", augmentation, AUGMENTATIONS)
    pictures = Pictures(table, size, kernel, PictureCache(0) if cache is None else cache)
    draws = epoch_draws(table.ids, rows, labels, sampling=sampling, seed=seed, epoch=epoch)

    def make(draw: Draw) -> Example:
        if augmentation == "none":
            return pictures.exact(draw.row)
        return pictures.variant(draw.row, seed=seed, epoch=epoch, copy=draw.copy).astype(np.float32)

    batches = even_batches(draws, batch_size, replicas=replicas)
    return batches_of(batches, make, (size, size, 3), labels=labels, weights=weights, workers=workers)


def validation_batches(
    table: ImageTable,
    rows: Sequence[int] | np.ndarray,
    labels: Labels,
    *,
    size: int,
    kernel: str = "bilinear",
    batch_size: int,
    cache: PictureCache | None = None,
    workers: int | None = None,
) -> tf.data.Dataset:
    """Pictures to validate by, in the order of `rows`, as they are; weights are 1, the last batch may be shorter.

    The n-th picture of the dataset is the n-th of `rows`: its id is `table.ids[rows[n]]`. Arguments, results and
    errors are those of `training_batches`.
    """
    pictures = Pictures(table, size, kernel, PictureCache(0) if cache is None else cache)
    draws = [Draw(row, 0) for row in check_rows(table.ids, rows, labels)]
    batches = [draws[start : start + batch_size] for start in range(0, len(draws), batch_size)]
    return batches_of(
        batches, lambda draw: pictures.exact(draw.row), (size, size, 3), labels=labels, weights=None, workers=workers
    )


def batches_of(
    batches: Sequence[Sequence[Draw]],
    make: Callable[[Draw], Example],
    shape: tuple[int, ...],
    *,
    labels: Labels,
    weights: Weights | None,
    workers: int | None,
) -> tf.data.Dataset:
    """A dataset of batches, each of whose examples is made by a thread.

    Args:
        batches: What is in each.
        make: Gives one example as float32 of shape `shape`; called from several threads.
        shape: Of one example.
        labels: Of every row of the table.
        weights: Of every row of the table; 1 by default.
        workers: Threads; one per core by default.

    Raises:
        RequestError: If there are not as many weights as labels.
    """
    if weights is not None and len(weights) != len(labels):
        raise RequestError(
            f"{len(weights)} weights for a table of {len(labels)} rows. Expected one for every row of the table, used "
            "or not."
        )
    dataset = tf.data.Dataset.from_generator(
        lambda: _made(batches, make, shape, labels, weights, workers),
        output_signature=(
            tf.TensorSpec((None, *shape), tf.float32),
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((None,), tf.float32),
        ),
    )
    options = tf.data.Options()
    # There are no files that could be shared out among hosts; a strategy parts each batch among its replicas.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # There is nothing to tune; and an iterator that is given up waits for the tuner, whose sleeps double from 10 ms on:
    # up to half of an epoch's time.
    options.autotune.enabled = False
    known = dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))
    return known.prefetch(1).with_options(options)


@contextmanager
def faults_by_name() -> Iterator[None]:
    """Raise the error that names the picture in place of TensorFlow's account of it.

    Raises:
        DamageError: If a picture that a dataset wanted cannot be read, or is not the table's any more.
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = _FAULT.search(str(error))
        if found is None:
            raise
        raise DamageError(found[1]) from error


def _made(
    batches: Sequence[Sequence[Draw]],
    make: Callable[[Draw], Example],
    shape: tuple[int, ...],
    labels: Labels,
    weights: Weights | None,
    workers: int | None,
) -> Generator[Batch, None, None]:
    def fill(examples: np.ndarray, place: int, draw: Draw) -> None:
        examples[place] = make(draw)

    def finished(batch: Sequence[Draw], examples: np.ndarray, places: list[Future[None]]) -> Batch:
        for place in places:
            place.result()
        rows = [draw.row for draw in batch]
        ours = np.ones(len(rows), np.float32) if weights is None else weights[rows]
        return examples, labels[rows], ours

    pool = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), thread_name_prefix="examples")
    waiting: deque[tuple[Sequence[Draw], np.ndarray, list[Future[None]]]] = deque()
    try:
        for batch in batches:
            examples = np.empty((len(batch), *shape), dtype=np.float32)
            waiting.append((batch, examples, [pool.submit(fill, examples, *entry) for entry in enumerate(batch)]))
            if len(waiting) > _AHEAD:
                yield finished(*waiting.popleft())
        while waiting:
            yield finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)
