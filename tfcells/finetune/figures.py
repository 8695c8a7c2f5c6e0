"""An epoch as pictures: what was taken for what, some answers. Drawing only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfcells.arrays import Confusion, Labels, Pictures, Probabilities
from tfcells.names import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RED = "#D55E00"
_ACROSS = 6


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
    """Pictures with the class that was predicted, how surely, and the true one where that is another."""
    down = -(-len(pictures) // _ACROSS)
    figure = Figure(figsize=(1.7 * _ACROSS, 2.0 * down), layout="constrained")
    areas = figure.subplots(down, _ACROSS, squeeze=False).reshape(-1)
    for area in areas:
        area.set_axis_off()
    for area, picture, label, chances in zip(areas, pictures, labels.tolist(), probabilities, strict=False):
        area.imshow(picture)
        guess = int(chances.argmax())
        text = f"{drawn(class_names[guess])} {chances[guess]:.0%}"
        if guess != label:
            text += f"\nis {drawn(class_names[label])}"
        area.set_title(text, fontsize=7, color="black" if guess == label else _RED)
    return figure


def pixels_of(figure: Figure) -> np.ndarray:
    """A figure as uint8 of shape (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return rgba[..., :3].copy()
