"""What pixels a sound file has, format by format."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from tfcells.images.decode import FORMATS, SUFFIXES, decode_image, pixel_digest
from tfcells.images.synthetic.cells import draw_cell

CELL = draw_cell("lymphocyte", seed=0, index=0)[130:227, 110:239]  # 97 x 129: both odd, so that chroma is padded
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
LOSSLESS = {
    "PNG": {},
    "BMP": {},
    "GIF": {},
    "WEBP": {"lossless": True, "exact": True},
    "TIFF": {},
    "TIFF LZW": {"compression": "tiff_lzw"},
    "TIFF deflate": {"compression": "tiff_adobe_deflate"},
}


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind.split()[0], **LOSSLESS.get(kind, {}), **options)
    return buffer.getvalue()


def png(width, height, *, depth, colour, rows, extra=()):
    """A PNG chunk by chunk, for kinds that Pillow reads but does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tiff_row(samples, *, bits, photometric, compressed):
    """A TIFF of one row of grey samples; for kinds that Pillow reads but does not write."""
    packed = int("".join(f"{sample:0{bits}b}" for sample in samples), 2).to_bytes(len(samples) * bits // 8, "big")
    packed = np.array(samples, "<u2").tobytes() if bits == 16 else packed
    packed = zlib.compress(packed) if compressed else packed
    tags = {256: len(samples), 257: 1, 258: bits, 259: 8 if compressed else 1, 262: photometric, 273: 122}
    tags |= {277: 1, 278: 1, 279: len(packed)}
    table = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + table).ljust(122, b"\0") + packed


def upright(stored, orientation):
    """What the EXIF standard says of the stored row 0 and column 0, as NumPy's rotations."""
    return {
        1: stored,
        2: np.fliplr(stored),
        3: np.rot90(stored, 2),
        4: np.flipud(stored),
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored),
    }[orientation]


def turning(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def grey(values):
    return np.repeat(np.array(values, dtype=np.uint8)[:, :, None], 3, axis=2)


# JPEG: OpenCV's own copy of libjpeg is the second opinion.


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 92])
def test_jpeg_pixels_are_opencvs(progressive, subsampling, quality):
    data = encoded(CELL, "JPEG", progressive=progressive, subsampling=subsampling, quality=quality)
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decode_image(data), seen)


def test_a_grey_jpeg_has_three_equal_channels():
    data = encoded(Image.fromarray(CELL).convert("L"), "JPEG", quality=90)
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(decode_image(data), grey(seen))


def test_a_jpeg_that_stores_rgb_is_not_taken_for_ycbcr():
    data = encoded(CELL, "JPEG", keep_rgb=True, quality=100)
    assert b"Adobe" in data[:40]
    assert np.abs(decode_image(data).astype(int) - CELL).max() <= 2


def test_the_inks_of_a_cmyk_jpeg_become_colours():
    inks = np.dstack([CELL, np.zeros_like(CELL[:, :, 0])])
    data = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, subsampling=0)
    assert np.abs(decode_image(data).astype(int) - (255 - CELL.astype(int))).max() <= 3


def test_a_camera_picture_with_previews_behind_it_is_its_first_picture():
    data = encoded(CELL, "MPO", save_all=True, append_images=[Image.fromarray(CELL[:40, :40])], quality=95)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    np.testing.assert_array_equal(decode_image(data), decode_image(encoded(CELL, "JPEG", quality=95)))


# Formats without loss.


@pytest.mark.parametrize("kind", [kind for kind in LOSSLESS if kind != "GIF"])
def test_colours_come_back_as_they_were(kind):
    np.testing.assert_array_equal(decode_image(encoded(CELL, kind)), CELL)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_png_of_every_depth_spans_black_to_white(depth):
    levels = 2**depth
    samples = range(0, levels, max(1, levels // 256))
    bits = "".join(f"{sample:0{depth}b}" for sample in samples)
    packed = int(bits.ljust(8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    shades = [sample >> 8 if depth == 16 else sample * 255 // (levels - 1) for sample in samples]
    data = png(len(shades), 1, depth=depth, colour=0, rows=b"\0" + packed)
    np.testing.assert_array_equal(decode_image(data), grey([shades]))


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_of_sixteen_bits_the_high_byte_is_kept(samples):
    wide, high = np.array([samples], np.uint16), grey([[sample >> 8 for sample in samples]])
    for kind in ("PNG", "TIFF", "TIFF LZW"):
        np.testing.assert_array_equal(decode_image(encoded(wide, kind)), high)
    rows = b"\0" + wide.byteswap().tobytes()
    alpha = b"\0" + np.stack([wide, wide], axis=-1).byteswap().tobytes()
    np.testing.assert_array_equal(decode_image(png(len(samples), 1, depth=16, colour=0, rows=rows)), high)
    np.testing.assert_array_equal(decode_image(png(len(samples), 1, depth=16, colour=4, rows=alpha)), high)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_colour_keeps_the_order_of_its_channels(suffix):
    wide = CELL.astype(np.uint16) * 256 + 77
    data = cv2.imencode(suffix, wide[:, :, ::-1])[1].tobytes()  # OpenCV writes BGR
    np.testing.assert_array_equal(decode_image(data), CELL)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("bits", "white"), [(1, 1), (4, 1), (8, 1), (12, 1), (16, 1), (1, 0), (4, 0), (8, 0), (16, 0)])
def test_grey_tiff_of_every_depth_spans_black_to_white_also_where_white_is_zero(bits, white, compressed):
    samples = np.linspace(0, 2**bits - 1, 16).astype(int).tolist()
    shades = [sample >> (bits - 8) if bits > 8 else sample * 255 // (2**bits - 1) for sample in samples]
    found = decode_image(tiff_row(samples, bits=bits, photometric=white, compressed=compressed))
    np.testing.assert_array_equal(found, grey([shades]) if white else 255 - grey([shades]))


def test_the_inks_of_a_cmyk_tiff_become_colours():
    inks = np.dstack([CELL, np.zeros_like(CELL[:, :, 0])])
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(inks, "CMYK"), "TIFF")), 255 - CELL)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_becomes_its_colours(kind):
    palette = Image.fromarray(CELL).quantize(60)
    np.testing.assert_array_equal(decode_image(encoded(palette, kind)), np.array(palette.convert("RGB")))


@pytest.mark.parametrize(
    ("kind", "transparency"), [("PNG", 3), ("PNG", bytes(range(60))), ("GIF", 3)], ids=["PNG", "PNG alphas", "GIF"]
)
def test_a_transparent_palette_colour_counts_as_that_colour(kind, transparency):
    palette = Image.fromarray(CELL).quantize(60)
    data = encoded(palette, kind, transparency=transparency)
    assert "transparency" in Image.open(io.BytesIO(data)).info
    np.testing.assert_array_equal(decode_image(data), np.array(palette.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_dropped_and_the_colours_under_it_count(kind):
    alpha = np.arange(97 * 129).astype(np.uint8).reshape(97, 129)
    np.testing.assert_array_equal(decode_image(encoded(np.dstack([CELL, alpha]), kind)), CELL)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)], ids=["grey", "RGB"])
def test_a_colour_declared_transparent_stays_that_colour(colour, channels):
    rows = b"\0" + bytes(range(4 * channels))
    mark = (b"tRNS", struct.pack(f">{channels}H", *range(channels)))
    plain, marked = (png(4, 1, depth=8, colour=colour, rows=rows, extra=extra) for extra in ((), (mark,)))
    np.testing.assert_array_equal(decode_image(marked), decode_image(plain))


def test_grey_with_alpha_is_grey():
    shades = Image.fromarray(CELL).convert("L")
    data = encoded(Image.merge("LA", [shades, shades.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]), "PNG")
    np.testing.assert_array_equal(decode_image(data), grey(np.array(shades)))


def test_a_colour_profile_changes_nothing():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    np.testing.assert_array_equal(decode_image(encoded(CELL, "PNG", icc_profile=profile)), CELL)


# The way up.


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "TIFF LZW"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied_once(kind, orientation):
    data = encoded(CELL, kind, exif=turning(orientation))
    np.testing.assert_array_equal(decode_image(data), upright(CELL, orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_of_a_jpeg_is_the_one_opencv_applies(orientation):
    plain, turned = (encoded(CELL, "JPEG", exif=turning(value)) for value in (1, orientation))
    np.testing.assert_array_equal(decode_image(turned), upright(decode_image(plain), orientation))
    seen = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decode_image(turned), seen)


def test_an_orientation_behind_the_pixels_of_a_png_is_applied():
    data, block = encoded(CELL, "PNG"), turning(6).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    np.testing.assert_array_equal(decode_image(data[:-12] + chunk + data[-12:]), upright(CELL, 6))


@pytest.mark.parametrize("value", [0, 9, 4711])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_an_orientation_that_makes_no_sense_is_none(kind, value):
    np.testing.assert_array_equal(decode_image(encoded(CELL, kind, exif=turning(value))), CELL)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "TIFF LZW"])
def test_an_orientation_in_xmp_is_ignored(kind):
    written_by_kind = {"PNG": {"pnginfo": PngInfo()}, "WEBP": {"xmp": XMP}}
    options = written_by_kind.get(kind, {"tiffinfo": TiffImagePlugin.ImageFileDirectory_v2()})
    if kind == "PNG":
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif kind != "WEBP":
        options["tiffinfo"][700] = XMP
    data = encoded(CELL, kind, **options)
    assert b"tiff:Orientation" in data
    np.testing.assert_array_equal(decode_image(data), CELL)


def test_an_orientation_in_the_xmp_of_a_jpeg_is_ignored():
    data = encoded(CELL, "JPEG", xmp=XMP)
    np.testing.assert_array_equal(decode_image(data), decode_image(encoded(CELL, "JPEG")))


# Identity.


@pytest.mark.parametrize("kind", [kind for kind in LOSSLESS if kind != "GIF"])
def test_the_same_pixels_have_the_same_digest_in_every_format(kind):
    assert pixel_digest(decode_image(encoded(CELL, kind))) == pixel_digest(CELL)


def test_the_digest_depends_on_the_shape():
    pixels = np.arange(48, dtype=np.uint8)
    shapes = [(1, 16, 3), (2, 8, 3), (4, 4, 3), (8, 2, 3), (16, 1, 3)]
    assert len({pixel_digest(pixels.reshape(shape)) for shape in shapes}) == len(shapes)


def test_the_digest_depends_on_every_pixel_and_not_on_the_layout_in_memory():
    changed = CELL.copy()
    changed[-1, -1, -1] ^= 1
    assert pixel_digest(changed) != pixel_digest(CELL)
    assert pixel_digest(np.asfortranarray(CELL)) == pixel_digest(np.flip(np.flip(CELL).copy())) == pixel_digest(CELL)


def test_pixels_are_contiguous_and_may_be_written_to():
    for kind in ("PNG", "GIF", "TIFF"):
        pixels = decode_image(encoded(CELL, kind, exif=turning(6)) if kind == "TIFF" else encoded(CELL, kind))
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable


def test_every_suffix_belongs_to_a_format_that_is_decoded():
    Image.init()
    assert {Image.EXTENSION[suffix] for suffix in SUFFIXES} == set(FORMATS)
