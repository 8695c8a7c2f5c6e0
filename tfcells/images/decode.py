"""Image bytes to canonical pixels: 8-bit RGB, the way up a person sees them.

There is one decoder in tfcells: the audit, the features, the report and the thumbnails all see the pixels that
`decode_image` gives. The exported graph decodes by itself, and declines every file for which its decoder would
see other pixels than these (`tfcells.serving.decoding`).
"""

import hashlib
import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError, features

from tfcells.arrays import Pixels, UInt8

MAX_PIXELS: Final = 25_000_000
"""A picture with more pixels is refused before anything is decoded: 75 MB of RGB, 300 MB as float32, per thread."""

FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
SUFFIXES: Final = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_ORIENTATION: Final = 0x0112
_BITS_PER_SAMPLE: Final = 0x0102
_PHOTOMETRIC: Final = 0x0106
_SIXTEEN_BITS: Final = ("I;16", "I;16L", "I;16B", "I;16N")
_PILLOW: Final = r"PIL\."
_QUIET: Final = ("ignore", None, Warning, re.compile(_PILLOW), 0)  # what warnings.filterwarnings makes of it
_quiet_lock = threading.Lock()
_quiet_threads = 0


class BadImageError(ValueError):
    """This picture cannot be used; the message is the reason that stands in the quarantine."""


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode one file to canonical pixels.

    JPEG, PNG, BMP, GIF, WebP and TIFF. EXIF orientation is applied. Grey and palette pictures become RGB, an
    alpha channel is dropped (the colours under it count), CMYK is converted, of 12-bit and 16-bit samples the
    upper eight bits are kept. Colour profiles are ignored, as TensorFlow ignores them. JPEG is decoded with the
    integer-accurate DCT, which `tf.io.decode_jpeg(dct_method="INTEGER_ACCURATE")` matches bit for bit.

    Args:
        data: The bytes of the file.
        max_pixels: Refuse larger pictures from their header, before memory is spent on them.

    Returns:
        uint8 array of shape (height, width, 3).

    Raises:
        BadImageError: If the bytes are no such picture; the message says why.
    """
    if not data:
        raise BadImageError("the file is empty (0 bytes)")
    try:
        with without_pillow_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, max_pixels)
            # Pillow turns a TIFF while it loads: by its orientation tag, or else by XMP, which viewers ignore.
            image.info.pop("xmp", None)
            return _upright(_to_rgb(image), _orientation(image))
    except BadImageError:
        raise
    except Image.DecompressionBombError as bomb:
        raise BadImageError(f"larger than the limit of {max_pixels:,} pixels") from bomb
    except UnidentifiedImageError as unknown:
        raise BadImageError(_what_it_seems(data)) from unknown
    # Pillow's plugins raise nearly anything on hostile bytes; one bad file must never end a run.
    except Exception as broken:
        raise BadImageError(f"cannot be decoded: {_sentence(broken)}") from broken


def decoder_version() -> str:
    """What decides the pixels of a file beside its bytes: what an older one decoded is not taken over."""
    parts = {"Pillow": PIL.__version__}
    parts |= {name: features.version(name) or "none" for name in ("libjpeg_turbo", "zlib", "webp", "libtiff")}
    return ", ".join(f"{name} {version}" for name, version in parts.items())


def pixel_digest(pixels: Pixels) -> str:
    """SHA-256 of a picture's canonical pixels *and* its shape, in hexadecimal.

    The shape counts: without it a 2 x 8 and a 4 x 4 picture of the same bytes would be one.
    """
    digest = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}x{pixels.shape[2]}|".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


@contextmanager
def without_pillow_warnings() -> Iterator[None]:
    """Keep Pillow's warnings from the user: what they speak of is refused here with a reason, or does no harm.

    Where warnings are errors, they would also decide what is a picture. `warnings.catch_warnings` is not made for
    threads; here the first one puts a filter in and the last one takes it out.
    """
    global _quiet_threads
    with _quiet_lock:
        _quiet_threads += 1
        if _quiet_threads == 1:
            warnings.filterwarnings("ignore", module=_PILLOW)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_threads -= 1
            if _quiet_threads == 0:
                warnings.filters = [entry for entry in warnings.filters if entry != _QUIET]


def _check_header(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise BadImageError(f"{width:,} x {height:,} pixels, larger than the limit of {max_pixels:,} pixels")
    frames = getattr(image, "n_frames", 1)
    # MPO is a camera's JPEG followed by previews of the same scene: the first picture is the picture.
    if frames > 1 and image.format != "MPO":
        raise BadImageError(f"holds {frames} pictures; expected one per file, split it")
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise BadImageError("32-bit or signed samples have no known range; convert the file to 8 or 16 bits")


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode in _SIXTEEN_BITS or image.mode == "I":
        return np.repeat(_high_bytes(image)[:, :, None], 3, axis=2)
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        # Through RGBA, since a palette with transparency converts to RGB only with a warning.
        return np.ascontiguousarray(np.asarray(image.convert("RGBA"))[:, :, :3])
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _high_bytes(image: Image.Image) -> UInt8[np.ndarray, "height width"]:
    """Grey of more than 8 bits to 8; Pillow neither widens 12-bit samples of a TIFF nor minds that white is zero."""
    samples = np.asarray(image).astype(np.uint32)
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    grey: np.ndarray = (samples >> (bits - 8)).astype(np.uint8)
    white_is_zero = tags.get(_PHOTOMETRIC) == 0
    return 255 - grey if white_is_zero else grey


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that is left to apply, 1 to 8; 1 where there is none or it makes no sense."""
    if image.format == "TIFF":
        return 1  # Pillow has applied it
    try:
        # Not image.getexif(): that also reads XMP, which viewers and TensorFlow do not.
        exif = Image.Exif()
        exif.load(image.info.get("exif", b""))
        value = exif.get(_ORIENTATION, 1)
    # A broken EXIF block says nothing about the pixels, which are whole.
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: Pixels, orientation: int) -> UInt8[np.ndarray, "rows columns 3"]:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _what_it_seems(data: bytes) -> str:
    start = data[:512]
    printable = sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in start)
    if printable == len(start):
        return "not a picture: it holds text"
    return "not a picture in a known format (JPEG, PNG, BMP, GIF, WebP, TIFF), or its header is damaged"


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
