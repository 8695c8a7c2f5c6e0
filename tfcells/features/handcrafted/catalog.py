"""The table of hand-made features: a new one is a file with a function, and a row here."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from tfcells.arrays import Float32, Pixels
from tfcells.errors import RequestError, UnknownNameError
from tfcells.features.handcrafted.colour import colour_statistics
from tfcells.features.handcrafted.hog import oriented_gradients
from tfcells.features.handcrafted.lbp import local_binary_patterns
from tfcells.features.handcrafted.raw import raw_intensities
from tfcells.features.handcrafted.stain import stain_statistics
from tfcells.features.recipe import COLOUR, canonical_json

Vector = Float32[np.ndarray, " numbers"]


@dataclass(frozen=True)
class Handcrafted:
    """One kind of hand-made features.

    Attributes:
        name: In requests, recipes and file names.
        function: From canonical pixels and the parameters to float32 of shape (width,).
        width: Numbers per picture.
        summary: What it is, for people.
        parameters: Keyword arguments of the function, JSON values.
        revision: Raised by hand when the function gives other numbers for the same parameters.
    """

    name: str
    function: Callable[..., Vector]
    width: int
    summary: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 1

    def measure(self, pixels: Pixels) -> Vector:
        """The features of one picture: float32 of shape (width,)."""
        return self.function(pixels, **self.parameters)

    @cached_property
    def definition(self) -> str:
        """SHA-256 over all that decides the numbers."""
        facts = {name: getattr(self, name) for name in ("name", "width", "parameters", "revision")}
        return hashlib.sha256(canonical_json(facts).encode()).hexdigest()


HANDCRAFTED: Final[dict[str, Handcrafted]] = {
    row.name: row
    for row in (
        Handcrafted(COLOUR, colour_statistics, 21, "means, spreads and quantiles of red, green and blue"),
        Handcrafted("raw", raw_intensities, 3 * 32**2, "the pixels themselves, at 32 x 32", {"side": 32}),
        Handcrafted(
            "stain",
            stain_statistics,
            58,
            "haematoxylin, eosin, saturation, value, hue and Lab statistics",
            {"longest": 512},
        ),
        Handcrafted(
            "hog",
            oriented_gradients,
            35**2 * 2**2 * 9,
            "histograms of oriented gradients, 9 directions in 36 x 36 cells",
            {"side": 360, "orientations": 9, "cell": 10, "block": 2},
        ),
        Handcrafted(
            "lbp",
            local_binary_patterns,
            (8 + 2) + (16 + 2) + (24 + 2),
            "rotation-invariant uniform local binary patterns on three circles",
            {"circles": ((8, 1), (16, 2), (24, 3)), "longest": 512},
        ),
    )
}
"""By name."""


def find_handcrafted(names: Sequence[str]) -> tuple[Handcrafted, ...]:
    """Rows of the table, in its order: the colour statistics and those that are named.

    Raises:
        UnknownNameError: If a name is not in the table.
        RequestError: If one comes twice.
    """
    for name in names:
        if name not in HANDCRAFTED:
            raise UnknownNameError("hand-made features", name, HANDCRAFTED)
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise RequestError(f"Hand-made features come twice: {', '.join(twice)}. Expected each once.")
    return tuple(row for name, row in HANDCRAFTED.items() if name in names or name == COLOUR)


def handcrafted_recipe(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What a store's recipe says of them, by name: the `definition`'s digest and the `shape` of one picture's."""
    return {row.name: {"definition": row.definition, "shape": [row.width]} for row in find_handcrafted(names)}


def measure_all(rows: Iterable[Handcrafted]) -> Callable[[Pixels], Vector]:
    """A function that lays the features of one picture side by side; `parted` takes them apart again."""
    kept = tuple(rows)
    return lambda pixels: np.concatenate([row.measure(pixels) for row in kept])


def parted(measured: Float32[np.ndarray, "images numbers"], rows: Iterable[Handcrafted]) -> dict[str, np.ndarray]:
    """Features by name, views of shape (images, width)."""
    parts, start = {}, 0
    for row in rows:
        parts[row.name] = measured[:, start : start + row.width]
        start += row.width
    return parts
