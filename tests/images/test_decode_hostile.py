"""What is no picture, no single picture, too large or broken: a reason, never another exception, never a warning."""

import io
import struct
import threading
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tfcells.images.decode import MAX_PIXELS, BadImageError, decode_image
from tfcells.images.synthetic.cells import draw_cell

CELL = draw_cell("neutrophil", seed=0, index=0)[150:190, 160:211]
SAFE_JPEG = {"quality": 95, "subsampling": 0}
TURN = b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"  # the EXIF entry of orientation 6


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width, height):
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(99)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def jpeg_with(segment, *, marker=b"\xff\xe1"):
    """A JPEG with one more segment and without JFIF's, so that Pillow looks for the resolution in EXIF."""
    data = encoded(CELL, "JPEG", **SAFE_JPEG)
    behind_jfif = 4 + struct.unpack(">H", data[4:6])[0]
    return data[:2] + marker + struct.pack(">H", len(segment) + 2) + segment + data[behind_jfif:]


def outcome(data):
    """The pixels or the reason, with warnings shown instead of raised."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            answer = decode_image(data)
        except BadImageError as reason:
            answer = str(reason)
    assert [str(warning.message) for warning in heard] == []
    return answer


@pytest.fixture(scope="module")
def files():
    """One file of each kind."""
    cell, grey = Image.fromarray(CELL), Image.fromarray(CELL).convert("L")
    wide = Image.fromarray(CELL[:, :, 0].astype(np.uint16) * 257)
    return {
        "JPEG": encoded(cell, "JPEG", **SAFE_JPEG),
        "progressive JPEG": encoded(cell, "JPEG", progressive=True),
        "grey JPEG": encoded(grey, "JPEG"),
        "CMYK JPEG": encoded(cell.convert("CMYK"), "JPEG"),
        "PNG": encoded(cell, "PNG"),
        "palette PNG": encoded(cell.quantize(30), "PNG", transparency=3),
        "16-bit PNG": encoded(wide, "PNG"),
        "BMP": encoded(cell, "BMP"),
        "palette BMP": encoded(cell.quantize(30), "BMP"),
        "GIF": encoded(cell.quantize(30), "GIF"),
        "WebP": encoded(cell, "WEBP", lossless=True),
        "lossy WebP": encoded(cell, "WEBP"),
        "TIFF": encoded(cell, "TIFF"),
        "16-bit TIFF": encoded(wide, "TIFF"),
        "TIFF LZW": encoded(cell, "TIFF", compression="tiff_lzw"),
        "TIFF JPEG": encoded(cell, "TIFF", compression="jpeg"),
        "TIFF fax": encoded(cell.convert("1"), "TIFF", compression="group4"),
    }


KINDS = [
    *("JPEG", "progressive JPEG", "grey JPEG", "CMYK JPEG"),
    *("PNG", "palette PNG", "16-bit PNG", "BMP", "palette BMP", "GIF", "WebP", "lossy WebP"),
    *("TIFF", "16-bit TIFF", "TIFF LZW", "TIFF JPEG", "TIFF fax"),
]


# No picture at all.


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty (0 bytes)"),
        (b"The image has been moved.\n", "it holds text"),
        (b"<!DOCTYPE html><title>404</title>", "it holds text"),
        (bytes(1000), "not a picture in a known format"),
        (b"%PDF-1.7\n\xff\xfe\xfd", "not a picture in a known format"),
        (b"\x89PNG\r\n\x1a\n", "header is damaged"),
        (b"\xff\xd8\xff", "header is damaged"),
        (b"BM\0\0", "header is damaged"),
        (b"GIF89a\0", "header is damaged"),
        (b"II*\0", "header is damaged"),
        (b"RIFF\x04\0\0\0WEBP", "header is damaged"),
        (b"P6 1 1 255 abc", "it holds text"),  # a format that Pillow knows, and nobody asked for
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(data, reason):
    assert reason in outcome(data)


# Not one picture.


@pytest.mark.parametrize(
    ("kind", "options"), [("GIF", {}), ("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {})]
)
def test_several_pictures_in_one_file_are_refused_with_their_number(kind, options):
    frames = [Image.fromarray(np.roll(CELL, shift, axis=0)) for shift in (3, 6)]
    data = encoded(CELL, kind, save_all=True, append_images=frames, **options)
    assert outcome(data) == "holds 3 pictures; expected one per file, split it"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_an_animation_of_one_frame_is_a_picture(kind):
    assert outcome(encoded(CELL, kind, save_all=True)).shape == CELL.shape


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_samples_without_a_known_range_are_refused(dtype):
    assert "no known range; convert the file" in outcome(encoded(CELL[:, :, 0].astype(dtype), "TIFF"))


# Too large.


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (10_000, 10_000), (5_001, 5_000), (2**31 - 1, 1)])
def test_a_header_that_promises_too_much_is_refused_before_anything_is_allocated(width, height):
    data = png_header(width, height)
    outcome(data)  # once, so that Pillow's plugins are loaded
    tracemalloc.start()
    started = time.process_time()
    reason = outcome(data)
    seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"larger than the limit of {MAX_PIXELS:,} pixels" in reason
    assert peak < 2**20
    assert seconds < 1


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "GIF", "TIFF", "WEBP", "PNG"])
def test_the_limit_holds_for_every_format_and_is_itself_allowed(kind):
    data, pixels = encoded(CELL, kind), CELL.shape[0] * CELL.shape[1]
    assert decode_image(data, max_pixels=pixels).shape == CELL.shape
    with pytest.raises(BadImageError, match=f"51 x 40 pixels, larger than the limit of {pixels - 1:,} pixels"):
        decode_image(data, max_pixels=pixels - 1)


# Broken.


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_refused_unless_every_pixel_was_there(files, kind):
    whole = files[kind]
    pixels, kept = outcome(whole), 0
    for length in {*range(0, len(whole), max(1, len(whole) // 60)), *range(len(whole) - 30, len(whole))}:
        answer = outcome(whole[:length])
        if not isinstance(answer, str):
            np.testing.assert_array_equal(answer, pixels)
            kept += len(whole) - length > 30
    assert kept == 0


@given(data=st.data(), kind=st.sampled_from(KINDS))
@settings(max_examples=400, deadline=None)
def test_a_file_with_flipped_bits_is_a_picture_or_has_a_reason(files, kind, data):
    damaged = bytearray(files[kind])
    places = st.one_of(st.integers(0, len(damaged) - 1), st.integers(0, min(len(damaged), 200) - 1))
    for place, bit in data.draw(st.lists(st.tuples(places, st.integers(0, 7)), min_size=1, max_size=8)):
        damaged[place] ^= 1 << bit
    answer = outcome(bytes(damaged))
    assert answer if isinstance(answer, str) else answer.ndim == 3 and min(answer.shape) > 0


@given(
    start=st.sampled_from(
        [
            b"",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"BM",
            b"GIF89a",
            b"II*\0",
            b"MM\0*",
            b"II+\0",
            b"RIFF\xff\0\0\0WEBPVP8 ",
        ]
    ),
    rest=st.binary(max_size=300),
)
@example(start=b"BM", rest=bytes(16) + b"\x28\0\0\0" + b"\xff" * 36)
@settings(max_examples=400, deadline=None)
def test_random_bytes_are_no_picture_and_nothing_else_happens(start, rest):
    answer = outcome(start + rest)
    assert answer if isinstance(answer, str) else min(answer.shape) > 0


def test_metadata_that_lie_about_their_size_take_no_memory():
    bomb = zlib.compress(bytes(100_000_000))
    chunk = b"zTXt" + b"Comment\0\0" + bomb
    data = encoded(CELL, "PNG")
    data = data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    tracemalloc.start()
    outcome(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


# Broken metadata of a sound picture.

BROKEN_EXIF = {
    "nothing": b"",
    "no TIFF header": b"garbage",
    "a directory behind the end": b"II*\0\xff\xff\xff\x7f",
    "a directory that points to itself": b"II*\0\x08\0\0\0\x00\0\x08\0\0\0",
    "a value behind the end": b"MM\0*\0\0\0\x08\0\x01\x01\x1a\0\x05\0\0\0\x01\0\0\xff\xff\0\0\0\0",
    "an orientation of text": b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0\0\0\0\0",
    "an unknown type": b"II*\0\x08\0\0\0\x01\0\x12\x01\x63\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("block", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
def test_broken_exif_data_say_nothing_about_the_pixels(block):
    np.testing.assert_array_equal(outcome(jpeg_with(b"Exif\0\0" + block)), outcome(encoded(CELL, "JPEG", **SAFE_JPEG)))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        np.testing.assert_array_equal(outcome(encoded(CELL, kind, exif=b"Exif\0\0" + block, **options)), CELL)


@pytest.mark.parametrize("action", ["error", "ignore", "always"])
def test_what_the_user_wants_to_hear_of_warnings_does_not_turn_a_picture(action):
    cut_behind_the_orientation = b"Exif\0\0II*\0\x08\0\0\0\x05\0" + TURN
    with warnings.catch_warnings(record=action != "error"):
        warnings.simplefilter(action)
        assert decode_image(jpeg_with(cut_behind_the_orientation)).shape == (51, 40, 3)


def test_a_malformed_list_of_previews_leaves_the_picture():
    np.testing.assert_array_equal(
        outcome(jpeg_with(b"MPF\0" + b"II*\0\xff\xff\0\0", marker=b"\xff\xe2")),
        outcome(encoded(CELL, "JPEG", **SAFE_JPEG)),
    )


@given(block=st.binary(max_size=80), turned=st.booleans())
@settings(max_examples=200, deadline=None)
def test_whatever_the_exif_block_holds_the_picture_is_there(block, turned):
    start = b"Exif\0\0II*\0\x08\0\0\0\x03\0" + TURN * turned
    answer = outcome(jpeg_with(start + block))
    assert sorted(answer.shape) == [3, 40, 51]


# Many threads.


def test_threads_decode_alike_and_leave_the_warning_filters_as_they_were(files):
    expected = {kind: outcome(data) for kind, data in files.items()}
    jobs, wrong = [*files.items()] * 6, []

    def work(part):
        for kind, data in jobs[part::4]:
            try:
                np.testing.assert_array_equal(decode_image(data), expected[kind])
                decode_image(jpeg_with(b"Exif\0\0" + BROKEN_EXIF["a value behind the end"]))
            except Exception as fault:
                wrong.append(fault)

    before = list(warnings.filters)
    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert list(warnings.filters) == before


def test_other_warnings_are_still_heard_while_a_picture_is_decoded(monkeypatch):
    def loud(*arguments, **options):
        warnings.warn("a change to come", DeprecationWarning)
        return Image.fromarray(CELL)

    monkeypatch.setattr(Image, "open", loud)
    with pytest.warns(DeprecationWarning, match="a change to come"):
        decode_image(b"anything")
