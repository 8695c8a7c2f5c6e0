"""Pictures that are unlike the rest in size, light, colour or sharpness: measured alone, judged against the others."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import cv2
import numpy as np

from tfcells.arrays import Float64, Pixels

_SHARPNESS_SIDE: Final = 160  # pixels: larger pictures are brought to it, so that sizes can be compared
_OUTLIER: Final = 5.0  # robust standard deviations; a normal distribution has one beyond in two million
_LEAST_PICTURES: Final = 10  # of fewer nobody can say what is usual
_SAME_SIDES: Final = 1.25  # factor within which sides and aspects are one camera's, whatever their spread
_GREY: Final = 3.0  # grey levels between the strongest and the weakest channel, on average; JPEG makes 1 or 2
_FLAT: Final = 1.0  # grey levels, standard deviation

# The least that counts as one standard deviation, or in a very even collection everything would be an outlier.
_FLOORS: Final = {"brightness": 4.0, "sharpness": 0.12, "side": 0.05, "aspect": 0.03}


class Measures(NamedTuple):
    """What one picture measures.

    Attributes:
        width: In pixels.
        height: In pixels.
        brightness: Mean of the three channels, 0 to 255.
        contrast: Standard deviation of the green channel, in grey levels.
        colour: Mean difference between a pixel's strongest and weakest channel, in grey levels.
        sharpness: Variance of the Laplacian over the variance of the picture, with the long side at 160 pixels or
            less (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000).
    """

    width: int
    height: int
    brightness: float
    contrast: float
    colour: float
    sharpness: float


class Odd(NamedTuple):
    """A picture that is unlike the rest.

    Attributes:
        id: Row identity.
        kind: `small`, `large`, `aspect`, `grey`, `colour`, `dark`, `bright`, `blurred` or `flat`.
        value: What it measures.
        usual: What the others measure: the median.
        reason: Both, in words.
    """

    id: str
    kind: str
    value: float
    usual: float
    reason: str


def measure(pixels: Pixels) -> Measures:
    """Measure one picture."""
    height, width = pixels.shape[:2]
    channels, spreads = cv2.meanStdDev(pixels)
    # Of colour a thousand pixels say enough.
    few = pixels[:: max(height // 64, 1), :: max(width // 64, 1)].astype(np.int16)
    colour = float((few.max(axis=2) - few.min(axis=2)).mean())
    return Measures(width, height, float(channels.mean()), float(spreads[1, 0]), colour, _sharpness(pixels))


def odd_pictures(measures: Mapping[str, Measures]) -> tuple[Odd, ...]:
    """Name the pictures that are unlike the rest, sorted by id and kind.

    A value is odd beyond five robust standard deviations (1.48 times the median absolute deviation from the median)
    of the collection. Blur and light need `_LEAST_PICTURES` pictures; so do sizes.

    Args:
        measures: By id.
    """
    ids = sorted(measures)
    found = [
        Odd(id, "flat", measures[id].contrast, 0.0, f"one even area: grey levels vary by {measures[id].contrast:.1f}")
        for id in ids
        if measures[id].contrast < _FLAT
    ]
    if len(ids) >= _LEAST_PICTURES:
        found += [*_odd_sizes(ids, measures), *_odd_light(ids, measures), *_odd_colour(ids, measures)]
    return tuple(sorted(found))


def sizes(measures: Mapping[str, Measures]) -> dict[str, int]:
    """Pictures per size, `width x height` in pixels, the most frequent first."""
    counts = Counter(f"{each.width} x {each.height}" for each in measures.values())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _sharpness(pixels: Pixels) -> float:
    green = np.ascontiguousarray(pixels[:, :, 1])
    height, width = green.shape
    shrink = _SHARPNESS_SIDE / max(height, width)
    if shrink < 1:
        size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
        green = np.asarray(cv2.resize(green, size, interpolation=cv2.INTER_AREA))
    plane = green.astype(np.float64)
    return float(np.asarray(cv2.Laplacian(plane, cv2.CV_64F)).var() / max(plane.var(), 1.0))


def _odd_sizes(ids: list[str], measures: Mapping[str, Measures]) -> Iterator[Odd]:
    sides = np.array([np.sqrt(measures[id].width * measures[id].height) for id in ids])
    for row, away in _outliers(np.log(sides), floor=_FLOORS["side"]):
        if max(sides[row] / np.median(sides), np.median(sides) / sides[row]) > _SAME_SIDES:
            kind, usual = ("small" if away < 0 else "large"), float(np.median(sides))
            size = f"{measures[ids[row]].width} x {measures[ids[row]].height} pixels"
            yield Odd(ids[row], kind, float(sides[row]), usual, f"{size}; usual are {usual:.0f} a side")
    aspects = np.array([measures[id].width / measures[id].height for id in ids])
    for row, _ in _outliers(np.log(aspects), floor=_FLOORS["aspect"]):
        if max(aspects[row] / np.median(aspects), np.median(aspects) / aspects[row]) > _SAME_SIDES:
            value, usual = float(aspects[row]), float(np.median(aspects))
            yield Odd(ids[row], "aspect", value, usual, f"width over height is {value:.2f}; usual is {usual:.2f}")


def _odd_light(ids: list[str], measures: Mapping[str, Measures]) -> Iterator[Odd]:
    brightness = np.array([measures[id].brightness for id in ids])
    for row, away in _outliers(brightness, floor=_FLOORS["brightness"]):
        value, usual = float(brightness[row]), float(np.median(brightness))
        kind = "dark" if away < 0 else "bright"
        yield Odd(ids[row], kind, value, usual, f"mean brightness {value:.0f} of 255; usual is {usual:.0f}")
    seen = [id for id in ids if measures[id].contrast >= _FLAT]  # a flat picture is not blurred
    sharpness = np.array([measures[id].sharpness for id in seen])
    for row, away in _outliers(np.log(np.maximum(sharpness, 1e-6)), floor=_FLOORS["sharpness"]):
        if away < 0:
            value, usual = float(sharpness[row]), float(np.median(sharpness))
            yield Odd(seen[row], "blurred", value, usual, f"sharpness {value:.3g}; usual is {usual:.3g}")


def _odd_colour(ids: list[str], measures: Mapping[str, Measures]) -> Iterator[Odd]:
    colour = np.array([measures[id].colour for id in ids])
    grey, usual = colour < _GREY, float(np.median(colour))
    rare, kind, others = (grey, "grey", "colour") if 2 * grey.sum() < len(ids) else (~grey, "colour", "grey")
    for row in np.flatnonzero(rare).tolist():
        value = float(colour[row])
        yield Odd(ids[row], kind, value, usual, f"a picture in {kind} among pictures in {others}")


def _outliers(values: Float64[np.ndarray, " pictures"], *, floor: float) -> Iterator[tuple[int, float]]:
    """Rows beyond `_OUTLIER` robust standard deviations, and how many."""
    if not len(values):
        return
    middle = np.median(values)
    spread = max(1.4826 * float(np.median(np.abs(values - middle))), floor)
    away = (values - middle) / spread
    for row in np.flatnonzero(np.abs(away) > _OUTLIER).tolist():
        yield row, float(away[row])
