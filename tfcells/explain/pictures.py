"""Maps laid over pictures, and a sheet of several images and methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tfcells.arrays import Float64, Pixels, UInt8
from tfcells.explain.attribution import binned, spread
from tfcells.explain.verdict import TRUSTWORTHY, UNDECIDED, UNTRUSTWORTHY
from tfcells.names import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIGNED: Final = "RdBu_r"
"""Red speaks for, blue against; told apart by readers who cannot tell red from green."""

UNSIGNED: Final = "cividis"
"""Of even steps to the eye, the same with and without colour vision (Nunez et al. 2018)."""

_FINEST: Final = 56  # cells along a side that are drawn: single pixels of a map are noise to the eye
_HIGHEST: Final = 0.98  # quantile that has the full colour: corners, where padding is, would leave the rest pale
_OUTLINE: Final = (0, 114, 178)
_INK: Final = {TRUSTWORTHY: "#202124", UNDECIDED: "#8a5a00", UNTRUSTWORTHY: "#b3261e"}  # by verdict, as on pages


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """One map as it is drawn.

    Attributes:
        heat: Of shape (rows, columns).
        signed: See `Attribution`.
        note: A line below.
        verdict: On its method: written above the note, but for a trustworthy one.
    """

    heat: Float64[np.ndarray, "rows columns"]
    signed: bool
    note: str = ""
    verdict: str = TRUSTWORTHY


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One image of a sheet.

    Attributes:
        picture: uint8 of shape (size, size, 3).
        caption: Lines beside it.
        panels: One for each method of the sheet; None where it has no map.
        mask: bool of shape (size, size): outlined.
    """

    picture: Pixels
    caption: Sequence[str]
    panels: Sequence[Panel | None]
    mask: np.ndarray | None = None


def overlay(picture: Pixels, heat: Float64[np.ndarray, "rows columns"], *, signed: bool) -> UInt8[np.ndarray, "h w 3"]:
    """A map in colours over the picture in grey, as opaque as the map is strong.

    Finer maps than 56 cells along a side are drawn in such cells, sums kept. Colours reach their end at the 98th
    percentile of the map's size, so two maps can be compared in where, not in how much.
    """
    size = picture.shape[0]
    coarse = binned(heat[None], side=min(_FINEST, max(heat.shape)))[0]
    share = _scaled(coarse)
    pixels = np.clip(spread(share[None], size=size)[0] * size**2 / share.size, -1, 1)
    grey = 255 - 0.8 * (255 - cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64))  # lighter, to be drawn on
    colours = matplotlib.colormaps[SIGNED]((pixels + 1) / 2) if signed else matplotlib.colormaps[UNSIGNED](pixels)
    weight = 0.75 * np.sqrt(np.abs(pixels))[..., None] if signed else np.full((*pixels.shape, 1), 0.55)
    mixed = (1 - weight) * grey[..., None] + weight * 255 * colours[..., :3]
    return np.asarray(np.clip(np.round(mixed), 0, 255), dtype=np.uint8)


def outlined(picture: Pixels, mask: np.ndarray) -> Pixels:
    """A picture with the edge of a mask drawn on it."""
    edges, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture.copy(), edges, -1, _OUTLINE, max(1, picture.shape[0] // 150)))


def draw_sheet(rows: Sequence[Row], titles: Sequence[str], path: Path) -> None:
    """Write a sheet as PNG: a row for each image, the picture first, then a map of each method.

    Args:
        rows: Images.
        titles: Names of the methods, in the order of the panels.
        path: The file.
    """
    across = len(titles) + 1
    figure = Figure(figsize=(2.15 * across, 2.75 * len(rows) + 0.9), layout="constrained")
    areas = figure.subplots(len(rows), across, squeeze=False)
    for row, line in zip(rows, areas, strict=True):
        for area in line:
            area.set(xticks=[], yticks=[])
            area.spines[:].set_visible(False)
        line[0].imshow(row.picture if row.mask is None else outlined(row.picture, row.mask))
        line[0].set_xlabel("\n".join(map(drawn, row.caption)), fontsize=7, loc="left")
        for area, panel in zip(line[1:], row.panels, strict=True):
            _draw(area, row, panel)
    for area, title in zip(areas[0], ["picture", *titles], strict=True):
        area.set_title(title, fontsize=9)
    figure.supxlabel(
        "red speaks for what is explained, blue against; Grad-CAM has no against: blue is little, yellow much",
        fontsize=7,
    )
    figure.savefig(path, dpi=110)


def _draw(area: "Axes", row: Row, panel: Panel | None) -> None:
    if panel is None:
        area.text(0.5, 0.5, "no map", ha="center", va="center", fontsize=8, transform=area.transAxes)
        return
    shown = overlay(row.picture, panel.heat, signed=panel.signed)
    area.imshow(shown if row.mask is None else outlined(shown, row.mask))
    note = panel.note if panel.verdict == TRUSTWORTHY else f"{panel.verdict}\n{panel.note}"
    area.set_xlabel(note, fontsize=7, loc="left", color=_INK[panel.verdict])


def _scaled(heat: np.ndarray) -> np.ndarray:
    """Numbers in [-1, 1], 0 where they were 0."""
    highest = float(np.quantile(np.abs(heat), _HIGHEST)) or float(np.abs(heat).max())
    return np.clip(heat / highest, -1, 1) if highest > 0 else np.zeros_like(heat)
