"""Outlines and soft masks.

A cell is a closed curve given by a radius per angle; a nucleus is such a curve or a chain of discs. Both are drawn
hard and then melted, which is what makes unions smooth and concave corners round.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from tfcells.images.synthetic.noise import smooth_field
from tfcells.images.synthetic.planes import Coverage, Plane, Points, Rim

ANGLES = np.linspace(0.0, 2 * np.pi, 180, endpoint=False)
"""Angles of every outline in radians."""

SUBPIXEL = 4
"""Bits OpenCV keeps behind the point when it draws polygons and discs."""


def wavy_rim(
    rng: np.random.Generator, *, radius: float, elongation: float = 1.0, lumps: float = 0.0, waves: int = 6
) -> Rim:
    """Outline of an ellipse with random waves.

    Args:
        rng: Where the randomness comes from; it also turns the ellipse.
        radius: Geometric mean of the half axes in pixels.
        elongation: Long axis over short axis, at least 1.
        lumps: Size of the waves as a share of the radius.
        waves: Highest wave number; slower waves are larger.
    """
    turn = rng.uniform(0, np.pi)
    long, short = radius * np.sqrt(elongation), radius / np.sqrt(elongation)
    rim = long * short / np.hypot(short * np.cos(ANGLES - turn), long * np.sin(ANGLES - turn))
    orders = np.arange(2, waves + 1)
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    sizes = lumps * radius * rng.uniform(0.3, 1.0, len(orders)) / orders**0.8
    wavy: Rim = rim + (sizes[:, None] * np.cos(orders[:, None] * ANGLES + phases[:, None])).sum(axis=0)
    return wavy


def press(rim: Rim, *, angle: float, distance: float, softness: float = 3.0) -> Rim:
    """Outline flattened against a straight edge at a distance in pixels, as by a neighbouring cell."""
    facing = np.cos(ANGLES - angle)
    wall = np.where(facing > 0.05, distance / np.maximum(facing, 0.05), np.inf)
    # Smooth minimum: a hard one leaves corners no living cell has.
    pressed: Rim = -softness * np.logaddexp(-rim / softness, -np.minimum(wall, 1e4) / softness)
    return pressed


def bump(rim: Rim, *, angle: float, width: float, height: float) -> Rim:
    """Outline with a bump (height > 0, pixels) or a dent (< 0) of an angular width in radians."""
    away = np.angle(np.exp(1j * (ANGLES - angle)))
    bumped: Rim = np.maximum(rim + height * np.exp(-0.5 * (away / width) ** 2), 1.0)
    return bumped


def fill(rim: Rim, *, size: int, centre: tuple[float, float] = (0.0, 0.0)) -> Coverage:
    """Filled outline on a square canvas of `size` pixels; `centre` is relative to the canvas centre."""
    middle = (size - 1) / 2
    x = middle + centre[0] + rim * np.cos(ANGLES)
    y = middle + centre[1] + rim * np.sin(ANGLES)
    corners = np.rint(np.stack([x, y], axis=1) * 2**SUBPIXEL).astype(np.int32)
    canvas = np.zeros((size, size), np.uint8)
    cv2.fillPoly(canvas, [corners], 255, lineType=cv2.LINE_AA, shift=SUBPIXEL)
    return canvas


def draw_discs(centres: Points, radii: np.ndarray, *, onto: Coverage) -> None:
    """Fills discs on a square canvas in place; centres in pixels relative to the canvas centre."""
    places = np.rint((centres + (onto.shape[0] - 1) / 2) * 2**SUBPIXEL).astype(int).tolist()
    widths = np.maximum(np.rint(radii * 2**SUBPIXEL).astype(int), 1).tolist()
    for place, width in zip(places, widths, strict=True):
        cv2.circle(onto, place, width, 255, cv2.FILLED, cv2.LINE_AA, SUBPIXEL)


def melt(hard: Coverage, *, reach: float, edge: float = 1.2) -> Plane:
    """Coverage from 0 to 1 with corners rounded over `reach` pixels and an edge about `edge` pixels wide."""
    soft = cv2.GaussianBlur(hard, (0, 0), reach).astype(np.float32) / 255
    return np.clip(0.5 + (soft - 0.5) * np.float32(2.5 * reach / edge), 0, 1)


def depth_inside(mask: Plane) -> Plane:
    """Distance in pixels of every point inside the mask to its edge; zero outside."""
    return cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)


def bend(hard: Sequence[Coverage], rng: np.random.Generator, *, amount: float, scale: float) -> list[Coverage]:
    """Shapes of one canvas with their outlines pushed about by `amount` pixels, over distances of `scale` pixels."""
    shape = hard[0].shape
    along = np.arange(shape[0], dtype=np.float32)
    x = along[None, :] + np.float32(amount) * smooth_field(rng, shape, scale=scale)
    y = along[:, None] + np.float32(amount) * smooth_field(rng, shape, scale=scale)
    return [cv2.remap(each, x, y, cv2.INTER_LINEAR) for each in hard]


def step(values: Plane, *, start: float, stop: float) -> Plane:
    """Zero up to `start`, one from `stop` on, smooth between (the cubic 3t^2 - 2t^3)."""
    t = np.clip((values - np.float32(start)) / np.float32(stop - start), 0, 1)
    smooth: Plane = t * t * (3 - 2 * t)
    return smooth
