"""Masks of cells by the ids of their pictures: where the cell is, where somebody has drawn it."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from tfcells.errors import RequestError

_BLACK: Final = 63  # a mask's levels up to this are no cell, if some are higher: lossy files have noise there
_LOSSY: Final = ("JPEG", "WEBP")


def mask_of(folder: Path, id: str, *, shape: tuple[int, int], size: int) -> np.ndarray:
    """Where the cell is, bool of shape (size, size): what is not black in the picture's mask; nowhere without a mask.

    Nucleus and cytoplasm may have levels or colours of their own. A mask as dark as numbers of classes, 0 and 1 say,
    is taken for such: what is not 0 is the cell. What is transparent is no cell.

    Args:
        folder: Of masks by id.
        id: Of the picture.
        shape: Rows and columns of the picture.
        size: Side of what is returned, in pixels.

    Raises:
        RequestError: If the mask cannot be read, or is one of another picture.
    """
    path = mask_file(folder, id)
    if path is None:
        return np.zeros((size, size), dtype=bool)
    try:
        with Image.open(path) as opened:
            mask = _not_black(opened)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as reason:
        raise RequestError(f"{path} cannot be read as a mask: {reason}. Expected a picture.") from reason
    if mask.shape != shape:
        raise RequestError(
            f"{path} is a mask of {mask.shape[1]} x {mask.shape[0]} pixels, its picture has {shape[1]} x {shape[0]}. "
            "Expected the same."
        )
    return np.asarray(cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0)


def _not_black(opened: Image.Image) -> np.ndarray:
    if opened.mode in ("1", "L") or opened.mode[0] in "IF":
        levels = np.asarray(opened.convert("L"))
    else:
        # The brightest of red, green and blue: as grey, pure blue and dark red would be black.
        colours = np.asarray(opened.convert("RGBA"))
        levels = np.minimum(colours[..., :3].max(axis=2), colours[..., 3])
    numbers = levels.max(initial=0) <= _BLACK and opened.format not in _LOSSY
    return np.asarray(levels > (0 if numbers else _BLACK))


def mask_file(folder: Path, id: str) -> Path | None:
    """The mask of a picture, None where there is none."""
    named = Path(id)
    if named.is_absolute():  # as in a manifest: joined to a folder it would be the picture itself
        named = Path(named.parent.name, named.name)
    for path in (folder / named, (folder / named).with_suffix(".png")):
        if path.is_file():
            return path
    return None
