"""Nuclei of the seven classes that have one: which shape, how large, where in the cell."""

import numpy as np

from tfcells.images.synthetic.body import Body
from tfcells.images.synthetic.nucleus import chain_nucleus, folded_nucleus, round_nucleus, spine
from tfcells.images.synthetic.planes import Coverage


def _beside(rng: np.random.Generator, away: float) -> tuple[tuple[float, float], float]:
    """A place off the middle by `away` pixels, and the angle that looks back at the middle."""
    angle = rng.uniform(0, 2 * np.pi)
    return (away * np.cos(angle), away * np.sin(angle)), float(angle + np.pi)


def neutrophil_nucleus(rng: np.random.Generator, body: Body) -> list[Coverage]:
    """Two to five lobes on threads; one in six is still a band."""
    lobes = int(rng.choice([1, 2, 3, 4, 5], p=[0.16, 0.12, 0.36, 0.27, 0.09]))
    twisted = rng.random() < 0.2
    width = body.radius * rng.uniform(*((0.26, 0.31), (0.32, 0.39), (0.28, 0.33), (0.25, 0.3), (0.23, 0.27))[lobes - 1])
    path = spine(
        rng,
        length=body.radius * rng.uniform(*((1.9, 2.5), (1.1, 1.45), (1.6, 2.2), (2.0, 2.7), (2.3, 3.0))[lobes - 1]),
        sweep=rng.uniform(-0.6, 0.6) if twisted else rng.uniform(2.4, 4.6),
        twist=rng.uniform(0.9, 1.6) if twisted else 0.0,
    )
    offset = body.radius * rng.uniform(0, 0.2)
    return chain_nucleus(
        rng, body=body, path=path, width=width, lobes=lobes, gap=rng.uniform(-0.5, 0.35), offset=offset
    )


def eosinophil_nucleus(rng: np.random.Generator, body: Body) -> list[Coverage]:
    """Two plump lobes, spectacles on a bridge; sometimes three."""
    lobes = int(rng.choice([2, 3], p=[0.75, 0.25]))
    path = spine(rng, length=body.radius * rng.uniform(1.4, 2.0), sweep=rng.uniform(0.8, 2.8))
    width = body.radius * (rng.uniform(0.33, 0.4) if lobes == 2 else rng.uniform(0.27, 0.33))
    offset = body.radius * rng.uniform(0.0, 0.25)
    return chain_nucleus(rng, body=body, path=path, width=width, lobes=lobes, gap=rng.uniform(-0.6, 0.3), offset=offset)


def basophil_nucleus(rng: np.random.Generator, body: Body) -> list[Coverage]:
    """Broad, poorly lobed, seen through granules."""
    path = spine(rng, length=body.radius * rng.uniform(0.8, 1.3), sweep=rng.uniform(0.5, 3.0))
    return chain_nucleus(
        rng,
        body=body,
        path=path,
        width=body.radius * rng.uniform(0.38, 0.5),
        lobes=int(rng.integers(1, 4)),
        gap=rng.uniform(-1.3, -0.7),
        offset=body.radius * rng.uniform(0.0, 0.25),
    )


def monocyte_nucleus(rng: np.random.Generator, body: Body) -> list[Coverage]:
    """Kidney, horseshoe, or folded into broad lobes."""
    centre, facing = _beside(rng, body.radius * rng.uniform(0.05, 0.28))
    form = rng.choice(["kidney", "horseshoe", "folded"], p=[0.35, 0.25, 0.4])
    if form == "kidney":
        return round_nucleus(
            rng,
            size=body.size,
            radius=body.radius * rng.uniform(0.66, 0.78),
            elongation=rng.uniform(1.1, 1.35),
            dent=rng.uniform(0.3, 0.75),
            centre=centre,
            facing=facing + rng.normal(0, 0.5),
        )
    if form == "horseshoe":
        path = spine(rng, length=body.radius * rng.uniform(1.3, 1.8), sweep=rng.uniform(1.8, 3.6))
        return chain_nucleus(
            rng,
            body=body,
            path=path,
            width=body.radius * rng.uniform(0.34, 0.44),
            lobes=int(rng.integers(1, 3)),
            gap=rng.uniform(-1.6, -1.1),
            offset=body.radius * rng.uniform(0.05, 0.2),
        )
    return folded_nucleus(rng, size=body.size, radius=body.radius * rng.uniform(0.76, 0.92), centre=centre)


def immature_nucleus(rng: np.random.Generator, body: Body) -> list[Coverage]:
    """Round in the promyelocyte, oval in the myelocyte, indented in the metamyelocyte; eccentric in all."""
    stage = rng.choice(3, p=[0.35, 0.35, 0.3])
    share = (rng.uniform(0.76, 0.88), rng.uniform(0.64, 0.76), rng.uniform(0.62, 0.72))[stage]
    dent = (rng.uniform(0.0, 0.1), rng.uniform(0.05, 0.3), rng.uniform(0.35, 0.6))[stage]
    centre, facing = _beside(rng, body.radius * (1 - share) * rng.uniform(0.5, 1.0))
    return round_nucleus(
        rng,
        size=body.size,
        radius=body.radius * share,
        elongation=rng.uniform(1.05, 1.45),
        dent=dent,
        centre=centre,
        facing=facing + rng.normal(0, 0.4),
    )


def lymphocyte_nucleus(rng: np.random.Generator, body: Body) -> list[Coverage]:
    """Round, nearly fills the cell, sometimes with one shallow cleft."""
    share = rng.uniform(0.74, 0.92)
    centre, facing = _beside(rng, body.radius * (1 - share) * rng.uniform(0.2, 0.9))
    return round_nucleus(
        rng,
        size=body.size,
        radius=body.radius * share,
        elongation=rng.uniform(1.02, 1.18),
        dent=rng.choice([0.0, 0.15, 0.3], p=[0.6, 0.25, 0.15]),
        centre=centre,
        facing=facing,
    )


def erythroblast_nucleus(rng: np.random.Generator, body: Body) -> list[Coverage]:
    """Round and small, the smaller the riper."""
    share = rng.uniform(0.5, 0.8)
    centre, _ = _beside(rng, body.radius * (1 - share) * rng.uniform(0.1, 0.8))
    return round_nucleus(
        rng, size=body.size, radius=body.radius * share, elongation=rng.uniform(1.0, 1.1), centre=centre, lumps=0.02
    )
