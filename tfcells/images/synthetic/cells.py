"""Draws one picture: `draw_cell("monocyte", seed=7, index=3)`."""

import numpy as np

from tfcells.arrays import Pixels
from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.synthetic.optics import expose, lay_over, light_through_blood, light_through_dyes
from tfcells.images.synthetic.recipes import CLASSES, RECIPES
from tfcells.images.synthetic.red_cells import red_cells
from tfcells.images.synthetic.stain import PBC_LIKE, Site, draw_slide
from tfcells.images.synthetic.surroundings import add_bystanders
from tfcells.images.synthetic.white_cell import paint_cell

HEIGHT, WIDTH = 363, 360
"""Size of every picture in pixels, that of the PBC collection."""


def draw_cell(kind: str, *, seed: int, index: int = 0, site: Site = PBC_LIKE) -> Pixels:
    """One picture of a blood smear with one cell of a class in its middle, 8-bit RGB (363, 360, 3).

    The picture depends on seed, class and index alone, never on what else was drawn.

    Args:
        kind: One of `CLASSES`.
        seed: Number of the collection; not negative.
        index: Number of the picture within its class; not negative.
        site: Laboratory whose stain and camera it is seen through.

    Raises:
        UnknownNameError: The class is not one of `CLASSES`.
        RequestError: The seed or the index is negative.
    """
    if kind not in RECIPES:
        raise UnknownNameError("class of generated cells", kind, known=CLASSES)
    if seed < 0 or index < 0:
        raise RequestError(f"seed is {seed} and index is {index}. Expected 0 or more for both.")
    rng = np.random.Generator(np.random.SFC64([seed, CLASSES.index(kind), index]))
    slide = draw_slide(site, rng)
    cell = paint_cell(RECIPES[kind], rng, scale=slide.pixels_per_micron)
    blood = red_cells(rng, shape=(HEIGHT, WIDTH), scale=slide.pixels_per_micron, keep_out=cell.radius)
    picture = light_through_blood(blood, slide=slide)
    add_bystanders(picture, rng, slide=slide, keep_out=cell.radius)
    patch = light_through_dyes(cell.dyes, slide=slide)
    left, top = ((side - patch.shape[0]) // 2 + int(rng.integers(-4, 5)) for side in (WIDTH, HEIGHT))
    lay_over(picture, patch, cover=cell.cover, left=left, top=top)
    return expose(rng, picture, slide=slide)
