"""The driver: shards are given out to workers and come back in order, a few at a time."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tfcells.errors import DamageError, RequestError, TfcellsError
from tfcells.features.cluster.cluster import Cluster
from tfcells.features.cluster.session import actor_options, connected, worker_count
from tfcells.features.filling import Extractor, Shard, Shards, Told
from tfcells.features.recipe import shard_rows
from tfcells.features.request import Extraction
from tfcells.images.checked import read_checked
from tfcells.images.decode import BadImageError
from tfcells.images.remote import RemoteSource
from tfcells.images.sources import FolderSource
from tfcells.images.table import ImageTable

_AHEAD: Final = 2  # shards per worker that are made or wait to be written: one in work, one to go on with
_LIVES: Final = 5  # times a worker is started again, and a shard tried again
_LOOKED_AT: Final = 16  # rows that are tried to find a readable one


@contextmanager
def shards_on(cluster: Cluster, table: ImageTable, extraction: Extraction) -> Iterator[Shards]:
    """What `fill_store` takes to have shards made by workers; they end with the block.

    Raises:
        RequestError: If other processes cannot see the pictures, or the cluster cannot be reached.
        MissingExtraError: If Ray is not installed.
    """
    _require_shared(table)
    with connected(cluster) as ray:
        started: list[Any] = []
        shared = ray.put(table)  # once, not once per worker; kept, for workers that are started again

        def shards(extractor: Extractor, missing: Sequence[range], told: Told) -> Generator[Shard, None, None]:
            arguments = (extraction, extractor.recipe, _readable(table))
            started.extend(_start_workers(ray, cluster, arguments))
            fetch = partial(ray.get, shared)
            return _in_order(ray, started, fetch, _ranges(extractor, missing), told)

        try:
            yield shards
        finally:
            for worker in started:
                ray.kill(worker)


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A shard that was given out: its last row, the reference to it, the number of its worker."""

    stop: int
    reference: Any
    worker: int


def _start_workers(ray: Any, cluster: Cluster, arguments: tuple[Any, ...]) -> list[Any]:
    from tfcells.features.cluster.worker import ShardWorker

    count = worker_count(ray, cluster)
    options = actor_options(ray, count)
    actor = ray.remote(max_restarts=_LIVES, max_task_retries=_LIVES, **options)(ShardWorker)
    return [actor.remote(*arguments) for _ in range(count)]


def _in_order(
    ray: Any,
    workers: Sequence[Any],
    fetch: Callable[[], ImageTable],
    ranges: Iterator[tuple[int, int]],
    told: Told,
) -> Generator[Shard, None, None]:
    waiting: deque[_Waiting] = deque()
    more = True
    while more or waiting:
        while more and len(waiting) < _AHEAD * len(workers):
            rows = next(ranges, None)
            if rows is None:
                more = False
                break
            number = _least_busy(ray, waiting, len(workers))
            waiting.append(_Waiting(rows[1], workers[number].shard.remote(fetch, *rows), number))
        if waiting:
            yield _made(ray, waiting[0].reference)
            told(waiting.popleft().stop)


def _made(ray: Any, reference: Any) -> Shard:
    try:
        shard: Shard = ray.get(reference)
    except ray.exceptions.RayTaskError as fault:
        if isinstance(fault.cause, TfcellsError):
            raise fault.cause from None  # as if it had been raised here
        raise
    except ray.exceptions.RayActorError as fault:
        raise DamageError(
            f"A worker died {_LIVES + 1} times: {' '.join(str(fault).split())} Whole shards are kept; look for what "
            "ends it (memory?), and give the same command again."
        ) from fault
    return shard


def _least_busy(ray: Any, waiting: Sequence[_Waiting], workers: int) -> int:
    """The worker with the fewest unfinished shards, the first of them."""
    busy = [0] * workers
    if waiting:
        references = [entry.reference for entry in waiting]
        _, unfinished = ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False)
        for entry in waiting:
            busy[entry.worker] += entry.reference in unfinished
    return busy.index(min(busy))


def _ranges(extractor: Extractor, missing: Sequence[range]) -> Iterator[tuple[int, int]]:
    size = shard_rows(extractor.recipe)
    return ((first, min(first + size, rows.stop)) for rows in missing for first in range(rows.start, rows.stop, size))


def _readable(table: ImageTable) -> int | None:
    """A row that can be read here, and so must be readable by workers: else every row would fail there, each named."""
    for row in range(min(len(table), _LOOKED_AT)):
        try:
            read_checked(table, row)
        except BadImageError:
            continue
        return row
    return None


def _require_shared(table: ImageTable) -> None:
    """Refuse pictures that live in this process alone."""
    source = table.source
    if isinstance(source, FolderSource) or (isinstance(source, RemoteSource) and source.shared):
        return
    raise RequestError(
        f"The images ({source.describe()['kind']}) are held by this process, and workers are others. Write them to a "
        "folder that all machines see, or extract without a cluster."
    )
