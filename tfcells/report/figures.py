"""Figures of a study's numbers, drawn from `results.json` alone."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure

from tfcells.report.words import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE: Final = "#0072B2"
_GREY: Final = "#9AA0A6"
_INK: Final = "#202124"


def plot_candidates(candidates: Sequence[Mapping[str, Any]], baselines: Sequence[Mapping[str, Any]]) -> Figure:
    """Balanced accuracy of every candidate with its 95 % interval; baselines below a line, ties marked."""
    shown = [*candidates, *baselines]
    figure = Figure(figsize=(8.0, 0.9 + 0.29 * len(shown)), layout="constrained")
    area: Axes = figure.subplots()
    for place, entry in enumerate(shown):
        number = entry["balanced_accuracy"]
        baseline = place >= len(candidates)
        colour = _GREY if baseline else (_BLUE if entry["tied_with_best"] else _INK)
        area.plot([number["low"], number["high"]], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        area.plot(number["value"], place, marker="s" if baseline else "o", color=colour, markersize=5)
    area.axhline(len(candidates) - 0.5, color=_GREY, linewidth=0.8)
    area.set_yticks(range(len(shown)), [_plain_text(title_of(entry)) for entry in shown], fontsize=8)
    area.invert_yaxis()
    area.set(xlim=(0, 1), xlabel="balanced accuracy (cross-validated, 95 % interval)")
    area.grid(axis="x", color="#E8EAED", linewidth=0.8)
    area.set_axisbelow(True)
    area.spines[["top", "right", "left"]].set_visible(False)
    area.tick_params(axis="y", length=0)
    return figure


def plot_confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], *, title: str) -> Figure:
    """Confusion matrix: colour by share of the true class, numbers are images."""
    table = np.asarray(counts)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.52 * len(classes)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    area: Axes = figure.subplots()
    area.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*table.shape):
        if table[row, column]:
            dark = share[row, column] > 0.5
            area.text(
                column,
                row,
                f"{table[row, column]:,}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else _INK,
            )
    names = [_plain_text(name) for name in classes]
    area.set_xticks(range(len(classes)), names, rotation=40, ha="right", fontsize=8)
    area.set_yticks(range(len(classes)), names, fontsize=8)
    area.set(title=title, xlabel="predicted", ylabel="true")
    return figure


def plot_class_counts(counts: Mapping[str, int], left_out: Mapping[str, str]) -> Figure:
    """Images per class; classes that the probes leave out are grey."""
    figure = Figure(figsize=(6.0, 0.8 + 0.28 * len(counts)), layout="constrained")
    area: Axes = figure.subplots()
    names = list(counts)
    colours = [_GREY if name in left_out else _BLUE for name in names]
    bars = area.barh(range(len(names)), list(counts.values()), color=colours, height=0.7)
    area.set_yticks(range(len(names)), [_plain_text(name) for name in names])
    area.bar_label(bars, labels=[f"{counts[name]:,}" for name in names], padding=3, fontsize=8)
    area.invert_yaxis()
    area.tick_params(axis="y", labelsize=9, length=0)
    area.set(xlabel="images")
    area.margins(x=0.12)
    area.spines[["top", "right"]].set_visible(False)
    return figure


def _plain_text(name: str) -> str:
    """A name as matplotlib draws it letter by letter; between dollar signs it would look for a formula."""
    return name.replace("$", r"\$")
