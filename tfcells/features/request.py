"""What a person asks for, as far as it is known without opening a network, and the recipe that it makes."""

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tfcells.backbones.catalog import find_backbone
from tfcells.backbones.taps import POOLINGS, Tap, parse_taps, tap_keys
from tfcells.backbones.weights import IMAGENET, NONE, find_weights
from tfcells.errors import RequestError, UnknownNameError
from tfcells.features.engines.contract import AUTO
from tfcells.features.engines.machine import BEST_GPU, prefer_onednn, this_machine
from tfcells.features.engines.table import candidates, check_names
from tfcells.features.handcrafted import HANDCRAFTED, find_handcrafted, handcrafted_recipe
from tfcells.features.recipe import FORMAT, Recipe, images_of
from tfcells.images.table import ImageTable

DTYPES: Final = ("float32", "float16")


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What to extract; the part of a recipe a person writes.

    Attributes:
        backbone: Name in the catalog; None for hand-made features alone.
        weights: Name, file or folder; `none` must be asked for.
        taps: Layers as `layer` or `layer:pooling`; empty for the catalog's early, middle and late taps.
        pooling: For taps that do not name theirs.
        size: Side of the network's square input in pixels; the catalog's by default.
        batch_size: Pictures per forward pass; the last batch is filled up, so results do not depend on it
            beyond rounding, and identical bytes need the same one.
        dtype: Of the stored features.
        seed: Of random weights.
        handcrafted: Names of hand-made features (`tfcells.features.handcrafted`), whose stores `colour` always joins.
        engine: `tensorflow`, `openvino` or `onnxruntime`; `auto` takes the one that an existing store was begun with,
            else the first of a fixed table that fits this machine and answers as TensorFlow does in float32.
        precision: `float32`, `bfloat16` or `float16`; `auto` likewise.
    """

    backbone: str | None = None
    weights: str = IMAGENET
    taps: tuple[str, ...] = ()
    pooling: str = "mean"
    size: int | None = None
    batch_size: int = 32
    dtype: str = "float32"
    seed: int = 0
    handcrafted: tuple[str, ...] = ()
    engine: str = AUTO
    precision: str = AUTO

    def __post_init__(self) -> None:
        self._require_kinds()
        if self.batch_size < 1:
            raise RequestError(f"batch_size = {self.batch_size} given. Expected 1 or more.")
        if self.size is not None and self.size < 32:
            raise RequestError(f"size = {self.size} given. Expected 32 pixels or more; the catalog's is the default.")
        if self.dtype not in DTYPES:
            raise RequestError(f"dtype {self.dtype!r} given. Expected one of: {', '.join(DTYPES)}.")
        if self.pooling not in POOLINGS:
            raise UnknownNameError("pooling", self.pooling, POOLINGS)
        check_names(self.engine, self.precision)
        made = find_handcrafted(self.handcrafted)
        if self.backbone is None:
            self._require_no_network()
        else:
            find_backbone(self.backbone)
        for row in made:
            if row.name in tap_keys(self.parsed_taps()):
                raise RequestError(
                    f"{row.name!r} is a layer of {self.backbone} and the name of hand-made features, which a store "
                    "keeps under one name. Tap another layer."
                )

    def _require_kinds(self) -> None:
        """Refuse what would be taken for something else: a text is a sequence of letters, True a number."""
        for name in ("batch_size", "size", "seed"):
            value = getattr(self, name)
            if type(value) is not int and (name, value) != ("size", None):
                raise RequestError(f"{name} = {value!r} given. Expected a whole number.")
        for name in ("taps", "handcrafted"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise RequestError(f"{name} = {value!r} given. Expected names in a tuple: {name}=({value!r},).")
            if not isinstance(value, (tuple, list)) or not all(isinstance(entry, (str, Tap)) for entry in value):
                raise RequestError(f"{name} = {value!r} given. Expected names in a tuple, e.g. {name}=('name',).")

    def _require_no_network(self) -> None:
        """Refuse what only a network could follow."""
        if not self.handcrafted:
            raise RequestError(
                "Neither a backbone nor hand-made features were named. Expected a backbone, or one or more of: "
                f"{', '.join(HANDCRAFTED)}."
            )
        asked = {
            "taps": self.taps,
            "pooling": self.pooling != "mean",
            "size": self.size,
            "seed": self.seed,
            "weights": self.weights not in (IMAGENET, NONE),
            "engine": self.engine != AUTO,
            "precision": self.precision != AUTO,
        }
        for name, value in asked.items():
            if value:
                raise RequestError(f"{name} given without a backbone. Name the backbone, or leave {name} out.")

    def parsed_taps(self) -> tuple[Tap, ...]:
        """The taps, the catalog's where none is named; none without a backbone."""
        if self.backbone is None:
            return ()
        return parse_taps(self.taps or find_backbone(self.backbone).taps, pooling=self.pooling)


def requested_recipe(extraction: Extraction, table: ImageTable) -> dict[str, Any]:
    """The recipe as far as it is known without loading the network.

    Keys: `format`; `backbone` (name, size, kernel, preprocessing digest); `weights` (name, sha256 of the file,
    seed of random ones); `taps` (`layer:pooling`); `handcrafted` (definition and shape by name); `engine`
    (batch_size; name and precision where they are not `auto`); `dtype`; `images` (count, digest); `versions`.
    Extraction adds the `shapes` by tap, the engine's choice, versions and parity, its `golden` fingerprint, and what
    `rounding` to `dtype` does to each feature on fixed pictures. Without a backbone, `backbone` and `weights` are
    None, `taps`, `shapes` and `golden` empty.
    """
    network = _no_network() if extraction.backbone is None else _network(extraction, extraction.backbone)
    packages = ("numpy", "pillow") if extraction.backbone is None else ("keras", "numpy", "pillow", "tensorflow")
    return {
        "format": FORMAT,
        **network,
        "handcrafted": handcrafted_recipe(extraction.handcrafted),
        "dtype": extraction.dtype,
        "engine": {**network["engine"], "batch_size": extraction.batch_size},
        "images": images_of(table.ids, table.digests),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }


def _no_network() -> dict[str, Any]:
    return {
        "backbone": None,
        "weights": None,
        "taps": [],
        "shapes": {},
        "golden": {},
        "engine": {"name": "numpy", "precision": "float32"},
    }


def _network(extraction: Extraction, backbone: str) -> dict[str, Any]:
    row = find_backbone(backbone)
    size = row.size if extraction.size is None else extraction.size
    found = find_weights(row.name, extraction.weights)
    weights: dict[str, object] = {"name": found.name}
    if found.sha256 is not None:
        weights["sha256"] = found.sha256
    if found.name == NONE:
        weights["seed"] = extraction.seed
    named = {"name": extraction.engine, "precision": extraction.precision}
    return {
        "backbone": {
            "name": row.name,
            "size": size,
            "kernel": row.kernel,
            "preprocessing": row.preprocessing_digest(size),
        },
        "weights": weights,
        "taps": [str(tap) for tap in extraction.parsed_taps()],
        "engine": {key: value for key, value in named.items() if value != AUTO},
    }


def request_of(recipe: Recipe, *, weights: str | Path | None = None) -> Extraction:
    """The request that a store was made by, to make some of it again.

    Args:
        recipe: Of the store.
        weights: Name, file or folder; the name in the recipe, by default.
    """
    stored = {
        "batch_size": recipe["engine"]["batch_size"],
        "dtype": recipe["dtype"],
        "handcrafted": tuple(recipe["handcrafted"]),
    }
    if recipe["backbone"] is None:
        return Extraction(**stored)
    return Extraction(
        **stored,
        backbone=recipe["backbone"]["name"],
        weights=str(weights or recipe["weights"]["name"]),
        taps=tuple(recipe["taps"]),
        size=recipe["backbone"]["size"],
        engine=recipe["engine"]["name"],
        precision=recipe["engine"]["precision"],
        seed=recipe["weights"].get("seed", 0),
    )


def feature_maker(extraction: Extraction) -> Any:
    """The module that makes what is asked for; only that with a network loads TensorFlow.

    Raises:
        MissingExtraError: If the engine that is named is not installed.
        RequestError: If no graphics card could make possible what is named; TensorFlow alone knows of one.
    """
    if extraction.backbone is None:
        return importlib.import_module("tfcells.features.measured")
    machine = this_machine(gpu=BEST_GPU)
    candidates(machine, extraction.backbone, engine=extraction.engine, precision=extraction.precision)
    prefer_onednn()
    return importlib.import_module("tfcells.features.forward")


def complete_recipe(
    wanted: Recipe,
    *,
    sha256: str,
    shapes: Mapping[str, Sequence[int]],
    golden: object,
    engine: Mapping[str, object],
    rounding: Mapping[str, object],
) -> dict[str, Any]:
    """Add to a request what only the opened network knows."""
    return {
        **wanted,
        "engine": {**wanted["engine"], **engine},
        "weights": {**wanted["weights"], "sha256": sha256},
        "shapes": {key: list(shape) for key, shape in shapes.items()},
        "golden": golden,
        "rounding": rounding,
    }
