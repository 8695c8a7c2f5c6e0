"""Malformed images among good ones: are the good ones' features those of a clean run, and is every bad one named?

    python benchmarks/fuzz.py --images DIR --count 1000 --seed 0

Makes `--count` malformed files from the pictures in DIR (and from conversions of them to other formats): flipped
bits, truncations, headers of another format, swapped magic numbers, giant declared sizes, decompression bombs of
every format, archives of zeros, empty files, nested EXIF junk, and the odd but honest: CMYK, 16 bits, palettes. A
folder of these and of the good ones is extracted, and so is a folder of the good ones alone. One JSON line goes to
stdout; exit code 1 if a law is broken.
"""

import argparse
import contextlib
import io
import json
import resource
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tfcells.images.decode import BadImageError, decode_image, pixel_digest
from tfcells.images.readers import find_pictures, read_folder
from tfcells.images.table import ImageTable

SECONDS = 20.0
"""What one file may take; a large picture takes less than one on a quiet machine."""

SUFFIXES = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp"}
MAGIC = (
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"RIFF\0\0\0\0WEBP",
    b"PK\3\4",
)
Maker = Callable[[np.random.Generator, bytes], tuple[bytes, str]]


def encoded(data: bytes, kind: str, *, mode: str = "RGB", **options: object) -> bytes:
    """A picture in another format."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def any_kind(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """A picture in a format that is drawn."""
    kind = str(generator.choice(list(SUFFIXES)))
    return encoded(data, kind), SUFFIXES[kind]


def flipped(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """One to sixty-four flipped bits, half of the time near the start."""
    data, suffix = any_kind(generator, data)
    changed = bytearray(data)
    end = len(changed) if generator.random() < 0.5 else min(len(changed), 200)
    for place in generator.integers(0, 8 * end, 2 ** int(generator.integers(0, 7))).tolist():
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed), suffix


def truncated(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """Cut off anywhere; at its very start it is an empty file."""
    data, suffix = any_kind(generator, data)
    return data[: int(generator.integers(0, len(data)))], suffix


def empty(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """No byte at all."""
    return b"", str(generator.choice(list(SUFFIXES.values())))


def other_magic(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """The first bytes of another format."""
    data, suffix = any_kind(generator, data)
    magic = MAGIC[int(generator.integers(len(MAGIC)))]
    return magic + data[len(magic) :], suffix


def noise(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """Random bytes behind a right beginning."""
    start = MAGIC[int(generator.integers(len(MAGIC)))]
    return start + generator.bytes(int(generator.integers(1, 5000))), str(generator.choice(list(SUFFIXES.values())))


def spliced(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """A piece of a file twice, or left out."""
    data, suffix = any_kind(generator, data)
    start, stop = sorted(generator.integers(0, len(data), 2).tolist())
    return (data[:stop] + data[start:] if generator.random() < 0.5 else data[:start] + data[stop:]), suffix


def giant(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """A header that declares far more pixels than there are, in each format."""
    side = int(generator.integers(5_001, 65_000))
    kind = str(generator.choice(list(SUFFIXES)))
    changed = bytearray(encoded(data, kind))
    if kind == "PNG":
        return png(side, side, zlib.compress(bytes(99))), "png"
    if kind == "GIF":
        changed[6:10] = struct.pack("<HH", side, side)
        place = changed.index(b",", 13 + 3 * 2 ** ((changed[10] & 7) + 1))
        changed[place + 5 : place + 9] = struct.pack("<HH", side, side)
    elif kind == "BMP":
        changed[18:26] = struct.pack("<ii", side, side)
    elif kind == "JPEG":
        place = next(
            changed.index(bytes([0xFF, marker])) for marker in (0xC0, 0xC2) if bytes([0xFF, marker]) in changed
        )
        changed[place + 5 : place + 9] = struct.pack(">HH", side, side)
    elif kind == "TIFF":
        return tiff_of(side, data), "tif"
    else:
        changed = bytearray(
            b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0\x2f" + struct.pack("<I", 16_383 | 16_383 << 14) + bytes(12)
        )
    return bytes(changed), SUFFIXES[kind]


@cache
def packed_zeros() -> bytes:
    """Two hundred megabytes of zeros in two hundred kilobytes."""
    return zlib.compress(bytes(200_000_000), 6)


@cache
def archive_of_zeros() -> bytes:
    """A zip file of twenty megabytes of zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("zeros"), bytes(20_000_000), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def bomb(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """A small file that unpacks to hundreds of megabytes, honestly declared or not."""
    side, chosen = 12_000, int(generator.integers(3))
    if chosen == 0:
        return png(side, side, packed_zeros()), "png"
    if chosen == 1:  # declared small: what lies behind the picture must not be unpacked
        return png(100, 100, packed_zeros()), "png"
    text = b"zTXtjunk\0\0" + packed_zeros()
    junk = struct.pack(">I", len(text) - 4) + text
    return png(8, 8, zlib.compress(bytes(8 * 25)), between=junk + struct.pack(">I", zlib.crc32(text))), "png"


def archive(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """A zip of zeros that calls itself a picture."""
    return archive_of_zeros(), str(generator.choice(list(SUFFIXES.values())))


def exif_junk(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """EXIF directories that point at one another, or lie about their lengths, in a JPEG."""
    entries = int(generator.integers(1, 400))
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", entries)
    for _ in range(entries):
        tag = int(generator.choice([0x0112, 0x8769, 0x8825, 0xA005, 0x014A, 0x9286]))
        kind, count, value = (int(number) for number in generator.integers(0, [14, 2**16, 600]))
        block += struct.pack("<HHII", tag, kind, count, value)
    jpeg = encoded(data, "JPEG")
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:], "jpg"


def honest(generator: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """Odd, but a picture: CMYK, grey, palettes, 16 bits."""
    chosen = int(generator.integers(5))
    if chosen == 4:
        wide = np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(np.uint16) * 257
        buffer = io.BytesIO()
        Image.fromarray(wide).save(buffer, "TIFF" if generator.random() < 0.5 else "PNG")
        return buffer.getvalue(), "png"
    kind, mode = (("JPEG", "CMYK"), ("TIFF", "CMYK"), ("JPEG", "L"), ("PNG", "P"))[chosen]
    return encoded(data, kind, mode=mode), SUFFIXES[kind]


MAKERS: dict[str, Maker] = {
    "flipped": flipped,
    "truncated": truncated,
    "empty": empty,
    "other magic": other_magic,
    "noise": noise,
    "spliced": spliced,
    "giant": giant,
    "bomb": bomb,
    "archive": archive,
    "EXIF junk": exif_junk,
    "honest": honest,
}
RARE = ("bomb", "archive", "empty")
"""Kinds of which a few are enough."""


def png(width: int, height: int, data: bytes, *, between: bytes = b"") -> bytes:
    """A PNG with this header and these compressed bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + between + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff_of(side: int, data: bytes) -> bytes:
    """A TIFF whose width and height say `side`."""
    changed = bytearray(encoded(data, "TIFF"))
    start = struct.unpack("<I", changed[4:8])[0]
    for number in range(struct.unpack("<H", changed[start : start + 2])[0]):
        place = start + 2 + 12 * number
        if struct.unpack("<H", changed[place : place + 2])[0] in (256, 257):
            changed[place + 2 : place + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(changed)


def write_malformed(folder: Path, good: list[bytes], *, count: int, seed: int) -> dict[str, str]:
    """Write `count` malformed files; returns which kind each is, by its name."""
    generator = np.random.default_rng(seed)
    weights = np.array([0.2 if kind in RARE else 1.0 for kind in MAKERS])
    kinds = [str(kind) for kind in generator.choice(list(MAKERS), count, p=weights / weights.sum())]
    folder.mkdir(parents=True)
    named = {}
    for number, kind in enumerate([*list(MAKERS)[: min(count, len(MAKERS))], *kinds[len(MAKERS) :]]):
        data, suffix = MAKERS[kind](generator, good[int(generator.integers(len(good)))])
        name = f"{number:04d}-{kind.replace(' ', '-')}.{suffix}"
        (folder / name).write_bytes(data)
        named[name] = kind
    return named


def slowest_file(folder: Path) -> tuple[float, str]:
    """Decode each file by itself; the longest time in seconds, and whose it is."""
    worst = (0.0, "")
    for path in sorted(folder.iterdir()):
        started = time.process_time()
        with contextlib.suppress(BadImageError):
            pixel_digest(decode_image(path.read_bytes()))
        worst = max(worst, (time.process_time() - started, path.name))
    return worst


def broken_laws(table: ImageTable, clean: ImageTable, named: dict[str, str]) -> list[str]:
    """What does not hold of a mixed folder: good ones as in a clean one, every other one a picture or named."""
    broken = []
    seen = dict(zip(table.ids, table.digests, strict=True))
    for id, digest in zip(clean.ids, clean.digests, strict=True):
        if seen.get(id) != digest:
            broken.append(f"{id} has other pixels beside malformed files")
    refused = {entry.id: entry.reason for entry in table.quarantine}
    for name, kind in named.items():
        id = f"malformed/{name}"
        if (id in seen) == (id in refused) or not refused.get(id, "named"):
            broken.append(f"{id} is neither a picture nor named with a reason")
        if kind in ("empty", "archive", "giant") and id in seen:
            broken.append(f"{id} is taken for a picture")
        if kind == "honest" and id in refused:
            broken.append(f"{id} is a picture, but: {refused[id]}")
    return broken


def peak_mib() -> float:
    """The largest memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Read options, make, extract, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--good", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="none")
    options = parser.parse_args()
    ids = find_pictures(options.images)[0]
    drawn = np.random.default_rng(options.seed).permutation(len(ids))[: options.good]
    with tempfile.TemporaryDirectory() as work:
        clean, mixed = Path(work, "clean"), Path(work, "mixed")
        good = []
        for number in drawn.tolist():
            good.append((options.images / ids[number]).read_bytes())
            for folder in (clean, mixed):
                (folder / "good").mkdir(parents=True, exist_ok=True)
                (folder / "good" / ids[number].replace("/", "-")).write_bytes(good[-1])
        named = write_malformed(mixed / "malformed", good, count=options.count, seed=options.seed)
        before = read_folder(clean)
        peak_clean, started = peak_mib(), time.perf_counter()
        table = read_folder(mixed)
        seconds, peak = time.perf_counter() - started, peak_mib()
        slowest = slowest_file(mixed / "malformed")
        broken = broken_laws(table, before, named)
        broken += features_that_differ(before, table, options.backbone, options.weights, Path(work))
    if slowest[0] > SECONDS:
        broken.append(f"{slowest[1]} took {slowest[0]:.1f} s")
    reasons = dict(table.quarantine)
    print(
        json.dumps(
            {
                "malformed": len(named),
                "kinds": {kind: list(named.values()).count(kind) for kind in MAKERS},
                "still_pictures": len(named) - len(reasons),
                "quarantined": len(reasons),
                "good": len(before),
                "seconds_reading": round(seconds, 1),
                "slowest_file": {"name": slowest[1], "processor_seconds": round(slowest[0], 2)},
                "peak_mib_clean": round(peak_clean),
                "peak_mib_mixed": round(peak),
                "broken_laws": broken,
            }
        )
    )
    return 1 if broken else 0


def features_that_differ(clean: ImageTable, mixed: ImageTable, backbone: str, weights: str, work: Path) -> list[str]:
    """Extract both, one picture a batch, so that each stands at the same place in its batch; compare to the bit."""
    from tfcells.features.extract import Extraction, extract

    request = Extraction(backbone=backbone, weights=weights, size=96, batch_size=1, engine="tensorflow")
    stores = [extract(table, request, into=work / name) for name, table in (("a", clean), ("b", mixed))]
    rows = [np.array([store.row_of[id] for id in clean.ids]) for store in stores]
    return [
        f"tap {key} of the good pictures differs beside malformed files"
        for key in stores[0].taps
        if not np.array_equal(stores[0].take(key, rows[0]), stores[1].take(key, rows[1]))
    ]


if __name__ == "__main__":
    sys.exit(main())
