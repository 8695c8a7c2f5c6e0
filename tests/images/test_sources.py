import gc
import io
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfcells.images import sources
from tfcells.images.cues import EncodedSource
from tfcells.images.decode import BadImageError
from tfcells.images.sources import ArraySource, FolderSource, PixelSource, SpooledSource


def picture(seed, *, height=8, width=11):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def reason(source, id):
    with pytest.raises(BadImageError) as refused:
        source.read(id)
    return str(refused.value)


# Folders.


def test_a_file_is_read_by_its_path_below_the_root(tmp_path):
    (tmp_path / "a class" / "deep").mkdir(parents=True)
    (tmp_path / "a class" / "deep" / "ü 1.png").write_bytes(png(picture(1)))
    np.testing.assert_array_equal(FolderSource(tmp_path).read("a class/deep/ü 1.png"), picture(1))


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")], ids=["FIFO", "folder", "device"]
)
def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path, make):
    make(tmp_path / "x.jpg")
    assert reason(FolderSource(tmp_path), "x.jpg") == "not a regular file"


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("x.jpg")
        assert reason(FolderSource(tmp_path), "x.jpg") == "not a regular file"


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    with (tmp_path / "x.jpg").open("wb") as file:
        file.truncate(sources.MAX_BYTES + 1)  # a hole, which takes no room on disk
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    assert reason(FolderSource(tmp_path), "x.jpg") == "151,048,577 bytes, larger than the limit of 151,048,576 bytes"


def test_the_largest_picture_that_is_decoded_fits_the_limit_in_bytes_at_16_bits():
    assert sources.MAX_BYTES > 6 * sources.MAX_PIXELS


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("gone.jpg", "No such file"),
        ("there.jpg/x.jpg", "Not a directory"),
        ("loop.jpg", "symbolic links"),
        ("dangling.jpg", "No such file"),
        ("x" * 300 + ".jpg", "too long"),
        ("a\0b.jpg", "zero character"),
        ("", "not a regular file"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_the_system_says(tmp_path, id, words):
    (tmp_path / "there.jpg").write_bytes(png(picture(0)))
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    assert words in reason(FolderSource(tmp_path), id)


def test_a_file_that_fails_while_it_is_read_has_a_reason(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(png(picture(0)))
    monkeypatch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    assert reason(FolderSource(tmp_path), "x.png") == "cannot be read: Input/output error"


def test_a_folder_is_described_by_its_absolute_path(tmp_path, monkeypatch):
    (tmp_path / "cells").mkdir()
    monkeypatch.chdir(tmp_path)
    assert FolderSource(Path("cells")).describe() == {"kind": "folder", "root": str(tmp_path / "cells")}


# Arrays.


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (picture(2)[None], picture(2)),
        (picture(2)[None, :, :, 0], np.repeat(picture(2)[:, :, :1], 3, axis=2)),
        (picture(2)[None, :, :, :1], np.repeat(picture(2)[:, :, :1], 3, axis=2)),
        (np.dstack([picture(2), picture(3)[:, :, 0]])[None], picture(2)),
        (picture(2)[None].astype(np.uint16) * 256 + 255, picture(2)),
        (np.asfortranarray(picture(2)[None]), picture(2)),
    ],
    ids=["RGB", "grey", "grey with an axis", "RGBA", "16 bits", "columns first"],
)
def test_a_row_of_an_array_becomes_rgb(array, expected):
    source = ArraySource({"images": array}, path=Path("x.npz"))
    assert isinstance(source, PixelSource)
    np.testing.assert_array_equal(source.read("images/000000"), expected)
    assert source.read("images/000000").flags.c_contiguous


def test_rows_are_found_by_array_and_index(tmp_path):
    arrays = {"train": np.stack([picture(seed) for seed in range(12)]), "test": picture(50)[None]}
    source = ArraySource(arrays, path=tmp_path / "x.npz")
    np.testing.assert_array_equal(source.read("train/000011"), picture(11))
    np.testing.assert_array_equal(source.read("test/000000"), picture(50))
    assert source.describe() == {"kind": "npz", "root": str(tmp_path / "x.npz")}


# Spooled pictures.


@pytest.fixture
def spooled():
    source = SpooledSource({"kind": "tfds", "root": "tfds:x"})
    for seed in range(40):
        source.add(f"row {seed}", png(picture(seed, height=5 + seed)))
    source.add("broken", b"no picture")
    source.finish()
    return source


def test_spooled_pictures_come_back_in_any_order(spooled):
    assert isinstance(spooled, PixelSource)
    assert isinstance(spooled, EncodedSource)
    for seed in (39, 0, 17, 0):
        assert spooled.read_bytes(f"row {seed}") == png(picture(seed, height=5 + seed))
        np.testing.assert_array_equal(spooled.read(f"row {seed}"), picture(seed, height=5 + seed))
    assert reason(spooled, "broken") == "not a picture: it holds text"
    assert spooled.describe() == {"kind": "tfds", "root": "tfds:x"}


def test_threads_do_not_move_one_anothers_place_in_the_file(spooled):
    seeds = [*range(40)] * 25
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: spooled.read(f"row {seed}"), seeds))
    for seed, pixels in zip(seeds, found, strict=True):
        np.testing.assert_array_equal(pixels, picture(seed, height=5 + seed))


def test_the_spool_is_closed_with_its_source_and_python_warns_of_nothing():
    source = SpooledSource({})
    spool = source._spool
    del source
    gc.collect()
    assert spool.closed
