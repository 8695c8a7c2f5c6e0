"""A contact sheet: pictures of each class beside what training makes of them. No TensorFlow here."""

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from tfcells.arrays import Ids, Labels, UInt8
from tfcells.errors import EmptyDataError
from tfcells.finetune.augment import picture_seed
from tfcells.finetune.pictures import Pictures
from tfcells.names import drawn

_GAP: Final = 4  # pixels between pictures
_AFTER_ORIGINAL: Final = 12
_DPI: Final = 100
_CHARACTER: Final = 0.085  # inches that a letter of a name takes at most
_TITLES: Final = 0.25  # inches above and below the pictures
_MOST_ROWS: Final = 32
_MOST_PIXELS: Final = 8000  # from top to bottom; Matplotlib draws 65,535 at most


def some_of_each_class(
    ids: Ids, labels: Labels, *, classes: int, per_class: int = 1, rows: Sequence[int] | None = None, seed: int = 0
) -> list[int]:
    """Rows of each class, in the order of the classes, chosen by the seed and their ids.

    Args:
        ids: Of the table.
        labels: int64 of shape (images,): class index of every row, -1 where it has none.
        classes: How many there are; one without rows is passed over.
        per_class: Rows of each class; fewer where it has fewer.
        rows: To choose from; all by default.
        seed: Another one chooses others.
    """
    among = range(len(ids)) if rows is None else rows
    chosen: list[int] = []
    for label in range(classes):
        mine = [int(row) for row in among if labels[row] == label]
        chosen += sorted(mine, key=lambda row: picture_seed("sheet", seed, ids[row]))[:per_class]
    return chosen


def rows_that_fit(rows: Sequence[int], *, size: int) -> list[int]:
    """As many rows as a sheet has room for, evenly from the first to the last; at least one, if there is one.

    Args:
        rows: Of the table.
        size: Side of a picture in pixels.
    """
    room = max(1, min(_MOST_ROWS, _MOST_PIXELS // (size + _GAP)))
    if len(rows) <= room:
        return list(rows)
    return [rows[place] for place in np.linspace(0, len(rows) - 1, room).round().astype(int).tolist()]


def contact_sheet(
    pictures: Pictures, rows: Sequence[int], *, seed: int, variants: int = 7
) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures as they are in the first column, and beside them as the first epochs of a training show them.

    Args:
        pictures: At the size of the network.
        rows: Which of them, from top to bottom; at least one.
        seed: Of the training.
        variants: Number of epochs, in columns from left to right.

    Returns:
        uint8 of shape (rows x (size + 4) - 4, (1 + variants) x (size + 4) + 4, 3), white between the pictures.

    Raises:
        EmptyDataError: If there is no row.
        DamageError: If a picture cannot be read.
    """
    if not rows:
        raise EmptyDataError("A contact sheet without pictures. Expected one row or more.")
    step = pictures.size + _GAP
    width = (1 + variants) * step - _GAP + _AFTER_ORIGINAL - _GAP
    canvas = np.full((len(rows) * step - _GAP, width, 3), 255, dtype=np.uint8)
    for place, row in enumerate(rows):
        shown = [pictures.rounded(row)[0]]
        shown += [pictures.variant(row, seed=seed, epoch=epoch) for epoch in range(variants)]
        for column, picture in enumerate(shown):
            left = column * step + (_AFTER_ORIGINAL - _GAP if column else 0)
            canvas[place * step : place * step + pictures.size, left : left + pictures.size] = picture
    return canvas


def draw_contact_sheet(
    pictures: Pictures,
    rows: Sequence[int],
    labels: Labels,
    class_names: Sequence[str],
    *,
    seed: int,
    variants: int = 7,
) -> Figure:
    """The contact sheet with the class of each row at its left, one pixel of it for one of the figure at 100 dpi.

    Of more rows than there is room for some are shown, and below them it says how many (`rows_that_fit`). Arguments
    and errors are those of `contact_sheet`, and:

    Args:
        labels: int64 of shape (images,): class index of every row of the table.
        class_names: By class index.
    """
    asked, rows = len(rows), rows_that_fit(rows, size=pictures.size)
    sheet = contact_sheet(pictures, rows, seed=seed, variants=variants)
    height, width = (extent / _DPI for extent in sheet.shape[:2])
    names = [drawn(class_names[int(labels[row])]) for row in rows]
    left = 0.2 + _CHARACTER * max(map(len, names))
    missing = asked - len(rows)
    note = f"{len(rows)} of {asked:,} images; the other {missing:,} are left out" if missing else ""
    wide = max(left + width + 0.1, _CHARACTER * len(note))
    figure = Figure(figsize=(wide, height + 2 * _TITLES), dpi=_DPI)
    total_width, total_height = figure.get_size_inches()
    area = figure.add_axes((left / total_width, _TITLES / total_height, width / total_width, height / total_height))
    area.imshow(sheet, interpolation="nearest")
    step = pictures.size + _GAP
    area.set_yticks([place * step + pictures.size / 2 for place in range(len(rows))], names, fontsize=9)
    columns = [column * step + (_AFTER_ORIGINAL - _GAP if column else 0) for column in range(1 + variants)]
    titles = ["as it is", *(f"epoch {epoch + 1}" for epoch in range(variants))]
    area.set_xticks([column + pictures.size / 2 for column in columns], titles, fontsize=8)
    area.xaxis.tick_top()
    figure.text(0.1 / total_width, 0.06 / total_height, note, fontsize=8)
    area.tick_params(length=0)
    area.spines[:].set_visible(False)
    return figure


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG file at its own resolution."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
