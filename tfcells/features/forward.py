"""The forward pass: batches through a cut model into a store's shards."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfcells.backbones.cut import cut_backbone
from tfcells.backbones.golden import check_fingerprint, fingerprint, golden_picture, known_fingerprints
from tfcells.backbones.open import OpenBackbone, open_backbone
from tfcells.backbones.preprocess import resize_images
from tfcells.errors import DamageError, RequestError
from tfcells.features.extract import Extraction, complete_recipe
from tfcells.features.filling import Batch, Prepared, Shards, fill_store, shard_rows, shards_here
from tfcells.features.handcrafted import find_handcrafted, measure_all, parted
from tfcells.features.measured import seconds_to_measure
from tfcells.features.plan import Plan, plan_of
from tfcells.features.recipe import Recipe
from tfcells.features.store import FeatureStore, require_recipe
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
        RequestError: If the extraction names no backbone.
    """
    if extraction.backbone is None:
        raise RequestError("The extraction names no backbone: there is no network to open. Expected one.")
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
    shards: Shards = shards_here,
) -> None:
    """Extract the rows a store lacks; see `tfcells.features.extract.extract`."""
    prepared = prepare(table, extraction, wanted=wanted, into=into)
    fill_store(prepared, table, into=into, shards=shards, progress=progress, announce=announce)


@dataclass(frozen=True, eq=False)
class NetworkFeatures:
    """Features of the pictures of a table, by a network and by hand; an `Extractor`.

    Attributes:
        table: The pictures.
        backbone: The network.
        engine: The network cut at its taps.
        recipe: Of the store.
    """

    table: ImageTable
    backbone: OpenBackbone
    engine: Engine
    recipe: Recipe

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Features of rows `start` to `stop`, batch by batch; see `tfcells.features.filling.Extractor`."""
        made = find_handcrafted(tuple(self.recipe["handcrafted"]))
        for batch in image_batches(
            self.table,
            resize=lambda pixels: resize_images(pixels, size=self.backbone.size, kernel=self.backbone.row.kernel),
            size=self.backbone.size,
            batch_size=self.recipe["engine"]["batch_size"],
            start=start,
            stop=stop,
            measure=measure_all(made),
        ):
            yield Batch(
                ids=tuple(id.decode() for id in batch["id"].numpy()),
                reasons=tuple(reason.decode() for reason in batch["reason"].numpy()),
                features={**self.engine(batch["pixels"]), **parted(batch["measured"].numpy(), made)},
            )


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
    if into is not None and (into / "recipe.json").is_file():
        stored = FeatureStore(into)
        # Equal within the tolerance: the store's identity stays what it was.
        recipe, rows_done = {**recipe, "golden": stored.recipe["golden"]}, stored.rows_done
        require_recipe(into, stored.recipe, recipe)  # other weights may have come under the same name
        check_fingerprint(found, recipe["golden"], whose=f"the weights that {into} was made with")
    plan = plan_of(
        recipe,
        into=Path() if into is None else into,
        rows_done=rows_done,
        images_per_second=1
        / (_measured_seconds(engine, backbone.size, extraction.batch_size) + seconds_to_measure(recipe)),
        weights_bytes=sum(int(np.prod(weight.shape)) * 4 for weight in backbone.model.weights),
        shard_rows=shard_rows(recipe),
    )
    return Prepared(NetworkFeatures(table, backbone, engine, recipe), plan)


def reopen(table: ImageTable, extraction: Extraction, recipe: Recipe) -> NetworkFeatures:
    """Open what `prepare` has opened elsewhere, in another process or on another machine.

    Raises:
        RequestError: If other weights are found under the same name.
        DamageError: If a golden check fails, that of the weights or that of the recipe.
    """
    backbone, engine = open_engine(extraction)
    if backbone.sha256 != recipe["weights"]["sha256"]:
        raise RequestError(
            f"The weights {recipe['weights']['name']!r} of {backbone.row.name} have SHA-256 {backbone.sha256} here, "
            f"{recipe['weights']['sha256']} was expected. Put the same file on every machine."
        )
    check_fingerprint(golden(engine), recipe["golden"], whose="this machine, against that of the recipe,")
    return NetworkFeatures(table, backbone, engine, recipe)


def _measured_seconds(engine: Engine, size: int, batch_size: int) -> float:
    """Seconds the network takes for one picture; decoding runs beside it on all but the smallest networks."""
    batch = np.broadcast_to(golden_picture()[:1, :1], (batch_size, size, size, 3))
    engine(batch)  # traces the function for this shape
    started = time.perf_counter()
    engine(batch)
    return (time.perf_counter() - started) / batch_size
