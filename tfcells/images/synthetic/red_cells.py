"""Red cells around the white one: where they lie, their outlines and their central pallor.

A red cell is a biconcave disc of 6.5 to 8.5 micrometres whose middle third is pale; in a real smear some are tear
drops, some crenated, some pressed flat by neighbours, and in thick places they overlap.

Thickness is kept as 8 bits, `UNIT` for the thick part of an ordinary cell: two filled outlines per cell and two
blurs per picture are six times faster than a profile computed pixel by pixel, and look the same.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from tfcells.images.synthetic.planes import Coverage, Points, Rims
from tfcells.images.synthetic.shapes import SUBPIXEL

UNIT = 90
"""Thickness 1 in 8 bits: room for two overlapping cells and a half."""

_ANGLES = np.linspace(0.0, 2 * np.pi, 72, endpoint=False)
_ROUND = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """What the red cells of one picture have in common; lengths in pixels, shares without unit."""

    radius: float
    spread: float
    spacing: float
    elongation: float
    pallor: float
    pallor_radius: float
    pallor_softness: float
    crenated: float
    drops: float
    pressed: bool
    softness: float
    tries: int


def draw_crowd(rng: np.random.Generator, *, scale: float) -> Crowd:
    """The red cells' common traits for one picture; `scale` in pixels per micrometre."""
    pressed = bool(rng.random() < 0.25)
    loose = rng.choice([0.62, 0.85, 1.0, 1.1])
    radius = scale * rng.uniform(3.25, 4.2)
    return Crowd(
        radius=radius,
        spread=rng.uniform(0.03, 0.12),
        spacing=(0.9 if pressed else loose) + rng.uniform(-0.05, 0.08),
        elongation=rng.uniform(1.05, 1.3),
        pallor=rng.uniform(0.3, 0.9),
        pallor_radius=rng.uniform(0.3, 0.52),
        pallor_softness=radius * rng.uniform(0.06, 0.22),
        crenated=float(rng.choice([0.0, 0.1, 0.6], p=[0.78, 0.14, 0.08])),
        drops=float(rng.choice([0.0, 0.02, 0.15], p=[0.5, 0.4, 0.1])),
        pressed=pressed,
        softness=rng.uniform(1.0, 2.1),
        tries=int(rng.choice([40, 70, 110, 160])),
    )


def place(
    rng: np.random.Generator, *, crowd: Crowd, shape: tuple[int, int], keep_out: float
) -> tuple[Points, np.ndarray]:
    """Centres (cells, 2) as x, y and radii (cells,) in pixels, by trying places one after the other.

    Args:
        rng: Where the randomness comes from.
        crowd: Traits of the picture.
        shape: Height and width of the picture.
        keep_out: Radius in pixels of the white cell in the middle; red cells may just touch it.
    """
    size = np.array(shape[::-1], float)
    centres = rng.uniform(-0.8 * crowd.radius, size + 0.8 * crowd.radius, (crowd.tries, 2))
    radii = crowd.radius * np.exp(rng.normal(0, crowd.spread, crowd.tries))
    free = np.hypot(*(centres - size / 2).T) > keep_out + 0.92 * radii
    centres, radii = centres[free], radii[free]
    x, y = centres.T
    squared = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    close = squared < (crowd.spacing * (radii[:, None] + radii)) ** 2
    blocked = np.zeros(len(radii), bool)
    taken = []
    for cell in range(len(radii)):
        if not blocked[cell]:
            taken.append(cell)
            blocked |= close[cell]
    return centres[taken], radii[taken]


def red_cells(rng: np.random.Generator, *, shape: tuple[int, int], scale: float, keep_out: float) -> Coverage:
    """Thickness of haemoglobin per pixel, `UNIT` in the thick part of an ordinary cell; overlaps add up."""
    crowd = draw_crowd(rng, scale=scale)
    centres, radii = place(rng, crowd=crowd, shape=shape, keep_out=keep_out)
    rims = outlines(rng, crowd=crowd, radii=radii)
    if crowd.pressed:
        rims = pressed(rims, centres=centres, radii=radii)
    count = len(radii)
    thick = np.clip(UNIT * np.exp(rng.normal(0, 0.07, count)), 40, 120).astype(int)
    pale = (thick * np.clip(crowd.pallor * rng.uniform(0.4, 1.3, count), 0, 0.92)).astype(int)
    inner = rims * (crowd.pallor_radius * rng.uniform(0.8, 1.2, (count, 1)))
    shifts = rng.normal(0, 0.05, (count, 2)) * radii[:, None]
    discs = _sum_of_fills(rims, centres, thick.tolist(), shape)
    # The pallor is soft: drawn and blurred at half the size, which costs an eighth.
    half = (shape[0] // 2, shape[1] // 2)
    hollows = _sum_of_fills(inner / 2, (centres + shifts) / 2, pale.tolist(), half)
    hollows = cv2.GaussianBlur(hollows, (0, 0), crowd.pallor_softness / 2)
    hollows = cv2.resize(hollows, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.subtract(cv2.GaussianBlur(discs, (0, 0), crowd.softness), hollows)


def outlines(rng: np.random.Generator, *, crowd: Crowd, radii: np.ndarray) -> Rims:
    """Distance of the edge from the centre in pixels, (cells, angles)."""
    count = len(radii)
    stretch = np.sqrt(1 + (crowd.elongation - 1) * rng.uniform(0, 2, (count, 1)))
    turned = _ANGLES - rng.uniform(0, np.pi, (count, 1))
    rims: Rims = radii[:, None] / np.hypot(np.cos(turned) / stretch, np.sin(turned) * stretch)
    orders = np.arange(2, 6)
    phases = rng.uniform(0, 2 * np.pi, (count, 4, 1))
    sizes = rng.uniform(0.0, 0.045, (count, 4)) / orders**0.5
    rims = rims * (1 + (sizes[:, :, None] * np.cos(orders[:, None] * _ANGLES + phases)).sum(axis=1))
    spikes = rng.integers(8, 13, (count, 1))
    crenated = rng.random((count, 1)) < crowd.crenated
    teeth = 0.87 + 0.13 * np.abs(np.cos(spikes / 2 * _ANGLES + phases[:, 0])) ** 1.3
    rims = np.where(crenated, rims * teeth, rims)
    if crowd.drops == 0:
        return rims
    away = np.angle(np.exp(1j * (_ANGLES - rng.uniform(0, 2 * np.pi, (count, 1)))))
    tail = 0.85 + 0.75 * np.exp(-0.5 * (away / 0.2) ** 2)
    dropped: Rims = np.where(rng.random((count, 1)) < crowd.drops, rims * tail, rims)
    return dropped


def pressed(rims: Rims, *, centres: Points, radii: np.ndarray) -> Rims:
    """The outlines flattened half-way to every neighbour they would overlap."""
    towards = centres[None, :] - centres[:, None]
    gaps = np.hypot(towards[..., 0], towards[..., 1])
    for cell, other in np.argwhere((gaps > 0) & (gaps < 1.25 * (radii[:, None] + radii))).tolist():
        share = radii[cell] / (radii[cell] + radii[other])
        facing = _ROUND @ (towards[cell, other] / gaps[cell, other])
        wall = np.where(facing > 0.05, (share * gaps[cell, other] - 1.5) / np.maximum(facing, 0.05), 1e4)
        rims[cell] = -2 * np.logaddexp(-rims[cell] / 2, -wall / 2)
    return rims


def _sum_of_fills(rims: Rims, centres: Points, values: list[int], shape: tuple[int, int]) -> Coverage:
    """Filled outlines, each with its value, added up; what lies outside the picture is cut off."""
    total = np.zeros(shape, np.uint8)
    corners = rims[:, :, None] * _ROUND + centres[:, None]
    low = np.maximum(np.floor(corners.min(axis=1)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 2, shape[::-1])
    points = np.rint((corners - low[:, None]) * 2**SUBPIXEL).astype(np.int32)
    for cell, value in enumerate(values):
        (left, top), (right, bottom) = low[cell].tolist(), high[cell].tolist()
        if right <= left or bottom <= top:
            continue
        patch = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(patch, [points[cell]], value, lineType=cv2.LINE_AA, shift=SUBPIXEL)
        there = total[top:bottom, left:right]
        cv2.add(there, patch, dst=there)
    return total
