"""Masks of cells by the ids of their pictures: where the cell is, where somebody has drawn it."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from tfcells.errors import RequestError

_BLACK: Final = 63  # a mask's grey levels up to this are no cell; nucleus and cytoplasm may have levels of their own


def mask_of(folder: Path, id: str, *, shape: tuple[int, int], size: int) -> np.ndarray:
    """Where the cell is, bool of shape (size, size): what is not black in the picture's mask; nowhere without a mask.

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
            mask = np.asarray(opened.convert("L")) > _BLACK
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as reason:
        raise RequestError(f"{path} cannot be read as a mask: {reason}. Expected a picture.") from reason
    if mask.shape != shape:
        raise RequestError(
            f"{path} is a mask of {mask.shape[1]} x {mask.shape[0]} pixels, its picture has {shape[1]} x {shape[0]}. "
            "Expected the same."
        )
    return np.asarray(cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0)


def mask_file(folder: Path, id: str) -> Path | None:
    """The mask of a picture, None where there is none."""
    named = Path(id)
    if named.is_absolute():  # as in a manifest: joined to a folder it would be the picture itself
        named = Path(named.parent.name, named.name)
    for path in (folder / named, (folder / named).with_suffix(".png")):
        if path.is_file():
            return path
    return None
