"""Hand-made features by themselves: decoded and measured in threads, without a network and without TensorFlow."""

import os
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from tfcells.arrays import Float32, Pixels
from tfcells.errors import RequestError
from tfcells.features.engines.parity import canonical_pictures, rounding
from tfcells.features.filling import Batch, Prepared
from tfcells.features.handcrafted import find_handcrafted, handcrafted_recipe, measure_all, parted
from tfcells.features.pieces import is_store
from tfcells.features.plan import plan_of
from tfcells.features.recipe import COLOUR, Recipe, shard_rows
from tfcells.features.request import Extraction
from tfcells.features.retry import worth_another_try
from tfcells.features.rows import rows_csv
from tfcells.features.store import FeatureStore
from tfcells.images.checked import read_measured
from tfcells.images.decode import BadImageError
from tfcells.images.table import ImageTable

_Answer = TypeVar("_Answer")
_AHEAD: Final = 4  # rows per thread that are measured before their batch is asked for
_TIMED: Final = 9  # rows that are read for a plan


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
    """Complete the recipe and the plan; nothing is written.

    Raises:
        RequestError: If features do not fit the type they are to be stored in.
    """
    stored = FeatureStore.salvaged(into) if into is not None and is_store(into) else None
    again = frozenset() if stored is None else worth_another_try(stored, table)
    found = made_rounding(wanted) if stored is None else stored.recipe["rounding"]
    recipe = {**wanted, "rounding": found}
    plan = plan_of(
        recipe,
        into=Path() if into is None else into,
        rows_bytes=len(rows_csv(table)),
        rows_done=0 if stored is None else len(table) - sum(map(len, stored.missing(again=again))),
        images_per_second=1 / seconds_to_read(table, recipe),
        weights_bytes=0,
        shard_rows=shard_rows(recipe),
    )
    return Prepared(Measured(table, recipe), plan, again)


def reopen(table: ImageTable, extraction: Extraction, recipe: Recipe) -> Measured:
    """What `prepare` has made elsewhere, in another process.

    Raises:
        RequestError: If this installation defines hand-made features otherwise.
    """
    if handcrafted_recipe(extraction.handcrafted) != recipe["handcrafted"]:
        raise RequestError("Hand-made features are defined otherwise here. Install the same tfcells on every machine.")
    return Measured(table, recipe)


def made_rounding(recipe: Recipe) -> dict[str, dict[str, float]]:
    """What storing hand-made features in fewer bits does to them, by name; the colour statistics are not rounded.

    Raises:
        RequestError: If a feature does not fit.
    """
    made = [row for row in find_handcrafted(tuple(recipe["handcrafted"])) if row.name != COLOUR]
    if not made or recipe["dtype"] == "float32":
        return {}
    measure = measure_all(made)
    return rounding(parted(np.stack([measure(pixels) for pixels in canonical_pictures()]), made), recipe["dtype"])


def seconds_to_read(
    table: ImageTable, recipe: Recipe, *, resize: Callable[[Pixels], object] = lambda pixels: None
) -> float:
    """Seconds that reading, measuring and resizing one picture take when all cores work, by some of the pictures."""
    measure = measure_all(find_handcrafted(tuple(recipe["handcrafted"])))
    started, timed = time.perf_counter(), -1
    for row in np.unique(np.linspace(0, len(table) - 1, _TIMED, dtype=np.int64)).tolist():
        with suppress(BadImageError):
            resize(read_measured(table, row, measure)[0])
            timed += 1
            if not timed:  # the first picture pays for what is loaded by it
                started = time.perf_counter()
    return max(time.perf_counter() - started, 1e-6) / max(timed, 1) / _threads()


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
