"""A store that is asked for more or less: only what is missing is extracted, and it becomes what a fresh one is.

To the last bit where the taps stay; else but for rounding.
"""

import json
import shutil
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.backbones.weights import SEARCH_VARIABLE
from tfcells.errors import DamageError, RequestError, StaleStoreError
from tfcells.features import forward, measured, recipe
from tfcells.features.extract import Extraction, extract, plan_extraction
from tfcells.features.handcrafted import HANDCRAFTED
from tfcells.features.store import FeatureStore, StoreWriter
from tfcells.images.readers import read_folder

TAPS = ("early:flatten", "late", "late:max")


def build_small(*, weights, include_top, input_shape):
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(8, 3, strides=2, name="early")(pixels)
    maps = keras.layers.BatchNormalization(name="norm")(maps)
    return keras.Model(
        pixels, keras.layers.Conv2D(12, 3, strides=2, activation="relu", name="late")(maps), name="small"
    )


@pytest.fixture(autouse=True, scope="module")
def small_row():
    """A row of the catalog whose network builds in a blink."""
    unit = Preprocessing("rgb", (1 / 127.5,) * 3, (-1.0,) * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "small", Backbone("small", "Small", "small", unit, 32, "early", "norm", "late"))
        patch.setattr(keras.applications, "Small", build_small, raising=False)
        patch.delenv(SEARCH_VARIABLE, raising=False)
        yield


def small(**changes):
    """A request in shards of 16 rows."""
    asked = {"backbone": "small", "weights": "none", "taps": TAPS, "batch_size": 1, "engine": "tensorflow"}
    return Extraction(**(asked | {"precision": "float32"} | changes))


@pytest.fixture(scope="module")
def made(small_row, cells, tmp_path_factory):
    """Two thirds of the cells at two taps: copy before changing it."""
    return extract(some(cells), small(taps=TAPS[:2]), into=tmp_path_factory.mktemp("made") / "store").path


@pytest.fixture
def store(made, tmp_path):
    return shutil.copytree(made, tmp_path / "store")


@pytest.fixture
def passes(monkeypatch):
    """The pictures and features of every extraction, as (ids, taps and hand-made features)."""
    seen = []

    def watched(prepare, table, extraction, *, into, **options):
        if into is not None:  # else it is a plan
            seen.append((table.ids, (*extraction.taps, *extraction.handcrafted)))
        return prepare(table, extraction, into=into, **options)

    for maker in (forward, measured):
        monkeypatch.setattr(maker, "prepare", partial(watched, maker.prepare))
    return seen


@pytest.fixture
def few(cells):
    """Hand-made features take long."""
    return cells.take(range(12))


def some(cells):
    return cells.take([row for row in range(len(cells)) if row % 3])


def content(path):
    """Every file that counts."""
    left_out = {"run.json", ".lock"}
    files = (file for file in path.rglob("*") if file.is_file() and file.name not in left_out)
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def fresh(small_row, tmp_path_factory):
    """Stores that were made at once, by what they were asked for: shared, not to be changed."""
    made = {}

    def made_at_once(table, extraction):
        asked = table.ids, extraction, recipe._SHARD_BATCHES
        if asked not in made:
            made[asked] = extract(table, extraction, into=tmp_path_factory.mktemp("fresh") / "store")
        return made[asked]

    return made_at_once


def assert_is_as_fresh(store, fresh):
    """Same rows, recipe and shards; on one processor the same bytes."""
    assert content(store.path) == content(fresh.path)
    assert store.digest == fresh.digest
    store.check_files()


def assert_is_fresh_but_for_rounding(store, fresh):
    """Where taps come or go: engines fuse other layers then, and round otherwise; all else is the same."""
    described = {"rows.csv", "classes.json", "quarantine.csv"}
    assert {name: content(store.path)[name] for name in described} == {
        name: content(fresh.path)[name] for name in described
    }
    assert without_numbers(store.recipe) == without_numbers(fresh.recipe)
    for key, values in fresh.recipe["golden"].items():
        assert store.recipe["golden"][key] == pytest.approx(values, rel=1e-4, abs=1e-5)
    assert [record.stop for _, record in store.shards] == [record.stop for _, record in fresh.shards]
    assert store.shapes == fresh.shapes
    for key in fresh.shapes:
        scale = float(np.abs(fresh.array(key)).max())
        np.testing.assert_allclose(store.array(key), fresh.array(key), atol=1e-5 * scale, rtol=0)
    store.check_files()


def without_numbers(recipe):
    engine = {key: value for key, value in recipe["engine"].items() if key != "parity"}
    return {**recipe, "engine": engine, "golden": sorted(recipe["golden"])}


def test_pictures_that_are_added_are_extracted_and_no_others(store, cells, passes, fresh):
    grown = extract(cells, small(taps=TAPS[:2]), into=store)
    assert passes == [(cells.ids[::3], TAPS[:2])]
    assert_is_as_fresh(grown, fresh(cells, small(taps=TAPS[:2])))


def test_a_tap_that_is_added_is_extracted_and_no_other(store, cells, passes, fresh):
    grown = extract(some(cells), small(), into=store)
    assert passes == [(some(cells).ids, ("late:max",))]
    assert_is_fresh_but_for_rounding(grown, fresh(some(cells), small()))


def test_pictures_and_taps_at_once_are_two_passes(store, cells, passes, fresh):
    grown = extract(cells, small(), into=store)
    assert passes == [(cells.ids[::3], TAPS), (some(cells).ids, ("late:max",))]
    assert_is_fresh_but_for_rounding(grown, fresh(cells, small()))


def test_hand_made_features_that_are_added_need_no_network(store, cells, passes, monkeypatch, fresh):
    request = small(taps=TAPS[:2], handcrafted=("raw", "stain"))
    with monkeypatch.context() as patch:
        patch.setattr(forward, "open_checked", lambda extraction: pytest.fail("a network was opened"))
        grown = extract(some(cells), request, into=store)
    assert passes == [(some(cells).ids, ("raw", "stain"))]
    assert_is_as_fresh(grown, fresh(some(cells), request))
    grown.close()
    fewer = small(taps=TAPS[:1], handcrafted=("stain",))
    before = len(passes)
    shrunk = extract(some(cells), fewer, into=store)
    assert len(passes) == before
    assert_is_fresh_but_for_rounding(shrunk, fresh(some(cells), fewer))


def test_pictures_taps_and_hand_made_features_at_once_are_two_passes(store, cells, passes, fresh):
    request = small(handcrafted=("raw",))
    grown = extract(cells, request, into=store)
    assert passes == [(cells.ids[::3], (*TAPS, "raw")), (some(cells).ids, ("late:max", "raw"))]
    assert_is_fresh_but_for_rounding(grown, fresh(cells, request))


def test_a_store_without_a_network_grows_in_pictures_and_features(few, passes, tmp_path, fresh):
    extract(some(few), Extraction(handcrafted=("raw",)), into=tmp_path / "store")
    passes.clear()
    request = Extraction(handcrafted=("raw", "stain"))
    grown = extract(few, request, into=tmp_path / "store")
    assert passes == [(few.ids[::3], ("raw", "stain")), (some(few).ids, ("stain",))]
    assert_is_as_fresh(grown, fresh(few, request))


def test_hand_made_features_that_are_defined_otherwise_by_now_are_made_again(few, passes, tmp_path, monkeypatch):
    request = Extraction(handcrafted=("raw", "stain"))
    extract(few, request, into=tmp_path / "store")
    passes.clear()
    monkeypatch.setitem(HANDCRAFTED, "stain", replace(HANDCRAFTED["stain"], revision=99))
    grown = extract(few, request, into=tmp_path / "store")
    assert passes == [(few.ids, ("stain",))]
    assert_is_as_fresh(grown, extract(few, request, into=tmp_path / "fresh"))


def test_a_store_grows_by_the_engine_it_was_begun_with(store, cells, fresh):
    """Whatever `auto` would choose on this machine by now."""
    request = small(engine="auto", precision="auto")
    grown = extract(cells, request, into=store)
    assert (grown.recipe["engine"]["name"], grown.recipe["engine"]["precision"]) == ("tensorflow", "float32")
    assert_is_fresh_but_for_rounding(grown, fresh(cells, small()))


def test_parity_follows_the_taps_of_an_engine(cells, tmp_path):
    pytest.importorskip("onnxruntime")
    request = small(engine="onnxruntime", taps=TAPS[:2])
    store = extract(cells, request, into=tmp_path / "store")
    assert set(store.recipe["engine"]["parity"]) == {"early", "late"}
    grown = extract(cells, small(engine="auto", taps=TAPS), into=store.path)
    assert set(grown.recipe["engine"]["parity"]) == {"early", "late:mean", "late:max"}
    fewer = extract(cells, small(engine="auto", taps=TAPS[1:2]), into=store.path)
    assert fewer.recipe["engine"]["parity"] == {"late": grown.recipe["engine"]["parity"]["late:mean"]}


def test_a_budget_holds_for_the_store_as_it_will_be(store, cells):
    before = content(store)
    with pytest.raises(RequestError, match=r"would take [\d,]+ bytes, the budget is 1,000"):
        extract(cells, small(), into=store, budget=1000)
    with pytest.raises(RequestError, match=r"the budget is 1,000"):
        extract(some(cells).take(range(9)), small(taps=TAPS[:1]), into=store, budget=1000)
    assert content(store) == before


def test_what_is_removed_costs_no_pass(store, cells, passes, fresh):
    fewer = some(cells).take(range(3, 20))
    grown = extract(fewer, small(taps=TAPS[1:2]), into=store)
    assert passes == []
    assert_is_fresh_but_for_rounding(grown, fresh(fewer, small(taps=TAPS[1:2])))


def test_renamed_moved_and_relabelled_pictures_keep_their_features(made, store, cell_folder, passes, tmp_path, fresh):
    folder = tmp_path / "cells"
    for id in FeatureStore(made).rows.ids:
        label, name = id.split("/")
        (folder / label.upper()).mkdir(parents=True, exist_ok=True)
        shutil.copy(cell_folder / id, folder / label.upper() / f"{hash(name) % 97:02d}-{name}")
    table = read_folder(folder)
    grown = extract(table, small(taps=TAPS[:2]), into=store)
    assert passes == []
    assert grown.rows.ids == table.ids
    assert_is_as_fresh(grown, fresh(table, small(taps=TAPS[:2])))


def test_whatever_is_asked_for_next_it_is_as_if_it_had_been_asked_for_first(store, cells, fresh):
    generator = np.random.default_rng(0)
    for number in range(3):
        rows = generator.permutation(36)[: generator.integers(8, 37)]
        rows = np.sort(rows) if number % 2 else rows
        taps = tuple(np.array(TAPS)[generator.permutation(3)[: generator.integers(1, 4)]].tolist())
        table, request = cells.take(rows), small(taps=taps)
        assert_is_fresh_but_for_rounding(extract(table, request, into=store), fresh(table, request))


def test_a_plan_says_what_is_kept_and_writes_nothing(store, cells):
    before = content(store)
    plan = plan_extraction(cells, small(), into=store)
    assert (plan.rows, plan.rows_kept, plan.taps_kept) == (36, 24, ("early:flatten", "late:mean"))
    early = 36 * 15 * 15 * 8 * 4
    assert {key: tap.bytes for key, tap in plan.taps.items()} == {
        "colour": 36 * 84,
        "early": early,
        "late:mean": 36 * 48,
        "late:max": 36 * 48,
    }
    assert plan.bytes_missing > plan.bytes_total > early
    assert content(store) == before
    assert plan_extraction(some(cells).take(range(9)), small(taps=TAPS[:1]), into=store).rows == 0


def test_what_is_announced_is_the_plan_of_the_growth(store, cells):
    plans = []
    extract(cells, small(taps=TAPS[:2]), into=store, announce=plans.append)
    assert [(plan.rows, plan.rows_kept) for plan in plans] == [(12, 24)]


def test_what_is_announced_of_pictures_and_taps_is_one_plan_and_what_plan_says(store, cells):
    planned, announced = plan_extraction(cells, small(), into=store), []
    extract(cells, small(), into=store, announce=announced.append)
    assert [without_times(plan) for plan in announced] == [without_times(planned)]
    assert planned.rows == 36


def test_another_data_set_does_not_take_the_place_of_a_store(store, cells):
    before = content(store)
    with pytest.raises(StaleStoreError, match=r"holds features of 24 images, and not one of them is among the 12"):
        extract(cells.take(range(0, 36, 3)), small(taps=TAPS[:2]), into=store)
    assert content(store) == before


def test_a_store_that_was_hardly_begun_grows_too(cells, tmp_path, fresh):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "image_batches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(some(cells), small(), into=tmp_path / "store")
    grown = extract(cells, small(taps=TAPS[:1]), into=tmp_path / "store")
    assert_is_fresh_but_for_rounding(grown, fresh(cells, small(taps=TAPS[:1])))


def without_times(plan):
    return replace(plan, seconds=0.0, images_per_second=0.0, bytes_free=0)


def interrupted(*arguments, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["images", "taps", "store"])
def test_a_growth_that_was_stopped_goes_on_and_the_old_store_is_whole_meanwhile(
    store, cells, monkeypatch, passes, where, fresh
):
    before, append = content(store), StoreWriter.append

    def stop_after_one(writer, arrays, **options):
        if writer.path.name == where and writer.rows_done:
            raise KeyboardInterrupt
        append(writer, arrays, **options)

    monkeypatch.setattr("tfcells.features.recipe._SHARD_BATCHES", 5)
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "append", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            extract(cells, small(), into=store)
    kept = content(store)
    assert {name: data for name, data in kept.items() if not name.startswith(".growing")} == before
    done = len(passes)
    assert FeatureStore(store).complete
    grown = extract(cells, small(), into=store)
    assert len(passes) - done == {"images": 2, "taps": 1, "store": 0}[where]
    assert_is_fresh_but_for_rounding(grown, fresh(cells, small()))


def test_what_was_begun_for_a_request_that_nobody_makes_is_removed(store, cells):
    (store / ".growing" / "older" / "images").mkdir(parents=True)
    extract(some(cells), small(taps=TAPS[:2]), into=store)
    assert not (store / ".growing").exists()


def test_readers_of_the_old_store_keep_it_until_they_open_again(store, cells):
    reader, same = FeatureStore(store), FeatureStore(store)
    expected = {key: np.array(same.array(key)) for key in same.taps}
    extract(cells.take(range(9)), small(), into=store)
    assert reader.rows.ids == some(cells).ids
    assert reader.table("early").ids == some(cells).ids
    for key, column in expected.items():
        np.testing.assert_array_equal(reader.array(key), column)
    reader.check_files()
    assert len(list(store.glob(".old-*"))) == 1
    assert FeatureStore(store).rows.ids == cells.ids[:9]
    reader.close()
    same.close()
    extract(cells.take(range(9)), small(), into=store)
    assert list(store.glob(".old-*")) == []


def test_rows_that_failed_are_tried_again_when_a_store_grows(cells, cell_folder, tmp_path, fresh):
    folder = shutil.copytree(cell_folder, tmp_path / "cells")
    table = read_folder(folder)
    whole = (folder / table.ids[1]).read_bytes()
    (folder / table.ids[1]).write_bytes(b"")
    broken = extract(table, small(), into=tmp_path / "store")
    assert set(broken.failed) == {table.ids[1]}
    broken.close()
    (folder / table.ids[1]).write_bytes(whole)
    grown = extract(table.take(range(30)), small(), into=tmp_path / "store")
    assert_is_as_fresh(grown, fresh(table.take(range(30)), small()))


def test_rows_that_fail_while_a_store_grows_are_named(store, cells, cell_folder, tmp_path):
    folder = shutil.copytree(cell_folder, tmp_path / "cells")
    table = read_folder(folder)
    new, known = table.ids[3], table.ids[4]
    (folder / new).unlink()
    (folder / known).write_bytes((folder / table.ids[5]).read_bytes())
    grown = extract(table, small(), into=store)
    assert grown.failed[new].startswith("cannot be read")
    assert grown.failed[known] == "its pixels changed after it was first read"
    assert grown.rows.ids == tuple(id for id in table.ids if id not in (new, known))


def test_other_weights_of_the_same_name_do_not_add_to_a_store(store, cells, made_by):
    stored = json.loads((store / "recipe.json").read_text())
    made_by(store, {**stored, "weights": {**stored["weights"], "sha256": "0" * 64}})
    for table, request in ((cells, small(taps=TAPS[:2])), (some(cells), small())):
        with pytest.raises(StaleStoreError, match=r"weights\.sha256 is 0+ in the store"):
            extract(table, request, into=store)


def test_a_network_that_answers_otherwise_does_not_add_to_a_store(store, cells, made_by):
    stored = json.loads((store / "recipe.json").read_text())
    stored["golden"]["late"] = [value + 1 for value in stored["golden"]["late"]]
    made_by(store, stored)
    for table, request in ((cells, small(taps=TAPS[:2])), (some(cells), small())):
        with pytest.raises(DamageError, match=r"golden check of the weights that .* failed at tap 'late"):
            extract(table, request, into=store)


def test_a_growth_without_room_for_both_stores_is_refused(store, cells, monkeypatch):
    usage = shutil.disk_usage(store)._replace(free=11 * 36 * 15 * 15 * 8 * 4 // 10)
    monkeypatch.setattr("tfcells.features.plan.shutil.disk_usage", lambda path: usage)
    before = content(store)
    with pytest.raises(RequestError, match=r"needs .* KiB more, its disk has"):
        extract(cells.take(range(1, 36)), small(taps=TAPS[:2]), into=store)
    assert content(store) == before
