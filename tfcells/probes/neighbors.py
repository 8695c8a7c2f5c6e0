"""Nearest neighbours among the training images."""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from tfcells.arrays import Float64

NEIGHBORS = 11


def nearest_neighbors(images: int, neighbors: int = NEIGHBORS) -> KNeighborsClassifier:
    """Neighbours by Euclidean distance (fewer where there are fewer images), weighted by `dudani_weights`.

    Args:
        images: Number of training images.
        neighbors: How many are asked.
    """
    return KNeighborsClassifier(min(neighbors, images), weights=dudani_weights, algorithm="brute")


def dudani_weights(distances: Float64[np.ndarray, "queries neighbors"]) -> Float64[np.ndarray, "queries neighbors"]:
    """Weight neighbours from 1 (the nearest) down to 0 (the farthest), linear in distance.

    S. A. Dudani, "The distance-weighted k-nearest-neighbor rule", IEEE Trans. SMC 6 (1976) 325-327. Since the
    farthest neighbour weighs nothing, a probability does not jump when rounding exchanges it for another: that
    is what lets an exported graph agree with scikit-learn to many digits.
    """
    nearest, farthest = distances.min(axis=1, keepdims=True), distances.max(axis=1, keepdims=True)
    span = farthest - nearest
    equal = np.broadcast_to(span <= 0, distances.shape)
    return np.where(equal, 1.0, (farthest - distances) / np.where(span > 0, span, 1.0))
