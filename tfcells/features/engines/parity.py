"""How far an engine's features are from TensorFlow's in float32, on pictures that are the same everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from tfcells.arrays import Float32, Pixels
from tfcells.backbones.golden import golden_picture
from tfcells.errors import RequestError
from tfcells.images.resize import RESIZERS
from tfcells.images.synthetic.cells import draw_cell
from tfcells.images.synthetic.recipes import CLASSES

ACCEPTED: Final = 0.995
"""Smallest cosine to TensorFlow's float32 features with which an engine is accepted, at every tap and picture."""

_SEED: Final = 0


@dataclass(frozen=True)
class Parity:
    """How far one tap's features lie apart.

    Attributes:
        cosine: Smallest cosine between the features of one picture.
        relative_error: Largest difference of a number, as a share of the tap's largest.
    """

    cosine: float
    relative_error: float

    @property
    def accepted(self) -> bool:
        """Whether the features may stand for TensorFlow's; not where one is no number."""
        return self.cosine >= ACCEPTED


def canonical_pictures() -> list[Pixels]:
    """The canonical picture, then one generated cell of each class."""
    return [golden_picture(), *(draw_cell(kind, seed=_SEED) for kind in CLASSES)]


def parity_pictures(*, size: int, kernel: str) -> Float32[np.ndarray, "pictures size size 3"]:
    """Those pictures, resized: float32 of shape (pictures, size, size, 3)."""
    return np.stack([RESIZERS[kernel](pixels, height=size, width=size) for pixels in canonical_pictures()])


def compare(found: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> dict[str, Parity]:
    """Compare features of the same pictures, tap by tap.

    Args:
        found: By tap, arrays of shape (pictures, ...).
        reference: The same taps, as TensorFlow has them in float32.
    """
    return {key: _compare(found[key], expected) for key, expected in reference.items()}


def rounding(features: Mapping[str, np.ndarray], dtype: str) -> dict[str, dict[str, float]]:
    """What storing features in fewer bits does to them, by tap; empty for float32.

    Raises:
        RequestError: If a feature does not fit.
    """
    if dtype == "float32":
        return {}
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is named below
        stored = {key: array.astype(dtype) for key, array in features.items()}
    for key, array in stored.items():
        if not np.isfinite(array).all():
            raise RequestError(
                f"Features at tap {key!r} of the fixed pictures do not fit {dtype}: the largest is "
                f"{np.abs(features[key]).max():.3g}. Store them as float32."
            )
    return rounded(compare(stored, features))


def rounded(parity: Mapping[str, Parity]) -> dict[str, dict[str, float]]:
    """The figures as a recipe holds them."""
    return {
        key: {"cosine": float(f"{entry.cosine:.7g}"), "relative_error": float(f"{entry.relative_error:.3g}")}
        for key, entry in parity.items()
    }


def described(parity: Mapping[str, Parity]) -> str:
    """The figures in words."""
    return ", ".join(
        f"{key} cosine {entry.cosine:.5f} and relative error {entry.relative_error:.1e}"
        for key, entry in parity.items()
    )


def _compare(found: np.ndarray, expected: np.ndarray) -> Parity:
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (found, expected))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = np.einsum("ij,ij->i", a, b)
    # Two features that are zero throughout are equal; one that is zero alone has nothing of the other.
    equal = (a == b).all(axis=1)
    cosines = np.where(equal, 1.0, products / np.where(lengths == 0.0, 1.0, lengths))
    error = float(np.abs(a - b).max()) / max(float(np.abs(b).max()), 1e-30)
    # NumPy's minimum, which keeps what is no number.
    return Parity(cosine=float(np.minimum(cosines.min(), 1.0)), relative_error=error)
