"""Pictures that are the same pixel by pixel, as they are or turned and mirrored by right angles.

The same pixels have the same digest, which the table has already. Turned ones are found by what turning does not
change, the histograms, and confirmed by the pixels themselves.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import cv2
import numpy as np

from tfcells.arrays import Pixels
from tfcells.images.decode import BadImageError, pixel_digest


def turned_signature(pixels: Pixels) -> str:
    """The same for all eight orientations of a picture: a hash of its sides and of its histograms."""
    height, width = pixels.shape[:2]
    hashed = hashlib.sha256(f"{min(height, width)}x{max(height, width)}".encode())
    for channel in range(3):
        counts = cv2.calcHist([pixels], [channel], None, [256], [0, 256])
        hashed.update(np.asarray(counts).astype(np.int64).tobytes())
    return hashed.hexdigest()


def oriented_digest(pixels: Pixels) -> str:
    """The smallest digest among the eight orientations of a picture: the same if and only if one can be turned into
    the other by right angles and mirroring.
    """
    return min(pixel_digest(turned) for turned in _orientations(pixels))


def gathered(rows: Sequence[int], key: Mapping[int, str]) -> list[list[int]]:
    """Rows that share a key, those of a key in order; keys in the order of their first rows."""
    together: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        together[key[row]].append(row)
    return list(together.values())


def same_when_turned(
    rows: Sequence[int], signatures: Mapping[int, str], read: Callable[[int], Pixels]
) -> list[list[int]]:
    """Gather pictures that right angles and mirroring turn into one another.

    Args:
        rows: Row numbers.
        signatures: `turned_signature` by row; only pictures that share one are read.
        read: Gives a row's pixels; a row for which it raises `BadImageError` stays alone.
    """
    keys = {row: f"alone {row}" for row in rows}
    for members in gathered(rows, signatures):
        for row in members if len(members) > 1 else ():
            with suppress(BadImageError):
                keys[row] = oriented_digest(read(row))
    return gathered(rows, keys)


def _orientations(pixels: Pixels) -> Iterator[Pixels]:
    for turns in range(4):
        turned = np.rot90(pixels, turns)
        yield np.ascontiguousarray(turned)
        yield np.ascontiguousarray(turned[:, ::-1])
