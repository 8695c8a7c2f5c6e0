"""A folder that TensorBoard's Projector opens: coordinates, metadata, a sprite of thumbnails.

Nothing here needs TensorFlow, neither to write the folder nor to view it (TensorBoard alone reads it).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from tfcells.arrays import Pictures, Points
from tfcells.errors import RequestError

MAX_ROWS: Final = 100_000
"""The Projector shows the first 100,000 rows and silently drops the others (https://github.com/tensorflow/tensorboard/issues/773)."""

MAX_AXES: Final = 200
"""Above this the Projector's own PCA is one of a random projection (its `PCA_SAMPLE_DIM`)."""

MIN_AXES: Final = 3
"""With fewer the Projector shows an empty space."""

MAX_SPRITE: Final = 8192
"""Largest side of a sprite, in pixels, that browsers take as a texture."""

_MAX_NUMBERS: Final = 4_000_000  # per tensor: 40 MB of text, a few seconds in the browser


@dataclass(frozen=True)
class ProjectorFolder:
    """Where things are.

    Attributes:
        path: The log directory to give to TensorBoard.
        rows: Number of points.
        cell: Side of one sprite cell in pixels; 0 without a sprite.
    """

    path: Path
    rows: int
    cell: int


def sprite_cell(rows: int, *, wanted: int = 64) -> int:
    """The side of a sprite cell, in pixels: `wanted`, or what fits the largest sprite."""
    return min(wanted, MAX_SPRITE // _grid(rows))


def write_projector(
    folder: Path,
    *,
    coordinates: Mapping[str, Points],
    columns: Mapping[str, Sequence[object]],
    thumbnails: Pictures | None = None,
) -> ProjectorFolder:
    """Write a Projector folder.

    Args:
        folder: The log directory; made if it does not exist, its own files are replaced.
        coordinates: By name, arrays of shape (rows, axes), at most 200 axes, the first name shown first; rows
            are in the order of `columns`. Each becomes one tensor of three axes or more. Axes beyond what a
            browser takes in (4 million numbers) are left out, the last first.
        columns: Metadata by name, one value per row. The first is the label shown beside a point. Projector
            colours by any column.
        thumbnails: uint8 of shape (rows, cell, cell, 3), `cell` as `sprite_cell` gives it.

    Returns:
        Where things are.

    Raises:
        RequestError: If lengths differ, there are more than 100,000 rows or 200 axes, or thumbnails do not fit.
    """
    rows = _checked_rows(coordinates, columns, thumbnails)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, points in coordinates.items():
        shown = points[:, : max(MIN_AXES, _MAX_NUMBERS // rows)]
        # Flat maps get a third axis of zeros: with two the Projector draws nothing at all.
        shown = np.pad(shown, ((0, 0), (0, max(0, MIN_AXES - shown.shape[1]))))
        # Text, not bytes: TensorBoard tells the two apart by whether the file happens to be valid UTF-8.
        np.savetxt(folder / f"{name}.tsv", shown.astype(np.float32), fmt="%.9g", delimiter="\t")
        entries.append(_entry(name, shown.shape, sprite=thumbnails is not None, cell=_side(thumbnails)))
    (folder / "metadata.tsv").write_text(_metadata(columns, rows), encoding="utf-8")
    if thumbnails is not None:
        Image.fromarray(make_sprite(thumbnails)).save(folder / "sprite.png", compress_level=3)
    (folder / "projector_config.pbtxt").write_text("".join(entries), encoding="utf-8")
    return ProjectorFolder(folder, rows, _side(thumbnails))


def make_sprite(thumbnails: Pictures) -> np.ndarray:
    """Lay thumbnails out row by row in a square grid: uint8 of shape (grid * cell, grid * cell, 3)."""
    rows, cell = len(thumbnails), _side(thumbnails)
    grid = _grid(rows)
    sheet = np.full((grid * grid, cell, cell, 3), 255, dtype=np.uint8)
    sheet[:rows] = thumbnails
    return sheet.reshape(grid, grid, cell, cell, 3).swapaxes(1, 2).reshape(grid * cell, grid * cell, 3)


def _grid(rows: int) -> int:
    return max(1, int(np.ceil(np.sqrt(rows))))


def _side(thumbnails: Pictures | None) -> int:
    return 0 if thumbnails is None else int(thumbnails.shape[1])


def _checked_rows(
    coordinates: Mapping[str, Points], columns: Mapping[str, Sequence[object]], thumbnails: Pictures | None
) -> int:
    lengths = {f"coordinates {name!r}": len(points) for name, points in coordinates.items()}
    lengths |= {f"column {name!r}": len(values) for name, values in columns.items()}
    if thumbnails is not None:
        lengths["thumbnails"] = len(thumbnails)
    if len(set(lengths.values())) != 1 or not coordinates or len(columns) < 2:
        raise RequestError(
            f"Projector parts differ in length or are missing: {lengths}. Expected coordinates, two or more metadata "
            "columns and thumbnails of the same rows."
        )
    rows = next(iter(lengths.values()))
    if not 0 < rows <= MAX_ROWS:
        raise RequestError(
            f"{rows:,} rows given. Expected 1 to {MAX_ROWS:,}, all that the Projector shows; draw a sample."
        )
    for name, points in coordinates.items():
        if name == "metadata" or not re.fullmatch(r"\w[\w.-]*", name):
            raise RequestError(
                f"Coordinates are named {name!r}. Expected letters, digits and `_.-`, and not `metadata`, for a file's "
                "name."
            )
        if not 1 <= points.shape[1] <= MAX_AXES:
            raise RequestError(f"Coordinates {name!r} have {points.shape[1]} axes. Expected 1 to {MAX_AXES}.")
    if thumbnails is not None and _grid(rows) * _side(thumbnails) > MAX_SPRITE:
        raise RequestError(
            f"{rows:,} thumbnails of {_side(thumbnails)} pixels make a sprite larger than {MAX_SPRITE} pixels. "
            f"Expected {sprite_cell(rows)} pixels at most."
        )
    return rows


def _entry(name: str, shape: tuple[int, ...], *, sprite: bool, cell: int) -> str:
    picture = (
        f'  sprite {{\n    image_path: "sprite.png"\n    single_image_dim: {cell}\n    single_image_dim: {cell}\n  }}\n'
        if sprite
        else ""
    )
    return (
        f'embeddings {{\n  tensor_name: "{name}"\n  tensor_shape: {shape[0]}\n  tensor_shape: {shape[1]}\n'
        f'  tensor_path: "{name}.tsv"\n  metadata_path: "metadata.tsv"\n{picture}}}\n'
    )


def _metadata(columns: Mapping[str, Sequence[object]], rows: int) -> str:
    lines = ["\t".join(map(_cell_text, columns))]
    values = list(columns.values())
    lines += ["\t".join(_cell_text(column[row]) for column in values) for row in range(rows)]
    return "\n".join(lines) + "\n"


def _cell_text(value: object) -> str:
    """One cell: separators inside a value would move every column after it."""
    return " ".join(str(value).split()) or "-"
