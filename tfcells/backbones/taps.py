"""A tap: a layer's output and how it is pooled. Written `layer` or `layer:pooling`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tfcells.errors import RequestError, UnknownNameError

POOLINGS: Final = ("mean", "max", "gem", "flatten", "none")
"""What becomes of a layer's (height, width, channels) output.

`mean`, `max`: over height and width, (channels,). `gem`: generalised mean with exponent 3, (channels,)
(Radenovic et al. 2018, https://arxiv.org/abs/1711.02512). `flatten`: (height * width * channels,).
`none`: left as it is.
"""


@dataclass(frozen=True, order=True)
class Tap:
    """One layer, pooled in one way."""

    layer: str
    pooling: str = "mean"

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise UnknownNameError("pooling", self.pooling, POOLINGS)

    @classmethod
    def parse(cls, text: str, *, pooling: str = "mean") -> "Tap":
        """Read `layer` or `layer:pooling`; `pooling` is for the first form."""
        layer, colon, own = text.partition(":")
        if not layer:
            raise RequestError(f"Tap {text!r} names no layer. Expected `layer` or `layer:pooling`.")
        return cls(layer, own if colon else pooling)

    def __str__(self) -> str:
        return f"{self.layer}:{self.pooling}"


def parse_taps(texts: Sequence[str | Tap], *, pooling: str = "mean") -> tuple[Tap, ...]:
    """Read several taps; none may come twice.

    Raises:
        RequestError: If there is none, or one comes twice.
        UnknownNameError: If a pooling is unknown.
    """
    taps = tuple(text if isinstance(text, Tap) else Tap.parse(text, pooling=pooling) for text in texts)
    if not taps:
        raise RequestError("No layer was named. Expected one or more, e.g. block_13_expand_relu; see `tfcells layers`.")
    twice = sorted({str(tap) for tap in taps if taps.count(tap) > 1})
    if twice:
        raise RequestError(f"Taps come twice: {', '.join(twice)}. Expected each once.")
    return taps


def tap_keys(taps: Sequence[Tap]) -> tuple[str, ...]:
    """Short names of taps: the layer, or `layer:pooling` for a layer that is tapped more than once."""
    layers = [tap.layer for tap in taps]
    return tuple(tap.layer if layers.count(tap.layer) == 1 else str(tap) for tap in taps)
