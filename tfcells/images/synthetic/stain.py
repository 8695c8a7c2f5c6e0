"""Dyes, sites and slides: how amounts of stain become colour.

A picture is painted in amounts of six dyes and only then turned into light, by Beer and Lambert's law. What a site
changes (stain, lamp, lens, camera, scale) is therefore never mixed with what makes a class.
"""

from dataclasses import dataclass

import numpy as np

DYES = ("haemoglobin", "plasm", "blue", "chromatin", "eosin", "azure")
"""What takes up May-Gruenwald-Giemsa stain: red cells, pale cytoplasm, RNA, DNA, acidophil and azurophil granules."""

_DENSITIES = np.array(
    [
        # Natural optical density in red, green, blue for an amount of 1, against the empty background. Read off
        # the cluster centres of stained cells on a CellaVision DM96 with background (254, 228, 203).
        [0.221, 0.322, 0.188],
        [0.170, 0.330, 0.130],
        [0.520, 0.620, 0.190],
        [1.275, 2.150, 0.425],
        [0.295, 0.800, 0.410],
        [0.700, 1.400, 0.320],
    ]
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """One laboratory: its stain, lamp, lens and camera. Spreads are between pictures of the site.

    Args:
        name: Goes into the `site` column of a truth record.
        background: Empty background, red, green and blue, 0 to 255.
        background_spread: Standard deviation of each channel of it.
        strength: Factor on all dyes.
        strength_spread: Standard deviation of its logarithm; each dye also varies by itself as much.
        hue: Factor on the optical density of each channel.
        hue_spread: Standard deviation of its logarithm per dye and channel.
        pixels_per_micron: Scale.
        scale_spread: Standard deviation of its logarithm.
        blur: Least and greatest standard deviation of focus blur in pixels.
        sharpening: Amount of the camera's unsharp mask.
        noise: Standard deviation of camera noise in grey levels.
        unevenness: Fall of the light towards one side, as a share.
    """

    name: str
    background: tuple[float, float, float]
    background_spread: float
    strength: float = 1.0
    strength_spread: float = 0.06
    hue: tuple[float, float, float] = (1.0, 1.0, 1.0)
    hue_spread: float = 0.022
    pixels_per_micron: float = 10.0
    scale_spread: float = 0.04
    blur: tuple[float, float] = (0.75, 1.2)
    sharpening: float = 1.05
    noise: float = 2.0
    unevenness: float = 0.006


PBC_LIKE = Site(name="pbc_like", background=(255.0, 230.0, 203.5), background_spread=0.9)
"""Peach background, crisp and sharpened: the look of the Barcelona pictures most of our cells come from."""

OTHER_SITE = Site(
    name="other_site",
    background=(214.0, 208.0, 224.0),
    background_spread=2.5,
    strength=0.85,
    strength_spread=0.1,
    hue=(1.16, 0.9, 0.75),
    hue_spread=0.04,
    pixels_per_micron=8.6,
    scale_spread=0.05,
    blur=(1.1, 2.0),
    sharpening=0.25,
    noise=3.2,
    unevenness=0.06,
)
"""Bluish lamp, weaker stain, smaller scale, softer lens and noisier camera."""


@dataclass(frozen=True, kw_only=True)
class Slide:
    """What one picture got from its site; `densities` is (dyes, 3)."""

    background: np.ndarray
    densities: np.ndarray
    pixels_per_micron: float
    blur: float
    sharpening: float
    noise: float
    unevenness: float


def draw_slide(site: Site, rng: np.random.Generator) -> Slide:
    """One picture's stain, scale and focus."""
    common = rng.normal(0, site.strength_spread)
    each = rng.normal(0, site.strength_spread, (len(DYES), 1))
    hue = rng.normal(0, site.hue_spread, (len(DYES), 3)) * 0.6 + rng.normal(0, site.hue_spread, 3)
    factor = site.strength * np.exp(common + each + hue) * np.asarray(site.hue)
    tint = rng.normal(0, site.background_spread, 3)
    return Slide(
        background=np.clip(np.asarray(site.background) + tint, 0, 255),
        densities=_DENSITIES * factor,
        pixels_per_micron=site.pixels_per_micron * float(np.exp(rng.normal(0, site.scale_spread))),
        blur=float(rng.uniform(*site.blur)),
        sharpening=site.sharpening * float(rng.uniform(0.7, 1.3)),
        noise=site.noise * float(rng.uniform(0.8, 1.2)),
        unevenness=site.unevenness * float(rng.uniform(0, 2)),
    )
