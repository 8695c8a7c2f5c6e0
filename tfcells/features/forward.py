"""The forward pass: batches through a cut model into a store's shards."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfcells.backbones.cut import cut_backbone
from tfcells.backbones.golden import check_fingerprint, fingerprint, golden_picture, known_fingerprints
from tfcells.backbones.open import OpenBackbone, open_backbone
from tfcells.backbones.preprocess import resize_images
from tfcells.errors import DamageError
from tfcells.features.extract import Extraction, complete_recipe
from tfcells.features.handcrafted import COLOUR, colour_statistics
from tfcells.features.pieces import is_store
from tfcells.features.plan import Plan, plan_of
from tfcells.features.recipe import Recipe, shard_rows
from tfcells.features.store import FeatureStore, StoreWriter, require_recipe
from tfcells.images.batches import image_batches
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent


class Engine:
    """A cut model as one traced function: uint8 or float RGB batch in, dict of float32 features out.

    Traced once for one batch shape; `keras.Model.predict` per batch would rebuild its function and cost a third
    of the speed, calling the model eagerly two thirds.

    Args:
        model: From `cut_backbone`.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._function = tf.function(
            lambda pixels: model(pixels, training=False), reduce_retracing=True, autograph=False
        )

    def __call__(self, pixels: np.ndarray | tf.Tensor) -> dict[str, np.ndarray]:
        """(batch, height, width, 3) in [0, 255] to arrays of shape (batch, ...) by tap key."""
        outputs = self._function(tf.cast(pixels, tf.float32))
        return {key: output.numpy() for key, output in outputs.items()}


def open_engine(extraction: Extraction) -> tuple[OpenBackbone, Engine]:
    """Open a backbone, hold its known golden check, cut it at the taps.

    Raises:
        DamageError: If weights that tfcells knows do not give the activations it knows.
    """
    backbone = open_backbone(
        extraction.backbone, weights=extraction.weights, size=extraction.size, seed=extraction.seed
    )
    known = known_fingerprints().get(backbone.sha256)
    if known is not None and backbone.size == backbone.row.size:
        check_fingerprint(
            golden(Engine(cut_backbone(backbone))), known, whose=f"{backbone.row.name} {backbone.weights}"
        )
    return backbone, Engine(cut_backbone(backbone, extraction.parsed_taps()))


def golden(engine: Engine) -> dict[str, list[float]]:
    """The engine's fingerprint of the golden picture.

    Raises:
        DamageError: If it is not finite; no store may begin with such weights.
    """
    found = fingerprint(engine(golden_picture()[None]))
    for key, values in found.items():
        if not np.isfinite(values).all():
            raise DamageError(
                f"Activations of the fixed picture at tap {key!r} are not finite: the weights are damaged. "
                "Expected finite numbers; fetch the weights again."
            )
    return found


def extract_rows(
    table: ImageTable,
    extraction: Extraction,
    *,
    wanted: Recipe,
    into: Path,
    progress: Progress = silent,
    announce: Callable[[Plan], None] = lambda plan: None,
) -> None:
    """Extract the rows a store lacks; see `tfcells.features.extract.extract`."""
    prepared = prepare(table, extraction, wanted=wanted, into=into)
    announce(prepared.plan)
    prepared.plan.require_room(into)
    started = time.perf_counter()
    with StoreWriter.open(into, recipe=prepared.recipe, table=table) as writer:
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
    """Open the network, check it, complete the recipe, measure the rate; nothing is written.

    Raises:
        StaleStoreError: If the store in `into` was made with other weights of the same name.
        DamageError: If a golden check fails, that of the weights or that of the store in `into`.
    """
    backbone, engine = open_engine(extraction)
    found = golden(engine)
    shapes = {key: tuple(output.shape[1:]) for key, output in engine.model.output.items()}
    recipe = complete_recipe(wanted, sha256=backbone.sha256, shapes=shapes, golden=found)
    rows_done = 0
    if into is not None and is_store(into):
        stored = FeatureStore(into)
        # Equal within the tolerance: the store's identity stays what it was.
        recipe, rows_done = {**recipe, "golden": stored.recipe["golden"]}, stored.rows_done
        require_recipe(into, stored.recipe, recipe)  # other weights may have come under the same name
        check_fingerprint(found, recipe["golden"], whose=f"the weights that {into} was made with")
    plan = plan_of(
        recipe,
        into=Path() if into is None else into,
        rows_done=rows_done,
        images_per_second=_measured_rate(engine, backbone.size, extraction.batch_size),
        weights_bytes=sum(int(np.prod(weight.shape)) * 4 for weight in backbone.model.weights),
        shard_rows=shard_rows(recipe),
    )
    return Prepared(backbone, engine, recipe, plan)


def _measured_rate(engine: Engine, size: int, batch_size: int) -> float:
    """Images per second of the network; decoding runs beside it on all but the smallest networks."""
    batch = np.broadcast_to(golden_picture()[:1, :1], (batch_size, size, size, 3))
    engine(batch)  # traces the function for this shape
    started = time.perf_counter()
    engine(batch)
    return batch_size / (time.perf_counter() - started)


def _fill(writer: StoreWriter, table: ImageTable, prepared: Prepared, progress: Progress) -> None:
    backbone, engine, recipe = prepared.backbone, prepared.engine, prepared.recipe
    batches = image_batches(
        table,
        resize=lambda pixels: resize_images(pixels, size=backbone.size, kernel=backbone.row.kernel),
        size=backbone.size,
        batch_size=recipe["engine"]["batch_size"],
        start=writer.rows_done,
        measure=colour_statistics,
    )
    per_shard = shard_rows(recipe)
    shard = _Shard(recipe["dtype"])
    done = writer.rows_done
    progress("extracting", done, len(table))
    for batch in batches:
        shard.add(batch, engine(batch["pixels"]))
        done = min(done + recipe["engine"]["batch_size"], len(table))
        if done - writer.rows_done >= per_shard or done == len(table):
            writer.append(shard.arrays(), stop=done, failed=shard.failed)
            shard = _Shard(recipe["dtype"])
        progress("extracting", done, len(table))


class _Shard:
    """Features of the rows since the last commit."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.failed: dict[str, str] = {}
        self._parts: dict[str, list[np.ndarray]] = {}

    def add(self, batch: Mapping[str, tf.Tensor], features: Mapping[str, np.ndarray]) -> None:
        ids = [id.decode() for id in batch["id"].numpy()]
        reasons = [reason.decode() for reason in batch["reason"].numpy()]
        self.failed |= {id: reason for id, reason in zip(ids, reasons, strict=True) if reason}
        good = np.array([bool(id) and not reason for id, reason in zip(ids, reasons, strict=True)])
        for key, output in {**features, COLOUR: batch["measured"].numpy()}.items():
            with np.errstate(over="ignore"):  # what does not fit float16 becomes infinite, and is named below
                rows = output[good].astype(np.float32 if key == COLOUR else self.dtype)
            if not np.isfinite(rows).all():
                raise DamageError(
                    f"Features at tap {key!r} of a picture in the batch from {ids[0]} are not finite as {rows.dtype}: "
                    "the weights are damaged, or float16 is too small for them (use float32)."
                )
            self._parts.setdefault(key, []).append(rows)

    def arrays(self) -> dict[str, np.ndarray]:
        return {key: np.concatenate(parts) for key, parts in self._parts.items()}
