"""The golden check: what one fixed picture does to a cut model, as a fingerprint that belongs to the weights.

A wrong channel order, scaling or resize kernel changes these numbers far more than another processor does, so
it is caught when weights are opened and when an export is checked, not documented and hoped for.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from tfcells.arrays import Pixels
from tfcells.errors import DamageError

TOLERANCE: Final = 2e-3
"""Largest allowed difference, as a share of the fingerprint's root mean square. Processors differ by about
1e-6 in float32; a resize kernel without antialiasing by more than 1e-2 (a test holds both)."""

_SAMPLES: Final = 32
_KNOWN: Final = Path(__file__).with_name("golden.json")

Fingerprint = Mapping[str, list[float]]


def golden_picture() -> Pixels:
    """The fixed picture: 257 high, 301 wide, integer arithmetic only, no symmetry in space or colour.

    Fine and coarse structure make it sensitive to the resize kernel, different channels to their order.
    """
    y, x = np.mgrid[:257, :301]
    red = (x * 3 + y * 5) % 256
    green = (x // 7 + y // 11) % 2 * 160 + x * y // 400 % 64
    blue = (x * x + 2 * y * y) // 97 % 200 + 20
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def fingerprint(outputs: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Summarise a cut model's answer to the golden picture.

    Args:
        outputs: By tap, arrays whose first axis is a batch of one.

    Returns:
        By tap, 32 evenly spaced values of the flattened answer (all of them where there are fewer).
    """
    summary = {}
    for tap, output in outputs.items():
        flat = np.asarray(output, dtype=np.float64).reshape(-1)
        places = np.unique(np.linspace(0, len(flat) - 1, _SAMPLES).astype(int))
        summary[tap] = [float(f"{value:.7g}") for value in flat[places]]
    return summary


def check_fingerprint(found: Fingerprint, expected: Fingerprint, *, whose: str) -> None:
    """Compare two fingerprints.

    Raises:
        DamageError: If a tap differs by more than `TOLERANCE`; names the tap and by how much.
    """
    for tap, values in expected.items():
        if tap not in found or len(found[tap]) != len(values):
            raise DamageError(f"The golden check of {whose} has no comparable tap {tap!r}; it was made by another cut.")
        wanted = np.asarray(values)
        scale = max(float(np.sqrt(np.mean(wanted**2))), 1e-12)
        worst = float(np.max(np.abs(np.asarray(found[tap]) - wanted))) / scale
        if not worst <= TOLERANCE:  # also catches NaN
            raise DamageError(
                f"The golden check of {whose} failed at tap {tap!r}: activations of the fixed picture differ by "
                f"{worst:.2g} of their size, {TOLERANCE} is allowed. The preprocessing (channel order, scaling, "
                "resize kernel) or the weights are not what they were."
            )


@cache
def known_fingerprints() -> dict[str, dict[str, list[float]]]:
    """Fingerprints that ship with tfcells: by weights SHA-256, of the default taps, mean-pooled."""
    known: dict[str, dict[str, list[float]]] = json.loads(_KNOWN.read_text())
    return known
