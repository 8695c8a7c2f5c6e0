"""How far fine-tuning moved each layer: features of the same pictures before and after."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.backbones.catalog import find_backbone
from tfcells.errors import RequestError
from tfcells.features.extract import Extraction, extract
from tfcells.features.store import FeatureStore
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent
from tfcells.stats.cka import linear_cka

ROWS: Final = 512
"""Pictures that are looked at, at most: enough for two digits of CKA."""


def layer_drift(
    table: ImageTable,
    *,
    backbone: str,
    before: str,
    after: Path,
    size: int,
    into: Path,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Debiased linear CKA (`stats.cka`) between the taps of a backbone before and after, by tap.

    Args:
        table: Pictures that did not teach.
        backbone: Name in the catalog.
        before: The weights that were begun with, as `extract` takes them.
        after: File of the trained weights.
        size: Side of the network's input in pixels.
        into: Folder for the two small stores.
        seed: Of random weights that were begun with.
        progress: Told how far it is.

    Returns:
        `images`, and `cka`: 1 for a layer that sees what it saw before, 0 for one that has nothing in common with
        what it was; None where the layer tells too few of the pictures apart to say.
    """
    stores = [
        _features(table, Extraction(**_request(backbone, weights, size, seed)), into / name, progress)
        for name, weights in (("before", before), ("after", str(after)))
    ]
    taps = find_backbone(backbone).taps
    return {
        "images": len(stores[0].rows.ids),
        "cka": {tap: _alike(*(np.asarray(store.array(tap)) for store in stores)) for tap in taps},
    }


def _alike(before: np.ndarray, after: np.ndarray) -> float | None:
    try:
        return linear_cka(before, after)
    except RequestError:  # hours of training must not be lost to a dead layer
        return None


def _request(backbone: str, weights: str, size: int, seed: int) -> dict[str, Any]:
    return {
        "backbone": backbone,
        "weights": weights,
        "size": size,
        "seed": seed,
        "engine": "tensorflow",
        "precision": "float32",
    }


def _features(table: ImageTable, extraction: Extraction, into: Path, progress: Progress) -> FeatureStore:
    return extract(table, extraction, into=into, progress=progress)
