"""Shapes of nuclei, as lists of lobes: hard masks on the cell's square canvas; lengths are in pixels.

Two constructions cover the seven nucleated classes: a closed outline with dents (round, oval, kidney), and a chain, a
curved spine with lobes along it (segmented and band neutrophils, eosinophils, horseshoe monocytes). Lobes stay apart
until they are painted, because each keeps its own dark membrane where two of them touch.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from tfcells.images.synthetic.body import Body
from tfcells.images.synthetic.planes import Coverage, Plane, Points
from tfcells.images.synthetic.shapes import bend, bump, depth_inside, draw_discs, fill, melt, wavy_rim

_JOINTS = 40  # points of a spine; discs on them lie at most 4 px apart and melt into one


@dataclass(frozen=True)
class Nucleus:
    """A nucleus ready to be painted.

    Args:
        cover: Coverage, 0 to 1.
        depth: Distance to the membrane in pixels.
        creases: Membranes of single lobes, also where they cross the inside of another; 0 to about 2.
    """

    cover: Plane
    depth: Plane
    creases: Plane


def assemble(lobes: list[Coverage], *, body: Body) -> Nucleus:
    """Melts the lobes, keeps them inside the cell, and measures how deep every point lies."""
    # Cut before melting, so that a lobe pressed against the edge of the cell has round corners.
    room = (body.depth > np.float32(0.15 * body.scale)).astype(np.uint8) * np.uint8(255)
    cover, depth, creases = (np.zeros(room.shape, np.float32) for _ in range(3))
    for lobe in lobes:
        soft = melt(cv2.min(lobe, room), reach=0.2 * body.scale)
        own = depth_inside(soft)
        cover, depth = np.maximum(cover, soft), np.maximum(depth, own)
        creases += np.clip(1 - own / np.float32(0.26 * body.scale), 0, 1) * soft
    return Nucleus(cover=cover, depth=depth, creases=creases)


def round_nucleus(
    rng: np.random.Generator,
    *,
    size: int,
    radius: float,
    elongation: float,
    dent: float = 0.0,
    centre: tuple[float, float] = (0.0, 0.0),
    facing: float = 0.0,
    lumps: float = 0.05,
) -> list[Coverage]:
    """Round or oval nucleus, dented on the side that faces an angle (radians).

    Args:
        rng: Where the randomness comes from.
        size: Side of the canvas.
        radius: Mean radius.
        elongation: Long over short axis.
        dent: Depth of the dent as a share of the radius: 0 lymphocyte, 0.3 myelocyte, 0.7 kidney.
        centre: Place relative to the canvas centre.
        facing: Angle of the dent.
        lumps: Waves of the outline as a share of the radius.
    """
    rim = wavy_rim(rng, radius=radius, elongation=elongation, lumps=lumps, waves=7)
    if dent > 0:
        rim = bump(rim, angle=facing, width=rng.uniform(0.3, 0.55), height=-dent * radius)
    return bend([fill(rim, size=size, centre=centre)], rng, amount=1.2, scale=18.0)


def folded_nucleus(
    rng: np.random.Generator, *, size: int, radius: float, centre: tuple[float, float] = (0.0, 0.0)
) -> list[Coverage]:
    """Lobulated nucleus of a monocyte: two to four broad lobes that run into one another."""
    lobes = int(rng.integers(2, 5))
    start = rng.uniform(0, 2 * np.pi)
    masks = []
    for lobe in range(lobes):
        angle = start + 2 * np.pi * (lobe + rng.uniform(-0.2, 0.2)) / lobes
        away = radius * rng.uniform(0.34, 0.55)
        place = (centre[0] + away * np.cos(angle), centre[1] + away * np.sin(angle))
        rim = wavy_rim(rng, radius=radius * rng.uniform(0.48, 0.64), elongation=rng.uniform(1.05, 1.5), lumps=0.12)
        masks.append(fill(rim, size=size, centre=place))
    return bend(masks, rng, amount=2.0, scale=18.0)


def spine(rng: np.random.Generator, *, length: float, sweep: float, twist: float = 0.0) -> Points:
    """Curve of a chain nucleus, centred on its mean, (points, 2) in pixels.

    Args:
        rng: Where the randomness comes from; it also turns the whole curve.
        length: Length in pixels.
        sweep: Angle in radians by which the curve turns: 0 straight, about 3 a C, above 4 nearly a ring.
        twist: Angle by which it turns and turns back: an S.
    """
    t = np.linspace(0, 1, _JOINTS)
    heading = rng.uniform(0, 2 * np.pi) + sweep * t + twist * np.sin(2 * np.pi * t)
    heading += rng.uniform(0, 0.5) * np.sin(3 * np.pi * t + rng.uniform(0, 2 * np.pi))
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * (length / (_JOINTS - 1))
    places = np.cumsum(steps, axis=0)
    centred: Points = places - places.mean(axis=0)
    return centred


def chain_nucleus(
    rng: np.random.Generator,
    *,
    body: Body,
    path: Points,
    width: float,
    lobes: int,
    gap: float,
    offset: float = 0.0,
) -> list[Coverage]:
    """Band or segmented nucleus: lobes along a path, joined by a thread.

    Args:
        rng: Where the randomness comes from.
        body: The cell; the chain is shrunk until it fits.
        path: Curve from `spine`.
        width: Half width of a lobe.
        lobes: Number of lobes; 1 is a band.
        gap: Free length between lobes as a share of their half width: below 0 they overlap, above 0 they hang on a
            thread.
        offset: Distance from the middle of the cell.
    """
    angle = rng.uniform(0, 2 * np.pi)
    centre = offset * np.array([np.cos(angle), np.sin(angle)])
    room = max(body.radius - offset - 0.8 * width, 0.3 * body.radius)
    shrink = min(1.0, room / float(np.hypot(*path.T).max()))
    places, width = path * shrink + centre, width * np.sqrt(shrink)
    step_length = float(np.hypot(*(places[1] - places[0])))
    shares = rng.uniform(0.75, 1.25, lobes)
    borders = np.concatenate([[0.0], np.cumsum(shares) / shares.sum()]) * (_JOINTS - 1)
    trim = width * (1 + gap / 2) / max(step_length, 0.1)
    # Neighbours lie on different canvases, so that each keeps its membrane; two are enough for any number of lobes.
    masks = [np.zeros((body.size, body.size), np.uint8) for _ in range(min(lobes, 2))]
    if lobes > 1:
        draw_discs(places, np.full(_JOINTS, 0.16 * body.scale), onto=masks[0])
    for lobe in range(lobes):
        # A lobe ends half a width before its border, since its end disc reaches on by as much.
        first = borders[lobe] + (trim if lobe > 0 else 0)
        last = borders[lobe + 1] - (trim if lobe < lobes - 1 else 0)
        _draw_lobe(places, rng, first=float(first), last=float(last), width=width, onto=masks[lobe % 2])
    return bend(masks, rng, amount=1.8, scale=13.0)


def _draw_lobe(
    places: Points, rng: np.random.Generator, *, first: float, last: float, width: float, onto: Coverage
) -> None:
    """Discs of slightly changing size between two joints of a path; one place if they have passed each other."""
    middle = (first + last) / 2
    joints = np.linspace(min(first, middle), max(last, middle), 9)
    spots = np.stack([np.interp(joints, np.arange(_JOINTS), places[:, axis]) for axis in (0, 1)], axis=1)
    waves = np.sin(rng.uniform(0, 2 * np.pi) + rng.uniform(2, 5) * np.linspace(0, 1, len(joints)))
    halves = width * rng.uniform(0.85, 1.15) * (1 + 0.14 * waves)
    draw_discs(spots + rng.normal(0, 0.12 * width, 2), halves, onto=onto)
