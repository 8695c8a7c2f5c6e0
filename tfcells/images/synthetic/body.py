"""The white cell's own outline: round, flattened by neighbours, drawn out into feet, or fringed."""

from dataclasses import dataclass

import numpy as np

from tfcells.images.synthetic.noise import band_field
from tfcells.images.synthetic.planes import Plane
from tfcells.images.synthetic.shapes import bend, bump, depth_inside, fill, melt, press, wavy_rim

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class BodyPlan:
    """Outline of one class; each range is drawn from evenly.

    Args:
        diameter: Micrometres.
        elongation: Long over short axis.
        lumps: Waves of the outline as a share of the radius.
        sides: Least and greatest number of flattened sides.
        feet: Least and greatest number of pseudopods.
        fringe: Micrometres by which the edge is frayed.
    """

    diameter: Range
    elongation: Range = (1.0, 1.12)
    lumps: Range = (0.01, 0.04)
    sides: tuple[int, int] = (0, 2)
    feet: tuple[int, int] = (0, 0)
    fringe: Range = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Body:
    """One drawn outline on its square canvas; lengths in pixels."""

    cover: Plane
    depth: Plane
    radius: float
    scale: float

    @property
    def size(self) -> int:
        """Side of the canvas in pixels."""
        return int(self.cover.shape[0])


def draw_body(plan: BodyPlan, rng: np.random.Generator, *, scale: float) -> Body:
    """One outline of a class; `scale` in pixels per micrometre."""
    radius = scale * rng.uniform(*plan.diameter) / 2
    rim = wavy_rim(
        rng, radius=radius, elongation=rng.uniform(*plan.elongation), lumps=rng.uniform(*plan.lumps), waves=6
    )
    for _ in range(int(rng.integers(plan.feet[0], plan.feet[1] + 1))):
        rim = bump(
            rim, angle=rng.uniform(0, 2 * np.pi), width=rng.uniform(0.2, 0.5), height=radius * rng.uniform(0.1, 0.4)
        )
    for _ in range(int(rng.integers(plan.sides[0], plan.sides[1] + 1))):
        rim = press(rim, angle=rng.uniform(0, 2 * np.pi), distance=radius * rng.uniform(0.82, 0.98), softness=5.0)
    fringe = scale * rng.uniform(*plan.fringe)
    size = 2 * int(rim.max() + fringe + 5)
    (hard,) = bend([fill(rim, size=size)], rng, amount=0.06 * scale, scale=14.0)
    cover = melt(hard, reach=1.5, edge=1.6)
    if fringe > 0.5:
        cover = _fray(hard, rng, fringe=fringe)
    return Body(cover=cover, depth=depth_inside(cover), radius=radius, scale=scale)


def _fray(hard: np.ndarray, rng: np.random.Generator, *, fringe: float) -> Plane:
    """Edge with small spikes and holes: a wide soft edge, cut at a level that varies from point to point."""
    soft = melt(hard, reach=fringe, edge=2.5 * fringe)
    level = 0.5 + 0.15 * band_field(rng, soft.shape, fine=1.7, coarse=5.0)
    frayed: Plane = np.clip(0.5 + (soft - level) * 2.2, 0, 1) * np.clip(soft * 6, 0, 1)
    return frayed
