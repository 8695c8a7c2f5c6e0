"""Canonical pixels as PNG bytes: what an export is given for files it would decline."""

import io

from PIL import Image

from tfcells.arrays import Pixels


def encode_png(pixels: Pixels) -> bytes:
    """Encode without loss, 8-bit RGB; quickly rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
