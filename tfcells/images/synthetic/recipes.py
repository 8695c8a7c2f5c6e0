"""One row per class: the morphology a haematologist reads, as ranges.

Forms after Bain, Blood Cells: A Practical Guide (5th edition, 2015) and Palmer et al., ICSH recommendations for the
standardization of nomenclature and grading of peripheral blood cell morphological features (2015). Sizes, densities and
shares were fitted by eye and by colour clusters to the pictures of PBC (Acevedo et al., Data in Brief 30, 2020).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfcells.images.synthetic.body import Body, BodyPlan, Range
from tfcells.images.synthetic.nuclei import (
    basophil_nucleus,
    eosinophil_nucleus,
    erythroblast_nucleus,
    immature_nucleus,
    lymphocyte_nucleus,
    monocyte_nucleus,
    neutrophil_nucleus,
)
from tfcells.images.synthetic.paint import Chromatin, Granules, Plasm
from tfcells.images.synthetic.planes import Coverage

NucleusPlan = Callable[[np.random.Generator, Body], list[Coverage]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One class of cell.

    Args:
        body: Outline.
        nucleus: Draws the lobes, or None.
        chromatin: Texture of the nucleus, or None.
        plasm: Cytoplasm.
        granules: Kinds of granule, the lowest first.
        holed: Share of cells that have vacuoles.
        vacuoles: Their least and greatest number.
        hole_radius: Their radius in micrometres.
    """

    body: BodyPlan
    nucleus: NucleusPlan | None
    chromatin: Chromatin | None
    plasm: Plasm
    granules: tuple[Granules, ...] = ()
    holed: float = 0.0
    vacuoles: tuple[int, int] = (0, 0)
    hole_radius: Range = (0.2, 0.8)


RECIPES: dict[str, Recipe] = {
    "basophil": Recipe(
        body=BodyPlan(diameter=(10.5, 13.5), fringe=(0.1, 0.3)),
        nucleus=basophil_nucleus,
        chromatin=Chromatin(density=(0.58, 0.78), specks=(0.2, 0.4), rarity=(0.4, 1.2), mesh=0.15, rim=0.3),
        plasm=Plasm(plasm=(0.5, 1.1), blue=(0.0, 0.3), mottle=0.3, clouds=0.3, grit=(0.1, 0.3)),
        granules=(
            Granules(
                dye="chromatin",
                density=(3.2, 8.0),
                radius=(0.17, 0.36),
                strength=(0.6, 1.05),
                over_nucleus=(0.5, 1.0),
                matrix=(0.0, 0.25),
                patchy=0.35,
            ),
        ),
    ),
    "eosinophil": Recipe(
        body=BodyPlan(diameter=(11.5, 15.0)),
        nucleus=eosinophil_nucleus,
        chromatin=Chromatin(density=(0.8, 0.98), specks=(0.25, 0.5), rarity=(0.2, 0.9), mesh=0.16, rim=0.35),
        plasm=Plasm(plasm=(0.1, 0.5), blue=(0.05, 0.3), grit=(0.02, 0.08)),
        granules=(
            Granules(
                dye="eosin",
                spacing=(0.42, 0.54),
                radius=(0.13, 0.21),
                strength=(0.75, 1.4),
                matrix=(0.35, 0.65),
                patchy=0.9,
            ),
            Granules(dye="azure", density=(0.2, 1.0), radius=(0.14, 0.24), strength=(0.05, 0.35)),
        ),
        holed=0.7,
        vacuoles=(1, 25),
        hole_radius=(0.1, 0.2),
    ),
    "erythroblast": Recipe(
        body=BodyPlan(diameter=(7.6, 11.5), lumps=(0.01, 0.06), sides=(0, 3), fringe=(0.0, 0.08)),
        nucleus=erythroblast_nucleus,
        chromatin=Chromatin(
            density=(1.1, 1.3), specks=(0.4, 0.75), rarity=(0.7, 1.7), grain=(0.15, 0.2), mesh=0.05, rim=0.05
        ),
        plasm=Plasm(
            plasm=(0.0, 0.5), blue=(0.45, 1.5), haemoglobin=(0.0, 0.5), mottle=0.08, clouds=0.1, rim=(0.0, 0.6)
        ),
    ),
    "ig": Recipe(
        body=BodyPlan(diameter=(11.5, 16.0), elongation=(1.0, 1.25), sides=(0, 3)),
        nucleus=immature_nucleus,
        chromatin=Chromatin(
            density=(0.82, 1.0), specks=(0.12, 0.4), rarity=(0.0, 1.0), lace=(0.05, 0.2), mesh=0.18, rim=0.25
        ),
        plasm=Plasm(
            plasm=(0.3, 1.0),
            blue=(0.2, 0.8),
            mottle=0.25,
            clouds=0.3,
            rim=(0.0, 0.4),
            hof=(0.0, 0.5),
            grit=(0.03, 0.14),
        ),
        granules=(
            Granules(dye="azure", density=(0.8, 4.5), radius=(0.08, 0.18), strength=(0.2, 1.0)),
            Granules(dye="azure", density=(0.0, 1.5), radius=(0.1, 0.16), strength=(0.1, 0.5), over_nucleus=(0.5, 1.0)),
        ),
    ),
    "lymphocyte": Recipe(
        body=BodyPlan(diameter=(8.8, 11.8), elongation=(1.0, 1.18), sides=(0, 2), fringe=(0.0, 0.35)),
        nucleus=lymphocyte_nucleus,
        chromatin=Chromatin(density=(0.92, 1.06), specks=(0.1, 0.35), rarity=(0.0, 1.0), mesh=0.15, rim=0.2),
        plasm=Plasm(plasm=(0.1, 0.5), blue=(0.6, 1.4), mottle=0.2, clouds=0.2, rim=(0.3, 1.2), hof=(0.0, 0.5)),
        granules=(Granules(dye="azure", density=(0.0, 0.25), radius=(0.14, 0.22), strength=(0.6, 1.1), patchy=1.0),),
    ),
    "monocyte": Recipe(
        body=BodyPlan(
            diameter=(13.0, 17.0),
            elongation=(1.0, 1.35),
            lumps=(0.02, 0.08),
            sides=(0, 4),
            feet=(0, 2),
            fringe=(0.0, 0.12),
        ),
        nucleus=monocyte_nucleus,
        chromatin=Chromatin(
            density=(0.8, 0.95), specks=(0.08, 0.3), rarity=(0.0, 0.8), lace=(0.12, 0.3), mesh=0.17, rim=0.35
        ),
        plasm=Plasm(
            plasm=(0.1, 0.5),
            blue=(0.45, 1.1),
            mottle=0.16,
            clouds=0.28,
            rim=(-0.3, 0.5),
            hof=(0.0, 0.3),
            grit=(0.01, 0.06),
        ),
        granules=(Granules(dye="azure", density=(0.2, 1.5), radius=(0.06, 0.11), strength=(0.2, 0.7)),),
        holed=0.5,
        vacuoles=(1, 14),
        hole_radius=(0.15, 0.75),
    ),
    "neutrophil": Recipe(
        body=BodyPlan(diameter=(11.5, 14.8)),
        nucleus=neutrophil_nucleus,
        chromatin=Chromatin(density=(0.94, 1.08), specks=(0.2, 0.45), rarity=(0.0, 0.8), mesh=0.15, rim=0.25),
        plasm=Plasm(plasm=(0.5, 1.2), blue=(0.02, 0.25), mottle=0.3, clouds=0.3, hof=(0.0, 0.4), grit=(0.05, 0.15)),
        granules=(Granules(dye="azure", density=(1.5, 5.0), radius=(0.08, 0.18), strength=(0.05, 0.42)),),
    ),
    "platelet": Recipe(
        body=BodyPlan(diameter=(4.8, 7.6), elongation=(1.0, 1.35), lumps=(0.03, 0.1), fringe=(0.2, 0.45)),
        nucleus=None,
        chromatin=None,
        plasm=Plasm(plasm=(0.1, 0.4), blue=(0.45, 0.9), mottle=0.3, clouds=0.25, grit=(0.0, 0.1)),
        granules=(
            Granules(
                dye="azure",
                density=(3.0, 7.0),
                radius=(0.12, 0.27),
                strength=(0.3, 1.15),
                matrix=(0.05, 0.4),
                inset=(0.0, 0.9),
            ),
        ),
    ),
}

CLASSES = tuple(sorted(RECIPES))
"""Names of the classes, those of PBC, in order."""
