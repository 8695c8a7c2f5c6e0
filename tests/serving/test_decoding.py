"""What the graph takes it sees as Python does, bit for bit; everything else it declines with a reason."""

import io
import itertools
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from tfcells.images.decode import MAX_PIXELS as PYTHON_MAX_PIXELS
from tfcells.images.decode import decode_image
from tfcells.serving.decoding import MAX_PIXELS
from tfcells.serving.png import encode_png

HEIGHT, WIDTH = 13, 17
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def saved(kind, picture=PICTURE, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def jpeg(*flags):
    return cv2.imencode(".jpg", PIXELS, flags)[1].tobytes()


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits, colour, *, before=b"", after=b"", width=WIDTH, height=HEIGHT, samples=1, rows=HEIGHT, parts=1):
    """A PNG made by hand, of random samples; `parts` IDAT chunks."""
    generator = np.random.default_rng(bits)
    lines = b"".join(b"\0" + generator.bytes((width * bits * samples + 7) // 8) for _ in range(rows))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    packed = zlib.compress(lines)
    cuts = np.linspace(0, len(packed), parts + 1).astype(int)
    data = b"".join(chunk(b"IDAT", packed[low:high]) for low, high in itertools.pairwise(cuts))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + data + after + chunk(b"IEND")


def palette(bits, entries=None):
    return chunk(b"PLTE", np.random.default_rng(9).bytes(3 * (2**bits if entries is None else entries)))


def bmp(**fields):
    """A 24-bit BMP with some header fields replaced: `at_<offset>` by a little-endian number of four bytes."""
    data = bytearray(saved("BMP"))
    for name, value in fields.items():
        place = int(name.removeprefix("at_"))
        data[place : place + 4] = struct.pack("<I", value & 0xFFFFFFFF)
    return bytes(data)


PROGRESSIVE, SAMPLING = cv2.IMWRITE_JPEG_PROGRESSIVE, cv2.IMWRITE_JPEG_SAMPLING_FACTOR
TAKEN = {
    **{f"jpeg quality {value}": jpeg(cv2.IMWRITE_JPEG_QUALITY, value) for value in (1, 50, 100)},
    **{
        f"jpeg {name}{' progressive' if progressive else ''}": jpeg(
            SAMPLING, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}"), PROGRESSIVE, progressive
        )
        for name in ("411", "420", "422", "440", "444")
        for progressive in (0, 1)
    },
    "jpeg with restarts": jpeg(cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    "jpeg with optimal tables": jpeg(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    "jpeg grey": saved("JPEG", PICTURE.convert("L")),
    "jpeg grey progressive": saved("JPEG", PICTURE.convert("L"), progressive=True),
    "jpeg that stores RGB": saved("JPEG", keep_rgb=True),
    "jpeg with a colour profile": saved("JPEG", icc_profile=bytes(70_000)),
    "jpeg with a comment": saved("JPEG", comment="a" * 500),
    "jpeg with XMP that turns": saved("JPEG", xmp=b'<x:xmpmeta tiff:Orientation="6"/>'),
    "jpeg and rubbish behind it": saved("JPEG") + b"rubbish",
    "jpeg with fill bytes": saved("JPEG")[:2] + b"\xff\xff" + saved("JPEG")[2:],
    "camera's jpeg with a preview": saved("MPO", save_all=True, append_images=[PICTURE.resize((8, 8))]),
    **{f"jpeg turned by {value}": saved("JPEG", exif=turned(value)) for value in (0, 1, 9, 500)},
    **{f"png turned by {value}": saved("PNG", exif=turned(value)) for value in (0, 1, 9)},
    **{f"png grey {bits}": png(bits, 0) for bits in (1, 2, 4, 8)},
    **{f"png grey {bits} tRNS": png(bits, 0, before=chunk(b"tRNS", b"\0\1")) for bits in (1, 2, 4, 8)},
    **{f"png palette {bits}": png(bits, 3, before=palette(bits)) for bits in (1, 2, 4, 8)},
    **{
        f"png palette {bits} tRNS": png(bits, 3, before=palette(bits) + chunk(b"tRNS", bytes(range(0, 2**bits, 2))))
        for bits in (1, 2, 4, 8)
    },
    **{f"png short palette {bits}": png(bits, 3, before=palette(bits, 2 ** (bits - 1))) for bits in (1, 2, 4, 8)},
    "png RGB": png(8, 2, samples=3),
    "png RGB tRNS": png(8, 2, samples=3, before=chunk(b"tRNS", bytes([0, 1, 0, 2, 0, 3]))),
    "png grey and alpha": png(8, 4, samples=2),
    "png RGBA": png(8, 6, samples=4),
    "png with gamma": png(8, 2, samples=3, before=chunk(b"gAMA", struct.pack(">I", 100_000))),
    "png with a background": png(8, 2, samples=3, before=chunk(b"bKGD", bytes([0, 9, 0, 9, 0, 9]))),
    "png with significant bits": png(8, 2, samples=3, before=chunk(b"sBIT", b"\5\6\5")),
    "png with a suggested palette": png(8, 2, samples=3, before=palette(8)),
    "png in many parts": png(8, 2, samples=3, parts=50),
    "png of this package": encode_png(PIXELS),
    "bmp": saved("BMP"),
    "bmp of black, which ends in zeros": saved("BMP", Image.new("RGB", (WIDTH, HEIGHT))),
    "bmp from the top down": bmp(at_22=-HEIGHT),
}
DECLINED = {
    **{f"jpeg turned by {value}": (saved("JPEG", exif=turned(value)), "EXIF") for value in range(2, 9)},
    **{f"png turned by {value}": (saved("PNG", exif=turned(value)), "EXIF") for value in range(2, 9)},
    "jpeg CMYK": (saved("JPEG", PICTURE.convert("CMYK")), "a CMYK JPEG"),
    "png grey 16": (png(16, 0), "16-bit samples"),
    "png RGB 16": (png(16, 2, samples=3), "16-bit samples"),
    "png animated": (saved("PNG", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]), "animated"),
    "bmp grey": (saved("BMP", PICTURE.convert("L")), "other than 24 bits"),
    "bmp black and white": (saved("BMP", PICTURE.convert("1")), "other than 24 bits"),
    "bmp compressed": (bmp(at_30=1), "other than 24 bits without compression"),
    "tiff": (saved("TIFF"), "not a JPEG, PNG or BMP"),
    "webp": (saved("WEBP"), "not a JPEG, PNG or BMP"),
    "gif": (saved("GIF"), "not a JPEG, PNG or BMP"),
    "nothing": (b"", "fewer than 30 bytes"),
    "text": (b"id,label\n" * 9, "not a JPEG, PNG or BMP"),
}
DAMAGED = {
    "jpeg cut in its header": (saved("JPEG")[:100], "cut short"),
    "jpeg without a scan": (saved("JPEG")[:2] + b"\xff\xe0\0\x10" * 20, "damaged|cut short"),
    "jpeg without a frame": (saved("JPEG")[:2] + b"\xff\xda" + bytes(40), "frame header is missing"),
    "png cut in its pixels": (saved("PNG")[:-30], "cut short in one of its chunks"),
    "png without an end": (saved("PNG")[:-12], "no IEND"),
    "png without pixels across": (png(8, 0, width=0), "gives no size"),
    "bmp without pixels across": (bmp(at_18=0), "gives no size"),
}
BOMBS = {
    "png": png(8, 0, width=100_000, height=100_000, rows=1),
    "png just too large": png(8, 0, width=5001, height=5000, rows=1),
    "png too large for a number": png(8, 0, width=8, height=2**32 - 1, rows=1),
    "jpeg": saved("JPEG").replace(struct.pack(">HH", HEIGHT, WIDTH), struct.pack(">HH", 65_000, 65_000), 1),
    "bmp": bmp(at_18=100_000, at_22=100_000),
    "bmp from the top down": bmp(at_18=100_000, at_22=-100_000),
    "bmp of the lowest number of rows": bmp(at_22=-(2**31)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_plain_files_are_taken_and_seen_bit_for_bit(name, header_problem, graph_pixels):
    assert header_problem(TAKEN[name]) == ""
    np.testing.assert_array_equal(graph_pixels(TAKEN[name]), decode_image(TAKEN[name]))


@pytest.mark.parametrize("name", DECLINED)
def test_other_files_are_declined_with_a_reason_and_advice(name, header_problem):
    data, reason = DECLINED[name]
    problem = header_problem(data)
    assert reason in problem
    assert problem.endswith("; send its pixels as an 8-bit RGB PNG") or not data


@pytest.mark.parametrize("name", [name for name in DECLINED if name not in ("nothing", "text", "bmp compressed")])
def test_what_is_declined_is_taken_once_its_pixels_are_sent_as_png(name, header_problem, graph_pixels):
    data = DECLINED[name][0]
    if name == "png animated":
        data = saved("PNG")  # Python refuses it as well: it holds two pictures
    again = encode_png(decode_image(data))
    assert header_problem(again) == ""
    np.testing.assert_array_equal(graph_pixels(again), decode_image(data))


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_headers_are_declined(name, header_problem):
    data, reason = DAMAGED[name]
    assert any(part in header_problem(data) for part in reason.split("|"))


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_sizes_are_declined_from_the_header(name, header_problem):
    problem = header_problem(BOMBS[name])
    assert problem == "larger than the limit of 25,000,000 pixels" or "gives no size" in problem


def test_a_picture_of_the_largest_size_is_not_declined(header_problem):
    assert header_problem(png(8, 0, width=5000, height=5000, rows=1)) == ""


def test_the_graph_and_the_reader_have_one_limit():
    assert MAX_PIXELS == PYTHON_MAX_PIXELS
