"""Maps of a store: coordinates with their quality, figures, a mosaic, and a Projector folder."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tfcells.arrays import Features, Labels, Points
from tfcells.errors import RequestError
from tfcells.features.store import FeatureStore
from tfcells.images.sources import PixelSource
from tfcells.images.thumbnails import read_thumbnails
from tfcells.maps.mosaic import mosaic
from tfcells.maps.plots import plot_points, plot_variance
from tfcells.maps.projector import MAX_AXES, MAX_ROWS, ProjectorFolder, sprite_cell, write_projector
from tfcells.maps.quality import map_quality
from tfcells.maps.reduce import check_perplexity, principal_components, reduce
from tfcells.probes.gram import fold_pcas
from tfcells.probes.gram.columns import tap_columns
from tfcells.progress import Progress, silent

_AXES: Final = {"pca": ("PC 1", "PC 2"), "tsne": ("t-SNE 1", "t-SNE 2"), "umap": ("UMAP 1", "UMAP 2")}
_NAMES: Final = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_MOSAIC_THUMBNAIL: Final = 72
_VARIANCE_AXES: Final = 300
LARGEST_TURNED: Final = 10_000
"""Rows whose inner products are held, 800 MB of them."""

SMALLEST_THUMBNAIL: Final = 4
LARGEST_THUMBNAIL: Final = 512

Columns = Mapping[str, Sequence[object]]


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnMap:
    """One map.

    Attributes:
        method: `pca`, `tsne` or `umap`.
        rows: int64 of shape (rows,): which rows of the store are on it.
        points: float64 of shape (rows, 2).
        facts: What `results.json` says of it.
    """

    method: str
    rows: np.ndarray
    points: Points
    facts: dict[str, Any]


def draw_map(
    store: FeatureStore,
    *,
    taps: Sequence[str],
    method: str,
    out: str | Path,
    source: PixelSource | None,
    columns: Columns | None = None,
    perplexity: float = 30.0,
    max_rows: int = 5000,
    seed: int = 0,
    progress: Progress = silent,
) -> DrawnMap:
    """Reduce features to two axes and write what can be looked at.

    Writes `map.csv` (`id,x,y,label,group` and `columns`), `map.png`, `map.json` (quality), `mosaic.png` if the
    pictures are at hand, and `variance.png` for PCA.

    Args:
        store: Features.
        taps: Keys of the features; several stand side by side.
        method: `pca`, `tsne` or `umap`.
        out: Folder to write to.
        source: The pictures; None if they are gone.
        columns: Further columns for `map.csv`, one value per row of the store.
        perplexity: Of t-SNE.
        max_rows: A larger store is drawn by a stratified sample.
        seed: Of the sample and of the method.
        progress: Told how far it is.
    """
    check_perplexity(perplexity)
    labels = store.rows.labels
    rows = stratified_sample(labels, max_rows, seed=seed)
    vectors, labels = features_to_map(store, taps, rows), labels[rows]
    points = reduce(method, vectors, perplexity=perplexity, seed=seed)
    quality = map_quality(vectors, points, labels, seed=seed)
    facts = {
        "method": method,
        "taps": list(taps),
        "pooling": store.pooling_of(taps),
        "rows": len(rows),
        "of": len(store.rows.ids),
        **{name: None if value != value else value for name, value in asdict(quality).items() if name != "rows"},
    }
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _write_csv(out / "map.csv", store, rows, points, columns or {})
    title = f"{_NAMES[method]} of {' + '.join(taps)}"
    _save(plot_points(points, labels, store.rows.class_names, title=title, axes=_AXES[method]), out / "map.png")
    if method == "pca":
        ratio = principal_components(vectors, axes=_VARIANCE_AXES).variance_ratio
        facts["variance_ratio"] = [float(value) for value in ratio[:20]]
        _save(plot_variance(ratio, title=f"Variance in {' + '.join(taps)}"), out / "variance.png")
    if source is not None:
        ids = [store.rows.ids[row] for row in rows]
        pictures = read_thumbnails(source, ids, side=_MOSAIC_THUMBNAIL, progress=progress)
        Image.fromarray(mosaic(points, pictures)).save(out / "mosaic.png", compress_level=3)
    (out / "map.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return DrawnMap(method=method, rows=rows, points=points, facts=facts)


def build_projector(
    store: FeatureStore,
    *,
    taps: Sequence[str],
    out: str | Path,
    source: PixelSource | None,
    columns: Columns | None = None,
    drawn: Sequence[DrawnMap] = (),
    thumbnail: int = 64,
    seed: int = 0,
    progress: Progress = silent,
) -> ProjectorFolder:
    """Write a TensorBoard Projector folder: exact PCA coordinates, metadata, a sprite of thumbnails.

    Args:
        store: Features; beyond 100,000 rows a stratified sample is shown, since the Projector would drop the rest.
        taps: Keys of the features; several stand side by side.
        out: The log directory.
        source: The pictures; without them there is no sprite.
        columns: Further metadata, one value per row of the store.
        drawn: Maps to offer beside the PCA; those of other rows are left out.
        thumbnail: Wanted side of a thumbnail in pixels; smaller where a sprite would not fit a browser.
        seed: Of the sample.
        progress: Told how far it is.
    """
    check_thumbnail(thumbnail)
    rows = stratified_sample(store.rows.labels, MAX_ROWS, seed=seed)
    coordinates = principal_components(features_to_map(store, taps, rows), axes=MAX_AXES).points
    metadata = {name: [values[row] for row in rows] for name, values in _metadata(store, columns or {}).items()}
    thumbnails = None
    if source is not None:
        cell = sprite_cell(len(rows), wanted=thumbnail)
        thumbnails = read_thumbnails(source, [store.rows.ids[row] for row in rows], side=cell, progress=progress)
    beside = {
        entry.method: entry.points for entry in drawn if entry.method != "pca" and np.array_equal(entry.rows, rows)
    }
    return write_projector(
        Path(out), coordinates={"pca": coordinates, **beside}, columns=metadata, thumbnails=thumbnails
    )


def features_to_map(store: FeatureStore, taps: Sequence[str], rows: np.ndarray) -> Features:
    """Features of some rows, float of shape (rows, axes); where they outnumber the rows, turned into fewer axes.

    Maps, their quality and principal components depend on distances and inner products of centred rows alone, and
    turning keeps those. Wide layers are streamed, never held.
    """
    source = tap_columns(store, taps, rows)
    if source.shape[1] <= len(rows) or len(rows) > LARGEST_TURNED:
        return np.asarray(store.table(taps).vectors[rows])
    try:
        (found,) = fold_pcas(source, [np.arange(len(rows))])
    except RequestError:  # rows that are all equal have no axis to be turned to
        return np.asarray(store.table(taps).vectors[rows])
    return np.asarray(found.scores)


def check_thumbnail(side: int) -> None:
    """Raise `RequestError` unless a thumbnail has a side that can be seen and fits a sprite."""
    if not SMALLEST_THUMBNAIL <= side <= LARGEST_THUMBNAIL:
        raise RequestError(
            f"Thumbnails of {side} pixels were asked for. Expected {SMALLEST_THUMBNAIL} to {LARGEST_THUMBNAIL}."
        )


def check_max_rows(count: int) -> None:
    """Raise `RequestError` unless a map may have two rows or more."""
    if count < 2:
        raise RequestError(f"A map of {count} rows was asked for. Expected 2 or more.")


def stratified_sample(labels: Labels, count: int, *, seed: int) -> np.ndarray:
    """Row numbers of a sample with the classes' own shares, sorted; all rows where there are no more.

    Raises:
        RequestError: If `count` is less than 2.
    """
    check_max_rows(count)
    if len(labels) <= count:
        return np.arange(len(labels))
    # Systematic sampling over the rows ordered by class, shuffled within: shares come out right by themselves.
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    ordered = shuffled[np.argsort(labels[shuffled], kind="stable")]
    steps = (np.arange(count) + generator.random()) * len(labels) / count
    return np.sort(ordered[steps.astype(np.int64)])


def _metadata(store: FeatureStore, columns: Columns) -> dict[str, Sequence[object]]:
    rows = store.rows
    labels = [rows.class_names[label] if label >= 0 else "unlabelled" for label in rows.labels.tolist()]
    own: dict[str, Sequence[object]] = {"label": labels, **columns, "id": rows.ids, "group": rows.groups}
    taken = {*own, "x", "y"}
    return own | {f"{name} (given)" if name in taken else name: values for name, values in rows.metadata.items()}


def _write_csv(path: Path, store: FeatureStore, rows: np.ndarray, points: Points, columns: Columns) -> None:
    metadata = _metadata(store, columns)
    ids = metadata.pop("id")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "x", "y", *metadata])
        for row, (x, y) in zip(rows.tolist(), points.tolist(), strict=True):
            writer.writerow([ids[row], f"{x:.6g}", f"{y:.6g}", *(values[row] for values in metadata.values())])


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=160)
