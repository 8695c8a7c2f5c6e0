"""Figures of a study's numbers, drawn from `results.json` alone."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure

from tfcells.names import drawn
from tfcells.report.words import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE: Final = "#0072B2"
_GREY: Final = "#9AA0A6"
_INK: Final = "#202124"
_CALLED: Final = {
    "sensitivity": ("sensitivity", "#0072B2"),
    "specificity": ("specificity", "#9AA0A6"),
    "positive_predictive_value": ("positive predictive value", "#D55E00"),
    "f1": ("F1", "#009E73"),
}
_CELL: Final = 0.52  # inches of a class in a table of counts
_WIDEST: Final = 30.0  # inches of all of them
_MOST_NAMED: Final = 12  # lines in a legend


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
    area.set_yticks(range(len(shown)), [drawn(title_of(entry)) for entry in shown], fontsize=8)
    area.invert_yaxis()
    area.set(xlim=(0, 1), xlabel="balanced accuracy (cross-validated, 95 % interval)")
    area.grid(axis="x", color="#E8EAED", linewidth=0.8)
    area.set_axisbelow(True)
    area.spines[["top", "right", "left"]].set_visible(False)
    area.tick_params(axis="y", length=0)
    return figure


def plot_confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], *, title: str) -> Figure:
    """Confusion matrix: colour by share of the true class, numbers are images; of more than 57 classes without them."""
    table = np.asarray(counts)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    cell = min(_CELL, _WIDEST / len(classes))
    side = 2.2 + cell * len(classes)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    area: Axes = figure.subplots()
    area.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if cell == _CELL:  # in smaller ones nobody could read a number
        for row, column in np.argwhere(table).tolist():
            area.text(
                column,
                row,
                f"{table[row, column]:,}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[row, column] > 0.5 else _INK,
            )
    names, letters = [drawn(name) for name in classes], max(8 * cell / _CELL, 1)
    area.set_xticks(range(len(classes)), names, rotation=40, ha="right", fontsize=letters)
    area.set_yticks(range(len(classes)), names, fontsize=letters)
    area.set(title=title, xlabel="predicted", ylabel="true")
    return figure


def plot_class_counts(counts: Mapping[str, int], left_out: Mapping[str, str]) -> Figure:
    """Images per class; classes that the probes leave out are grey."""
    figure = Figure(figsize=(6.0, 0.8 + 0.28 * len(counts)), layout="constrained")
    area: Axes = figure.subplots()
    names = list(counts)
    colours = [_GREY if name in left_out else _BLUE for name in names]
    bars = area.barh(range(len(names)), list(counts.values()), color=colours, height=0.7)
    area.set_yticks(range(len(names)), [drawn(name) for name in names])
    area.bar_label(bars, labels=[f"{counts[name]:,}" for name in names], padding=3, fontsize=8)
    area.invert_yaxis()
    area.tick_params(axis="y", labelsize=9, length=0)
    area.set(xlabel="images")
    area.margins(x=0.12)
    area.spines[["top", "right"]].set_visible(False)
    return figure


def plot_reliability(bins: Sequence[Mapping[str, Any]]) -> Figure:
    """Accuracy against confidence, bin by bin with 95 % intervals; on the line, probabilities mean what they say."""
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    area = figure.subplots()
    area.plot([0, 1], [0, 1], color=_GREY, linewidth=0.9, linestyle="--")
    known = [entry for entry in bins if entry["count"] and entry["accuracy"] is not None]
    for entry in known:
        area.plot([entry["confidence"]] * 2, [entry["low"], entry["high"]], color=_BLUE, linewidth=1.6, alpha=0.5)
    area.plot([entry["confidence"] for entry in known], [entry["accuracy"] for entry in known], "o-", color=_BLUE)
    area.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy (95 % interval)")
    _quiet(area)
    return figure


def plot_abstention(curve: Sequence[Mapping[str, Any]]) -> Figure:
    """Accuracy of the images that are answered, against their share; a band of 95 % intervals."""
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    area = figure.subplots()
    known = [entry for entry in curve if entry["accuracy"] is not None]
    share = [entry["coverage"] for entry in known]
    low, high = [entry["low"] for entry in known], [entry["high"] for entry in known]
    area.fill_between(share, low, high, color=_BLUE, alpha=0.2, linewidth=0)
    area.plot(share, [entry["accuracy"] for entry in known], color=_BLUE)
    area.set(xlim=(0, 1), xlabel="share of images answered, the surest first", ylabel="accuracy (95 % interval)")
    area.set_ylim(min([*low, 0.9]) - 0.02, 1.0)
    _quiet(area)
    return figure


def plot_roc(classes: Sequence[Mapping[str, Any]]) -> Figure:
    """ROC curves, one class against the rest each; lines are named where they are fewer than a legend can hold."""
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    area = figure.subplots()
    for entry in (entry for entry in classes if entry["roc"]):
        label = f"{drawn(entry['class'])} {entry['auc']['value']:.3f}"
        area.plot(entry["roc"]["false_positive_rate"], entry["roc"]["true_positive_rate"], linewidth=1.2, label=label)
    area.plot([0, 1], [0, 1], color=_GREY, linewidth=0.9, linestyle="--")
    area.set(xlim=(0, 1), ylim=(0, 1.005), xlabel="false positive rate", ylabel="true positive rate")
    _quiet(area)
    if 0 < len(classes) <= _MOST_NAMED:
        area.legend(fontsize=7, loc="lower right", frameon=False, title="class, AUC", title_fontsize=7)
    return figure


def plot_thresholds(classes: Sequence[Mapping[str, Any]]) -> Figure:
    """What calling a class from a probability on gives: sensitivity, specificity, positive predictive value, F1."""
    known = [entry for entry in classes if entry["thresholds"]]
    across = min(4, max(1, len(known)))
    down = max(1, -(-len(known) // across))
    figure = Figure(figsize=(2.3 * across, 0.5 + 1.9 * down), layout="constrained")
    areas = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for area, entry in zip(areas, known, strict=False):
        curve = entry["thresholds"]
        for key, (name, colour) in _CALLED.items():
            area.plot(curve["threshold"], curve[key], color=colour, linewidth=1.2, label=name)
        area.set(xlim=(0, 1), ylim=(0, 1.02))
        area.set_title(drawn(entry["class"]), fontsize=8)
        area.tick_params(labelsize=7)
        _quiet(area)
    for area in areas[len(known) :]:
        area.set_visible(False)
    if known:
        figure.supxlabel("least probability at which an image is called", fontsize=8)
        figure.legend(
            *areas[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8, frameon=False
        )
    return figure


def plot_learning(curve: Mapping[str, Any]) -> Figure:
    """Accuracy against the number of images learned from, and what the curve promises beyond, with its interval."""
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    area = figure.subplots()
    points, beyond = curve["points"], curve["predicted"]
    area.plot([entry["rows"] for entry in points], [entry["accuracy"] for entry in points], "o-", color=_BLUE)
    last = points[-1]
    area.plot(
        [last["rows"], *(entry["rows"] for entry in beyond)],
        [last["accuracy"], *(entry["value"] for entry in beyond)],
        color=_BLUE,
        linestyle=":",
    )
    for entry in beyond:
        area.plot([entry["rows"]] * 2, [entry["low"], entry["high"]], color=_BLUE, linewidth=1.6, alpha=0.5)
    area.set(xscale="log", xlabel="images learned from", ylabel="accuracy")
    _quiet(area)
    return figure


def _quiet(area: "Axes") -> None:
    area.grid(color="#E8EAED", linewidth=0.8)
    area.set_axisbelow(True)
    area.spines[["top", "right"]].set_visible(False)
