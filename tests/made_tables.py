"""Tables and stores that need neither pictures nor TensorFlow."""

from pathlib import Path

import numpy as np

from tfcells.features.recipe import FORMAT, images_of
from tfcells.features.store import FeatureStore, StoreWriter
from tfcells.images.sources import FolderSource
from tfcells.images.table import ImageTable


def made_table(
    labels: np.ndarray, *, groups: list[str] | None = None, class_names: tuple[str, ...] | None = None
) -> ImageTable:
    """A table whose pictures do not exist; -1 is unlabelled."""
    ids = tuple(f"class {label}/{row:04d}.png" for row, label in enumerate(labels.tolist()))
    return ImageTable(
        ids=ids,
        digests=tuple(f"{row:016x}{row:048x}" for row in range(len(ids))),
        labels=labels.astype(np.int64),
        class_names=class_names or tuple(f"class {label}" for label in range(int(labels.max()) + 1)),
        groups=tuple(groups) if groups is not None else ids,
        source=FolderSource(Path("nowhere")),
        metadata={"site": tuple("ab"[row % 2] for row in range(len(ids)))},
    )


def made_store(
    path: Path,
    *,
    images: int = 120,
    classes: int = 3,
    signal: float = 1.5,
    groups: list[str] | None = None,
    widths: tuple[int, ...] = (6, 10),
    shard_rows: int = 50,
    seed: int = 0,
    labels: np.ndarray | None = None,
    varies: float = 1.0,
) -> FeatureStore:
    """A complete store: normal features of `early` and `late`, class means `signal` apart; colour without any.

    The first of `early` varies so many times as much as the others.
    """
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(images) % classes) if labels is None else labels
    table = made_table(labels, groups=groups)
    names = ("early", "late", "deep")[: len(widths)]
    recipe = {
        "format": FORMAT,
        "backbone": {"name": "tiny", "size": 32, "kernel": "bilinear", "preprocessing": "0" * 64},
        "weights": {"name": "none", "seed": 0, "sha256": "1" * 64},
        "taps": [f"{name}:mean" for name in names],
        "handcrafted": {"colour": {"definition": "3" * 64, "shape": [21]}},
        "engine": {"name": "tensorflow", "precision": "float32", "batch_size": 8},
        "dtype": "float32",
        "images": images_of(table.ids, table.digests),
        "versions": {"keras": "3", "numpy": "2", "tensorflow": "2"},
        "shapes": {name: [width] for name, width in zip(names, widths, strict=True)},
        "golden": {name: [1.0] for name in names},
        "rounding": {},
    }
    arrays = {
        name: (generator.normal(size=(images, width)) + signal * generator.normal(size=(classes, width))[labels])
        for name, width in zip(names, widths, strict=True)
    }
    arrays["early"][:, 0] *= varies
    arrays["colour"] = generator.normal(size=(images, 21))
    with StoreWriter.open(path, recipe=recipe, table=table) as writer:
        for start in range(0, images, shard_rows):
            stop = min(start + shard_rows, images)
            shard = {name: array[start:stop].astype(np.float32) for name, array in arrays.items()}
            writer.append(shard, stop=stop, failed={})
    return FeatureStore(path)
