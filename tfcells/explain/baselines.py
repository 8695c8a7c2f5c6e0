"""Pictures without what is looked at: what maps are measured against and what takes the place of what is hidden."""

from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np

from tfcells.errors import UnknownNameError
from tfcells.explain.explained import Batch

_BORDER: Final = 1 / 16  # of a side
_BLUR: Final = 1 / 8  # of a side, the deviation of a Gaussian: of a cell that fills half the picture, a stain is left


def border_colour(pictures: Batch) -> Batch:
    """Each picture as a plain of the median colour of its border, a sixteenth of its side wide.

    A cell stands in the middle of its picture, so this is the picture without the cell: what lies round it, whatever
    the stain. The median, as another cell may reach into a corner.
    """
    size = pictures.shape[1]
    width = max(1, round(_BORDER * size))
    frame = np.ones((size, size), dtype=bool)
    frame[width:-width, width:-width] = False
    colours = np.median(pictures[:, frame], axis=1)
    return np.broadcast_to(colours[:, None, None, :], pictures.shape).astype(np.float32)


def blurred(pictures: Batch) -> Batch:
    """Each picture without its detail, its colours still where they were (Gaussian, an eighth of the side)."""
    sigma = _BLUR * pictures.shape[1]
    soft = [cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) for picture in pictures]
    return np.stack(soft).astype(np.float32)


BASELINES: Final[Mapping[str, Callable[[Batch], Batch]]] = {"border": border_colour, "blur": blurred}
"""By name."""


def baseline_of(pictures: Batch, name: str) -> Batch:
    """Pictures without what is looked at.

    Raises:
        UnknownNameError: If there is no baseline of this name.
    """
    if name not in BASELINES:
        raise UnknownNameError("baseline", name, BASELINES)
    return BASELINES[name](pictures)
