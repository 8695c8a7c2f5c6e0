"""Hand-made features by themselves: decoded and measured in threads, without a network and without TensorFlow."""

import os
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from tfcells.arrays import Float32
from tfcells.backbones.golden import golden_picture
from tfcells.errors import RequestError
from tfcells.features.extract import Extraction
from tfcells.features.filling import Batch, Prepared, Shards, fill_store, shards_here
from tfcells.features.handcrafted import find_handcrafted, handcrafted_recipe, measure_all, parted
from tfcells.features.plan import Plan, plan_of
from tfcells.features.recipe import Recipe, shard_rows
from tfcells.features.store import FeatureStore
from tfcells.images.checked import read_measured
from tfcells.images.decode import BadImageError
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent

_Answer = TypeVar("_Answer")
_AHEAD: Final = 4  # rows per thread that are measured before their batch is asked for


def extract_rows(
    table: ImageTable,
    extraction: Extraction,
    *,
    wanted: Recipe,
    into: Path,
    progress: Progress = silent,
    announce: Callable[[Plan], None] = lambda plan: None,
    budget: int | None = None,
    shards: Shards = shards_here,
) -> None:
    """Measure the rows a store lacks; see `tfcells.features.extract.extract`."""
    prepared = prepare(table, extraction, wanted=wanted, into=into)
    fill_store(prepared, table, into=into, shards=shards, progress=progress, announce=announce, budget=budget)


@dataclass(frozen=True, eq=False)
class Measured:
    """Hand-made features of the pictures of a table; an `Extractor`."""

    table: ImageTable
    recipe: Recipe

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Features of rows `start` to `stop`, batch by batch; see `tfcells.features.filling.Extractor`."""
        made = find_handcrafted(tuple(self.recipe["handcrafted"]))
        measure, width = measure_all(made), sum(row.width for row in made)

        def look(row: int) -> Float32[np.ndarray, " numbers"] | str:
            try:
                return read_measured(self.table, row, measure)[1]
            except BadImageError as fault:
                return str(fault)

        size = int(self.recipe["engine"]["batch_size"])
        with closing(_in_order(look, range(start, stop))) as outcomes:
            for first in range(start, stop, size):
                ids = self.table.ids[first : min(first + size, stop)]
                found = [next(outcomes) for _ in ids]
                vectors = [np.zeros(width, np.float32) if isinstance(entry, str) else entry for entry in found]
                yield Batch(
                    ids=ids,
                    reasons=tuple(entry if isinstance(entry, str) else "" for entry in found),
                    features=parted(np.stack(vectors), made),
                )


def prepare(table: ImageTable, extraction: Extraction, *, wanted: Recipe, into: Path | None) -> Prepared:
    """Complete the plan; the recipe is known as it was asked for, and nothing is written."""
    rows_done = FeatureStore(into).rows_done if into is not None and (into / "recipe.json").is_file() else 0
    plan = plan_of(
        wanted,
        into=Path() if into is None else into,
        rows_done=rows_done,
        images_per_second=1 / seconds_to_measure(wanted),
        weights_bytes=0,
        shard_rows=shard_rows(wanted),
    )
    return Prepared(Measured(table, wanted), plan)


def reopen(table: ImageTable, extraction: Extraction, recipe: Recipe) -> Measured:
    """What `prepare` has made elsewhere, in another process.

    Raises:
        RequestError: If this installation defines hand-made features otherwise.
    """
    if handcrafted_recipe(extraction.handcrafted) != recipe["handcrafted"]:
        raise RequestError("Hand-made features are defined otherwise here. Install the same tfcells on every machine.")
    return Measured(table, recipe)


def seconds_to_measure(recipe: Recipe) -> float:
    """Seconds that the hand-made features of one picture take when all cores work, measured on the golden picture."""
    measure, picture = measure_all(find_handcrafted(tuple(recipe["handcrafted"]))), golden_picture()
    measure(picture)  # the first call pays for what is loaded by it
    started = time.perf_counter()
    measure(picture)
    return (time.perf_counter() - started) / _threads()


def _in_order(work: Callable[[int], _Answer], rows: range) -> Generator[_Answer, None, None]:
    """Answers in the order of the rows, from threads that never run far ahead: what waits is bounded."""
    waiting: deque[Future[_Answer]] = deque()
    with ThreadPoolExecutor(_threads()) as pool:
        try:
            for row in rows:
                if len(waiting) == _AHEAD * _threads():
                    yield waiting.popleft().result()
                waiting.append(pool.submit(work, row))
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _threads() -> int:
    return len(os.sched_getaffinity(0))
