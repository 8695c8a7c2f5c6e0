"""Numbers that say how far a map can be trusted."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from tfcells.arrays import Features, Labels, Points
from tfcells.maps.reduce import principal_components

NEIGHBORS: Final = 10
_LARGEST: Final = 2_000  # trustworthiness ranks all pairs: beyond this many rows a seeded sample is judged


@dataclass(frozen=True)
class MapQuality:
    """How a map keeps neighbourhoods; each number lies in [0, 1], 1 is best.

    Attributes:
        trustworthiness: Penalises neighbours on the map that are far in the features (Venna & Kaski 2001).
        kept_neighbors: Share of each picture's 10 nearest pictures that are also among its nearest on the map.
        same_class: Share of the 10 nearest on the map that are of the picture's own class; NaN if unlabelled.
        same_class_features: The same among the nearest in the features: the map cannot be blamed for more.
        rows: Number of rows judged.
    """

    trustworthiness: float
    kept_neighbors: float
    same_class: float
    same_class_features: float
    rows: int


def map_quality(vectors: Features, points: Points, labels: Labels, *, seed: int = 0) -> MapQuality:
    """Judge a map against the first 50 principal components of the features it was made from."""
    rows = np.arange(len(vectors))
    if len(rows) > _LARGEST:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), _LARGEST, replace=False))
    space = principal_components(vectors[rows], axes=50).points
    points, labels = points[rows], labels[rows]
    count = min(NEIGHBORS, (len(rows) - 1) // 2)
    if count < 1:
        return MapQuality(*(float("nan"),) * 4, rows=len(rows))
    near_space, near_map = _nearest(space, count), _nearest(points, count)
    kept = np.mean([len(set(a) & set(b)) / count for a, b in zip(near_space, near_map, strict=True)])
    return MapQuality(
        trustworthiness=float(trustworthiness(space, points, n_neighbors=count)),
        kept_neighbors=float(kept),
        same_class=_same_class(near_map, labels),
        same_class_features=_same_class(near_space, labels),
        rows=len(rows),
    )


def _nearest(points: Points, count: int) -> np.ndarray:
    """Row numbers of each row's nearest others, (rows, count)."""
    found: np.ndarray = NearestNeighbors(n_neighbors=count).fit(points).kneighbors(return_distance=False)
    return found


def _same_class(nearest: np.ndarray, labels: Labels) -> float:
    labelled = labels >= 0
    if not labelled.any():
        return float("nan")
    return float((labels[nearest] == labels[:, None])[labelled].mean())
