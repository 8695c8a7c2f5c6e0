"""Augmented copies of a picture, as they lie unnoticed in collections put together from several sources."""

from dataclasses import dataclass

import cv2
import numpy as np

from tfcells.arrays import Pixels

_FILLERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)  # black, smeared, mirrored


@dataclass(frozen=True)
class Copy:
    """A copy and what was done to make it, e.g. `rotate 37, noise 4.1`."""

    pixels: Pixels
    done: str


def augmented_copy(picture: Pixels, *, rng: np.random.Generator) -> Copy:
    """A copy of a picture, of the same size: one change of place, and up to two of colour or sharpness.

    Changes of place: rotation by any angle, mirroring, a shift of up to a quarter, a crop to 35 to 90 % of the area
    (enlarged again); one copy in three gets two of them. Changes of colour or sharpness: blur, noise, recompression,
    gamma, colour.
    """
    places = rng.permutation(len(_PLACES))[: 1 + int(rng.random() < 1 / 3)]
    colours = rng.permutation(len(_COLOURS))[: int(rng.integers(0, 3))]
    done = []
    for change in [*(_PLACES[k] for k in places), *(_COLOURS[k] for k in colours)]:
        picture, what = change(picture, rng)
        done.append(what)
    return Copy(np.ascontiguousarray(picture), ", ".join(done))


def _warp(picture: Pixels, matrix: np.ndarray, rng: np.random.Generator) -> Pixels:
    height, width = picture.shape[:2]
    filler = _FILLERS[int(rng.integers(len(_FILLERS)))]
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=filler)


def _rotate(picture: Pixels, rng: np.random.Generator) -> tuple[Pixels, str]:
    angle = rng.uniform(5, 355)
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return _warp(picture, matrix, rng), f"rotate {angle:.0f}"


def _flip(picture: Pixels, rng: np.random.Generator) -> tuple[Pixels, str]:
    axis = int(rng.integers(2))
    return np.flip(picture, axis=axis), ("flip up-down", "flip left-right")[axis]


def _shift(picture: Pixels, rng: np.random.Generator) -> tuple[Pixels, str]:
    height, width = picture.shape[:2]
    away, angle = rng.uniform(0.05, 0.25) * min(height, width), rng.uniform(0, 2 * np.pi)
    x, y = away * np.cos(angle), away * np.sin(angle)
    return _warp(picture, np.array([[1.0, 0.0, x], [0.0, 1.0, y]]), rng), f"shift {x:.0f} {y:.0f}"


def _crop(picture: Pixels, rng: np.random.Generator) -> tuple[Pixels, str]:
    height, width = picture.shape[:2]
    area = rng.uniform(0.35, 0.9)
    # Rounded up, so that the share that is left never falls below what was drawn.
    rows, columns = int(np.ceil(height * np.sqrt(area))), int(np.ceil(width * np.sqrt(area)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    part = picture[top : top + rows, left : left + columns]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR), f"crop {area:.2f}"


def _blur(picture: Pixels, rng: np.random.Generator) -> tuple[Pixels, str]:
    sigma = rng.uniform(0.6, 1.8)
    return cv2.GaussianBlur(picture, (0, 0), sigma), f"blur {sigma:.1f}"


def _noise(picture: Pixels, rng: np.random.Generator) -> tuple[Pixels, str]:
    sigma = rng.uniform(2, 8)
    grain = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(sigma)
    return np.clip(np.rint(picture + grain), 0, 255).astype(np.uint8), f"noise {sigma:.1f}"


def _recompress(picture: Pixels, rng: np.random.Generator) -> tuple[Pixels, str]:
    quality = int(rng.integers(35, 80))
    _, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return decoded[:, :, ::-1], f"jpeg {quality}"


def _gamma(picture: Pixels, rng: np.random.Generator) -> tuple[Pixels, str]:
    gamma = float(np.exp(rng.uniform(-0.3, 0.3)))
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return table[picture], f"gamma {gamma:.2f}"


def _colour(picture: Pixels, rng: np.random.Generator) -> tuple[Pixels, str]:
    gains = np.exp(rng.uniform(-0.1, 0.1, 3)).astype(np.float32)
    shifted = np.clip(np.rint(picture * gains), 0, 255).astype(np.uint8)
    return shifted, "colour " + " ".join(f"{gain:.2f}" for gain in gains)


_PLACES = (_rotate, _flip, _shift, _crop)
_COLOURS = (_blur, _noise, _recompress, _gamma, _colour)
