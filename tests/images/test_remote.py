"""Folders behind fsspec addresses: the same rows as from a local folder, the same quarantine, no credentials kept."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest

from tfcells.cli.main import main
from tfcells.errors import EmptyDataError, MissingExtraError, RequestError
from tfcells.features.extract import Extraction, extract
from tfcells.images import remote
from tfcells.images.decode import BadImageError
from tfcells.images.readers import read_folder, read_images
from tfcells.images.remote import RemoteSource, is_remote, shown_address
from tfcells.images.sources import PixelSource
from tfcells.steps.pictures import open_source

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory(cell_folder):
    """An address in memory with the cells, a few files that are no pictures, and some that should not count."""
    files = fsspec.filesystem("memory")
    root = f"/cells-{uuid.uuid4().hex}"
    for path in cell_folder.rglob("*"):
        if path.is_file():
            files.pipe(f"{root}/{path.relative_to(cell_folder).as_posix()}", path.read_bytes())
    files.pipe(f"{root}/platelet/torn.png", b"\x89PNG\r\n\x1a\n torn")
    files.pipe(f"{root}/platelet/empty.jpg", b"")
    files.pipe(f"{root}/stray.jpg", b"no class")
    files.pipe(f"{root}/notes.txt", b"not a picture")
    files.pipe(f"{root}/.hidden/cell.jpg", b"passed over")
    yield f"memory:/{root}"
    files.rm(root, recursive=True)


def test_rows_are_those_of_the_same_files_in_a_local_folder(memory, cells):
    table = read_images(memory)
    assert (table.ids, table.digests, table.class_names) == (cells.ids, cells.digests, cells.class_names)
    np.testing.assert_array_equal(table.labels, cells.labels)
    np.testing.assert_array_equal(table.source.read(table.ids[5]), cells.source.read(cells.ids[5]))


def test_bad_files_are_quarantined_with_the_reasons_of_local_ones(memory):
    assert {entry.id: entry.reason for entry in read_images(memory).quarantine} == {
        "platelet/empty.jpg": "the file is empty (0 bytes)",
        "platelet/torn.png": "not a picture in a known format (JPEG, PNG, BMP, GIF, WebP, TIFF), "
        "or its header is damaged",
        "stray.jpg": "lies beside the class folders; move it into one",
    }


@pytest.mark.parametrize("form", ["file://{}", "file://{}/", "local://{}", "simplecache::file://{}"])
def test_a_local_folder_may_be_given_as_an_address(form, cell_folder, cells):
    table = read_images(form.format(cell_folder))
    assert (table.ids, table.digests) == (cells.ids, cells.digests)
    assert table.source.describe() == {"kind": "fsspec", "root": form.format(cell_folder).rstrip("/")}


def test_features_of_an_address_are_those_of_the_folder_and_the_pictures_are_found_again(memory, cells, tmp_path):
    request = Extraction(handcrafted=("stain",))
    store = extract(read_images(memory), request, into=tmp_path / "memory")
    assert store.digest == extract(cells, request, into=tmp_path / "local").digest
    assert store.facts["source"] == {"kind": "fsspec", "root": memory}
    np.testing.assert_array_equal(open_source(store).read(cells.ids[0]), cells.source.read(cells.ids[0]))


def test_pictures_that_are_gone_are_not_found_again(cells, tmp_path):
    address = f"memory://gone-{uuid.uuid4().hex}"
    for id in cells.ids[:2]:
        fsspec.filesystem("memory").pipe(f"{address}/{id}", (cells.source.root / id).read_bytes())
    store = extract(read_images(address), Extraction(handcrafted=("colour",)), into=tmp_path / "store")
    fsspec.filesystem("memory").rm(address, recursive=True)
    assert open_source(store) is None


def test_the_command_line_takes_an_address(memory, tmp_path, capsys):
    arguments = ["extract", memory, "--features", "raw", "--out", str(tmp_path / "store"), "--json", "--quiet"]
    assert main(arguments) == 1  # some were quarantined
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], len(found["quarantined"])) == (36, 3)


def test_no_more_than_the_limit_is_ever_read(memory, monkeypatch):
    source = read_images(memory).source
    id = "platelet/torn.png"
    monkeypatch.setattr(remote, "MAX_BYTES", 10)
    with pytest.raises(BadImageError, match="larger than the limit of 10 bytes"):
        source.read_bytes(id)
    monkeypatch.setattr(remote, "MAX_BYTES", 13)
    assert len(source.read_bytes(id)) == 13


def test_what_is_no_regular_file_is_named_and_not_waited_for(tmp_path, cell_folder):
    shutil.copytree(cell_folder, tmp_path / "cells")
    os.mkfifo(tmp_path / "cells" / "platelet" / "pipe.jpg")
    (tmp_path / "cells" / "platelet" / "gone.jpg").symlink_to("nowhere")
    local, address = (read_images(f"{form}{tmp_path / 'cells'}") for form in ("", "file://"))
    assert address.ids == local.ids
    assert {entry.id for entry in address.quarantine} == {entry.id for entry in local.quarantine}
    assert ("platelet/pipe.jpg", "not a regular file") in address.quarantine
    with pytest.raises(BadImageError, match=r"^not a regular file$"):
        address.source.read_bytes("platelet")


def test_a_file_is_refused_by_its_size_unread(memory, monkeypatch):
    source = read_images(memory).source
    monkeypatch.setattr(remote, "MAX_BYTES", 10)
    monkeypatch.setattr(source.files, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(BadImageError, match=r"^13 bytes, larger than the limit of 10 bytes$"):
        source.read_bytes("platelet/torn.png")


def test_a_size_that_is_not_known_or_not_true_changes_nothing(memory, monkeypatch):
    source = read_images(memory).source
    for size in (None, 1):
        monkeypatch.setattr(source.files, "info", lambda path, size=size: {"type": "file", "size": size})
        monkeypatch.setattr(remote, "MAX_BYTES", 13)
        assert len(source.read_bytes("platelet/torn.png")) == 13
        monkeypatch.setattr(remote, "MAX_BYTES", 12)
        with pytest.raises(BadImageError, match=r"^larger than the limit of 12 bytes$"):
            source.read_bytes("platelet/torn.png")


def test_letters_that_are_queries_elsewhere_are_kept_and_the_pictures_are_found_again(tmp_path, cell_folder, cells):
    folder = shutil.copytree(cell_folder, tmp_path / "slide #2? me@lab")
    store = extract(read_images(f"file://{folder}"), Extraction(handcrafted=("colour",)), into=tmp_path / "store")
    assert store.facts["source"]["root"] == f"file://{folder}"
    np.testing.assert_array_equal(open_source(store).read(cells.ids[0]), cells.source.read(cells.ids[0]))


@pytest.fixture
def linked(tmp_path, cell_folder):
    """One class folder among the others, one linked, one without a picture, and a link within a class."""
    root = tmp_path / "root"
    for name, place in (("eosinophil", root), ("lymphocyte", tmp_path), ("platelet", tmp_path)):
        shutil.copytree(cell_folder / name, place / name)
    (root / "lymphocyte").symlink_to(tmp_path / "lymphocyte")
    (root / "eosinophil" / "more").symlink_to(tmp_path / "platelet")
    (root / "monocyte").mkdir()
    return root


def test_links_to_folders_of_this_machine_are_followed_as_without_an_address(linked, caplog):
    tables = {}
    for form in ("", "file://"):
        caplog.clear()
        tables[form] = read_images(f"{form}{linked}")
        assert caplog.messages == ["class folder monocyte holds no image"]
    assert tables[""].ids == tables["file://"].ids
    assert tables[""].class_names == tables["file://"].class_names == ("eosinophil", "lymphocyte", "monocyte")
    np.testing.assert_array_equal(
        tables[""].source.read(tables[""].ids[-1]), tables["file://"].source.read(tables[""].ids[-1])
    )


def test_links_to_folders_that_are_not_followed_are_named(linked):
    table = read_images(f"simplecache::file://{linked}")
    assert {id.split("/")[0] for id in table.ids} == {"eosinophil"}
    reason = "is a link to a folder, which is followed on this machine alone; put the folder itself there"
    assert table.quarantine == (("eosinophil/more", reason), ("lymphocyte", reason))


def test_a_source_is_a_source(memory):
    assert isinstance(RemoteSource(memory), PixelSource)
    assert not RemoteSource(memory).shared
    assert RemoteSource("file:///tmp").shared
    with pytest.raises(BadImageError, match="cannot be read: FileNotFoundError"):
        RemoteSource(memory).read("platelet/none.jpg")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://bucket/cells", "s3://bucket/cells"),
        ("ftp://me:secret@host:21/cells/", "ftp://host:21/cells"),
        ("https://host/cells?signature=secret#token", "https://host/cells"),
        ("simplecache::sftp://secret@host/cells", "simplecache::sftp://host/cells"),
        ("file:///data/slide #2/50%? me@lab/", "file:///data/slide #2/50%? me@lab"),
        ("simplecache::file:///data/slide #2", "simplecache::file:///data/slide #2"),
        ("memory://me@lab/what?", "memory://me@lab/what?"),
        ("s3://bucket/slide #2/50%?", "s3://bucket/slide #2/50%?"),
        ("s3://key:secret@bucket/slide #2", "s3://bucket/slide #2"),
    ],
)
def test_an_address_is_shown_without_credentials(address, shown):
    assert shown_address(address) == shown


def test_credentials_in_an_address_reach_neither_store_nor_messages(cells, tmp_path, monkeypatch):
    class Guarded(fsspec.get_filesystem_class("memory")):
        """A file system that repeats its login in what it says."""

        protocol = "guarded"
        cachable = False

        def __init__(self, **options):
            super().__init__()
            self.login = options.get("login")

        @classmethod
        def _strip_protocol(cls, path):
            return "/guarded" if "://" in path else path

        @staticmethod
        def _get_kwargs_from_urls(path):
            return {"login": path.partition("://")[2].partition("@")[0]}

        def _open(self, path, mode="rb", **options):
            if path.endswith("closed.jpg") and mode == "rb":
                raise PermissionError(f"{self.login} may not read {path}")
            return super()._open(path, mode, **options)

    fsspec.register_implementation("guarded", Guarded, clobber=True)
    files = Guarded()
    for id in cells.ids[:3]:
        files.pipe(f"/guarded/{id}", (cells.source.root / id).read_bytes())
    files.pipe("/guarded/eosinophil/closed.jpg", b"1")
    table = read_images("guarded://me:hunter2@host/cells")
    store = extract(table, Extraction(handcrafted=("colour",)), into=tmp_path / "store")
    assert [entry.id for entry in table.quarantine] == ["eosinophil/closed.jpg"]
    assert "may not read" in table.quarantine[0].reason
    written = [path.read_bytes() for path in store.path.rglob("*") if path.is_file()]
    assert not any(b"hunter2" in data for data in written)
    files.rm("/guarded", recursive=True)
    with pytest.raises(RequestError, match=r"^No such folder: guarded://host/cells\.") as refused:
        read_images("guarded://me:hunter2@host/cells")
    assert "hunter2" not in str(refused.value)


def test_what_cannot_be_opened_is_said(memory, monkeypatch):
    with pytest.raises(RequestError, match=r"^nosuch://bucket cannot be opened: ValueError: Protocol not known"):
        read_images("nosuch://me:hunter2@bucket")
    with pytest.raises(RequestError, match=r"^No such folder: memory://nowhere\. Expected a folder of images"):
        read_images("memory://nowhere")
    with pytest.raises(EmptyDataError, match=r"^No image in memory://.*/\.hidden; it holds nothing|; it holds"):
        fsspec.filesystem("memory").pipe("/only-text/a.txt", b"1")
        read_images("memory://only-text")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"fsspec is not installed.*tfcells\[remote\]"):
        read_images(memory)


def test_paths_are_no_addresses():
    for path in (Path("memory:/x"), "cells", "C:\\cells", "./a:b", "tfds:cells", "/data/a::b"):
        assert not is_remote(path)
    for address in ("s3://x", "gcs://x/y", "simplecache::s3://x", "file:///x"):
        assert is_remote(address)


LOCAL = """
import sys
from tfcells.images.readers import read_images
read_images(sys.argv[1])
sys.exit("fsspec" in sys.modules)
"""


def test_a_local_folder_is_read_without_fsspec(cell_folder):
    subprocess.run([sys.executable, "-c", LOCAL, cell_folder], check=True, timeout=60)


def test_a_local_folder_and_its_address_are_told_apart_by_nothing_but_the_source(cell_folder):
    local, address = read_folder(cell_folder), read_images(f"file://{cell_folder}")
    assert local.metadata == address.metadata
    assert local.groups == address.groups
