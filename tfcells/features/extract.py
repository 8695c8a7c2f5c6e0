"""Fill a store with the features of a table: the request as a recipe, and nothing done that is done already.

TensorFlow is loaded only if rows are missing (`tfcells.features.forward`).
"""

import importlib.metadata
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tfcells.backbones.catalog import find_backbone
from tfcells.backbones.taps import Tap, parse_taps
from tfcells.backbones.weights import IMAGENET, NONE, find_weights
from tfcells.errors import RequestError
from tfcells.features.growth import grow, plan_growth
from tfcells.features.handcrafted import COLOUR
from tfcells.features.pieces import GROWING, is_store
from tfcells.features.plan import Plan
from tfcells.features.recipe import Recipe, differences, images_of
from tfcells.features.store import FeatureStore, StoreWriter, check_target, read_recipe
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent

_log = logging.getLogger(__name__)
FORMAT: Final = 2
DTYPES: Final = ("float32", "float16")


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What to extract; the part of a recipe a person writes.

    Attributes:
        backbone: Name in the catalog.
        weights: Name, file or folder; `none` must be asked for.
        taps: Layers as `layer` or `layer:pooling`; empty for the catalog's early, middle and late taps.
        pooling: For taps that do not name theirs.
        size: Side of the network's square input in pixels; the catalog's by default.
        batch_size: Pictures per forward pass; the last batch is filled up, so results do not depend on it
            beyond rounding, and identical bytes need the same one.
        dtype: Of the stored features.
        seed: Of random weights.
    """

    backbone: str
    weights: str = IMAGENET
    taps: tuple[str, ...] = ()
    pooling: str = "mean"
    size: int | None = None
    batch_size: int = 32
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RequestError(f"batch_size = {self.batch_size} given. Expected 1 or more.")
        if self.size is not None and self.size < 32:
            raise RequestError(f"size = {self.size} given. Expected 32 pixels or more; the catalog's is the default.")
        if self.dtype not in DTYPES:
            raise RequestError(f"dtype {self.dtype!r} given. Expected one of: {', '.join(DTYPES)}.")
        find_backbone(self.backbone)
        self.parsed_taps()

    def parsed_taps(self) -> tuple[Tap, ...]:
        """The taps, the catalog's where none is named."""
        return parse_taps(self.taps or find_backbone(self.backbone).taps, pooling=self.pooling)


def requested_recipe(extraction: Extraction, table: ImageTable) -> dict[str, Any]:
    """The recipe as far as it is known without loading the network.

    Keys: `format`; `backbone` (name, size, kernel, preprocessing digest); `weights` (name, sha256 of the file,
    seed of random ones); `taps` (`layer:pooling`); `handcrafted`; `engine` (name, precision, batch_size);
    `dtype`; `images` (count, digest); `versions`. Extraction adds the `shapes` by tap and the `golden`
    fingerprint.
    """
    row = find_backbone(extraction.backbone)
    size = row.size if extraction.size is None else extraction.size
    found = find_weights(row.name, extraction.weights)
    weights: dict[str, object] = {"name": found.name}
    if found.sha256 is not None:
        weights["sha256"] = found.sha256
    if found.name == NONE:
        weights["seed"] = extraction.seed
    taps = extraction.parsed_taps()
    return {
        "format": FORMAT,
        "backbone": {
            "name": row.name,
            "size": size,
            "kernel": row.kernel,
            "preprocessing": row.preprocessing_digest(size),
        },
        "weights": weights,
        "taps": [str(tap) for tap in taps],
        "handcrafted": [COLOUR],
        "engine": {"name": "tensorflow", "precision": "float32", "batch_size": extraction.batch_size},
        "dtype": extraction.dtype,
        "images": images_of(table.ids, table.digests),
        "versions": {package: importlib.metadata.version(package) for package in ("keras", "numpy", "tensorflow")},
    }


def request_of(recipe: Recipe, *, weights: str | Path | None = None) -> Extraction:
    """The request that a store was made by, to make some of it again.

    Args:
        recipe: Of the store.
        weights: Name, file or folder; the name in the recipe, by default.
    """
    return Extraction(
        backbone=recipe["backbone"]["name"],
        weights=str(weights or recipe["weights"]["name"]),
        taps=tuple(recipe["taps"]),
        size=recipe["backbone"]["size"],
        batch_size=recipe["engine"]["batch_size"],
        dtype=recipe["dtype"],
        seed=recipe["weights"].get("seed", 0),
    )


def extract(
    table: ImageTable,
    extraction: Extraction,
    *,
    into: str | Path,
    progress: Progress = silent,
    announce: Callable[[Plan], None] = lambda plan: None,
) -> FeatureStore:
    """Extract the features of a table into a store, or resume or reopen one.

    A store of the same recipe but for its images and taps becomes one of this request: rows that it knows by their
    pixels and taps that it has are kept, whatever is missing is extracted, the rest is dropped.

    Args:
        table: The pictures.
        extraction: Backbone, weights, taps.
        into: Folder of the store; made if it does not exist.
        progress: Told how far the extraction is.
        announce: Told the plan before the first row; not called where nothing is missing.

    Returns:
        The complete store.

    Raises:
        UnknownNameError: If the backbone, a layer or a pooling is unknown; nothing was written.
        MissingWeightsError: If the weights are not to be had; nothing was written.
        StaleStoreError: If `into` holds a store of another recipe, or of none of these images; nothing was written.
        RequestError: If the disk has no room for it; nothing was written.
        DamageError: If the golden check of the weights fails.
    """
    into = Path(into)
    wanted = requested_recipe(extraction, table)
    existing = FeatureStore(into) if is_store(into) else None
    if existing is not None and differences(existing.recipe, wanted):
        existing.close()
        grow(into, table, extraction, wanted=wanted, progress=progress, announce=announce)
        return FeatureStore(into, recipe=wanted)
    if existing is not None and existing.complete:
        _log.info("features: complete, all %d rows kept, no forward pass", len(table))
        with StoreWriter.open(into, recipe=existing.recipe, table=table):
            # Labels and groups may have changed since; the features have not, and what was begun is not wanted.
            shutil.rmtree(into / GROWING, ignore_errors=True)
        return FeatureStore(into, recipe=wanted)
    check_target(into, wanted)
    from tfcells.features.forward import extract_rows

    extract_rows(table, extraction, wanted=wanted, into=into, progress=progress, announce=announce)
    return FeatureStore(into, recipe=wanted)


def plan_extraction(table: ImageTable, extraction: Extraction, *, into: str | Path | None = None) -> Plan:
    """Work out what `extract` would cost, without writing anything; errors as there.

    Args:
        table: The pictures.
        extraction: Backbone, weights, taps.
        into: The store to be made or gone on with; without one, a new store in the working directory.
    """
    place = None if into is None else Path(into)
    wanted = requested_recipe(extraction, table)
    if place is not None and is_store(place) and differences(read_recipe(place), wanted):
        return plan_growth(place, table, extraction, wanted=wanted)
    if place is not None:
        check_target(place, wanted)
    from tfcells.features.forward import prepare

    return prepare(table, extraction, wanted=wanted, into=place).plan


def complete_recipe(
    wanted: Recipe, *, sha256: str, shapes: Mapping[str, Sequence[int]], golden: object
) -> dict[str, Any]:
    """Add to a request what only the opened network knows."""
    return {
        **wanted,
        "weights": {**wanted["weights"], "sha256": sha256},
        "shapes": {key: list(shape) for key, shape in shapes.items()},
        "golden": golden,
    }
