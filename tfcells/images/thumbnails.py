"""Small pictures of rows, read in parallel."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from tfcells.arrays import Pictures, Pixels
from tfcells.images.decode import BadImageError
from tfcells.images.resize import thumbnail
from tfcells.images.sources import PixelSource
from tfcells.progress import Progress, silent

MISSING_GREY: Final = 128
_WINDOW: Final = 256


def read_thumbnails(source: PixelSource, ids: Sequence[str], *, side: int, progress: Progress = silent) -> Pictures:
    """Read pictures and shrink each into a square, its aspect ratio kept.

    Args:
        source: Gives the pixels.
        ids: Which rows.
        side: Of the square, in pixels.
        progress: Told how far the reading is.

    Returns:
        uint8 of shape (images, side, side, 3); plain mid-grey where a picture can no longer be read.
    """
    small = np.full((len(ids), side, side, 3), MISSING_GREY, dtype=np.uint8)

    def shrink(id: str) -> Pixels | None:
        try:
            return thumbnail(source.read(id), side=side)
        except BadImageError:
            return None

    progress("thumbnails", 0, len(ids))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(ids), _WINDOW):
            window = ids[start : start + _WINDOW]
            for row, picture in enumerate(pool.map(shrink, window), start):
                if picture is not None:
                    small[row] = picture
            progress("thumbnails", start + len(window), len(ids))
    return small
