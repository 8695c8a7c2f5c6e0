"""Whether two aligned pictures show the same, block by block.

Matched keypoints, and correlation over the whole overlap, call two pictures one that share no more than a scale bar.
Here each block of the overlap votes by its own correlation, and the median decides.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from tfcells.arrays import Float32, Float64
from tfcells.images.audit.geometry import Affine
from tfcells.images.audit.keypoints import Grey, Mask

BLOCK: Final = 20
"""Side of a block in pixels: a third of a red cell, so that a block holds an edge and not a whole cell."""

_SOFTEN: Final = 1.5  # pixels, standard deviation: grain, JPEG blocks and a pixel of misplacement are no difference
_LEAST_TEXTURE: Final = 2.5  # grey levels, standard deviation within a block after softening, in both pictures
_LEAST_SHARE: Final = 0.75  # of a block that must lie in the overlap
_COARSER: Final = 0.55  # softening per step of scale when the finer picture is brought to the coarser one's size


@dataclass(frozen=True)
class Agreement:
    """What the blocks of an overlap say.

    Attributes:
        median: Median over the blocks of normalised cross-correlation, -1 to 1; 0 where there is no block.
        low: The lower quartile.
        blocks: Blocks that have texture in both pictures.
        overlap: Share of the smaller picture that lies in the overlap, 0 to 1.
    """

    median: float
    low: float
    blocks: int
    overlap: float


NOTHING: Final = Agreement(0.0, 0.0, 0, 0.0)


@dataclass(frozen=True, eq=False)
class View:
    """A picture to be compared: its pixels and where they are its own."""

    picture: Grey
    own: Mask

    def mirrored(self) -> "View":
        """Left and right changed."""
        return View(np.ascontiguousarray(self.picture[:, ::-1]), np.ascontiguousarray(self.own[:, ::-1]))


def agreement(first: View, second: View, affine: Affine) -> Agreement:
    """Compare two pictures where they overlap.

    The finer one is brought into the frame of the coarser one, since detail can be taken away but not made up.

    Args:
        first: The first picture.
        second: The second, mirrored if `affine` was found so.
        affine: Maps pixels of the first to pixels of the second.
    """
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    if scale < 1:
        return _compared(second, first, np.asarray(cv2.invertAffineTransform(affine)), 1 / max(scale, 1e-9))
    return _compared(first, second, affine, scale)


def _compared(coarse: View, fine: View, affine: Affine, scale: float) -> Agreement:
    """Compare in the frame of `coarse`; `affine` maps it to `fine`, `scale` is 1 or more."""
    height, width = coarse.picture.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    soft = fine.picture if scale < 1.2 else _softened(fine.picture, _COARSER * scale)
    moved = np.asarray(cv2.warpAffine(soft, affine, (width, height), flags=flags))
    inside = np.asarray(
        cv2.warpAffine(
            fine.own.astype(np.uint8), affine, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        )
    )
    both = (inside > 0) & coarse.own
    smaller = min(coarse.picture.size, fine.picture.size / scale**2)
    scores = _block_scores(_softened(coarse.picture, _SOFTEN), _softened(moved, _SOFTEN), both)
    if not len(scores):
        return NOTHING
    low, median = np.quantile(scores, [0.25, 0.5])
    return Agreement(float(median), float(low), len(scores), float(min(both.sum() / smaller, 1.0)))


def _softened(picture: Grey, sigma: float) -> Grey:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma))


def _block_scores(first: Grey, second: Grey, both: Mask) -> Float64[np.ndarray, " blocks"]:
    """Normalised cross-correlation of each block that lies in the overlap and has texture in both pictures."""
    weight = both.astype(np.float32)
    # Round the middle of the range, or squares eat the digits of float32.
    a, b = (first.astype(np.float32) - 128) * weight, (second.astype(np.float32) - 128) * weight
    planes = [_block_means(plane) for plane in (weight, a, b, a * a, b * b, a * b)]
    enough = planes[0] >= _LEAST_SHARE
    count, mean_a, mean_b, square_a, square_b, product = (plane[enough].astype(np.float64) for plane in planes)
    mean_a, mean_b = mean_a / count, mean_b / count
    texture_a = np.sqrt(np.maximum(square_a / count - mean_a**2, 0))
    texture_b = np.sqrt(np.maximum(square_b / count - mean_b**2, 0))
    textured = (texture_a >= _LEAST_TEXTURE) & (texture_b >= _LEAST_TEXTURE)
    together = (product / count - mean_a * mean_b)[textured]
    scores: np.ndarray = np.clip(together / (texture_a[textured] * texture_b[textured]), -1, 1)
    return scores


def _block_means(plane: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "rows columns"]:
    """Mean of each block; what is left over at the right and the bottom is not looked at."""
    rows, columns = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    if not rows or not columns:
        return np.zeros((rows, columns), dtype=np.float32)
    cut = np.ascontiguousarray(plane[: rows * BLOCK, : columns * BLOCK])
    return np.asarray(cv2.resize(cut, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.float32)
