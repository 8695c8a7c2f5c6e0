"""A store that is damaged, or whose pictures were away for a moment: the same extraction mends it, to the last bit."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfcells.errors import DamageError, RequestError, StaleStoreError
from tfcells.features import measured
from tfcells.features import store as store_module
from tfcells.features.extract import Extraction, extract, plan_extraction
from tfcells.features.pieces import write_atomically
from tfcells.features.recipe import recipe_digest
from tfcells.features.store import FeatureStore, StoreWriter
from tfcells.images.decode import BadImageError

in_place = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
REQUEST = Extraction(handcrafted=("raw",), batch_size=1)
MORE = replace(REQUEST, handcrafted=("raw", "stain"))
"""One row a batch is sixteen rows a shard: 36 cells are three shards."""


class Away:
    """A source in which some pictures cannot be read for the moment."""

    def __init__(self, source, ids):
        self.source, self.ids = source, ids

    def read(self, id):
        if id in self.ids:
            raise BadImageError("it is away")
        return self.source.read(id)

    def describe(self):
        return self.source.describe()


@pytest.fixture(scope="module")
def whole(cells, tmp_path_factory):
    return extract(cells, REQUEST, into=tmp_path_factory.mktemp("whole") / "store").path


@pytest.fixture(scope="module")
def whole_of_more(cells, tmp_path_factory):
    return extract(cells, MORE, into=tmp_path_factory.mktemp("more") / "store").path


@pytest.fixture
def store(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "store")


@pytest.fixture
def made(monkeypatch):
    """The ranges of rows that are measured."""
    seen, batches = [], measured.Measured.batches

    def watched(extractor, start, stop):
        seen.append((start, stop))
        return batches(extractor, start, stop)

    monkeypatch.setattr(measured.Measured, "batches", watched)
    return seen


def content(path):
    files = (file for file in path.rglob("*") if file.is_file() and file.name not in ("run.json", ".lock"))
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def flip(path, byte, bit=0):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def away(table, *rows):
    return replace(table, source=Away(table.source, {table.ids[row] for row in rows}))


@in_place
@given(lost=st.sets(st.integers(0, 2), min_size=1))
def test_whichever_shards_are_lost_they_alone_are_made_again_to_the_bit(whole, cells, tmp_path_factory, lost):
    store = shutil.copytree(whole, tmp_path_factory.mktemp("lost") / "store")
    for number in lost:
        shutil.rmtree(store / "shards" / f"{number:05d}")
    planned = plan_extraction(cells, REQUEST, into=store)
    assert planned.rows == sum({0: 16, 1: 16, 2: 4}[number] for number in lost)
    assert extract(cells, REQUEST, into=store).complete
    assert content(store) == content(whole)


def test_only_what_is_missing_is_measured_and_progress_counts_rows(store, cells, made):
    shutil.rmtree(store / "shards" / "00001")
    steps = []
    extract(cells, REQUEST, into=store, progress=lambda stage, done, total: steps.append(done))
    assert made == [(16, 32)]
    assert steps == list(range(20, 37))
    assert json.loads((store / "run.json").read_text())["images"] == 16


def without(path):
    path.unlink()


def torn(path):
    path.write_bytes(path.read_bytes()[:1000])


def of_another_type(path):
    np.save(path, np.load(path).astype(np.float16))


def without_a_record(path):
    path.with_name("record.json").unlink()


def with_a_torn_record(path):
    torn_record = path.with_name("record.json")
    torn_record.write_bytes(torn_record.read_bytes()[:-9])


def with_a_damaged_header(path):
    flip(path, 20)


@pytest.mark.parametrize(
    "damage", [without, torn, of_another_type, without_a_record, with_a_torn_record, with_a_damaged_header]
)
@pytest.mark.parametrize("rest", [True, False], ids=["complete", "partly filled"])
def test_a_torn_shard_is_made_again_alone(store, whole, cells, made, damage, rest):
    damage(store / "shards" / "00001" / "raw.npy")
    if not rest:
        shutil.rmtree(store / "shards" / "00002")
    assert extract(cells, REQUEST, into=store).complete
    assert made == [(16, 32 if rest else 36)]
    assert content(store) == content(whole)


def test_what_verify_advises_works(store, whole, cells):
    flip(store / "shards" / "00001" / "raw.npy", 5000)
    (fault,) = FeatureStore(store).faults()
    assert f"Delete {store / 'shards' / '00001'}; it is made again" in str(fault)
    shutil.rmtree(store / "shards" / "00001")
    extract(cells, REQUEST, into=store)
    assert content(store) == content(whole)


def test_a_shard_that_does_not_belong_is_removed(store, whole, cells, made):
    shutil.copytree(store / "shards" / "00000", store / "shards" / "00007")
    with pytest.raises(DamageError, match=r"00007 begins at row 0, where shard 00003 begins at row 36"):
        FeatureStore(store)
    assert extract(cells, REQUEST, into=store).complete
    assert made == []
    assert content(store) == content(whole)


def test_while_a_gap_is_filled_readers_see_the_shards_before_it(store, cells):
    shutil.rmtree(store / "shards" / "00001")
    reader = FeatureStore(store)
    assert (reader.complete, reader.rows_done, len(reader.array("raw"))) == (False, 16, 16)
    assert FeatureStore.salvaged(store).missing() == (range(16, 32),)


def test_a_fill_of_gaps_that_was_stopped_goes_on(store, whole, cells, made):
    for number in (0, 2):
        shutil.rmtree(store / "shards" / f"{number:05d}")

    def stop(stage, done, total):
        if done == 34:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(cells, REQUEST, into=store, progress=stop)
    assert FeatureStore.salvaged(store).missing() == (range(32, 36),)
    extract(cells, REQUEST, into=store)
    assert made == [(0, 16), (32, 36), (32, 36)]
    assert content(store) == content(whole)


def test_growing_a_store_measures_the_rows_of_damaged_shards_again(store, whole_of_more, cells, made):
    flip(store / "shards" / "00001" / "raw.npy", 5000)
    assert plan_extraction(cells, MORE, into=store).rows_kept == 20
    extract(cells, MORE, into=store)
    assert made == [(0, 16), (0, 20)]  # of the sixteen that were damaged, and of the others what they lacked
    assert content(store) == content(whole_of_more)


def test_a_store_with_a_gap_grows_from_all_its_shards(store, whole_of_more, cells, made):
    shutil.rmtree(store / "shards" / "00000")
    extract(cells, MORE, into=store)
    assert made == [(0, 16), (0, 20)]
    assert content(store) == content(whole_of_more)


def test_damage_in_what_a_growth_made_is_not_put_together(store, cells, monkeypatch):
    check = FeatureStore.check_files

    def damaged(opened):
        flip(opened.path / "shards" / "00000" / "stain.npy", -1)
        check(opened)

    monkeypatch.setattr(FeatureStore, "check_files", damaged)
    before = content(store)
    with pytest.raises(DamageError, match=r"taps/shards/00000/stain\.npy was altered: .* Delete .*00000; it is made"):
        extract(cells, MORE, into=store)
    assert {name: data for name, data in content(store).items() if not name.startswith(".growing")} == before


def test_a_recipe_that_was_altered_is_refused_by_whoever_would_take_it_over(store, cells):
    recipe = json.loads((store / "recipe.json").read_text())
    (store / "recipe.json").write_text(json.dumps({**recipe, "rounding": {"raw": {"relative_error": 1.0}}}))
    before = content(store)
    for request in (REQUEST, MORE):
        for call in (extract, plan_extraction):
            with pytest.raises(
                DamageError, match=r"recipe\.json was altered: .* Remove .*store, and extract the store"
            ):
                call(cells, request, into=store)
    with pytest.raises(DamageError, match=r"recipe\.json was altered"):
        FeatureStore(store)
    assert content(store) == before


def test_the_shards_vouch_for_the_recipe_where_the_digests_are_lost(store, whole, cells):
    (store / "digests.json").unlink()
    extract(cells, REQUEST, into=store)
    assert content(store) == content(whole)
    recipe = json.loads((store / "recipe.json").read_text())
    (store / "recipe.json").write_text(json.dumps({**recipe, "rounding": {"raw": {"relative_error": 1.0}}}))
    (store / "digests.json").unlink()
    with pytest.raises(DamageError, match=r"recipe\.json was altered"):
        extract(cells, REQUEST, into=store)


def test_every_shard_names_the_recipe_it_was_made_by(whole):
    opened = FeatureStore(whole)
    assert {record.recipe for _, record in opened.shards} == {recipe_digest(opened.recipe)}


@pytest.mark.parametrize("lost", [("recipe.json",), ("recipe.json", "run.json")], ids=str)
def test_shards_whose_recipe_is_lost_are_not_taken_over(store, cells, lost):
    shutil.rmtree(store / "shards" / "00002")
    for name in lost:
        (store / name).unlink()
    before = content(store)
    with pytest.raises(DamageError, match=r"recipe\.json, which says what its features are, is missing\. .* remove"):
        extract(cells, replace(REQUEST, dtype="float16"), into=store)
    assert content(store) == before


def test_shards_of_another_recipe_are_made_again(store, cells, whole, tmp_path):
    other = extract(cells, replace(REQUEST, dtype="float16"), into=tmp_path / "other").path
    shutil.rmtree(store / "shards" / "00001")
    shutil.copytree(other / "shards" / "00001", store / "shards" / "00001")
    with pytest.raises(DamageError, match=r"00001 was made by another recipe than that of the store"):
        FeatureStore(store)
    extract(cells, REQUEST, into=store)
    assert content(store) == content(whole)


def test_a_picture_that_was_away_while_a_store_was_made_is_tried_again(cells, whole, tmp_path, made):
    store = extract(away(cells, 3, 20), REQUEST, into=tmp_path / "store")
    assert set(store.failed) == {cells.ids[3], cells.ids[20]}
    made.clear()
    assert plan_extraction(away(cells, 20), REQUEST, into=store.path).rows == 16
    back = extract(away(cells, 20), REQUEST, into=store.path)
    assert set(back.failed) == {cells.ids[20]}
    assert made == [(0, 16)]
    with pytest.raises(DamageError, match=r"00000 was made again since the store was opened\. Open it again"):
        store.array("raw")
    assert extract(cells, REQUEST, into=store.path).complete
    assert made == [(0, 16), (16, 32)]
    assert content(store.path) == content(whole)


def test_a_picture_that_was_away_while_a_store_grew_is_tried_again(store, whole_of_more, cells, made):
    assert set(extract(away(cells, 3), MORE, into=store).failed) == {cells.ids[3]}
    made.clear()
    assert extract(cells, MORE, into=store).failed == {}
    assert made == [(0, 16)]
    assert content(store) == content(whole_of_more)


def test_a_picture_that_is_still_away_costs_no_pass(cells, tmp_path, made):
    store = extract(away(cells, 3), REQUEST, into=tmp_path / "store")
    made.clear()
    again = extract(away(cells, 3), REQUEST, into=tmp_path / "store")
    assert made == []
    assert again.digest == store.digest


def test_a_shard_that_is_tried_again_stays_until_there_is_another(cells, tmp_path):
    store = extract(away(cells, 3), REQUEST, into=tmp_path / "store").path
    before = content(store)

    def stop(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(cells, REQUEST, into=store, progress=stop)
    with pytest.raises(RequestError, match="the budget is 1,000"):
        extract(cells, REQUEST, into=store, budget=1000)
    assert content(store) == before
    assert FeatureStore(store).complete


def test_shards_that_were_cut_otherwise_are_not_overwritten(store, cells, monkeypatch):
    shutil.rmtree(store / "shards" / "00001")
    monkeypatch.setattr("tfcells.features.recipe._SHARD_BATCHES", 8)
    kept = content(store / "shards" / "00002")
    with pytest.raises(
        DamageError, match=r"Rows 24 to 32 of .* were cut otherwise, by another version\. Remove .*shards"
    ):
        extract(cells, REQUEST, into=store)
    assert content(store / "shards" / "00002") == kept


def test_a_disk_that_is_full_while_a_store_is_described_anew_is_said(store, cells, monkeypatch):
    def full(path, contents):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("tfcells.features.store.replace_files", full)
    with pytest.raises(DamageError, match=r"took no more \(No space left on device\)\. .* make room, and the same"):
        extract(replace(cells, groups=("one",) * len(cells)), REQUEST, into=store)


@pytest.mark.parametrize(("number", "name"), [(37, "No locks available"), (95, "Operation not supported")])
def test_a_file_system_without_locks_is_called_that_and_not_another_writer(store, cells, monkeypatch, number, name):
    def refused(descriptor, operation):
        raise OSError(number, name)

    shutil.rmtree(store / "shards" / "00002")  # a complete store is not written to
    monkeypatch.setattr("tfcells.features.pieces.fcntl.flock", refused)
    with pytest.raises(RequestError, match=rf"cannot be locked .*: its file system says '{name}'\. Choose a folder on"):
        extract(cells, REQUEST, into=store)


def test_a_rename_is_on_the_disk_before_a_write_is_done(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(
        "tfcells.features.pieces.flush_folder", lambda path: flushed.append((path, list(path.iterdir())))
    )
    write_atomically(tmp_path / "run.json", b"{}")
    assert flushed == [(tmp_path, [tmp_path / "run.json"])]


def test_a_writer_that_was_overtaken_does_not_describe_the_store_of_another(cells, tmp_path, monkeypatch):
    """Between its look at the folder and the lock, another process makes a store of another recipe."""
    path, true_lock = tmp_path / "store", store_module.locked

    @contextmanager
    def overtaken(folder):
        monkeypatch.setattr(store_module, "locked", true_lock)
        extract(cells, replace(REQUEST, dtype="float16"), into=path)
        with true_lock(folder):
            yield

    monkeypatch.setattr(store_module, "locked", overtaken)
    with pytest.raises(StaleStoreError, match="dtype is float16 in the store, float32 was asked for"):
        extract(cells.take(range(30)), REQUEST, into=path)
    assert FeatureStore(path).complete
    FeatureStore(path).check_files()


def test_a_reader_waits_for_a_shard_that_is_made_again(store, monkeypatch):
    """Whoever looks while a shard is away, between the old one and the new one, finds the new one."""
    shard, aside = store / "shards" / "00001", store / "shards" / ".writing-instead-of-00001"
    shard.rename(aside)
    looks = []

    def come_back(seconds):
        looks.append(seconds)
        if aside.exists():
            aside.rename(shard)

    monkeypatch.setattr("tfcells.features.shards.time.sleep", come_back)
    assert FeatureStore(store).complete
    assert looks


def test_digests_that_are_damaged_are_vouched_for_by_any_shard_or_there_is_a_way_out(store, cells, whole):
    (store / "digests.json").write_text("x")
    shutil.rmtree(store / "shards" / "00000")
    assert extract(cells, REQUEST, into=store).digest == FeatureStore(whole).digest
    (store / "digests.json").write_text("x")
    shutil.rmtree(store / "shards")
    with pytest.raises(DamageError, match=rf"No shard names the recipe either; remove {store}, and extract"):
        extract(cells, REQUEST, into=store)


def test_what_the_writer_would_leave_alone_is_no_reason_to_write(store, cells, monkeypatch):
    (store / "shards" / ".DS_Store").touch()
    (store / ".note").touch()
    monkeypatch.setattr(StoreWriter, "open", raising_writer)
    assert extract(cells, REQUEST, into=store).complete


def raising_writer(*_, **__):
    raise AssertionError("the store is written to")
