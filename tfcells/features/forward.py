"""The forward pass: batches through an engine into a store's shards."""

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tfcells.arrays import Float32, Pixels
from tfcells.backbones.cut import cut_backbone
from tfcells.backbones.golden import check_fingerprint, fingerprint, golden_picture, known_fingerprints
from tfcells.backbones.open import OpenBackbone, open_backbone
from tfcells.errors import DamageError, RequestError
from tfcells.features.engines.choose import Workbench, choose_engine, reopen_engine
from tfcells.features.engines.contract import Engine
from tfcells.features.engines.parity import rounding
from tfcells.features.filling import Batch, Prepared
from tfcells.features.handcrafted import find_handcrafted, measure_all, parted
from tfcells.features.measured import made_rounding, seconds_to_read
from tfcells.features.pieces import is_store
from tfcells.features.plan import plan_of
from tfcells.features.recipe import Recipe, canonical_json, shard_rows
from tfcells.features.request import Extraction, complete_recipe
from tfcells.features.retry import worth_another_try
from tfcells.features.rows import rows_csv
from tfcells.features.store import FeatureStore, require_recipe
from tfcells.images.batches import image_batches
from tfcells.images.resize import RESIZERS
from tfcells.images.table import ImageTable


def open_checked(extraction: Extraction) -> OpenBackbone:
    """Open a backbone and hold its known golden check, in TensorFlow's float32.

    Raises:
        DamageError: If a weight is not finite, or weights that tfcells knows do not give the activations it knows.
        RequestError: If the extraction names no backbone.
    """
    if extraction.backbone is None:
        raise RequestError("The extraction names no backbone: there is no network to open. Expected one.")
    backbone = open_backbone(
        extraction.backbone, weights=extraction.weights, size=extraction.size, seed=extraction.seed
    )
    _require_finite(backbone)
    known = known_fingerprints().get(backbone.sha256)
    if known is not None and backbone.size == backbone.row.size:
        check_fingerprint(golden(cut_backbone(backbone)), known, whose=f"{backbone.row.name} {backbone.weights}")
    return backbone


def _require_finite(backbone: OpenBackbone) -> None:
    # Activations need not show it: oneDNN's rectifier makes zeros of what is no number.
    for weight in backbone.model.weights:
        if not np.isfinite(weight.numpy()).all():
            raise DamageError(
                f"Weight {weight.path!r} of {backbone.row.name} {backbone.weights} is not finite: the weights are "
                "damaged. Expected finite numbers; fetch the weights again."
            )


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


@dataclass(frozen=True, eq=False)
class NetworkFeatures:
    """Features of the pictures of a table, by a network and by hand; an `Extractor`.

    Attributes:
        table: The pictures.
        engine: The network, compiled.
        kernel: By which pictures are resized for it.
        recipe: Of the store.
    """

    table: ImageTable
    engine: Engine
    kernel: str
    recipe: Recipe

    def resize(self, pixels: Pixels) -> Float32[np.ndarray, "size size 3"]:
        """A picture as the network takes it."""
        return RESIZERS[self.kernel](pixels, height=self.engine.size, width=self.engine.size)

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Features of rows `start` to `stop`, batch by batch; see `tfcells.features.filling.Extractor`."""
        made = find_handcrafted(tuple(self.recipe["handcrafted"]))
        pictures = image_batches(
            self.table,
            resize=self.resize,
            size=self.engine.size,
            batch_size=self.engine.batch_size,
            start=start,
            stop=stop,
            measure=measure_all(made),
        )
        with closing(pictures):
            for batch in pictures:
                features = {**self.engine(batch.pixels), **parted(batch.measured, made)}
                yield Batch(ids=tuple(batch.ids), reasons=tuple(batch.reasons), features=features)


def prepare(table: ImageTable, extraction: Extraction, *, wanted: Recipe, into: Path | None) -> Prepared:
    """Open the network, check it, choose its engine, complete the recipe, measure the rate; nothing is written.

    Raises:
        StaleStoreError: If the store in `into` was made with other weights of the same name, or another version.
        DamageError: If a golden check fails, that of the weights or that of the store in `into`.
        RequestError: If no engine fits the request.
    """
    stored = FeatureStore.salvaged(into) if into is not None and is_store(into) else None
    again = frozenset() if stored is None else worth_another_try(stored, table)
    backbone = open_checked(extraction)
    workbench = Workbench(backbone, extraction.parsed_taps(), batch_size=extraction.batch_size)
    if stored is None:
        choice = choose_engine(workbench, engine=extraction.engine, precision=extraction.precision)
    else:
        choice = reopen_engine(workbench, stored.recipe["engine"])
    found = engine_golden(choice.engine, kernel=backbone.row.kernel)
    seconds, shapes = _timed(choice.engine)
    recipe = complete_recipe(
        wanted,
        sha256=backbone.sha256,
        shapes=shapes,
        golden=found,
        engine=choice.facts,
        rounding=_rounding(workbench, choice.engine, wanted) if stored is None else stored.recipe["rounding"],
    )
    if stored is not None:
        # Equal within the tolerance: the store's identity stays what it was.
        recipe = {**recipe, "golden": stored.recipe["golden"]}
        require_recipe(stored.path, stored.recipe, recipe)  # other weights may have come under the same name
        check_fingerprint(found, recipe["golden"], whose=f"the weights that {into} was made with")
    extractor = NetworkFeatures(table, choice.engine, backbone.row.kernel, recipe)
    plan = plan_of(
        recipe,
        into=Path() if into is None else into,
        rows_bytes=len(rows_csv(table)),
        rows_done=0 if stored is None else len(table) - sum(map(len, stored.missing(again=again))),
        images_per_second=1 / _seconds_together(seconds, extractor),
        weights_bytes=sum(int(np.prod(weight.shape)) * 4 for weight in backbone.model.weights),
        shard_rows=shard_rows(recipe),
    )
    return Prepared(extractor, plan, again)


def reopen(table: ImageTable, extraction: Extraction, recipe: Recipe) -> NetworkFeatures:
    """Open what `prepare` has opened elsewhere, in another process or on another machine.

    Raises:
        RequestError: If other weights are found under the same name, or another engine is.
        MissingExtraError: If the engine is not installed here.
        DamageError: If a golden check fails, that of the weights or that of the recipe.
    """
    backbone = open_checked(extraction)
    if backbone.sha256 != recipe["weights"]["sha256"]:
        raise RequestError(
            f"The weights {recipe['weights']['name']!r} of {backbone.row.name} have SHA-256 {backbone.sha256} here, "
            f"{recipe['weights']['sha256']} was expected. Put the same file on every machine."
        )
    workbench = Workbench(backbone, extraction.parsed_taps(), batch_size=extraction.batch_size)
    choice = reopen_engine(workbench, recipe["engine"])
    if choice.facts != recipe["engine"]:
        raise RequestError(
            f"The engine is {canonical_json(choice.facts)} here, {canonical_json(recipe['engine'])} was expected. "
            "Install the same versions on every machine, and use machines of one kind."
        )
    check_fingerprint(
        engine_golden(choice.engine, kernel=backbone.row.kernel),
        recipe["golden"],
        whose="this machine, against that of the recipe,",
    )
    return NetworkFeatures(table, choice.engine, backbone.row.kernel, recipe)


def _rounding(workbench: Workbench, engine: Engine, wanted: Recipe) -> dict[str, dict[str, float]]:
    """What storing features in fewer bits does to them, by tap and hand-made feature."""
    dtype = str(wanted["dtype"])
    return {} if dtype == "float32" else {**rounding(engine(workbench.pictures), dtype), **made_rounding(wanted)}


def _seconds_together(network: float, extractor: NetworkFeatures) -> float:
    """Seconds for one picture: a processor decodes and computes in turns, beside a graphics card it only decodes."""
    reading = seconds_to_read(extractor.table, extractor.recipe, resize=extractor.resize)
    on_gpu = extractor.recipe["engine"]["device"] == "gpu"
    return max(network, reading) if on_gpu else network + reading


def _timed(engine: Engine) -> tuple[float, dict[str, tuple[int, ...]]]:
    """Seconds the network takes for one picture, and the shape of each tap; decoding runs beside it."""
    batch = np.zeros((engine.batch_size, engine.size, engine.size, 3), dtype=np.float32)
    batch[:] = golden_picture()[0, 0]
    engine(batch)  # the first pass prepares what the later ones use
    started = time.perf_counter()
    outputs = engine(batch)
    seconds = (time.perf_counter() - started) / engine.batch_size
    return seconds, {key: output.shape[1:] for key, output in outputs.items()}


def _finite(found: dict[str, list[float]]) -> dict[str, list[float]]:
    for key, values in found.items():
        if not np.isfinite(values).all():
            raise DamageError(
                f"Activations of the fixed picture at tap {key!r} are not finite: the weights are damaged. "
                "Expected finite numbers; fetch the weights again."
            )
    return found
