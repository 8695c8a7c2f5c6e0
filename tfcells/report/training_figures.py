"""Figures of a fine-tuning, drawn from `finetune.json` and `rate_finder.json` alone."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfcells.names import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#9AA0A6"
_SHARES: Final = (
    ("accuracy", "accuracy (= weighted recall)", _BLUE),
    ("weighted_precision", "weighted precision", _ORANGE),
    ("weighted_f1", "weighted F1", _RED),
    ("balanced_accuracy", "balanced accuracy", _GREEN),
)


def plot_training(
    curve: Sequence[Mapping[str, Any]], *, best: Mapping[str, Any] | None, looked_at: str, title: str = ""
) -> Figure:
    """Loss, shares and learning rates by epoch, with a line between phases and one at the epoch that was chosen.

    Args:
        curve: One row per epoch.
        best: `phase` and `epoch` of the weights that were kept; None where none was better than those begun with.
        looked_at: What the rows are called that were looked at after every epoch, e.g. `validation`.
        title: Of the figure.
    """
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(3, 4, 2.4))
    epochs = range(1, len(curve) + 1)

    def draw(area: "Axes", name: str, label: str, colour: str) -> None:
        area.plot(epochs, [row[name] for row in curve], color=colour, label=label, marker=".", linewidth=1.4)

    draw(left, "training_loss", "training", _ORANGE)
    draw(left, "loss", drawn(looked_at), _BLUE)
    left.set(title="loss", ylim=(0, None))
    for name, label, colour in _SHARES:
        draw(middle, name, label, colour)
    middle.set(title=f"{drawn(looked_at)} rows", ylim=(None, 1.0))
    for name, colour in (("head_rate", _ORANGE), ("body_rate", _BLUE)):
        if name in curve[0]:
            draw(right, name, name.removesuffix("_rate"), colour)
    right.set(title="learning rate after the epoch", ylim=(0, None))
    right.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    places = {(row["phase"], row["epoch"]): number for number, row in enumerate(curve, 1)}
    chosen = None if best is None else places.get((best["phase"], best["epoch"]))
    for area in (left, middle, right):
        _mark(area, curve, chosen)
    if title:
        figure.suptitle(drawn(title))
    return figure


def plot_drift(drifts: Mapping[int, Mapping[str, float | None]]) -> Figure:
    """How alike each layer's features are before and after (CKA), from the input down to the output.

    Args:
        drifts: CKA by layer, by fold; None where a layer tells too few pictures apart to say.
    """
    taps = list(next(iter(drifts.values())))
    figure = Figure(figsize=(6.4, 1.0 + 0.32 * len(taps)), layout="constrained")
    area: Axes = figure.subplots()
    for place, tap in enumerate(taps):
        known = [value for value in (cka[tap] for cka in drifts.values()) if value is not None]
        area.plot([0, 1], [place, place], color="#E8EAED", linewidth=6, solid_capstyle="round", zorder=0)
        area.plot(known, [place] * len(known), "o", color=_BLUE, markersize=6, alpha=0.8)
        if not known:
            area.text(0.5, place, "cannot be told", ha="center", va="center", fontsize=8, color=_GREY)
    area.set_yticks(range(len(taps)), [drawn(tap) for tap in taps], fontsize=8)
    area.set(
        xlim=(-0.02, 1.02),
        ylim=(len(taps) - 0.4, -0.6),
        xlabel="CKA before and after: 1 sees what it saw, 0 something else",
    )
    area.spines[["top", "right", "left"]].set_visible(False)
    area.tick_params(axis="y", length=0)
    return figure


def plot_rates(phases: Sequence[Mapping[str, Any]]) -> Figure:
    """Smoothed loss against the learning rate of the fastest layers, a panel for each phase.

    Args:
        phases: Of `rate_finder.json`.
    """
    figure = Figure(figsize=(4.6 * len(phases), 3.6), layout="constrained")
    areas = figure.subplots(1, len(phases), squeeze=False)[0]
    for area, phase in zip(areas, phases, strict=True):
        area.plot(phase["rates"], phase["losses"], color=_BLUE, linewidth=1.4)
        for found, label, colour, style in (
            (phase["asked"], "in the config", _GREY, ":"),
            (phase["suggested"], "suggested", _RED, "--"),
        ):
            if found is not None:
                rate = found["fastest"]
                area.axvline(rate, color=colour, linestyle=style, linewidth=1.2, label=f"{label}: {rate:.1e}")
        area.set(xscale="log", xlabel="learning rate of the fastest layers", ylabel="loss, smoothed")
        area.set_title(f"phase {phase['phase']}: {drawn(phase['train'])}")
        _quiet(area)
        area.legend(frameon=False, fontsize=8)
    return figure


def _mark(area: "Axes", curve: Sequence[Mapping[str, Any]], chosen: int | None) -> None:
    for number, (before, row) in enumerate(pairwise(curve), 1):
        if before["phase"] != row["phase"]:
            area.axvline(number + 0.5, color=_GREY, linewidth=0.8, linestyle="--", zorder=0)
    if chosen is not None:
        area.axvline(chosen, color="#D2E3FC", linewidth=7, zorder=0, label="weights kept")
    area.set(xlabel="epoch")
    area.xaxis.set_major_locator(MaxNLocator(integer=True))
    area.margins(x=0.06)
    _quiet(area)
    area.legend(frameon=False, fontsize=8)


def _quiet(area: "Axes") -> None:
    area.grid(axis="y", color="#E8EAED", linewidth=0.8)
    area.set_axisbelow(True)
    area.spines[["top", "right"]].set_visible(False)
