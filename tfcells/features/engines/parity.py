"""How far an engine's features are from TensorFlow's in float32, on pictures that are the same everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from tfcells.arrays import Float32
from tfcells.backbones.golden import golden_picture
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


def parity_pictures(*, size: int, kernel: str) -> Float32[np.ndarray, "pictures size size 3"]:
    """The canonical picture, then one generated cell of each class: float32 of shape (pictures, size, size, 3)."""
    pictures = [golden_picture(), *(draw_cell(kind, seed=_SEED) for kind in CLASSES)]
    return np.stack([RESIZERS[kernel](pixels, height=size, width=size) for pixels in pictures])


def compare(found: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> dict[str, Parity]:
    """Compare features of the same pictures, tap by tap.

    Args:
        found: By tap, arrays of shape (pictures, ...).
        reference: The same taps, as TensorFlow has them in float32.
    """
    return {key: _compare(found[key], expected) for key, expected in reference.items()}


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
