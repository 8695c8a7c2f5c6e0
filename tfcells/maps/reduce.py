"""Features to coordinates: exact PCA, t-SNE on top of it, UMAP as an extra."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from tfcells.arrays import Features, Float64, Points
from tfcells.errors import MissingExtraError, RequestError, UnknownNameError

METHODS: Final = ("pca", "tsne", "umap")
_NEIGHBOR_DIMENSIONS: Final = 50  # neighbours are sought in so many principal components, never in raw pixels' worth

_FEW: Final = 250  # up to here exact gradients are faster; of a handful Barnes-Hut builds bottomless trees, for minutes


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Coordinates along the axes of largest variance.

    Attributes:
        points: float64 of shape (images, axes), centred; axis by axis, larger variance first. The sign of an
            axis is fixed so that its largest coordinate is positive.
        variance_ratio: float64 of shape (axes,): share of the total variance along each axis.
    """

    points: Points
    variance_ratio: Float64[np.ndarray, " axes"]


def principal_components(vectors: Features, *, axes: int) -> PrincipalComponents:
    """Exact PCA in float64 by the smaller of the two Gram matrices.

    Args:
        vectors: Finite, shape (images, features).
        axes: Number of axes; fewer come back where the features span fewer.

    Raises:
        RequestError: If there are fewer than 2 images.
    """
    if len(vectors) < 2:
        raise RequestError(f"{len(vectors)} image given. Expected 2 or more to draw a map.")
    centred = vectors.astype(np.float64)
    mean = centred.mean(axis=0)
    centred -= mean
    total = float((centred**2).sum())
    # What rounding the mean leaves of equal features is no variance.
    smallest = max(1e-12 * total, 1e-28 * len(vectors) * float(mean @ mean), 1e-300)
    wide = centred.shape[1] > centred.shape[0]
    gram = centred @ centred.T if wide else centred.T @ centred
    values, axes_found = np.linalg.eigh(gram)
    kept = [place for place in range(len(values) - 1, -1, -1) if values[place] > smallest][:axes]
    if not kept:  # every picture has the same features: one axis on which all lie at zero
        return PrincipalComponents(np.zeros((len(vectors), 1)), np.zeros(1))
    values, axes_found = values[kept], axes_found[:, kept]
    points = axes_found * np.sqrt(values) if wide else centred @ axes_found
    largest = np.abs(points).argmax(axis=0)
    points *= np.sign(points[largest, np.arange(points.shape[1])])
    return PrincipalComponents(points, values / total)


def tsne(vectors: Features, *, axes: int = 2, perplexity: float = 30.0, seed: int = 0) -> Points:
    """t-SNE (van der Maaten & Hinton 2008) of the first 50 principal components, by scikit-learn.

    Starts from the first components, which keeps the large arrangement (Kobak & Linderman 2021). The
    perplexity is lowered to a third of the images where there are few.

    Returns:
        float64 of shape (images, axes).
    """
    from sklearn.manifold import TSNE

    reduced = principal_components(vectors, axes=_NEIGHBOR_DIMENSIONS).points
    if reduced.shape[1] < axes:
        return np.pad(reduced, ((0, 0), (0, axes - reduced.shape[1])))
    perplexity = min(perplexity, max(1.0, (len(vectors) - 1) / 3))
    method = "exact" if len(vectors) <= _FEW else "barnes_hut"
    model = TSNE(n_components=axes, perplexity=perplexity, init="pca", method=method, random_state=seed)
    points: np.ndarray = model.fit_transform(reduced)
    return points.astype(np.float64)


def umap(vectors: Features, *, axes: int = 2, seed: int = 0) -> Points:
    """UMAP (McInnes et al. 2018) of the first 50 principal components, by umap-learn (extra `maps`).

    Returns:
        float64 of shape (images, axes).
    """
    try:
        from umap import UMAP
    except ImportError as missing:
        raise MissingExtraError("umap-learn", extra="maps") from missing
    reduced = principal_components(vectors, axes=_NEIGHBOR_DIMENSIONS).points
    if len(vectors) <= axes + 1:  # umap-learn wants two neighbours and a spectral start in fewer axes than rows
        return np.pad(reduced[:, :axes], ((0, 0), (0, max(0, axes - reduced.shape[1]))))
    neighbors = min(15, len(vectors) - 1)
    # A fixed random_state needs a single thread; umap-learn warns unless it is told so.
    points: np.ndarray = UMAP(n_components=axes, n_neighbors=neighbors, random_state=seed, n_jobs=1).fit_transform(
        reduced
    )
    return points.astype(np.float64)


def reduce(method: str, vectors: Features, *, axes: int = 2, perplexity: float = 30.0, seed: int = 0) -> Points:
    """Reduce by name; see `METHODS`.

    Returns:
        float64 of shape (images, axes).
    """
    check_method(method)
    if method == "pca":
        points = principal_components(vectors, axes=axes).points
        return np.pad(points, ((0, 0), (0, axes - points.shape[1])))
    if method == "tsne":
        return tsne(vectors, axes=axes, perplexity=perplexity, seed=seed)
    return umap(vectors, axes=axes, seed=seed)


def check_perplexity(perplexity: float) -> None:
    """Raise `RequestError` unless it is a number from 1 on."""
    if not 1 <= perplexity < float("inf"):
        raise RequestError(f"Perplexity {perplexity} was asked for. Expected a number from 1; 5 to 50 are usual.")


def check_method(method: str) -> None:
    """Raise `UnknownNameError` for a name that is no method."""
    if method not in METHODS:
        raise UnknownNameError("map method", method, METHODS)
