"""Some answers of an epoch as a picture. Drawing only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfcells.arrays import Labels, Pictures, Probabilities
from tfcells.names import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RED = "#D55E00"
_ACROSS = 6
_CELL = 1.7  # inches across


def plot_answers(
    pictures: Pictures, labels: Labels, probabilities: Probabilities, class_names: Sequence[str]
) -> Figure:
    """Pictures with the class that was predicted, how surely, and the true one where that is another.

    All of them are one image in one area: an area for each, laid out by Matplotlib, takes a second of every epoch.

    Args:
        pictures: uint8 of shape (images, side, side, 3), one or more.
        labels: int64 of shape (images,).
        probabilities: float64 of shape (images, classes).
        class_names: Names of the classes.
    """
    side = pictures.shape[1]
    wide, caption = side + max(side // 12, 1), -(-side // 4)
    down = -(-len(pictures) // _ACROSS)
    sheet = np.full((down * (side + caption), _ACROSS * wide, 3), 255, dtype=np.uint8)
    figure = Figure(figsize=(_CELL * _ACROSS, _CELL * _ACROSS * sheet.shape[0] / sheet.shape[1]))
    area: Axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    area.set_axis_off()
    for place, (picture, label, chances) in enumerate(zip(pictures, labels.tolist(), probabilities, strict=True)):
        top, left = place // _ACROSS * (side + caption) + caption, place % _ACROSS * wide + (wide - side) // 2
        sheet[top : top + side, left : left + side] = picture
        guess = int(chances.argmax())
        text = f"{drawn(class_names[guess])} {chances[guess]:.0%}"
        if guess != label:
            text += f"\nis {drawn(class_names[label])}"
        colour = "black" if guess == label else _RED
        area.text(left + side / 2, top - 1, text, fontsize=7, color=colour, ha="center", va="bottom", clip_on=True)
    area.imshow(sheet, aspect="auto", interpolation="nearest")
    return figure


def pixels_of(figure: Figure) -> np.ndarray:
    """A figure as uint8 of shape (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return rgba[..., :3].copy()
