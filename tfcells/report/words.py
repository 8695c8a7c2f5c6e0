"""What entries of `results.json` are called, and how its numbers read, in reports and on the terminal alike."""

from collections.abc import Mapping
from typing import Any, Final

UNDECIDED: Final = "undecided: the dealings do not differ"
"""In the place of a p-value of differences that are all equal."""


def title_of(entry: Mapping[str, Any]) -> str:
    """What a candidate of `results.json` is called."""
    taps = " + ".join(entry["taps"])
    return f"{taps} · {read_by(entry)}" if taps else str(entry["probe"])


def read_by(entry: Mapping[str, Any]) -> str:
    """Scaler, reduction and probe of a candidate, without what is usual."""
    steps = [] if entry["scaler"] in ("standard", "none") else [entry["scaler"]]
    if entry["reduction"] != "none":
        amount = entry["reduction"].removeprefix("pca:")
        steps.append(f"PCA {100 * float(amount):.4g} %" if "." in amount else f"PCA {amount}")
    return ", ".join([*steps, str(entry["probe"])])


def mean_words(found: Mapping[str, float | None]) -> str:
    """A mean with its interval, `0.62 (0.55 to 0.70)`; without, of too few groups."""
    value = f"{found['value']:.2f}"
    if found["low"] is None or found["high"] is None:
        return value
    return f"{value} ({found['low']:.2f}\u00a0to\u00a0{found['high']:.2f})"


def difference_words(found: Mapping[str, float | None]) -> str:
    """A difference of means with its interval, `-0.11 (-0.24 to +0.01)`; without, of too few groups."""
    value = f"{found['value']:+.2f}"
    if found["low"] is None or found["high"] is None:
        return value
    return f"{value} ({found['low']:+.2f}\u00a0to\u00a0{found['high']:+.2f})"


def percent(number: Mapping[str, float | int]) -> str:
    """A share with its interval, `91.6 % (90.3 to 92.8)`; in a narrow column it breaks before the interval alone."""
    return f"{100 * number['value']:.1f}\u00a0% ({100 * number['low']:.1f}\u00a0to\u00a0{100 * number['high']:.1f})"


def points(number: Mapping[str, float]) -> str:
    """A difference of shares in percentage points, with sign and interval; breaks as `percent` does."""
    return f"{100 * number['value']:+.1f} ({100 * number['low']:+.1f}\u00a0to\u00a0{100 * number['high']:+.1f})"


def counted(number: int, thing: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def probability(value: float) -> str:
    """A p-value a person can read."""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
