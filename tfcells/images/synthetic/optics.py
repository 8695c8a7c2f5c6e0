"""From dye to pixels: lamp, lens and camera. Whole pictures are handled in 8 bits, which is four times faster."""

import cv2
import numpy as np

from tfcells.arrays import Pixels
from tfcells.images.synthetic.noise import random_bytes, smooth_field
from tfcells.images.synthetic.planes import Coverage, Dyes, Patch, PatchCover
from tfcells.images.synthetic.red_cells import UNIT
from tfcells.images.synthetic.stain import Slide

_OVERLAP = 0.45  # share of its density a second cell adds: where cells overlap, both are pressed thinner
_APART = 40_009  # pixels between the noise of one channel and the next


def light_through_blood(thickness: Coverage, *, slide: Slide) -> Pixels:
    """Colour of the red cells and the empty background between them, by a table of 256 thicknesses."""
    amounts = np.arange(256) / UNIT
    amounts = np.where(amounts > 1, 1 + _OVERLAP * (amounts - 1), amounts)
    colours = slide.background * np.exp(-amounts[:, None] * slide.densities[0])
    return cv2.applyColorMap(thickness, np.rint(colours).astype(np.uint8)[:, None, :])


def light_through_dyes(dyes: Dyes, *, slide: Slide) -> Pixels:
    """Colour of amounts of dye on the empty background: Beer and Lambert."""
    channels = []
    for channel in range(3):
        # Summed dye by dye: a matrix product of so few rows is slower.
        density = dyes[0] * np.float32(-slide.densities[0, channel])
        for amount, weight in zip(dyes[1:], slide.densities[1:, channel], strict=True):
            density -= amount * np.float32(weight)
        channels.append(cv2.exp(density) * np.float32(slide.background[channel]))
    return np.asarray(cv2.merge(channels)).astype(np.uint8)


def lay_over(picture: Pixels, patch: Patch, *, cover: PatchCover, left: int, top: int) -> None:
    """Lays a patch over the picture in place where `cover` is 1; what sticks out of the picture is cut off."""
    height, width = picture.shape[:2]
    rows = slice(max(-top, 0), min(patch.shape[0], height - top))
    columns = slice(max(-left, 0), min(patch.shape[1], width - left))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return
    there = picture[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    share = cover[rows, columns]
    cv2.blendLinear(patch[rows, columns], there, share, 1 - share, dst=there)


def expose(rng: np.random.Generator, light: Pixels, *, slide: Slide) -> Pixels:
    """The camera's picture: focus blur, unsharp mask, uneven lamp, noise."""
    soft = cv2.GaussianBlur(light, (0, 0), slide.blur)
    # The mask is what puts the bright halo round dark cells on scanner pictures.
    wide = cv2.blur(soft, (5, 5))
    sharp = cv2.addWeighted(soft, 1 + slide.sharpening, wide, -slide.sharpening, 0)
    lit = cv2.multiply(sharp, _lamp(rng, light.shape[:2], slide), scale=1 / 255)
    return _with_noise(rng, lit, sigma=slide.noise)


def _lamp(rng: np.random.Generator, shape: tuple[int, int], slide: Slide) -> Pixels:
    """Brightness of the lamp, 255 at most, equal in the three channels."""
    height, width = shape
    # The lamp changes slowly: worked out on a coarse grid and enlarged.
    coarse, angle = 33, rng.uniform(0, 2 * np.pi)
    along = np.linspace(-0.5, 0.5, coarse, dtype=np.float32)
    tilt = np.float32(np.cos(angle)) * along[None, :] + np.float32(np.sin(angle)) * along[:, None]
    fall = np.float32(slide.unevenness) * (tilt - tilt.max()) - np.float32(0.003) * np.abs(
        smooth_field(rng, (coarse, coarse), scale=8.0)
    )
    flat = np.asarray(cv2.resize(255.4 * (1 + fall), (width, height), interpolation=cv2.INTER_LINEAR)).astype(np.uint8)
    return cv2.merge([flat, flat, flat])


def _with_noise(rng: np.random.Generator, picture: Pixels, *, sigma: float) -> Pixels:
    """Even noise of a standard deviation in grey levels, added and centred in 8 bits."""
    span = sigma * np.sqrt(12)
    table = np.floor(np.arange(256) / 256 * (span + 1)).astype(np.uint8)
    height, width = picture.shape[:2]
    # One draw, read from three starting points far apart: the channels look independent at a third of the cost.
    raw = cv2.LUT(random_bytes(rng, height * width + 2 * _APART), table).ravel()
    parts = [raw[start : start + height * width].reshape(height, width) for start in (0, _APART, 2 * _APART)]
    return cv2.addWeighted(picture, 1.0, cv2.merge(parts), 1.0, -span / 2)
