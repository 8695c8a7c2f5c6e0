"""What can be known of a picture without looking at its cell: size, file header, border, colour, file number.

A collection in which these tell the class can be learned without learning cells (Geirhos et al. 2020, Shortcut
learning in deep neural networks). Nothing here looks at a label.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from PIL import Image, JpegImagePlugin

from tfcells.arrays import Float64, Ids, Pixels, UInt8
from tfcells.errors import DamageError, RequestError
from tfcells.images.decode import FORMATS, BadImageError, decode_image, without_pillow_warnings
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent

Column = Float64[np.ndarray, " images"]
Columns = Float64[np.ndarray, "images columns"]

RING: Final = 0.06
"""Width of the border as a share of the shorter side: outside every cell that was meant to be in the picture."""

BLIND: Final = frozenset({"size", "jpeg", "border", "order"})
"""Cues that no cell has a say in; the others, colour statistics and bytes, know the cell's own colour and grain."""

SIZE: Final = ("height", "width", "aspect")
BYTES: Final = ("bytes per pixel",)
COLOUR: Final = tuple(f"{what} {channel}" for what in ("mean", "sd") for channel in ("red", "green", "blue"))
BORDER: Final = (
    *(f"ring {name}" for name in COLOUR),
    *(f"{side} edge {channel}" for side in ("top", "bottom", "left", "right") for channel in ("red", "green", "blue")),
)
JPEG: Final = (
    *(f"format {name}" for name in FORMATS),
    *(f"table {table}, {place}" for table in range(2) for place in range(64)),
    "subsampling 4:4:4",
    "subsampling 4:2:2",
    "subsampling 4:2:0",
    "progressive",
    "has EXIF",
    "has ICC profile",
)

_EDGE: Final = 2  # pixels at the very rim, where strips and frames of an export script are
_WINDOW: Final = 512  # pictures in flight: a million of them must not become a million futures
_DATE: Final = 100_000  # a number this large is a date or of one counter, not a count of the pictures of a folder
_NUMBERS: Final = 4  # numbers of a file's name that are kept, the last ones
_DIGITS: Final = 15  # of a number; more of them float64 cannot tell apart
_MISSING: Final = -1.0


@runtime_checkable
class EncodedSource(Protocol):
    """A source of pictures that keeps them encoded, as they came.

    Attributes:
        ids_are_paths: Whether ids are paths of files, so that numbers in them are what people and microscopes wrote.
    """

    ids_are_paths: bool

    def read_bytes(self, id: str) -> bytes:
        """Return the encoded bytes of a row's picture, or raise `BadImageError`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Cues:
    """Numbers per picture by the name of the cue.

    Attributes:
        ids: Row identities.
        values: float64 of shape (images, columns) by cue; finite.
        columns: Names of the columns by cue.
        absent: Why a cue is not there, by cue.
    """

    ids: Ids
    values: Mapping[str, Columns]
    columns: Mapping[str, tuple[str, ...]]
    absent: Mapping[str, str]

    def __post_init__(self) -> None:
        for cue, values in self.values.items():
            if values.shape != (len(self.ids), len(self.columns[cue])) or not np.isfinite(values).all():
                raise RequestError(
                    f"Cue {cue!r} has shape {values.shape}, {int((~np.isfinite(values)).sum())} numbers of it not "
                    f"finite. Expected finite numbers of shape ({len(self.ids)}, {len(self.columns[cue])})."
                )

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """Row number by id."""
        return {id: row for row, id in enumerate(self.ids)}

    def aligned_to(self, ids: Ids) -> "Cues":
        """Return the cues of exactly these rows, in this order.

        Raises:
            RequestError: If an id has no cues.
        """
        missing = [id for id in ids if id not in self.row_of]
        if missing:
            raise RequestError(
                f"{len(missing):,} of {len(ids):,} rows have no cues, the first is {missing[0]}. Read the cues of the "
                "same images."
            )
        rows = [self.row_of[id] for id in ids]
        values = {cue: numbers[rows] for cue, numbers in self.values.items()}
        return Cues(ids=tuple(ids), values=values, columns=self.columns, absent=self.absent)


def read_cues(table: ImageTable, *, workers: int | None = None, progress: Progress = silent) -> Cues:
    """Read every picture once and note what is known of it without looking at its cell.

        size     height, width, width / height, in pixels of the upright picture
        bytes    encoded size by pixel; knows the cell, whose grain takes bytes
        jpeg     format, quantisation tables, subsampling, progressive, EXIF and ICC profile present
        border   means and standard deviations of red, green and blue in a ring of `RING` of the shorter side, their
                 means in the outermost lines of each side
        colour statistics
                 means and standard deviations of red, green and blue in the whole picture; knows the cell, whose
                 colour is a part of it
        order    place and numbers in the order of the file names' numbers, see `file_order`

    What a source does not keep is absent, with the reason. Records of tensorflow-datasets hold the bytes that were
    put into them: those of the files, or what the data set's builder made of pixels, in one way for all classes.

    Args:
        table: The pictures; labels are not looked at.
        workers: Threads; as many as `ThreadPoolExecutor` takes by default.
        progress: Told how far the reading is.

    Raises:
        DamageError: If a picture that was readable when the table was made no longer is.
    """
    seen = list(_look_at_all(table, workers, progress))
    values = {name: _stacked([look[name] for look in seen]) for name in (seen[0] if seen else ())}
    columns = {"size": SIZE, "bytes": BYTES, "jpeg": JPEG, "border": BORDER, "colour statistics": COLOUR}
    encoded = isinstance(table.source, EncodedSource)
    absent = {} if encoded else dict.fromkeys(("bytes", "jpeg"), "the source keeps no files, only pictures")
    order = _order(table)
    if isinstance(order, str):
        absent["order"] = order
    else:
        values["order"], columns["order"] = order
    return Cues(ids=table.ids, values=values, columns={name: columns[name] for name in values}, absent=absent)


def _order(table: ImageTable) -> tuple[Columns, tuple[str, ...]] | str:
    if not isinstance(table.source, EncodedSource):
        return "the source keeps no files, only pictures"
    if not table.source.ids_are_paths:
        return "ids are places in a data set's records, which it may have shuffled, not names of files"
    return file_order(table.ids, class_names=table.class_names)


def file_order(ids: Ids, *, class_names: Sequence[str] = ()) -> tuple[Columns, tuple[str, ...]] | str:
    """Order of pictures by the numbers in their files' names: the trace that a microscope's own counter leaves.

    Folders are left out, and letters too: people name files after classes (`BA_102039.jpg`, `basophil_00017.jpg`),
    so that sorted names would be the label itself. For the same reason a number is left out that is the same
    throughout each folder (a code of the class), or that recurs in other folders (each counts from 1, so that a
    large number only means a large class). Numbers from 100,000 on are kept: they are dates, or of one long counter.
    Counters of several folders of which few numbers were picked at random cannot be told from one counter.

    Args:
        ids: Row identities, paths with forward slashes.
        class_names: Names to remove from file names besides those of the folders.

    Returns:
        `place` (0 to 1, equal ones share the mean) and the numbers that were kept, -1 where a name has none, float64
        of shape (images, columns), with the columns' names; or the reason why there is no such order.
    """
    names = sorted({*class_names, *(part for id in ids for part in id.split("/")[:-1])}, key=len, reverse=True)
    # A name of digits alone is no word to remove: class "1" would cut 101 to 0. A column of it is left out below.
    words = [re.escape(name) for name in names if re.search(r"[^\W\d]", name)]
    cut = re.compile("|".join(words) or r"(?!)", re.IGNORECASE)
    found = [re.findall(r"[0-9]+", cut.sub(" ", PurePosixPath(id).stem)) for id in ids]
    width = min(max(map(len, found), default=0), _NUMBERS)
    if width == 0:
        return "no number in any file's name"
    numbers = np.full((len(ids), width), _MISSING)
    for row, digits in enumerate(found):
        kept = [float(number[:_DIGITS]) for number in digits[-width:]]
        numbers[row, width - len(kept) :] = kept
    folders = np.unique([id.rpartition("/")[0] for id in ids], return_inverse=True)[1]
    numbers = numbers[:, [not _belongs_to_folders(column, folders) for column in numbers.T]]
    if numbers.shape[1] == 0:
        return "the numbers in the files' names start anew in each folder"
    return np.column_stack([_place(numbers), numbers]), ("place", *(f"number {k + 1}" for k in range(numbers.shape[1])))


def header_cues(data: bytes) -> Float64[np.ndarray, "140"]:
    """What the header of an encoded picture says of how it was made; no pixel is decoded.

    Returns:
        float64 of shape (140,), in the order of `JPEG`; zeros where the bytes are no picture or do not say.
    """
    numbers = np.zeros(len(JPEG))
    try:
        with without_pillow_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            known = "JPEG" if image.format == "MPO" else image.format  # a camera's JPEG with previews behind it
            numbers[FORMATS.index(str(known))] = 1
            numbers[-2:] = ["exif" in image.info, "icc_profile" in image.info]
            numbers[-3] = bool(image.info.get("progressive"))
            if isinstance(image, JpegImagePlugin.JpegImageFile):
                _note_tables(image, numbers)
    # Pillow's plugins raise nearly anything on hostile bytes; what was noted before stands.
    except Exception:
        return numbers
    return numbers


def _note_tables(image: Any, numbers: np.ndarray) -> None:
    for number, table in image.quantization.items():
        if number < 2 and len(table) == 64:
            start = len(FORMATS) + 64 * number
            numbers[start : start + 64] = table
    sampling = JpegImagePlugin.get_sampling(image)
    if sampling >= 0:  # -1 is none of the three, or grey
        numbers[len(FORMATS) + 128 + sampling] = 1


def _look_at_all(table: ImageTable, workers: int | None, progress: Progress) -> Iterator[dict[str, np.ndarray]]:
    """What is seen of each picture, in order, `_WINDOW` of them at a time."""

    def look(id: str) -> dict[str, np.ndarray]:
        try:
            return _look(table.source, id)
        except BadImageError as reason:
            raise DamageError(
                f"{id} cannot be read any more: {reason}. It could when the images were read; read them again."
            ) from reason

    progress("reading cues", 0, len(table))
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(table), _WINDOW):
            window = table.ids[start : start + _WINDOW]
            yield from pool.map(look, window)
            progress("reading cues", start + len(window), len(table))


def _look(source: Any, id: str) -> dict[str, np.ndarray]:
    data = source.read_bytes(id) if isinstance(source, EncodedSource) else None
    pixels = source.read(id) if data is None else decode_image(data)
    height, width = pixels.shape[:2]
    cues = {
        "size": np.array([height, width, width / height]),
        "border": _border(pixels),
        "colour statistics": _colours(pixels.reshape(-1, 3)),
    }
    if data is not None:
        cues |= {"bytes": np.array([len(data) / (height * width)]), "jpeg": header_cues(data)}
    return cues


def _border(pixels: Pixels) -> Float64[np.ndarray, "18"]:
    height, width = pixels.shape[:2]
    side = max(1, round(RING * min(height, width)))
    ring = np.ones((height, width), dtype=bool)
    ring[side : height - side, side : width - side] = False
    edges = (pixels[:_EDGE], pixels[-_EDGE:], pixels[:, :_EDGE], pixels[:, -_EDGE:])
    return np.concatenate([_colours(pixels[ring]), *(edge.reshape(-1, 3).mean(axis=0) for edge in edges)])


def _colours(pixels: UInt8[np.ndarray, "pixels 3"]) -> Float64[np.ndarray, "6"]:
    """Means and standard deviations of red, green and blue, in grey levels of [0, 255]."""
    return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)])


def _stacked(rows: Sequence[np.ndarray]) -> Columns:
    return np.stack(rows).astype(np.float64)


def _belongs_to_folders(numbers: Column, folders: np.ndarray) -> bool:
    """Whether a number of the files' names says no more than the folder does, see `file_order`."""
    if folders.max() == 0 or numbers.max() >= _DATE:
        return False
    own = [np.unique(numbers[folders == folder]) for folder in range(folders.max() + 1)]
    if all(len(values) == 1 for values in own) and len(numbers) > len(own):
        return True
    values, times = np.unique(np.concatenate(own), return_counts=True)
    shared = values[times > 1]
    return any(len(values) > 1 and np.isin(values, shared).mean() > 0.5 for values in own)


def _place(numbers: Columns) -> Column:
    """Place of each row among the sorted rows, 0 to 1; equal rows share the mean of their places."""
    _, kind, times = np.unique(numbers, axis=0, return_inverse=True, return_counts=True)
    middle = np.cumsum(times) - (times + 1) / 2
    place: np.ndarray = middle[kind.reshape(-1)] / max(len(numbers) - 1, 1)
    return place
