"""Names for array shapes.

The words inside the quotes are dimensions; the same word is the same size within one call. Tests run with
jaxtyping and beartype switched on (`--jaxtyping-packages=tfcells,...`), so each annotation is an assertion
there and costs nothing anywhere else.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, Shaped, UInt8

Pixels = UInt8[np.ndarray, "height width 3"]
"""One picture in canonical form: 8-bit RGB."""

Pictures = UInt8[np.ndarray, "images height width 3"]
"""Pictures of one size, canonical form."""

Features = Float[np.ndarray, "images features"]
"""One row of numbers per image."""

Labels = Int64[np.ndarray, " images"]
"""Class index per image; -1 where unlabelled."""

Groups = Int64[np.ndarray, " images"]
"""Group number per image: images that must never be parted by a split share one."""

Hits = Bool[np.ndarray, " images"]
"""Whether an image was classified rightly."""

HitsOfModels = Bool[np.ndarray, "models images"]
"""Whether each of several models was right."""

Probabilities = Float64[np.ndarray, "images classes"]
"""Class probabilities; rows sum to one."""

Confusion = Int64[np.ndarray, "classes classes"]
"""Counts; rows are true classes, columns predicted ones."""

Points = Float[np.ndarray, "images axes"]
"""Coordinates on a map."""

Ids = tuple[str, ...]
"""Row identities, in order."""

__all__ = [
    "Confusion",
    "Features",
    "Float",
    "Float32",
    "Float64",
    "Groups",
    "Hits",
    "Ids",
    "Int64",
    "Labels",
    "Pictures",
    "Pixels",
    "Points",
    "Probabilities",
    "Shaped",
    "UInt8",
]
