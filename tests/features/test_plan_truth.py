"""Plans of stores without a network against what is then on disk, and one plan for a whole growth."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfcells.cli.main import main
from tfcells.errors import RequestError
from tfcells.features import growth, plan
from tfcells.features.extract import Extraction, extract, plan_extraction
from tfcells.images.readers import read_folder


def bytes_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def names_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def without_times(found):
    return replace(found, seconds=0.0, images_per_second=0.0, bytes_free=0)


def write_pictures(folder, names):
    """Small pictures of noise."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / name)


@pytest.fixture(scope="module")
def cell_folder(tmp_path_factory):
    """36 pictures that are measured in no time."""
    folder = tmp_path_factory.mktemp("pictures") / "cells"
    write_pictures(folder / "class", [f"{row:02d}.png" for row in range(36)])
    return folder


@pytest.fixture(scope="module")
def cells(cell_folder):
    return read_folder(cell_folder)


@pytest.fixture
def grown(cells, tmp_path):
    """A store of two thirds of the cells by one feature: the rest and another feature are missing."""
    table = cells.take([row for row in range(len(cells)) if row % 3])
    extract(table, Extraction(handcrafted=("raw",), batch_size=1), into=tmp_path / "store").close()
    return tmp_path / "store"


MORE = Extraction(handcrafted=("raw", "stain"), batch_size=1)


@pytest.mark.parametrize("name", ["{:04d}.png", "cells of patient {:04d}, taken on a morning, " + "x" * 150 + ".png"])
def test_no_store_of_narrow_features_is_larger_than_its_plan(tmp_path, name):
    """A row of colour statistics is 84 bytes; its line of rows.csv, which holds its name twice, is more."""
    write_pictures(tmp_path / "cells" / "class", [name.format(row) for row in range(60)])
    table, request = read_folder(tmp_path / "cells"), Extraction(handcrafted=("colour",), batch_size=1)
    planned = plan_extraction(table, request, into=tmp_path / "store")
    extract(table, request, into=tmp_path / "store", budget=planned.bytes_total)
    assert 0.85 < bytes_of(tmp_path / "store") / planned.bytes_total <= 1
    with pytest.raises(RequestError, match="the budget is"):
        extract(table, request, into=tmp_path / "other", budget=bytes_of(tmp_path / "store") - 1)


def test_pictures_and_features_that_are_missing_are_announced_once_and_as_planned(grown, cells):
    planned, announced = plan_extraction(cells, MORE, into=grown), []
    extract(cells, MORE, into=grown, announce=announced.append)
    assert [without_times(found) for found in announced] == [without_times(planned)]
    assert (planned.rows, planned.rows_kept, planned.taps_kept) == (36, 24, ("raw",))
    assert planned.memory_bytes >= sum(tap.memory_bytes for tap in planned.taps.values())


def test_what_was_stopped_is_announced_as_what_is_left_of_it(grown, cells):
    """The first part is whole when the second begins: only that is announced."""

    def stop(stage, done, total):
        if (stage, total) == ("extracting", 24):
            raise KeyboardInterrupt

    whole = plan_extraction(cells, MORE, into=grown)
    with pytest.raises(KeyboardInterrupt):
        extract(cells, MORE, into=grown, progress=stop)
    planned, announced = plan_extraction(cells, MORE, into=grown), []
    extract(cells, MORE, into=grown, announce=announced.append)
    assert [found.rows for found in announced] == [planned.rows] == [24]
    assert planned.bytes_missing < whole.bytes_missing


@pytest.mark.parametrize("what", ["budget", "room", "caller"])
def test_a_growth_that_is_refused_leaves_nothing_behind(grown, cells, monkeypatch, what):
    before, planned = names_of(grown), plan_extraction(cells, MORE, into=grown)

    def refuse(found):
        if what == "caller":
            raise RequestError("not today")

    if what == "room":  # enough for the first part, and not for the whole
        usage = shutil.disk_usage(grown)._replace(free=planned.bytes_missing - 1)
        monkeypatch.setattr(plan.shutil, "disk_usage", lambda path: usage)
    budget = planned.bytes_total - 1 if what == "budget" else None
    with pytest.raises(RequestError, match=r"the budget is|its disk has|not today"):
        extract(cells, MORE, into=grown, announce=refuse, budget=budget)
    assert names_of(grown) == before


def test_a_refusal_keeps_what_was_begun(grown, cells):
    def stop(stage, done, total):
        if (stage, total) == ("extracting", 24):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(cells, MORE, into=grown, progress=stop)
    before = names_of(grown)
    for request in (MORE, replace(MORE, handcrafted=("raw", "colour"))):
        with pytest.raises(RequestError, match="the budget is 10"):
            extract(cells, request, into=grown, budget=10)
        assert names_of(grown) == before


def test_the_room_is_that_of_the_disk_where_the_store_lies(grown, cells, monkeypatch):
    usage = shutil.disk_usage(grown)
    here = lambda path: usage._replace(free=7 if Path(path).is_relative_to(grown) else 2**50)  # noqa: E731
    monkeypatch.setattr(plan.shutil, "disk_usage", here)
    assert plan_extraction(cells, MORE, into=grown).bytes_free == 7


def test_what_lacks_nothing_takes_no_time(grown, cells):
    fewer = cells.take([1, 2, 4])
    planned = plan_extraction(fewer, Extraction(handcrafted=("raw",), batch_size=1), into=grown)
    assert (planned.rows, planned.seconds, planned.rows_kept) == (0, 0.0, 3)
    assert planned.bytes_missing == planned.bytes_total > 0
    assert growth.GROWING not in {path.name for path in grown.iterdir()}


def test_the_words_of_a_plan_suit_few_pictures(cell_folder, tmp_path, capsys):
    words = ["extract", str(cell_folder), "--features", "raw", "--batch-size", "100000000", "--plan"]
    assert main([*words, "--out", str(tmp_path / "store")]) == 0
    out = capsys.readouterr().out
    assert "plan: 36 images in less than a second at " in out
    assert "GiB" not in "".join(line for line in out.splitlines() if "memory" in line)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "18.0 seconds at 2"), (5, "3.0 minutes at 0"), (200, "2.0 hours at 0")]
)
def test_times_are_said_in_the_unit_that_suits_them(cell_folder, tmp_path, monkeypatch, capsys, seconds, text):
    monkeypatch.setattr("tfcells.features.measured.seconds_to_read", lambda table, recipe: seconds)
    words = ["extract", str(cell_folder), "--features", "raw", "--plan", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "store")]) == 0
    assert f"plan: 36 images in {text} images/s (numpy float32" in capsys.readouterr().out
