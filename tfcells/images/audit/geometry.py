"""Whether the keypoints of two pictures lie in one another's places, up to rotation, scale, shift and some shear.

Matches that lie as one affine map sends them: the consensus idea of Fischler & Bolles ("Random sample consensus",
CACM 24, 1981), without its chance: a SIFT match carries a rotation and a scale of its own, so each match alone gives a
hypothesis, and all of them are tried (Philbin et al., "Object retrieval with large vocabularies and fast spatial
matching", CVPR 2007). Nothing is drawn, so the same pictures always give the same map.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool

from tfcells.arrays import Float, Float32, Float64, Int64
from tfcells.images.audit.keypoints import Keypoints

Affine = Float64[np.ndarray, "2 3"]
"""Map of pixel coordinates: `map @ (x, y, 1)`."""

RATIO: Final = 0.85
"""A match must be nearer than 0.85 times the second nearest, both ways (Lowe's ratio test, there 0.8 one way)."""

LEAST_INLIERS: Final = 5
"""Fewer matches in place say nothing: an affine map fits any three."""

LARGEST_SCALE: Final = 4.0
"""Pictures differ by no more than this in magnification, after both were brought to their working sizes."""

LARGEST_STRETCH: Final = 1.6
"""Ratio of the map's two stretches, 1 for a similarity: 4:3 pressed into a square has 1.33, shear by 20 degrees 1.4."""

_NARROWING: Final = (10.0, 8.0, 5.0, 3.0, 3.0)  # pixels off their place that still count, round by round
_TRIED: Final = 4  # hypotheses that are refined
_PLENTY: Final = 0.4  # share of the matches that agree with one map: no other can be right
_ENOUGH_FOR_AFFINE: Final = 8  # inliers; fewer bend six parameters to their noise, so four are fitted
_LEAST_SPREAD: Final = 6.0  # pixels, standard deviation of the inliers across their narrow side


@dataclass(frozen=True, eq=False)
class Alignment:
    """How one picture lies in another.

    Attributes:
        affine: Maps pixels of the first picture to pixels of the second; both at working size, the second mirrored
            before if that was asked for.
        inliers: Matches that agree with it within 3 pixels, those at one place counted once.
    """

    affine: Affine
    inliers: int

    @property
    def scale(self) -> float:
        """Pixels of the second picture per pixel of the first."""
        return float(np.sqrt(abs(np.linalg.det(self.affine[:, :2]))))


def unit_descriptors(points: Keypoints) -> Float32[np.ndarray, "keypoints 128"]:
    """Descriptors as unit vectors whose dot product is the Hellinger kernel (RootSIFT).

    Arandjelović & Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.
    """
    counts = points.descriptors.astype(np.float32)
    sums = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    unit: np.ndarray = np.sqrt(counts / sums)
    return unit


def matches(
    first: Float32[np.ndarray, "a 128"], second: Float32[np.ndarray, "b 128"]
) -> Int64[np.ndarray, "matches 2"]:
    """Pairs of keypoints that are one another's nearest by far: int64 of shape (matches, 2), row numbers."""
    if len(first) < 2 or len(second) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    likeness = first @ second.T
    here = np.arange(len(first))
    nearest, clear = _clear_winners(likeness)
    back, clear_back = _clear_winners(likeness.T)
    kept = clear & (back[nearest] == here) & clear_back[nearest]
    return np.stack([here[kept], nearest[kept]], axis=1).astype(np.int64)


def align(first: Keypoints, second: Keypoints, pairs: Int64[np.ndarray, "matches 2"]) -> Alignment | None:
    """The affine map that most matches agree with, or None if none has `LEAST_INLIERS`.

    Args:
        first: Keypoints of the first picture.
        second: Keypoints of the second.
        pairs: What `matches` found.
    """
    if len(pairs) < LEAST_INLIERS:
        return None
    here, there = first.places[pairs[:, 0]].astype(np.float64), second.places[pairs[:, 1]].astype(np.float64)
    best: Alignment | None = None
    for hypothesis in _hypotheses(here, there):
        found = _refined(here[:, :2], there[:, :2], hypothesis)
        if found is not None and (best is None or found.inliers > best.inliers):
            best = found
        if best is not None and best.inliers >= _PLENTY * len(pairs):
            break
    return best


def is_plausible(affine: Affine) -> bool:
    """Whether a map stays within `LARGEST_SCALE` and `LARGEST_STRETCH` and does not mirror."""
    linear = affine[:, :2]
    if not np.isfinite(affine).all() or np.linalg.det(linear) <= 0:
        return False
    small, large = np.sqrt(_eigenvalues(linear.T @ linear))
    return bool(large <= LARGEST_STRETCH * small and 1 / LARGEST_SCALE <= np.sqrt(large * small) <= LARGEST_SCALE)


def _clear_winners(
    likeness: Float32[np.ndarray, "rows columns"],
) -> tuple[Int64[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
    """The best column of each row, and whether the second best is far behind."""
    rows = np.arange(len(likeness))
    rest = likeness.copy()
    best = rest.argmax(axis=1)
    value = rest[rows, best]
    rest[rows, best] = -1
    # Squared distance of unit vectors is 2 - 2 x likeness.
    return best, (1 - value) < RATIO**2 * (1 - rest.max(axis=1))


def _hypotheses(here: Float64[np.ndarray, "matches 4"], there: Float64[np.ndarray, "matches 4"]) -> list[Affine]:
    """The maps of single matches that most other matches agree with, the best first."""
    scale = there[:, 2] / here[:, 2]
    turn = there[:, 3] - here[:, 3]
    real, imaginary = scale * np.cos(turn), scale * np.sin(turn)
    x, y = here[:, 0], here[:, 1]
    shift_x = there[:, 0] - (real * x - imaginary * y)
    shift_y = there[:, 1] - (imaginary * x + real * y)
    off_x = np.outer(real, x) - np.outer(imaginary, y) + shift_x[:, None] - there[:, 0]
    off_y = np.outer(imaginary, x) + np.outer(real, y) + shift_y[:, None] - there[:, 1]
    tolerance = _NARROWING[0] ** 2 * np.maximum(scale, 1e-9)[:, None]
    votes = (off_x**2 + off_y**2 < tolerance).sum(axis=1)
    votes[(scale > LARGEST_SCALE) | (scale < 1 / LARGEST_SCALE)] = 0
    order = np.argsort(-votes, kind="stable")[:_TRIED]
    return [
        np.array([[real[k], -imaginary[k], shift_x[k]], [imaginary[k], real[k], shift_y[k]]])
        for k in order
        if votes[k] >= LEAST_INLIERS
    ]


def _refined(
    here: Float64[np.ndarray, "matches 2"], there: Float64[np.ndarray, "matches 2"], affine: Affine
) -> Alignment | None:
    """Fit again and again to the matches that agree, with less and less tolerance."""
    for tolerance in _NARROWING:
        agreeing = _within(here, there, affine, tolerance)
        if agreeing.sum() < LEAST_INLIERS:
            return None
        affine = _fitted(here[agreeing], there[agreeing])
        if not is_plausible(affine):
            return None
    agreeing = _within(here, there, affine, _NARROWING[-1])
    # Keypoints of several directions or scales at one place are one piece of evidence.
    places = min(_distinct(here[agreeing]), _distinct(there[agreeing]))
    return Alignment(affine, places) if places >= LEAST_INLIERS else None


def _within(
    here: Float64[np.ndarray, "matches 2"], there: Float64[np.ndarray, "matches 2"], affine: Affine, tolerance: float
) -> Bool[np.ndarray, " matches"]:
    """Which matches a map sends home, in pixels of a size between the two pictures', so that neither counts more."""
    off = here @ affine[:, :2].T + affine[:, 2] - there
    scale = np.sqrt(abs(np.linalg.det(affine[:, :2])))
    inside: np.ndarray = (off**2).sum(axis=1) < tolerance**2 * scale
    return inside


def _distinct(points: Float64[np.ndarray, "n 2"]) -> int:
    """How many places of 2 x 2 pixels points lie in."""
    x, y = np.rint(points / 2).T
    return len(np.unique(x * 65_536 + y))


def _fitted(here: Float64[np.ndarray, "matches 2"], there: Float64[np.ndarray, "matches 2"]) -> Affine:
    """Least squares: an affine map where the matches are many and spread out, a similarity where they are not."""
    middle, away = here.mean(axis=0), there.mean(axis=0)
    x, y = here - middle, there - away
    scatter = x.T @ x
    spread = np.sqrt(_eigenvalues(scatter)[0] / len(x))
    if len(x) >= _ENOUGH_FOR_AFFINE and spread >= _LEAST_SPREAD:
        linear = np.linalg.solve(scatter, x.T @ y).T
    else:
        linear = _similar_part(x, y)
    return np.column_stack([linear, away - linear @ middle])


def _eigenvalues(matrix: Float64[np.ndarray, "2 2"]) -> tuple[float, float]:
    """The smaller and the larger one of a symmetric matrix without negative ones."""
    half, determinant = float(np.trace(matrix)) / 2, float(np.linalg.det(matrix))
    root = float(np.sqrt(max(half**2 - determinant, 0.0)))
    return max(half - root, 0.0), half + root


def _similar_part(x: Float[np.ndarray, "n 2"], y: Float[np.ndarray, "n 2"]) -> Float64[np.ndarray, "2 2"]:
    """Rotation and scale: one complex number."""
    size = max(float((x**2).sum()), 1e-12)
    real, imaginary = float((x * y).sum()) / size, float((x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum()) / size
    return np.array([[real, -imaginary], [imaginary, real]])
