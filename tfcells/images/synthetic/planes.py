"""Names for the arrays of the generator. A plane is one quantity per pixel, float32."""

import numpy as np
from jaxtyping import Float, Float32, UInt8

Plane = Float32[np.ndarray, "height width"]
"""One quantity per pixel: a coverage from 0 to 1, an amount of dye, a depth in pixels."""

Dyes = Float32[np.ndarray, "dyes height width"]
"""Amount of each dye per pixel, in the order of `stain.DYES`."""

Rim = Float[np.ndarray, "angles"]
"""A closed outline: its distance from the centre in pixels, per angle of `shapes.ANGLES`."""

Points = Float[np.ndarray, "points 2"]
"""Places in pixels, x then y."""

Coverage = UInt8[np.ndarray, "height width"]
"""Coverage from 0 to 255, as OpenCV draws it."""

Rims = Float[np.ndarray, "cells angles"]
"""Several outlines."""

Patch = UInt8[np.ndarray, "rows columns 3"]
"""Part of a picture in canonical form, of another size than the picture it is laid over."""

PatchCover = Float32[np.ndarray, "rows columns"]
"""Coverage of a patch, 0 to 1."""
