"""A training as pictures: its curve, what was taken for what, some answers. Drawing only."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfcells.arrays import Confusion, Labels, Pictures, Probabilities
from tfcells.names import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREEN, _GREY, _RED = "#0072B2", "#E69F00", "#009E73", "#9AA0A6", "#D55E00"
_ACROSS = 6
_CELL = 1.7  # inches across


def plot_curve(curve: Sequence[Mapping[str, Any]], *, title: str, looked_at: str) -> Figure:
    """Loss and shares by epoch, phases marked.

    Args:
        curve: One row per epoch, as training returns them.
        title: Of the figure.
        looked_at: What the rows are called that were looked at after every epoch, e.g. `validation`.
    """
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(curve) + 1)
    left.plot(epochs, [row["training_loss"] for row in curve], color=_ORANGE, label="training", marker=".")
    left.plot(epochs, [row["loss"] for row in curve], color=_BLUE, label=drawn(looked_at), marker=".")
    left.set(title="loss", xlabel="epoch", ylim=(0, None))
    for name, colour in (("accuracy", _BLUE), ("balanced_accuracy", _GREEN), ("weighted_f1", _ORANGE)):
        right.plot(epochs, [row[name] for row in curve], color=colour, label=name.replace("_", " "), marker=".")
    right.set(title=f"{drawn(looked_at)} rows", xlabel="epoch", ylim=(None, 1.0))
    for area in (left, right):
        _mark_phases(area, curve)
        area.xaxis.set_major_locator(MaxNLocator(integer=True))
        area.spines[["top", "right"]].set_visible(False)
        area.legend(frameon=False)
    figure.suptitle(drawn(title))
    return figure


def plot_confusion(counts: Confusion, class_names: Sequence[str]) -> Figure:
    """A table of counts, shaded by the share of each true class."""
    side = 2.0 + 0.55 * len(class_names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    area: Axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    area.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [drawn(name) for name in class_names]
    area.set_xticks(range(len(names)), names, rotation=45, ha="right")
    area.set_yticks(range(len(names)), names)
    area.set(xlabel="predicted", ylabel="true")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            area.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    return figure


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


def _mark_phases(area: "Axes", curve: Sequence[Mapping[str, Any]]) -> None:
    for number, (before, row) in enumerate(pairwise(curve), 1):
        if before["phase"] != row["phase"]:
            area.axvline(number + 0.5, color=_GREY, linewidth=0.8, linestyle="--")
