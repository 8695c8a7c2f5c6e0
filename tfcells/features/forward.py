"""The forward pass: batches through an engine into a store's shards."""

import errno
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import keras
import numpy as np

from tfcells.backbones.cut import cut_backbone
from tfcells.backbones.golden import check_fingerprint, fingerprint, golden_picture, known_fingerprints
from tfcells.backbones.open import OpenBackbone, open_backbone
from tfcells.errors import DamageError
from tfcells.features.engines.choose import Workbench, choose_engine, reopen_engine
from tfcells.features.engines.contract import Engine
from tfcells.features.extract import Extraction, complete_recipe
from tfcells.features.handcrafted import COLOUR, colour_statistics
from tfcells.features.plan import Plan, plan_of
from tfcells.features.recipe import Recipe
from tfcells.features.store import FeatureStore, StoreWriter, require_recipe
from tfcells.images.batches import PictureBatch, image_batches
from tfcells.images.resize import RESIZERS
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent

_SHARD_BYTES: Final = 64 * 2**20  # held in memory until a shard is written
_SHARD_BATCHES: Final = 16
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_checked(extraction: Extraction) -> OpenBackbone:
    """Open a backbone and hold its known golden check, in TensorFlow's float32.

    Raises:
        DamageError: If weights that tfcells knows do not give the activations it knows.
    """
    backbone = open_backbone(
        extraction.backbone, weights=extraction.weights, size=extraction.size, seed=extraction.seed
    )
    known = known_fingerprints().get(backbone.sha256)
    if known is not None and backbone.size == backbone.row.size:
        check_fingerprint(golden(cut_backbone(backbone)), known, whose=f"{backbone.row.name} {backbone.weights}")
    return backbone


def golden(model: keras.Model) -> dict[str, list[float]]:
    """The fingerprint of the golden picture, by a cut model that resizes it itself.

    Raises:
        DamageError: If it is not finite; no store may begin with such weights.
    """
    outputs = model(golden_picture()[None], training=False)
    return _finite(fingerprint({key: output.numpy() for key, output in outputs.items()}))


def engine_golden(engine: Engine, *, kernel: str) -> dict[str, list[float]]:
    """An engine's own fingerprint of the golden picture: what a store keeps and compares when it is gone on with.

    Raises:
        DamageError: If it is not finite.
    """
    small = RESIZERS[kernel](golden_picture(), height=engine.size, width=engine.size)
    return _finite(fingerprint(engine(small[None])))


def extract_rows(
    table: ImageTable,
    extraction: Extraction,
    *,
    wanted: Recipe,
    into: Path,
    progress: Progress = silent,
    announce: Callable[[Plan], None] = lambda plan: None,
    budget: int | None = None,
) -> None:
    """Extract the rows a store lacks; see `tfcells.features.extract.extract`."""
    prepared = prepare(table, extraction, wanted=wanted, into=into)
    announce(prepared.plan)
    prepared.plan.require_budget(budget)
    prepared.plan.require_room(into)
    started = time.perf_counter()
    with _disk_full_said(into), StoreWriter.open(into, recipe=prepared.recipe, table=table) as writer:
        first = writer.rows_done
        _fill(writer, table, prepared, progress)
        seconds = time.perf_counter() - started
        writer.finish(
            {
                "images": len(table) - first,
                "seconds": round(seconds, 2),
                "images_per_second": round((len(table) - first) / seconds, 2),
                "host": platform.node(),
                "processor": platform.processor() or platform.machine(),
            }
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that is known before the first row: the network, the whole recipe, the plan."""

    backbone: OpenBackbone
    engine: Engine
    recipe: Recipe
    plan: Plan


def prepare(table: ImageTable, extraction: Extraction, *, wanted: Recipe, into: Path | None) -> Prepared:
    """Open the network, check it, choose its engine, complete the recipe, measure the rate; nothing is written.

    Raises:
        StaleStoreError: If the store in `into` was made with other weights of the same name, or another version.
        DamageError: If a golden check fails, that of the weights or that of the store in `into`.
        RequestError: If no engine fits the request.
    """
    stored = FeatureStore(into) if into is not None and (into / "recipe.json").is_file() else None
    backbone = open_checked(extraction)
    workbench = Workbench(backbone, extraction.parsed_taps(), batch_size=extraction.batch_size)
    if stored is None:
        choice = choose_engine(workbench, engine=extraction.engine, precision=extraction.precision)
    else:
        choice = reopen_engine(workbench, stored.recipe["engine"])
    found = engine_golden(choice.engine, kernel=backbone.row.kernel)
    timed, shapes = _timed(choice.engine)
    recipe = complete_recipe(wanted, sha256=backbone.sha256, shapes=shapes, golden=found, engine=choice.facts)
    if stored is not None:
        # Equal within the tolerance: the store's identity stays what it was.
        recipe = {**recipe, "golden": stored.recipe["golden"]}
        require_recipe(stored.path, stored.recipe, recipe)  # other weights may have come under the same name
        check_fingerprint(found, recipe["golden"], whose=f"the weights that {into} was made with")
    plan = plan_of(
        recipe,
        into=Path() if into is None else into,
        rows_done=0 if stored is None else stored.rows_done,
        images_per_second=timed,
        weights_bytes=sum(int(np.prod(weight.shape)) * 4 for weight in backbone.model.weights),
        shard_rows=shard_rows(recipe),
    )
    return Prepared(backbone, choice.engine, recipe, plan)


def shard_rows(recipe: Recipe) -> int:
    """Rows per shard: whole batches, as many as fit the memory a shard may take."""
    numbers = sum(int(np.prod(shape)) for shape in recipe["shapes"].values())
    batch = int(recipe["engine"]["batch_size"])
    batches = _SHARD_BYTES // max(1, 4 * numbers * batch)
    return batch * max(1, min(_SHARD_BATCHES, batches))


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


def _fill(writer: StoreWriter, table: ImageTable, prepared: Prepared, progress: Progress) -> None:
    recipe, engine = prepared.recipe, prepared.engine
    done = committed = writer.rows_done
    batches = image_batches(
        table,
        resize=partial(RESIZERS[prepared.backbone.row.kernel], height=engine.size, width=engine.size),
        size=engine.size,
        batch_size=engine.batch_size,
        start=done,
        measure=colour_statistics,
    )
    per_shard = shard_rows(recipe)
    shard, queue = _Shard(recipe["dtype"]), ShardQueue(writer.append)
    progress("extracting", done, len(table))
    with closing(queue), closing(batches):
        for batch in batches:
            shard.add(batch, engine(batch.pixels))
            done = min(done + engine.batch_size, len(table))
            if done - committed >= per_shard or done == len(table):
                queue.put(shard.arrays(), stop=done, failed=shard.failed)
                shard, committed = _Shard(recipe["dtype"]), done
            progress("extracting", done, len(table))
        queue.wait()


@contextmanager
def _disk_full_said(into: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        if fault.errno not in _FULL:
            raise
        raise DamageError(
            f"The disk of {into} took no more ({fault.strerror}). Whole shards are kept; make room, and the same "
            "command goes on from there."
        ) from fault


def _timed(engine: Engine) -> tuple[float, dict[str, tuple[int, ...]]]:
    """Images per second of the network, and the shape of each tap; decoding runs beside it."""
    batch = np.zeros((engine.batch_size, engine.size, engine.size, 3), dtype=np.float32)
    batch[:] = golden_picture()[0, 0]
    engine(batch)  # the first pass prepares what the later ones use
    started = time.perf_counter()
    outputs = engine(batch)
    rate = engine.batch_size / (time.perf_counter() - started)
    return rate, {key: output.shape[1:] for key, output in outputs.items()}


def _finite(found: dict[str, list[float]]) -> dict[str, list[float]]:
    for key, values in found.items():
        if not np.isfinite(values).all():
            raise DamageError(
                f"Activations of the fixed picture at tap {key!r} are not finite: the weights are damaged. "
                "Expected finite numbers; fetch the weights again."
            )
    return found


class _Shard:
    """Features of the rows since the last commit."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.failed: dict[str, str] = {}
        self._parts: dict[str, list[np.ndarray]] = {}

    def add(self, batch: PictureBatch, features: Mapping[str, np.ndarray]) -> None:
        self.failed |= {id: reason for id, reason in zip(batch.ids, batch.reasons, strict=True) if reason}
        for key, output in {**features, COLOUR: batch.measured}.items():
            with np.errstate(over="ignore"):  # what does not fit float16 becomes infinite, and is named below
                rows = output[batch.good].astype(np.float32 if key == COLOUR else self.dtype)
            if not np.isfinite(rows).all():
                raise DamageError(
                    f"Features at tap {key!r} of a picture in the batch from {batch.ids[0]} are not finite as "
                    f"{rows.dtype}: the weights are damaged, or float16 is too small for them (use float32)."
                )
            self._parts.setdefault(key, []).append(rows)

    def arrays(self) -> dict[str, np.ndarray]:
        return {key: np.concatenate(parts) for key, parts in self._parts.items()}
