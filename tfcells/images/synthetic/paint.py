"""What fills a white cell: chromatin, cytoplasm, granules and vacuoles, in amounts of dye."""

from dataclasses import dataclass

import numpy as np

from tfcells.images.synthetic.body import Body, Range
from tfcells.images.synthetic.granules import pack, scatter, stamp
from tfcells.images.synthetic.noise import band_field, smooth_field
from tfcells.images.synthetic.nucleus import Nucleus
from tfcells.images.synthetic.planes import Plane
from tfcells.images.synthetic.shapes import depth_inside, step

_PACKED = np.float32(1.07)  # densest chromatin


@dataclass(frozen=True, kw_only=True)
class Chromatin:
    """Texture of a nucleus; shares are of its density.

    Args:
        density: Amount of dye in the dark part.
        specks: Depth of the light specks (parachromatin).
        rarity: Height of the noise, in standard deviations, from which a speck shows: 0 lacy, 2 dense.
        grain: Micrometres; fine 0.11, coarse 0.18.
        lace: Contrast of a net of dark strands round pale meshes, as in monocytes.
        mesh: Standard deviation of the plain grain.
        clumps: Standard deviation of the slow unevenness.
        rim: Extra density of the nuclear membrane.
    """

    density: Range
    specks: Range
    rarity: Range
    grain: Range = (0.13, 0.18)
    lace: Range = (0.0, 0.0)
    mesh: float = 0.08
    clumps: float = 0.06
    rim: float = 0.15


@dataclass(frozen=True, kw_only=True)
class Plasm:
    """Cytoplasm.

    Args:
        plasm: Amount of the pale pink dye.
        blue: Amount of the blue dye (RNA).
        haemoglobin: Amount of red-cell colour, in erythroblasts.
        mottle: Standard deviation of the fine texture as a share.
        clouds: Standard deviation of the slow unevenness as a share.
        rim: Extra blue at the edge of the cell as a share.
        grit: Azurophil dye in the peaks of the fine texture: granules too small to be told apart.
        hof: Paleness beside the nucleus, 0 to 1.
    """

    plasm: Range
    blue: Range
    haemoglobin: Range = (0.0, 0.0)
    mottle: float = 0.12
    clouds: float = 0.12
    rim: Range = (0.0, 0.2)
    hof: Range = (0.0, 0.0)
    grit: Range = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Granules:
    """One kind of granule.

    Args:
        dye: Name of the dye.
        density: Granules per square micrometre of cytoplasm (scattered), or none when packed.
        spacing: Micrometres between packed neighbours; 0 scatters instead.
        radius: Micrometres, between granules.
        strength: Amount of dye, between granules.
        over_nucleus: Share of the nucleus they may cover, 0 or 1 or between.
        matrix: Amount of the dye between granules: those above and below the focus.
        patchy: Unevenness of where they lie: 0 even, 1 in patches.
        inset: Width in micrometres of the border they leave free.
    """

    dye: str
    density: Range = (0.0, 0.0)
    spacing: Range = (0.0, 0.0)
    radius: Range = (0.08, 0.13)
    strength: Range = (0.4, 0.9)
    over_nucleus: Range = (0.0, 0.0)
    matrix: Range = (0.0, 0.0)
    patchy: float = 0.5
    inset: Range = (0.0, 0.0)


def paint_chromatin(texture: Chromatin, rng: np.random.Generator, *, nucleus: Nucleus, scale: float) -> Plane:
    """Amount of chromatin dye, as if the nucleus filled the canvas; multiply by its coverage."""
    shape = nucleus.cover.shape
    density, grain = rng.uniform(*texture.density), scale * rng.uniform(*texture.grain)
    field = band_field(rng, shape, fine=grain, coarse=3.5 * grain)
    rarity = rng.uniform(*texture.rarity)
    specks = step(field, start=rarity - 0.4, stop=rarity + 1.3) * np.float32(rng.uniform(*texture.specks))
    # Specks fade towards the membrane, where chromatin is bound to it.
    specks = specks * np.clip(nucleus.depth / np.float32(0.3 * scale) - np.float32(0.3), 0, 1)
    clumps = smooth_field(rng, shape, scale=0.9 * scale)
    membrane = np.clip(1 - nucleus.depth / np.float32(0.26 * scale), 0, 1)
    amount = 1 - specks - np.float32(texture.mesh) * field + np.float32(texture.clumps) * clumps
    if texture.lace[1] > 0:
        lace = np.abs(band_field(rng, shape, fine=1.15 * grain, coarse=3.0 * grain)) - np.float32(0.8)
        amount -= np.float32(rng.uniform(*texture.lace)) * lace
    amount += np.float32(texture.rim) * membrane + np.float32(0.4 * texture.rim) * nucleus.creases
    # Chromatin cannot be denser than packed: the darkest nuclei of all classes end in the same colour.
    return np.clip(amount * np.float32(density), 0.15, _PACKED)


def paint_plasm(
    plan: Plasm, rng: np.random.Generator, *, body: Body, nucleus: Plane
) -> tuple[Plane, Plane, Plane, Plane]:
    """Amounts of haemoglobin, pale pink, blue and azurophil haze over the whole canvas."""
    shape = body.cover.shape
    fine = band_field(rng, shape, fine=0.13 * body.scale, coarse=0.5 * body.scale)
    slow = smooth_field(rng, shape, scale=1.8 * body.scale)
    edge = np.exp(body.depth * np.float32(-2.2 / body.scale))
    uneven = 1 + np.float32(plan.mottle) * fine + np.float32(plan.clouds) * slow
    blue = np.float32(rng.uniform(*plan.blue)) * np.maximum(uneven, 0.1)
    blue *= 1 + np.float32(rng.uniform(*plan.rim)) * edge
    if plan.hof[1] > 0:
        blue *= 1 - np.float32(rng.uniform(*plan.hof)) * nearness(nucleus, reach=0.9 * body.scale)
    pink = np.float32(rng.uniform(*plan.plasm)) * (1 - np.float32(0.7 * plan.clouds) * slow)
    red = np.float32(rng.uniform(*plan.haemoglobin)) * (1 - np.float32(0.2) * edge)
    grit = np.float32(rng.uniform(*plan.grit)) * np.maximum(fine + np.float32(0.4) * slow, 0)
    return red, pink, blue, grit


def nearness(nucleus: Plane, *, reach: float) -> Plane:
    """One at the nucleus, falling to zero over about `reach` pixels."""
    away = depth_inside(1 - nucleus)
    return np.exp(-away / np.float32(reach / 2))


def paint_granules(plan: Granules, rng: np.random.Generator, *, body: Body, nucleus: Plane) -> tuple[Plane, Plane]:
    """Amount of the granules' dye, and how much of what lies below they hide (both on the canvas)."""
    scale = body.scale
    veil = np.float32(1 - rng.uniform(*plan.over_nucleus))
    where = np.clip(body.cover * (1 - veil * nucleus), 0, 1)
    if plan.inset[1] > 0:
        border = scale * rng.uniform(*plan.inset)
        where = where * step(body.depth, start=0.3 * border, stop=border + 1)
    slow = smooth_field(rng, where.shape, scale=1.6 * scale)
    if plan.spacing[1] > 0:
        here = where * (slow > np.float32(plan.patchy - 2.5))
        places = pack(rng, where=here, spacing=scale * rng.uniform(*plan.spacing))
    else:
        here = where * np.clip(np.float32(0.5) + np.float32(plan.patchy / 2) * slow, 0, 1)
        places = scatter(rng, where=here, density=2 * rng.uniform(*plan.density) / scale**2)
    count = len(places)
    radii = scale * rng.uniform(*plan.radius, count)
    strengths = rng.uniform(*plan.strength, count)
    amount = stamp(places, radii=radii, strengths=strengths, shape=where.shape)
    hides = np.clip(amount / np.float32(plan.strength[1]), 0, 1)
    if plan.matrix[1] > 0:
        haze = band_field(rng, where.shape, fine=0.12 * scale, coarse=0.4 * scale)
        floor = np.float32(rng.uniform(*plan.matrix)) * np.clip(2 * here, 0, 1)
        amount = np.maximum(amount, np.maximum(floor * (1 + np.float32(0.3) * haze), 0))
    return amount, hides


def vacuoles(rng: np.random.Generator, *, body: Body, nucleus: Plane, count: int, radius: Range) -> Plane:
    """Coverage of round holes in the cytoplasm, in clusters; radius in micrometres."""
    where = body.cover * (1 - nucleus) * (body.depth > np.float32(0.7 * body.scale))
    lumps = np.clip(smooth_field(rng, where.shape, scale=4 * body.scale), 0, 1)
    places = scatter(rng, where=where * lumps, density=0.01)[:count]
    radii = body.scale * rng.uniform(*radius, len(places))
    return stamp(places, radii=radii, strengths=np.full(len(places), 1.0), shape=where.shape)
