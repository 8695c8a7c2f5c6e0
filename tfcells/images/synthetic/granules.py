"""Granules: many small discs stamped into a plane at once, and where they lie."""

import numpy as np

from tfcells.images.synthetic.planes import Plane, Points


def scatter(rng: np.random.Generator, *, where: Plane, density: float) -> Points:
    """Random places (x, y) in pixels.

    Args:
        rng: Where the randomness comes from.
        where: Chance per pixel, 0 to 1, that a place there is kept.
        density: Places per pixel before that; their number is drawn from a Poisson distribution.
    """
    height, width = where.shape
    count = int(rng.poisson(density * where.size))
    places = rng.uniform(0, [width - 1, height - 1], (count, 2))
    columns, rows = np.rint(places.T).astype(int)
    kept: Points = places[rng.random(count) < where[rows, columns]]
    return kept


def pack(rng: np.random.Generator, *, where: Plane, spacing: float, jitter: float = 0.3) -> Points:
    """Places of granules that fill a mask side by side: a hexagonal lattice, turned and shaken.

    Args:
        rng: Where the randomness comes from.
        where: Mask, 0 to 1.
        spacing: Distance between neighbours in pixels.
        jitter: Displacement as a share of the spacing.
    """
    height, width = where.shape
    reach = int(0.75 * max(height, width) / spacing) + 2
    i, j = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    lattice = np.stack([(i + 0.5 * j).ravel(), (np.sqrt(0.75) * j).ravel()], axis=1) * spacing
    turn = rng.uniform(0, np.pi)
    lattice = lattice @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    lattice += rng.normal(0, jitter * spacing, lattice.shape) + np.array([width / 2, height / 2])
    inside = (lattice >= 1).all(axis=1) & (lattice[:, 0] < width - 1) & (lattice[:, 1] < height - 1)
    lattice = lattice[inside]
    cells = np.rint(lattice).astype(int)
    kept: Points = lattice[where[cells[:, 1], cells[:, 0]] > 0.5]
    return kept


def stamp(places: Points, *, radii: np.ndarray, strengths: np.ndarray, shape: tuple[int, int]) -> Plane:
    """Discs with soft edges, the strongest winning where they overlap, float32 (height, width).

    All discs are computed as one stack of small tiles: a loop over a few hundred circles costs ten times more.

    Args:
        places: Centres (x, y) in pixels.
        radii: Radius of each in pixels.
        strengths: Value at each centre.
        shape: Height and width of the plane.
    """
    plane = np.zeros(shape, np.float32)
    if len(places) == 0:
        return plane
    reach = int(np.ceil(radii.max() + 1))
    offsets = np.arange(-reach, reach + 1)
    whole = np.rint(places).astype(int)
    x = whole[:, :1] + offsets
    y = whole[:, 1:] + offsets
    across = (x - places[:, :1]) ** 2
    down = (y - places[:, 1:]) ** 2
    distance = np.sqrt(down[:, :, None] + across[:, None, :])
    tiles = np.clip(radii[:, None, None] - distance + 0.5, 0, 1) * strengths[:, None, None]
    inside = ((y >= 0) & (y < shape[0]))[:, :, None] & ((x >= 0) & (x < shape[1]))[:, None, :]
    flat = np.clip(y, 0, shape[0] - 1)[:, :, None] * shape[1] + np.clip(x, 0, shape[1] - 1)[:, None, :]
    np.maximum.at(plane.reshape(-1), flat[inside], tiles[inside].astype(np.float32))
    return plane
