"""One whole cell in amounts of dye: body, nucleus, cytoplasm, granules and vacuoles in the order they lie."""

from dataclasses import dataclass

import numpy as np

from tfcells.images.synthetic.body import Body, draw_body
from tfcells.images.synthetic.nucleus import Nucleus, assemble
from tfcells.images.synthetic.paint import paint_chromatin, paint_granules, paint_plasm, vacuoles
from tfcells.images.synthetic.planes import Dyes, Plane
from tfcells.images.synthetic.recipes import Recipe
from tfcells.images.synthetic.stain import DYES


@dataclass(frozen=True)
class PaintedCell:
    """A cell on its square canvas: amounts of dye, coverage 0 to 1, and its radius in pixels."""

    dyes: Dyes
    cover: Plane
    radius: float


def paint_cell(recipe: Recipe, rng: np.random.Generator, *, scale: float) -> PaintedCell:
    """One cell of a class; `scale` in pixels per micrometre."""
    body = draw_body(recipe.body, rng, scale=scale)
    nucleus = assemble(recipe.nucleus(rng, body) if recipe.nucleus else [], body=body)
    dyes = np.zeros((len(DYES), *body.cover.shape), np.float32)
    _fill_cytoplasm(dyes, recipe, rng, body=body, nucleus=nucleus)
    if recipe.chromatin is not None:
        dyes *= 1 - nucleus.cover
        dyes[DYES.index("chromatin")] += nucleus.cover * paint_chromatin(
            recipe.chromatin, rng, nucleus=nucleus, scale=scale
        )
    for granules in recipe.granules:
        if granules.over_nucleus[1] > 0:
            amount, hidden = paint_granules(granules, rng, body=body, nucleus=nucleus.cover)
            dyes *= 1 - hidden
            dyes[DYES.index(granules.dye)] += amount
    return PaintedCell(dyes=dyes, cover=body.cover, radius=body.radius)


def _fill_cytoplasm(dyes: Dyes, recipe: Recipe, rng: np.random.Generator, *, body: Body, nucleus: Nucleus) -> None:
    """Cytoplasm, the granules below the nucleus, and holes, into the dyes in place."""
    red, pink, blue, grit = paint_plasm(recipe.plasm, rng, body=body, nucleus=nucleus.cover)
    for dye, amount in zip(("haemoglobin", "plasm", "blue", "azure"), (red, pink, blue, grit), strict=True):
        dyes[DYES.index(dye)] = amount
    for granules in recipe.granules:
        if granules.over_nucleus[1] == 0:
            amount, hidden = paint_granules(granules, rng, body=body, nucleus=nucleus.cover)
            # Granules displace cytoplasm, but there is some above and below them.
            dyes *= 1 - np.float32(0.5) * hidden
            dyes[DYES.index(granules.dye)] += amount
    if rng.random() < recipe.holed:
        count = int(rng.integers(recipe.vacuoles[0], recipe.vacuoles[1] + 1))
        holes = vacuoles(rng, body=body, nucleus=nucleus.cover, count=count, radius=recipe.hole_radius)
        dyes *= 1 - np.float32(0.9) * holes
