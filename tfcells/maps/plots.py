"""Points and variances as matplotlib figures; drawing only, nothing is computed here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from tfcells.arrays import Float64, Labels, Points
from tfcells.maps.palette import UNLABELLED, class_colours
from tfcells.names import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_points(
    points: Points, labels: Labels, class_names: Sequence[str], *, title: str, axes: Sequence[str]
) -> Figure:
    """Scatter points, one colour per class.

    Args:
        points: (images, 2).
        labels: int64 of shape (images,); -1 is drawn grey.
        class_names: Class names.
        title: Of the figure.
        axes: Names of the two axes.
    """
    figure = Figure(figsize=(7.2, 6.0), layout="constrained")
    area: Axes = figure.subplots()
    size = float(np.clip(6000 / max(len(points), 1), 3, 30))
    marks, names = [], []
    for index, (name, colour) in enumerate(zip(class_names, class_colours(len(class_names)), strict=True)):
        mine = labels == index
        if mine.any():
            marks.append(area.scatter(points[mine, 0], points[mine, 1], s=size, color=colour, alpha=0.75, linewidths=0))
            names.append(f"{drawn(name)} ({mine.sum():,})")
    if (labels < 0).any():
        rest = points[labels < 0]
        marks.append(area.scatter(rest[:, 0], rest[:, 1], s=size, color=UNLABELLED, alpha=0.6, linewidths=0))
        names.append("unlabelled")
    area.set(title=title, xlabel=axes[0], ylabel=axes[1])
    area.spines[["top", "right"]].set_visible(False)
    area.set_aspect("equal", adjustable="datalim")
    # Given by hand: a legend that collects its entries passes over names that begin with an underscore.
    area.legend(
        marks,
        names,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        markerscale=max(1.0, 4 / size**0.5),
        fontsize=9,
    )
    return figure


def plot_variance(variance_ratio: Float64[np.ndarray, " axes"], *, title: str) -> Figure:
    """Cumulated share of variance by number of components, with lines at 80, 95 and 99 %."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    area: Axes = figure.subplots()
    cumulated = np.cumsum(variance_ratio)
    count = np.arange(1, len(cumulated) + 1)
    area.plot(count, cumulated, color="#0072B2", linewidth=2)
    for share in (0.8, 0.95, 0.99):
        area.axhline(share, color="#9AA0A6", linewidth=0.8, linestyle="--")
        reached = int(np.searchsorted(cumulated, share)) + 1
        text = f"{share:.0%} at {reached}" if reached <= len(cumulated) else f"{share:.0%}"
        area.annotate(text, (count[-1], share), ha="right", va="bottom", fontsize=8, color="#5F6368")
    area.set(
        title=title,
        xlabel="principal components",
        ylabel="share of variance",
        ylim=(0, 1.03),
        xlim=(1, max(2, count[-1])),
    )
    area.spines[["top", "right"]].set_visible(False)
    return figure
