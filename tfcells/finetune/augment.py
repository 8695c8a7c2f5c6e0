"""Pictures as they could also have been taken: what changes from slide to slide, and never what a cell is.

The preset `cells`, in this order:

- both flips, and turning by any angle: a film has no up. What comes in at the corners is the picture reflected, so
  that no black corner tells, and proportions stay those of the microscope. A picture longer than 5:4 is a field in
  whose corner the cell may lie: it is flipped alone, so that no cell leaves the frame.
- scale by 5 % and shift by 4 % of a side: no crop, so the cell stays; no more, since size alone tells a macrocyte
  from a microcyte and a large lymphocyte from a small one.
- stain: amounts of methylene blue and eosin by 12 %, less than laboratories differ by. No turning of hues: the colour
  of its granules makes a granulocyte an eosinophil, a basophil or a neutrophil.
- brightness by 3 % of the range and contrast by 6 %: more would bleach the bright background of a film.
- focus: a slight blur or sharpening.
- JPEG of quality 75 to 95.

No elastic or perspective distortion: classes are named by the outlines of nuclei and red cells (band, lobed, ovalocyte,
teardrop). No erasing, which may take the granules or the pallor that decide. No mixing of pictures.
"""

import hashlib
import os
import random
from collections import deque
from functools import cache
from typing import Any, Final

import numpy as np

from tfcells.arrays import Pixels
from tfcells.errors import RequestError

LONGEST: Final = 5 / 4
"""A longer picture, by its longer side over its shorter, is not turned."""

_BLUR_AT_224: Final = 0.8  # pixels; what is out of focus is so by a share of the cell, not of the pixels


def augment(pixels: Pixels, *, seed: int, aspect: float = 1.0) -> Pixels:
    """One variant of a picture, by the preset `cells`: the same seed gives the same bits, in any thread and order.

    albumentations' objects carry their random state and the last parameters with them, so no two threads may use one
    at a time: each call takes an idle one (or makes one), and gives it new generators that all its transforms share.
    (`set_random_seed` would start every transform from the same state, and make the angle tell the stain.)

    Args:
        pixels: uint8 of shape (size, size, 3), as the network takes it.
        seed: Any integer from 0.
        aspect: Width over height of the picture before it became a square.

    Returns:
        uint8 of shape (size, size, 3).

    Raises:
        RequestError: If the picture is no square.
    """
    height, width = pixels.shape[:2]
    if height != width:
        raise RequestError(f"A picture of {width} x {height} pixels to augment. Expected a square; resize it first.")
    turned = max(aspect, 1 / aspect) <= LONGEST
    idle = _idle(width, turned)
    try:
        pipeline = idle.pop()  # which only one of several threads gets
    except IndexError:
        pipeline = _pipeline(width, turned=turned)
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311 - no secret
    varied: Pixels = pipeline(image=pixels, aspect=aspect)["image"]
    idle.append(pipeline)
    return varied


def picture_seed(*parts: int | str) -> int:
    """A seed of 64 bits from what names a variant, such as the training's seed, the epoch and the picture's id."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode("utf-8", "surrogateescape"))
    return int.from_bytes(digest.digest()[:8], "big")


@cache
def _idle(size: int, turned: bool) -> deque[Any]:
    """Pipelines that no thread uses at the moment."""
    return deque()


def _pipeline(size: int, *, turned: bool) -> Any:
    # Asked at its import, the library would look for newer versions of itself on the network.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations
    import cv2

    from tfcells.finetune.cell_transforms import FocusJitter, StainJitter, Turn

    turn = Turn(
        rotate=(-180, 180),
        scale=(0.95, 1.05),
        keep_ratio=True,
        translate_percent=(-0.04, 0.04),
        interpolation=cv2.INTER_CUBIC,  # linear would blur each training picture, and none of the validation's
        border_mode=cv2.BORDER_REFLECT_101,
        p=0.9,
    )
    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.VerticalFlip(p=0.5),
            *([turn] if turned else []),
            StainJitter(scale=0.12, shift=0.012, p=0.8),
            albumentations.RandomBrightnessContrast(brightness_limit=0.03, contrast_limit=0.06, p=0.5),
            FocusJitter(blur=_BLUR_AT_224 * size / 224, sharpen=0.4, p=0.4),
            albumentations.ImageCompression(quality_range=(75, 95), p=0.3),
        ],
        is_check_shapes=False,
    )
