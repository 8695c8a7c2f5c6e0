"""Image bytes to canonical pixels inside a graph, or a sentence that says why not.

TensorFlow decodes JPEG, PNG and BMP to the same pixels as `tfcells.images.decode` as long as the file is a
plain one. What is not plain is declined rather than seen with other pixels: TensorFlow would ignore an EXIF
orientation, keep the inverted inks of a CMYK file, or scale 16-bit samples in its own way. Such a file is
served after it was re-encoded as PNG from its canonical pixels, as `tfcells predict` does.

Everything here is TensorFlow operations, so it is part of the SavedModel and needs no Python there.
"""

from typing import Final

import tensorflow as tf

MAX_PIXELS: Final = 25_000_000
_ADVICE: Final = "; send its pixels as an 8-bit RGB PNG"
# What is walked over, one by one: more than real files have, and a hostile one is declined within seconds.
_MOST_SEGMENTS: Final = 1_024
_MOST_CHUNKS: Final = 16_384  # libpng makes chunks of 8 KiB, and the largest picture has 75 MB


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])  # traced once for all graphs: it takes seconds
def header_problem(data: tf.Tensor) -> tf.Tensor:
    """Say why a file is declined, from its header alone; nothing is decoded, so hostile sizes cost nothing.

    Args:
        data: Scalar string, the bytes of a file.

    Returns:
        Scalar string, empty where the file is plain.
    """
    octets = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32)
    if tf.size(octets) < 30:
        problem = tf.constant("not a picture: fewer than 30 bytes")
    elif _starts_with(octets, b"\xff\xd8\xff"):
        problem = _jpeg_problem(octets)
    elif _starts_with(octets, b"\x89PNG\r\n\x1a\n"):
        problem = _png_problem(octets)
    elif _starts_with(octets, b"BM"):
        problem = _bmp_problem(octets)
    else:
        problem = tf.constant("not a JPEG, PNG or BMP file" + _ADVICE)
    return problem


def decode_pixels(data: tf.Tensor) -> tf.Tensor:
    """Decode a plain file.

    Args:
        data: Scalar string for which `header_problem` is empty.

    Returns:
        uint8 of shape (height, width, 3).

    Raises:
        tf.errors.InvalidArgumentError: When run on bytes that are damaged behind a sound header.
    """
    kind = tf.strings.substr(data, 0, 2)
    if kind == b"\xff\xd8":
        # The default DCT is a faster approximation, which differs from every other decoder.
        pixels = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    elif kind == b"BM":
        pixels = tf.io.decode_bmp(data, channels=3)
    else:
        pixels = tf.io.decode_png(data, channels=3)
    return pixels


def _starts_with(octets: tf.Tensor, prefix: bytes) -> tf.Tensor:
    return tf.reduce_all(octets[: len(prefix)] == list(prefix))


def _big_endian(octets: tf.Tensor, at: tf.Tensor, width: int) -> tf.Tensor:
    """An unsigned number of `width` bytes; four bytes that exceed int32 come out negative."""
    value = tf.constant(0)
    for place in range(width):
        value = tf.bitwise.bitwise_or(tf.bitwise.left_shift(value, 8), octets[at + place])
    return value


def _size_problem(width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    pixels = tf.cast(width, tf.int64) * tf.cast(height, tf.int64)
    problem = tf.constant("")
    if width < 1 or height < 1:
        problem = tf.constant("its header gives no size")
    elif pixels > MAX_PIXELS:
        problem = tf.constant(f"larger than the limit of {MAX_PIXELS:,} pixels")
    return problem


def _jpeg_problem(octets: tf.Tensor) -> tf.Tensor:
    """Walk the segments up to the first scan: frame header, EXIF."""
    total = tf.size(octets)
    at, parts, frames, exifs = tf.constant(2), tf.constant(0), tf.constant(0), tf.constant(0)
    problem, walking, upright = tf.constant(""), tf.constant(True), tf.constant(True)
    while walking:
        parts += 1
        if at + 4 > total:
            problem, walking = tf.constant("its header is cut short"), False
        elif parts > _MOST_SEGMENTS:
            problem, walking = tf.constant("its header has too many segments" + _ADVICE), False
        elif octets[at] != 0xFF or not _stands_in_header(octets[at + 1]):
            problem, walking = tf.constant("its JPEG segments are damaged" + _ADVICE), False
        elif octets[at + 1] == 0xFF:  # fill bytes may stand before a marker
            at += 1
        elif octets[at + 1] == 0xDA:  # the first scan: what follows is pixels
            walking = False
        else:
            marker, length = octets[at + 1], _big_endian(octets, at + 2, 2)
            end = at + 2 + length
            if length < 2 or end > total:
                problem, walking = tf.constant("its header is cut short"), False
            elif marker >= 0xC0 and marker <= 0xCF and marker != 0xC4 and marker != 0xC8 and marker != 0xCC:
                frames += 1
                problem = _frame_problem(octets, at, marker, length)
                walking = tf.equal(problem, "")
            elif marker == 0xE1 and length >= 8 and tf.reduce_all(octets[at + 4 : at + 10] == list(b"Exif\0\0")):
                # A second EXIF segment continues the first; together they are beyond what is read here.
                exifs += 1
                upright = tf.logical_and(exifs == 1, _is_upright(octets[at + 10 : end]))
            at = end
    if tf.equal(problem, "") and frames != 1:
        problem = tf.constant("its JPEG frame header is missing" + _ADVICE)
    if tf.equal(problem, "") and not upright:
        problem = tf.constant("its EXIF data turn the picture" + _ADVICE)
    return problem


def _stands_in_header(marker: tf.Tensor) -> tf.Tensor:
    """Whether all decoders agree where what follows a marker ends; after the others they may see other segments."""
    alone = marker >= 0xD0 and marker <= 0xD9
    return (marker >= 0xC0 and marker <= 0xEF and not alone) or marker >= 0xFE


def _frame_problem(octets: tf.Tensor, at: tf.Tensor, marker: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    problem = tf.constant("")
    if marker > 0xC2:
        problem = tf.constant("a JPEG that is neither baseline nor progressive" + _ADVICE)
    elif length < 8 or octets[at + 4] != 8:
        problem = tf.constant("a JPEG of other than 8 bits" + _ADVICE)
    elif octets[at + 9] != 1 and octets[at + 9] != 3:
        problem = tf.constant("a CMYK JPEG" + _ADVICE)
    else:
        problem = _size_problem(_big_endian(octets, at + 7, 2), _big_endian(octets, at + 5, 2))
    return problem


def _is_upright(tiff: tf.Tensor) -> tf.Tensor:
    """Whether an EXIF block is whole and no reader finds an orientation in it that turns the picture."""
    total = tf.size(tiff)
    upright = tf.constant(False)
    if total >= 8 and tiff[0] == tiff[1] and (tiff[0] == 0x49 or tiff[0] == 0x4D):
        little = tiff[0] == 0x49
        start = _tiff_number(tiff, 4, 4, little)
        if start >= 8 and start <= total - 2:
            end = start + 2 + 12 * _tiff_number(tiff, start, 2, little)
            if end <= total:
                upright = _no_entry_turns(tf.reshape(tiff[start + 2 : end], (-1, 12)), little)
    return upright


def _no_entry_turns(entries: tf.Tensor, little: tf.Tensor) -> tf.Tensor:
    """Of several orientations some readers take the first, some the last: all must be single, short and upright."""
    tag = tf.where(little, [0x12, 0x01], [0x01, 0x12])
    single_short = tf.where(little, [3, 0, 1, 0, 0, 0], [0, 3, 0, 0, 0, 1])
    value = tf.reduce_sum(entries[:, 8:10] * tf.where(little, [1, 256], [256, 1]), axis=1)
    turns = tf.logical_or(
        tf.reduce_any(entries[:, 2:8] != single_short, axis=1), tf.logical_and(value >= 2, value <= 8)
    )
    return not tf.reduce_any(tf.logical_and(tf.reduce_all(entries[:, :2] == tag, axis=1), turns))


def _tiff_number(tiff: tf.Tensor, at: tf.Tensor | int, width: int, little: tf.Tensor) -> tf.Tensor:
    octets = tiff[at : at + width]
    return _big_endian(tf.where(little, octets[::-1], octets), tf.constant(0), width)


def _png_problem(octets: tf.Tensor) -> tf.Tensor:
    """Check the header chunk, and look for an orientation and for frames among the others."""
    total = tf.size(octets)
    problem = _size_problem(_big_endian(octets, tf.constant(16), 4), _big_endian(octets, tf.constant(20), 4))
    if tf.equal(problem, "") and octets[24] > 8:
        problem = tf.constant("a PNG of 16-bit samples" + _ADVICE)
    at, parts, walking = tf.constant(8), tf.constant(0), tf.equal(problem, "")
    while walking:
        parts += 1
        if at + 12 > total:
            problem, walking = tf.constant("cut short: it has no IEND chunk"), False
        elif parts > _MOST_CHUNKS:
            problem, walking = tf.constant("made of too many chunks" + _ADVICE), False
        else:
            length, kind = _big_endian(octets, at, 4), octets[at + 4 : at + 8]
            if length < 0 or length > total - at - 12:
                problem, walking = tf.constant("cut short in one of its chunks"), False
            elif tf.reduce_all(kind == list(b"IEND")):
                walking = False
            elif tf.reduce_all(kind == list(b"acTL")):
                problem, walking = tf.constant("an animated PNG" + _ADVICE), False
            elif tf.reduce_all(kind == list(b"eXIf")) and not _is_upright(octets[at + 8 : at + 8 + length]):
                problem, walking = tf.constant("its EXIF data turn the picture" + _ADVICE), False
            at += length + 12
    return problem


def _bmp_problem(octets: tf.Tensor) -> tf.Tensor:
    header = _tiff_number(octets, 14, 4, tf.constant(True))
    height = _tiff_number(octets, 22, 4, tf.constant(True))  # negative: the first row is the top one
    bits, compression = octets[28] + 256 * octets[29], tf.constant(0)
    if tf.size(octets) >= 34:
        compression = _tiff_number(octets, 30, 4, tf.constant(True))
    if header < 40 or bits != 24 or compression != 0:
        problem = tf.constant("a BMP of other than 24 bits without compression" + _ADVICE)
    else:
        problem = _size_problem(_tiff_number(octets, 18, 4, tf.constant(True)), tf.abs(height))
    return problem
