"""Files whose bytes are known are not decoded again; sizes and times of files count for nothing."""

import hashlib
import io
import os
import shutil

import pytest
from PIL import Image

from tfcells.features import store as store_module
from tfcells.features.recipe import images_of
from tfcells.features.store import StoreWriter, known_files
from tfcells.images import inspect
from tfcells.images.readers import read_folder, read_images


@pytest.fixture
def folder(cell_folder, tmp_path):
    return shutil.copytree(cell_folder, tmp_path / "cells")


@pytest.fixture
def described(cells, tmp_path):
    """A store that knows the files of the cells, and holds no features yet."""
    recipe = {"taps": ["late:mean"], "handcrafted": {}, "images": images_of(cells.ids, cells.digests)}
    with StoreWriter.open(tmp_path / "store", recipe=recipe, table=cells):
        pass
    return tmp_path / "store"


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded, by the SHA-256 of their bytes."""
    seen, decode = [], inspect.decode_image

    def watched(data):
        seen.append(hashlib.sha256(data).hexdigest())
        return decode(data)

    monkeypatch.setattr(inspect, "decode_image", watched)
    return seen


def test_a_row_carries_the_digest_of_its_file_and_its_size(cells, cell_folder):
    for id, file in zip(cells.ids, cells.files, strict=True):
        data = (cell_folder / id).read_bytes()
        assert file.sha256 == hashlib.sha256(data).hexdigest()
        assert (file.width, file.height) == Image.open(io.BytesIO(data)).size


def test_known_files_are_not_decoded_and_the_table_is_the_same(cells, folder, described, decoded):
    table = read_images(folder, known=known_files(described))
    assert decoded == []
    for name in ("ids", "digests", "groups", "metadata", "files", "class_names"):
        assert getattr(table, name) == getattr(cells, name)


def test_a_renamed_file_is_known(cells, folder, described, decoded):
    (folder / cells.ids[0]).rename(folder / "platelet" / "renamed.jpg")
    assert "platelet/renamed.jpg" in read_folder(folder, known=known_files(described)).ids
    assert decoded == []


def test_a_file_of_the_same_size_and_time_and_other_bytes_is_decoded(cells, folder, described, decoded):
    path = folder / cells.ids[0]
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    table = read_folder(folder, known=known_files(described))
    assert decoded == [hashlib.sha256(content).hexdigest()]
    assert table.digests[0] != cells.digests[0]
    assert table.digests[1:] == cells.digests[1:]


def test_other_bytes_of_the_same_pixels_keep_their_digest(cells, folder, described, decoded):
    path = folder / cells.ids[0]
    path.write_bytes(path.read_bytes() + b"a comment behind the picture")
    table = read_folder(folder, known=known_files(described))
    assert len(decoded) == 1
    assert table.digests == cells.digests


def test_what_another_decoder_has_decoded_is_decoded_again(described, monkeypatch):
    assert len(known_files(described)) == 36
    monkeypatch.setattr(store_module, "decoder_version", lambda: "another one")
    assert known_files(described) == {}


def test_nothing_is_known_where_there_is_no_store_or_a_damaged_one(described, tmp_path):
    assert known_files(tmp_path / "nowhere") == {}
    content = bytearray((described / "rows.csv").read_bytes())
    content[200] ^= 1
    (described / "rows.csv").write_bytes(content)
    assert known_files(described) == {}
