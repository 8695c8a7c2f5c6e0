"""Stores in odd places, of odd folders: refused in words, or made and found again."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfcells.cli.main import main
from tfcells.errors import EmptyDataError, RequestError, StaleStoreError
from tfcells.features import measured
from tfcells.features.extract import Extraction, extract, plan_extraction, requested_recipe
from tfcells.features.pieces import GROWING, locked
from tfcells.features.store import FeatureStore
from tfcells.images.readers import read_folder
from tfcells.steps.pictures import open_source

REQUEST = Extraction(handcrafted=("colour",))
BOTH = (extract, plan_extraction)


@pytest.fixture(scope="module")
def made(cells, tmp_path_factory):
    """A complete store: copy before changing it."""
    return extract(cells, REQUEST, into=tmp_path_factory.mktemp("made") / "store").path


@pytest.fixture
def store(made, tmp_path):
    return shutil.copytree(made, tmp_path / "store")


@pytest.fixture
def odd_folder(cell_folder, tmp_path):
    """Cells in a folder whose own name is not valid UTF-8."""
    return shutil.copytree(cell_folder, tmp_path / os.fsdecode(b"caf\xe9"))


def test_pictures_in_a_folder_whose_name_is_no_text_are_found_again(odd_folder, cells, tmp_path):
    store = extract(read_folder(odd_folder), REQUEST, into=tmp_path / "store")
    assert json.loads((store.path / "classes.json").read_bytes().decode("utf-8"))["source"]["root"] == str(odd_folder)
    np.testing.assert_array_equal(open_source(store).read(cells.ids[0]), cells.source.read(cells.ids[0]))
    store.check_files()


@pytest.mark.parametrize("address", ["", "file://"])
def test_on_the_command_line_such_names_are_printed_escaped(odd_folder, tmp_path, capsys, address):
    out = str(tmp_path / os.fsdecode(b"out\xe9"))
    words = ["extract", f"{address}{odd_folder}", "--features", "colour", "--out", out, "--quiet"]
    assert main([*words, "--json"]) == 0
    printed = capsys.readouterr().out
    assert r"out\udce9" in printed
    assert json.loads(printed)["store"] == out
    shutil.rmtree(odd_folder)
    main(["verify", out, "--quiet"])
    assert r"caf\udce9; name their folder" in capsys.readouterr().out


@pytest.mark.parametrize("call", BOTH)
def test_a_link_that_leads_nowhere_is_no_place_for_a_store(cells, tmp_path, call):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(
        RequestError, match=r"link is a link to nowhere, which does not exist\. Make that folder, remove"
    ):
        call(cells, REQUEST, into=tmp_path / "link")
    (tmp_path / "nowhere").mkdir()
    call(cells, REQUEST, into=tmp_path / "link")


@pytest.mark.parametrize("call", BOTH)
def test_a_table_without_a_row_makes_no_store(cells, tmp_path, call):
    with pytest.raises(
        EmptyDataError, match=r"^The table holds no image: there is nothing to extract\. Expected one or"
    ):
        call(cells.take([]), REQUEST, into=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_complete_store_that_says_what_the_table_says_is_not_written_to(store, cells, monkeypatch):
    """So it may lie where nobody may write."""
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    (store / ".lock").unlink()
    monkeypatch.setattr(Path, "mkdir", lambda *_, **options: pytest.fail("a folder was made"))
    assert extract(cells, REQUEST, into=store).complete
    monkeypatch.undo()
    after = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    assert after == {path: time for path, time in before.items() if path.name != ".lock"}


def test_it_is_written_to_where_groups_changed_or_something_was_begun(store, cells):
    regrouped = replace(cells, groups=("one",) * len(cells))
    with locked(store), pytest.raises(RequestError, match="Another process is writing"):
        extract(regrouped, REQUEST, into=store)
    assert set(extract(regrouped, REQUEST, into=store).rows.groups) == {"one"}
    (store / GROWING / "another request").mkdir(parents=True)
    extract(regrouped, REQUEST, into=store)
    assert not (store / GROWING).exists()


@pytest.mark.parametrize("call", BOTH)
def test_a_network_and_none_do_not_share_a_store_and_that_is_all_that_is_said(store, cells, monkeypatch, made_by, call):
    monkeypatch.delattr(measured, "prepare")
    with pytest.raises(StaleStoreError) as refused:
        call(cells, Extraction(backbone="mobilenet_v2", weights="none"), into=store)
    assert str(refused.value) == (
        f"{store} was made by another recipe: it holds hand-made features alone, features of the network mobilenet_v2 "
        "were asked for. Use another output folder, or remove this one."
    )
    recipe = requested_recipe(Extraction(backbone="mobilenet_v2", weights="none"), cells)
    whole = {**FeatureStore(store).recipe, "backbone": recipe["backbone"], "weights": recipe["weights"]}
    made_by(store, whole)
    with pytest.raises(
        StaleStoreError, match=r"holds features of the network mobilenet_v2, hand-made features alone were"
    ):
        call(cells, REQUEST, into=store)
