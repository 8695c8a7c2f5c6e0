"""What else lies on a slide: platelets that happen to be there, and specks of precipitated stain."""

from dataclasses import replace

import cv2
import numpy as np

from tfcells.arrays import Pixels
from tfcells.images.synthetic.optics import lay_over, light_through_dyes
from tfcells.images.synthetic.recipes import RECIPES
from tfcells.images.synthetic.shapes import SUBPIXEL
from tfcells.images.synthetic.stain import DYES, Slide
from tfcells.images.synthetic.white_cell import paint_cell

_SMALL_PLATELET = replace(RECIPES["platelet"], body=replace(RECIPES["platelet"].body, diameter=(1.7, 3.8)))


def add_bystanders(picture: Pixels, rng: np.random.Generator, *, slide: Slide, keep_out: float) -> None:
    """Lays platelets and specks over the picture in place, outside `keep_out` pixels round the middle."""
    height, width = picture.shape[:2]
    platelets = int(rng.choice([0, 1, 2, 3, 5], p=[0.5, 0.27, 0.13, 0.07, 0.03]))
    for _ in range(platelets):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if np.hypot(x - width / 2, y - height / 2) < keep_out + 3 * slide.pixels_per_micron:
            continue
        cell = paint_cell(_SMALL_PLATELET, rng, scale=slide.pixels_per_micron)
        half = cell.cover.shape[0] / 2
        patch = light_through_dyes(cell.dyes, slide=slide)
        lay_over(picture, patch, cover=cell.cover, left=int(x - half), top=int(y - half))
    dark = slide.background * np.exp(-0.9 * slide.densities[DYES.index("chromatin")])
    for _ in range(int(rng.poisson(0.8))):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.09, 0.22) * slide.pixels_per_micron
        place = (int(x * 2**SUBPIXEL), int(y * 2**SUBPIXEL))
        cv2.circle(picture, place, int(radius * 2**SUBPIXEL), dark.tolist(), cv2.FILLED, cv2.LINE_AA, SUBPIXEL)
