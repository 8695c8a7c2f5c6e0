"""Local features of one picture: where it is textured, and what each such place looks like.

SIFT (Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60, 2004) on the green channel, in which
blood stains have most contrast, and which changes least when colour is balanced or taken away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import Bool

from tfcells.arrays import Float32, Pixels, UInt8

Grey = UInt8[np.ndarray, "rows columns"]
"""One channel of a picture at its working size."""

Mask = Bool[np.ndarray, "rows columns"]
"""True where a picture shows something of its own."""

WORKING_SIDE: Final = 480
"""Longest side in pixels at which pictures are compared: a white cell still has 100 pixels, SIFT takes 0.05 s."""

MOST_KEYPOINTS: Final = 300
"""The strongest are kept; the time of matching grows with the square."""

_CONTRAST: Final = 0.02  # half of Lowe's threshold, or soft pictures have a dozen keypoints
_FILLER: Final = 10  # grey levels up to which the black beside a rotated picture or round an eyepiece field reaches
_FILLER_RIM: Final = 5  # pixels: gradients beside filler belong to its edge
_LEAST_FILLER: Final = 40  # pixels; less is a dark corner of a cell
_RECORD: Final = 4 * 4 + 128  # bytes of a keypoint

# A descriptor is 4 rows x 4 columns x 8 directions, in the frame of its keypoint's direction. Seen in a mirror, rows
# change places and directions change their sign.
_MIRRORED_BINS: Final = (
    np.arange(128).reshape(4, 4, 8)[::-1][:, :, (8 - np.arange(8)) % 8].reshape(128)
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Keypoints of one picture, the strongest first.

    Attributes:
        places: float32 of shape (keypoints, 4): x and y in pixels of the working size, diameter in pixels, direction
            in radians.
        descriptors: uint8 of shape (keypoints, 128).
        width: Width in pixels of the working size.
    """

    places: Float32[np.ndarray, "keypoints 4"]
    descriptors: UInt8[np.ndarray, "keypoints 128"]
    width: int

    def __len__(self) -> int:
        return len(self.places)

    def to_bytes(self) -> bytes:
        """A record that `from_bytes` reads."""
        return np.int64(self.width).tobytes() + self.places.tobytes() + self.descriptors.tobytes()

    @classmethod
    def from_bytes(cls, record: bytes) -> "Keypoints":
        """Read what `to_bytes` wrote."""
        count = (len(record) - 8) // _RECORD
        places = np.frombuffer(record, np.float32, 4 * count, offset=8).reshape(count, 4)
        descriptors = np.frombuffer(record, np.uint8, 128 * count, offset=8 + 16 * count).reshape(count, 128)
        return cls(places, descriptors, int(np.frombuffer(record, np.int64, 1)[0]))

    def mirrored(self) -> "Keypoints":
        """The keypoints of the picture seen in a mirror (left and right change), without looking at it again."""
        places = self.places.copy()
        places[:, 0] = self.width - 1 - places[:, 0]
        places[:, 3] = np.pi - places[:, 3]
        return Keypoints(places, self.descriptors[:, _MIRRORED_BINS], self.width)


def working_picture(pixels: Pixels) -> Grey:
    """The green channel, made smaller by area averaging if it is larger than `WORKING_SIDE`."""
    green = np.ascontiguousarray(pixels[:, :, 1])
    height, width = green.shape
    shrink = WORKING_SIDE / max(height, width)
    if shrink >= 1:
        return green
    size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    return np.asarray(cv2.resize(green, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def own_area(picture: Grey) -> Mask:
    """Where a picture is no filler: black that reaches in from the border, as rotations and eyepieces leave it."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    if border.min() > _FILLER:
        return np.ones(picture.shape, dtype=bool)
    dark = (picture <= _FILLER).astype(np.uint8)
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(dark, connectivity=4)
    height, width = picture.shape
    left, top, wide, high, area = boxes.T
    at_border = (left == 0) | (top == 0) | (left + wide == width) | (top + high == height)
    filler = at_border & (area >= _LEAST_FILLER)
    filler[0] = False  # what is not dark
    own: np.ndarray = ~filler[parts]
    return own


def find_keypoints(picture: Grey, own: Mask) -> Keypoints:
    """Find the `MOST_KEYPOINTS` strongest keypoints outside filler and fixed marks.

    Args:
        picture: At its working size; SIFT itself doubles it first, so small pictures need no enlarging.
        own: False where keypoints are not wanted.
    """
    everywhere = bool(own.all())
    # OpenCV keeps the strongest before it looks at the mask, so what the mask takes must be asked for on top.
    sift = cv2.SIFT.create(nfeatures=(1 if everywhere else 2) * MOST_KEYPOINTS, contrastThreshold=_CONTRAST)
    mask = None if everywhere else _shrunk(own)
    found, descriptors = sift.detectAndCompute(picture, mask)
    if descriptors is None or not found:
        return Keypoints(np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8), picture.shape[1])
    places = np.array([(*point.pt, point.size, np.deg2rad(point.angle)) for point in found], dtype=np.float32)
    strength = np.array([point.response for point in found])
    # Ties in an order of their own: OpenCV's depends on how it sorted.
    order = np.lexsort((places[:, 3], places[:, 1], places[:, 0], -strength))[:MOST_KEYPOINTS]
    return Keypoints(places[order], descriptors[order].astype(np.uint8), picture.shape[1])


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV to the calling thread, since the audit runs pictures beside one another; restored afterwards."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _shrunk(own: Mask) -> Grey:
    side = 2 * _FILLER_RIM + 1
    # Beyond the picture nothing is filler, or the rim would run round every picture.
    return np.asarray(cv2.erode(own.astype(np.uint8), np.ones((side, side), np.uint8), borderValue=1), dtype=np.uint8)
