"""What albumentations lacks for stained blood films: turning in true proportions, stain and focus jitter.

Imported by `tfcells.finetune.augment` alone, which keeps albumentations from looking for newer versions of itself.
"""

from typing import Any, Final

import albumentations
import cv2
import numpy as np

from tfcells.arrays import Float32, Float64, Pixels

_BLUE: Final = (0.834750233, 0.513556283, 0.196330403)
_EOSIN: Final = (0.092789, 0.954111, 0.283111)
STAINS: Final[Float64[np.ndarray, "3 3"]] = np.array([_BLUE, _EOSIN, np.cross(_BLUE, _EOSIN)])
"""Optical density of red, green and blue light (columns) by methylene blue, eosin, and what is neither (rows).

G. Landini's vectors for Giemsa, as in ImageJ's Colour Deconvolution and scikit-image's `rgb_from_bex`.
"""

_DENSITY: Final[Float32[np.ndarray, " 256"]] = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)


class Turn(albumentations.Affine):
    """Turn, scale and shift a picture that was squeezed into a square, as if it were done before the squeezing.

    A cell turned by 90 degrees in a squeezed picture would be squeezed along its other axis, which no picture of a
    microscope ever is. Takes the picture's width over its height before, as `aspect`.
    """

    @property
    def targets_as_params(self) -> list[str]:
        """What else must come with the picture."""
        return ["aspect"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The library's matrix, between stretching to true proportions and squeezing again."""
        found = super().get_params_dependent_on_data(params, data)
        middle = (params["shape"][1] - 1) / 2
        stretch = np.array([[data["aspect"], 0, middle * (1 - data["aspect"])], [0, 1, 0], [0, 0, 1]])
        return {**found, "matrix": np.linalg.inv(stretch) @ found["matrix"] @ stretch}


class StainJitter(albumentations.ImageOnlyTransform):
    """Another slide's stain: the amount of each dye scaled and shifted, in optical density.

    The augmentation of Tellez et al. 2018 (arXiv:1808.05896) and 2019 (arXiv:1902.06543), who take haematoxylin,
    eosin and DAB; blood films bear azure (methylene blue) and eosin. albumentations' `HEStain` has presets for tissue
    alone, whose haematoxylin is purple where azure is blue.

    Args:
        scale: Each dye's amount is multiplied by 1 - scale to 1 + scale; what is neither changes half as much.
        shift: From -shift to shift is added to it; also where there is no dye, as another lamp would.
        p: Share of pictures.
    """

    def __init__(self, scale: float, shift: float, p: float) -> None:
        super().__init__(p=p)
        self.scale, self.shift = scale, shift

    def get_params(self) -> dict[str, Any]:
        """Factor and offset of each dye."""
        change = self.random_generator.uniform(-1, 1, 3) * self.scale * (1, 1, 0.5)  # the third is no dye
        return {"factors": 1 + change, "offsets": self.random_generator.uniform(-self.shift, self.shift, 3)}

    def apply(
        self, img: Pixels, factors: Float64[np.ndarray, "3"], offsets: Float64[np.ndarray, "3"], **params: Any
    ) -> Pixels:
        """The picture in this stain."""
        return stained(img, factors=factors, offsets=offsets)


class FocusJitter(albumentations.ImageOnlyTransform):
    """A little out of focus, or sharpened as scanners do (unsharp mask).

    albumentations' own unsharp mask takes several times as long.

    Args:
        blur: Largest standard deviation of the Gaussian, in pixels.
        sharpen: Largest share of what a Gaussian of one pixel takes away that is added.
        p: Share of pictures.
    """

    def __init__(self, blur: float, sharpen: float, p: float) -> None:
        super().__init__(p=p)
        self.blur, self.sharpen = blur, sharpen

    def get_params(self) -> dict[str, Any]:
        """Focus from -1 (most blurred) to 1 (sharpest)."""
        return {"focus": self.py_random.uniform(-1, 1)}

    def apply(self, img: Pixels, focus: float, **params: Any) -> Pixels:
        """The picture in this focus."""
        if focus < 0:
            return np.asarray(cv2.GaussianBlur(img, (0, 0), max(-focus * self.blur, _LEAST_BLUR)))
        amount = focus * self.sharpen
        return np.asarray(cv2.addWeighted(img, 1 + amount, cv2.GaussianBlur(img, (0, 0), 1.0), -amount, 0))


_LEAST_BLUR: Final = 1e-3  # OpenCV wants a width; this one leaves the picture as it is


def stained(pixels: Pixels, *, factors: Float64[np.ndarray, "3"], offsets: Float64[np.ndarray, "3"]) -> Pixels:
    """Scale and shift the amounts of methylene blue, eosin and the rest.

    Args:
        pixels: uint8 of shape (height, width, 3).
        factors: Of each amount.
        offsets: Added to each amount, in units of optical density (natural logarithm).

    Returns:
        uint8 of the same shape.
    """
    # Amounts are density @ inverse(STAINS): all of it is one affine map of densities.
    mixed = np.linalg.inv(STAINS) @ np.diag(factors) @ STAINS
    density = cv2.LUT(pixels, _DENSITY)
    changed = cv2.transform(density, np.column_stack([mixed.T, offsets @ STAINS]).astype(np.float32))
    light = cv2.exp(np.float32(np.log(256)) - changed)
    return np.asarray(np.rint(light - 1).clip(0, 255), dtype=np.uint8)
