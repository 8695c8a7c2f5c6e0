"""Batches of features to the shards of a store, whatever makes them: a network, hand-made functions, workers."""

import errno
import platform
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np

from tfcells.errors import DamageError
from tfcells.features.plan import Plan
from tfcells.features.recipe import Recipe, shard_rows, stored_dtype
from tfcells.features.store import StoreWriter
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, eq=False)
class Batch:
    """Features of some rows, as they come.

    Attributes:
        ids: Of the rows; empty where a batch is filled up.
        reasons: Why a row cannot be used; empty where it can.
        features: By key, float32 of shape (rows, ...); of rows that cannot be used, anything.
    """

    ids: tuple[str, ...]
    reasons: tuple[str, ...]
    features: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Shard:
    """What is committed at once.

    Attributes:
        stop: Row after the last.
        arrays: By key, features of the rows that did not fail, in row order, as they are stored.
        failed: Reason by id.
    """

    stop: int
    arrays: Mapping[str, np.ndarray]
    failed: Mapping[str, str]


@runtime_checkable
class Extractor(Protocol):
    """Makes features of rows, in batches that begin at multiples of the recipe's batch size.

    Equal rows give equal bytes, wherever `start` and `stop` lie: shards may be made in any order, by anyone.
    """

    @property
    def recipe(self) -> Recipe:
        """The store's."""
        ...

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Features of the table's rows `start` to `stop`, in order; `start` is a multiple of the batch size."""
        ...


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that is known before the first row.

    Attributes:
        extractor: Makes the features.
        plan: What the missing rows will cost.
        again: Ids of rows that failed before and are tried again.
    """

    extractor: Extractor
    plan: Plan
    again: frozenset[str] = frozenset()


Told = Callable[[int], None]
"""Called with the row after the last one whose features are there."""

Shards = Callable[[Extractor, Sequence[range], Told], Generator[Shard, None, None]]
"""Makes the shards of ranges of rows, in order; each range begins where a shard does."""


def shards_here(extractor: Extractor, missing: Sequence[range], told: Told) -> Generator[Shard, None, None]:
    """Make shards in this process, one after the other."""
    for rows in missing:
        yield from _shards_of(extractor, rows.start, rows.stop, told)


def _shards_of(extractor: Extractor, start: int, stop: int, told: Told) -> Generator[Shard, None, None]:
    per_shard, size = shard_rows(extractor.recipe), int(extractor.recipe["engine"]["batch_size"])
    held = _Held(extractor.recipe)
    done = begun = start
    with closing(extractor.batches(start, stop)) as batches:
        for batch in batches:
            held.add(batch)
            done = min(done + size, stop)
            if done - begun >= per_shard or done == stop:
                yield Shard(done, held.arrays(), held.failed)
                held, begun = _Held(extractor.recipe), done
            told(done)


def fill_store(
    prepared: Prepared,
    table: ImageTable,
    *,
    into: Path,
    shards: Shards = shards_here,
    progress: Progress = silent,
    announce: Callable[[Plan], None] = lambda plan: None,
    budget: int | None = None,
) -> None:
    """Write the rows a store lacks, shard by shard in order, wherever they are.

    Raises:
        RequestError: If the disk has no room for them, or the budget is too small; nothing was written.
        DamageError: If features are not finite, or the disk is full before the end; whole shards are kept.
    """
    extractor = prepared.extractor
    announce(prepared.plan)
    prepared.plan.require_budget(budget)
    prepared.plan.require_room(into)
    started = time.perf_counter()
    opened = StoreWriter.open(into, recipe=extractor.recipe, table=table, again=prepared.again)
    with disk_full_said(into), opened as writer:
        missing, total = tuple(writer.missing), len(table)
        progress("extracting", total - _rows_from(0, missing), total)
        made = shards(extractor, missing, lambda row: progress("extracting", total - _rows_from(row, missing), total))
        with closing(made), closing(ShardQueue(writer.append)) as queue:
            for shard in made:
                queue.put(shard.arrays, stop=shard.stop, failed=shard.failed)
            queue.wait()
        seconds, images = time.perf_counter() - started, _rows_from(0, missing)
        writer.finish(
            {
                "images": images,
                "seconds": round(seconds, 2),
                "images_per_second": round(images / seconds, 2),
                "host": platform.node(),
                "processor": platform.processor() or platform.machine(),
            }
        )


def _rows_from(row: int, missing: Sequence[range]) -> int:
    """How many missing rows there are from a row on."""
    return sum(max(0, rows.stop - max(rows.start, row)) for rows in missing)


class ShardQueue:
    """Writes shards in a thread of its own: while one is written the next is filled, and no more than that.

    A disk slower than the network makes the network wait, not the memory grow.

    Args:
        write: Commits one shard; called as `StoreWriter.append`.
    """

    def __init__(self, write: Callable[..., None]) -> None:
        self._write = write
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="shards")
        self._pending: Future[None] | None = None

    def put(self, arrays: Mapping[str, np.ndarray], *, stop: int, failed: Mapping[str, str]) -> None:
        """Hand over a shard, when the one before is on disk; raises what went wrong with that."""
        self.wait()
        self._pending = self._pool.submit(self._write, arrays, stop=stop, failed=failed)

    def wait(self) -> None:
        """Wait until everything is on disk; raises what went wrong."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Let the thread end; a shard that is being written is finished."""
        self._pool.shutdown()


@contextmanager
def disk_full_said(into: Path) -> Iterator[None]:
    """Say in words what to do when the disk is full; whatever else goes wrong passes through."""
    try:
        yield
    except OSError as fault:
        if fault.errno not in _FULL:
            raise
        raise DamageError(
            f"The disk of {into} took no more ({fault.strerror}). Whole shards are kept; make room, and the same "
            "command goes on from there."
        ) from fault


class _Held:
    """Features of the rows since the last commit."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.failed: dict[str, str] = {}
        self._parts: dict[str, list[np.ndarray]] = {}

    def add(self, batch: Batch) -> None:
        self.failed |= {id: reason for id, reason in zip(batch.ids, batch.reasons, strict=True) if reason}
        good = np.array([bool(id) and not reason for id, reason in zip(batch.ids, batch.reasons, strict=True)])
        for key, output in batch.features.items():
            dtype = stored_dtype(self.recipe, key)
            with np.errstate(over="ignore"):  # what does not fit float16 becomes infinite, and is named below
                rows = output[good].astype(dtype)
            if not np.isfinite(rows).all():
                raise DamageError(
                    f"Features at tap {key!r} of a picture in the batch from {batch.ids[0]} are not finite as {dtype}: "
                    "the weights are damaged, or float16 is too small for them (use float32)."
                )
            self._parts.setdefault(key, []).append(rows)

    def arrays(self) -> dict[str, np.ndarray]:
        return {key: np.concatenate(parts) for key, parts in self._parts.items()}
