"""Marks that lie in the same place of most pictures: scale bars, stamped text, dust on the camera.

Two pictures that share no more than a mark are alike as two letters under one letterhead are. Keypoints and blocks on
marks are no evidence, so marks are found beforehand and counted as no part of a picture.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np

from tfcells.arrays import Float32
from tfcells.images.audit.keypoints import Grey, Mask

Size = tuple[int, int]
"""Height and width in pixels."""

SAMPLED: Final = 64
"""Pictures of one size that are looked at: 120 MB of gradients at the largest working size."""

LEAST_PICTURES: Final = 16
"""Of fewer pictures of one size nobody can say what most of them share."""

_MOST: Final = 0.5  # share of the pictures that must have the same gradient
_TOLERANCE: Final = 0.25  # of a gradient, by which it may differ and be the same: what is under a mark shines through
_GRAIN: Final = 1.0  # grey levels per pixel, by which it may differ on top
_LEAST_GRADIENT: Final = 6.0  # grey levels per pixel; fainter marks make no keypoints
_LEAST_AREA: Final = 12  # pixels; smaller spots are chance
_LARGEST_SHARE: Final = 0.4  # of the picture: more is no mark, but pictures that are alike all over
_RIM: Final = 6  # pixels round a mark in which blocks and keypoints still see it
_SIMILAR: Final = 0.15  # pictures whose sides differ by less are looked at as if they were of the known size


def find_marks(pictures: Sequence[Grey]) -> Mask | None:
    """Where most of these pictures are alike, or None if there is no mark, or nothing else, or too few of them to say.

    At a mark's edge most pictures have the same gradient. That of cells in the middle of each picture points the same
    way too, but is now steep and now flat.

    Args:
        pictures: Working pictures of one size, no two of them the same.
    """
    if len(pictures) < LEAST_PICTURES:
        return None
    gradients = np.stack([_gradient(picture) for picture in pictures])
    # The median is the mark's own gradient if more than half of the pictures carry it.
    usual = np.median(gradients, axis=0)
    steep = np.sqrt((usual**2).sum(axis=0))
    away = np.sqrt(((gradients - usual) ** 2).sum(axis=1))
    same = (away <= _TOLERANCE * steep + _GRAIN).mean(axis=0)
    marks = _grown(_without_spots((same >= _MOST) & (steep >= _LEAST_GRADIENT)))
    return marks if 0 < marks.mean() <= _LARGEST_SHARE else None


def marks_for(size: Size, known: Mapping[Size, np.ndarray | None], shape: Size) -> Mask | None:
    """The marks on a picture of some size, or None if there are none.

    Args:
        size: Size of the picture.
        known: Marks at working size, or None, by size of pictures. A size of which too few pictures are there to say
            is missing, and has the marks of the most similar size that has any.
        shape: The picture's working size.
    """
    if size in known:
        return known[size]
    marked = {other: marks for other, marks in known.items() if marks is not None}
    nearest = min(marked, key=lambda other: (_difference(size, other), other), default=None)
    if nearest is None or _difference(size, nearest) > _SIMILAR:
        return None
    marks = marked[nearest]
    moved = np.asarray(
        cv2.resize(marks.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST), dtype=np.uint8
    )
    return _grown(moved > 0)  # a mark keeps its distance from one corner, nobody knows which


def is_marked(size: Size, known: Mapping[Size, np.ndarray | None]) -> bool:
    """Whether `marks_for` has marks for pictures of this size."""
    if size in known:
        return known[size] is not None
    return any(_difference(size, other) <= _SIMILAR for other, marks in known.items() if marks is not None)


def _difference(size: Size, other: Size) -> float:
    return max(abs(math.log(mine / its)) for mine, its in zip(size, other, strict=True))


def _gradient(picture: Grey) -> Float32[np.ndarray, "2 rows columns"]:
    """Across and down, in grey levels per pixel."""
    sides = (cv2.Sobel(picture, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0))
    return np.stack([np.asarray(side, dtype=np.float32) for side in sides])


def _without_spots(alike: Mask) -> Mask:
    closed = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(closed)
    large = boxes[:, cv2.CC_STAT_AREA] >= _LEAST_AREA
    large[0] = False  # what is not alike
    return np.asarray(large[parts], dtype=bool)


def _grown(marks: Mask) -> Mask:
    side = 2 * _RIM + 1
    return np.asarray(cv2.dilate(marks.astype(np.uint8), np.ones((side, side), np.uint8)) > 0, dtype=bool)
