"""Whatever the bytes: the header check ends, never fails, and never lets other pixels through than Python sees."""

import io
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tfcells.images.decode import BadImageError, decode_image

PIXELS = np.random.default_rng(0).integers(0, 256, (11, 14, 3), dtype=np.uint8)
MANY = settings(deadline=None, max_examples=150)


def saved(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


JPEG, PROGRESSIVE, PNG, BMP = saved("JPEG"), saved("JPEG", progressive=True), saved("PNG"), saved("BMP")
FILES = st.sampled_from([JPEG, PROGRESSIVE, PNG, BMP])
STARTS = st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"BM", JPEG[:40], PNG[:40], BMP[:40]])


def python_pixels(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd EXIF data and goes on, as it does outside of tests
        try:
            return decode_image(data)
        except BadImageError:
            return None


@pytest.fixture(scope="module")
def agree(header_problem, graph_pixels):
    """Asserts that a file is declined, or that whoever can decode it sees the same."""

    def check(data):
        problem = header_problem(data)
        assert problem == "" or len(problem) > 10
        python, graph = python_pixels(data), None if problem else graph_pixels(data)
        if python is not None and graph is not None:
            np.testing.assert_array_equal(graph, python)
        return problem

    return check


@MANY
@given(STARTS, st.binary(max_size=200))
def test_any_bytes_are_survived(agree, start, rest):
    agree(start + rest)


@MANY
@given(FILES, st.integers(0, 2000))
def test_a_file_cut_anywhere_is_survived(agree, data, length):
    agree(data[:length])


@MANY
@given(FILES, st.lists(st.tuples(st.integers(0, 170), st.integers(1, 255)), min_size=1, max_size=3))
def test_a_header_with_flipped_bits_is_survived(agree, data, flips):
    flipped = bytearray(data)
    for place, mask in flips:
        flipped[place % len(data)] ^= mask
    agree(bytes(flipped))


# A JPEG's segments, and among them EXIF blocks that mean to turn the picture past the check.


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def tiff(entries, *, order, offset=8, magic=42, count=None):
    """An EXIF block; entries are (tag, type, count, value)."""
    packed = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", magic, offset)
    return head + struct.pack(f"{order}H", len(entries) if count is None else count) + packed + bytes(4)


SHORT = {"<": lambda value: struct.pack("<HH", value, 0), ">": lambda value: struct.pack(">HH", value, 0)}
ORIENTED = st.builds(
    lambda order, entries, offset, magic, count: tiff(
        [(tag, kind, number, SHORT[order](value)) for tag, kind, number, value in entries],
        order=order,
        offset=offset,
        magic=magic,
        count=count,
    ),
    st.sampled_from("<>"),
    st.lists(
        st.tuples(
            st.sampled_from([0x0112, 0x0112, 0x0110, 0x8769]),
            st.sampled_from([3, 3, 3, 1, 4, 99]),
            st.sampled_from([1, 1, 1, 0, 2, 3]),
            st.integers(0, 9),
        ),
        max_size=3,
    ),
    st.sampled_from([8, 8, 8, 0, 9, 20, 2**31 - 1, 2**32 - 1]),
    st.sampled_from([42, 42, 43, 0]),
    st.sampled_from([None, None, None, 0, 1, 65_535]),
)
EXIF = st.builds(lambda block, cut: b"Exif\0\0" + block[:cut], ORIENTED, st.sampled_from([None, None, 7, 20]))
SEGMENTS = st.lists(
    st.one_of(
        st.builds(segment, st.just(0xE1), EXIF),
        st.builds(segment, st.integers(0xC0, 0xFE), st.binary(max_size=20)),
        st.builds(lambda marker, exif: segment(marker, segment(0xE1, exif)), st.integers(0, 0xFF), EXIF),
        st.sampled_from([b"\xff", b"\xff\x00", b"\xff\xd0", b"\x00"]),
    ),
    min_size=1,
    max_size=3,
)
TURNED = tiff([(0x0112, 3, 1, SHORT["<"](6))], order="<")
UPRIGHT = tiff([(0x0112, 3, 1, SHORT["<"](1))], order="<")
HIDDEN = segment(0xE1, b"Exif\0\0" + TURNED)


@settings(deadline=None, max_examples=300)
@given(SEGMENTS)
@example([segment(0xE1, b"Exif\0\0" + UPRIGHT)])
@example([segment(0xE1, b"Exif\0\0" + tiff([(0x0112, 3, 1, SHORT["<"](v)) for v in (6, 1)], order="<"))])
@example([segment(0xE1, b"Exif\0\0" + tiff([(0x0112, 3, 1, SHORT["<"](v)) for v in (1, 6)], order="<"))])
@example([segment(0xE1, b"Exif\0\0" + tiff([], order="<", offset=2**31 - 1))])
@example([segment(0xD0, HIDDEN)])
@example([segment(0x00, b"\0\0" + HIDDEN)])
@example([segment(0xE1, b"Exif\0\0"), HIDDEN])
@example([segment(0xE1, b"Exif\0\0Exif\0\0" + TURNED)])
def test_no_segment_turns_a_picture_past_the_check(agree, segments):
    agree(JPEG[:2] + b"".join(segments) + JPEG[2:])


def test_an_exif_block_in_two_segments_is_declined_however_short_the_first(agree):
    # Python reads both as one block: its directory begins at byte 77, where it is turned.
    alone = tiff([(0x0112, 3, 1, SHORT[">"](1))], order=">").ljust(77 - 7, b"\0")
    second = alone + tiff([(0x0112, 3, 1, SHORT[">"](6))], order=">")[8:]
    data = JPEG[:2] + segment(0xE1, b"Exif\0\0MM\0*\0\0\0") + segment(0xE1, b"Exif\0\0" + second) + JPEG[2:]
    assert python_pixels(data).shape == (14, 11, 3)
    assert "EXIF" in agree(data)


# A PNG's chunks, with sound checksums: nothing stops at the door.


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


ANCILLARY = st.lists(
    st.one_of(
        st.builds(chunk, st.just(b"eXIf"), ORIENTED),
        st.builds(chunk, st.sampled_from([b"tRNS", b"gAMA", b"sBIT", b"bKGD", b"PLTE"]), st.binary(max_size=12)),
        st.just(chunk(b"acTL", struct.pack(">II", 2, 0))),
        st.just(chunk(b"tEXt", b"Raw profile type exif\0exif\n4\n45786966")),
    ),
    max_size=2,
)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([1, 2, 4, 8, 8, 8, 16]),
    st.sampled_from([0, 2, 3, 4, 6]),
    st.sampled_from([0, 0, 1]),
    ANCILLARY,
    ANCILLARY,
    st.integers(0, 1000),
)
def test_no_chunk_turns_or_colours_a_picture_past_the_check(agree, bits, colour, interlaced, before, after, seed):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 7, bits, colour, 0, 0, interlaced))
    table = chunk(b"PLTE", bytes(range(3 * 2 ** min(bits, 8) % 256)) * 3) if colour == 3 else b""
    # Bytes from 0 to 4 are filters wherever a line begins, and there are enough of them for any depth.
    lines = np.random.default_rng(seed).integers(0, 5, 700, dtype=np.uint8).tobytes()
    data = chunk(b"IDAT", zlib.compress(lines))
    agree(
        b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + table + data + b"".join(after) + chunk(b"IEND"),
    )


@MANY
@given(st.lists(st.tuples(st.sampled_from([10, 14, 18, 22, 26, 28, 30]), st.integers(0, 2**32 - 1)), max_size=2))
def test_no_bmp_header_shows_other_pixels(agree, fields):
    data = bytearray(BMP)
    for place, value in fields:
        data[place : place + 4] = struct.pack("<I", value)
    agree(bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        JPEG[:2] + b"\xff" * 3_000_000 + JPEG[2:],
        JPEG[:2] + segment(0xFE, b"") * 500_000 + JPEG[2:],
        JPEG[:2] + segment(0xE1, b"Exif\0\0" + tiff([(0x0110, 3, 1, bytes(4))] * 5400, order="<")) + JPEG[2:],
        PNG[:33] + chunk(b"teXt") * 200_000 + PNG[33:],
    ],
    ids=["fill bytes", "empty segments", "long directory", "empty chunks"],
)
def test_no_header_keeps_the_check_busy(header_problem, data):
    started = time.process_time()
    header_problem(data)
    assert time.process_time() - started < 20  # part by part to the end would take minutes
