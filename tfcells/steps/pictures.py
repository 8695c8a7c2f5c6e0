"""Pictures of a store's rows, for sprites, mosaics and the report."""

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from tfcells.arrays import Ids, Labels, Pixels
from tfcells.errors import RequestError
from tfcells.features.store import FeatureStore
from tfcells.images.readers import read_images
from tfcells.images.remote import reopened
from tfcells.images.sources import FolderSource, PixelSource
from tfcells.images.thumbnails import read_thumbnails
from tfcells.probes.crossval import OutOfFold
from tfcells.probes.review import ReviewList
from tfcells.probes.sweep import Sweep

_EXAMPLE_SIDE: Final = 120
_HITS_PER_CLASS: Final = 3
_MISSES: Final = 24


@dataclass(frozen=True)
class Example:
    """One picture of the report: who it is, what it is, what was said of it, and itself as a data URI."""

    id: str
    truth: str
    predicted: str
    confidence: float
    picture: str


def open_source(store: FeatureStore) -> PixelSource | None:
    """The pixels a store was made from, or None where they are no longer there."""
    kind, root = store.facts["source"]["kind"], store.facts["source"]["root"]
    if kind == "fsspec":
        return reopened(root)
    if kind == "folder":
        return FolderSource(Path(root)) if Path(root).is_dir() else None
    try:
        return read_images(root).source
    except RequestError:
        return None


def choose_examples(sweep: Sweep, source: PixelSource) -> tuple[list[Example], list[Example]]:
    """The surest hits of every class, and the surest misses: what the best probe has learned, and where it fails.

    Returns:
        Hits, class by class, and misses, the most confident first; out-of-fold answers, all of them.
    """
    predictions = sweep.best.predictions
    confidence = predictions.probabilities.max(axis=1)
    surest = np.argsort(-confidence, kind="stable").tolist()
    hits = [
        row
        for index in range(len(sweep.class_names))
        for row in [row for row in surest if predictions.hits[row] and sweep.rows.labels[row] == index][
            :_HITS_PER_CLASS
        ]
    ]
    known: dict[str, Any] = {"ids": sweep.ids, "labels": sweep.rows.labels, "class_names": sweep.class_names}
    misses = surest_misses(predictions, source, **known)
    return _examples(predictions, source, hits, **known), misses


def surest_misses(
    answers: OutOfFold, source: PixelSource, *, ids: Ids, labels: Labels, class_names: Sequence[str]
) -> list[Example]:
    """The most confident wrong answers with their pictures, the surest first.

    Args:
        answers: One row per image.
        source: Of the pictures.
        ids: Of the rows.
        labels: int64 of shape (images,).
        class_names: By class index.
    """
    surest = np.argsort(-answers.probabilities.max(axis=1), kind="stable").tolist()
    misses = [row for row in surest if not answers.hits[row]][:_MISSES]
    return _examples(answers, source, misses, ids=ids, labels=labels, class_names=class_names)


def examples_json(hits: Sequence[Example], misses: Sequence[Example]) -> dict[str, Any]:
    """What the report says of the pictures it shows, for `results.json`."""

    def facts(example: Example) -> dict[str, Any]:
        return {name: value for name, value in asdict(example).items() if name != "picture"}

    return {"hits": [facts(example) for example in hits], "misses": [facts(example) for example in misses]}


def review_pictures(reviews: ReviewList, source: PixelSource, *, limit: int = _MISSES) -> dict[str, str]:
    """Thumbnails of the first rows of a review list as data URIs, by id."""
    ids = [row.id for row in reviews.rows[:limit]]
    pictures = read_thumbnails(source, ids, side=_EXAMPLE_SIDE)
    return {id: data_uri(picture) for id, picture in zip(ids, pictures, strict=True)}


def data_uri(pixels: Pixels) -> str:
    """A picture as a JPEG data URI, for pages that must not load anything."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _examples(
    answers: OutOfFold,
    source: PixelSource,
    rows: Sequence[int],
    *,
    ids: Ids,
    labels: Labels,
    class_names: Sequence[str],
) -> list[Example]:
    shown = [ids[row] for row in rows]
    pictures = read_thumbnails(source, shown, side=_EXAMPLE_SIDE)
    return [
        Example(
            id=id,
            truth=class_names[labels[row]],
            predicted=class_names[answers.predicted[row]],
            confidence=float(answers.probabilities[row].max()),
            picture=data_uri(picture),
        )
        for id, row, picture in zip(shown, rows, pictures, strict=True)
    ]
