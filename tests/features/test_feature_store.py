"""A store: what goes in comes out, under its names, and damage and misuse are told apart."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfcells.errors import DamageError, RequestError, StaleStoreError, UnknownNameError
from tfcells.features.recipe import FORMAT, sealed, unsealed
from tfcells.features.store import FeatureStore, StoreWriter
from tfcells.images.sources import FolderSource
from tfcells.images.table import ImageTable, Quarantined

SHAPES = {"early:mean": (4,), "early:flatten": (2, 3), "late": (5,)}
"""Keys of taps, with the shapes that go into the store here."""


def table_of(count):
    ids = tuple(f"cells/{row:03d}.png" for row in range(count))
    return ImageTable(
        ids=ids,
        digests=tuple(f"{row:064x}" for row in range(count)),
        labels=np.arange(count, dtype=np.int64) % 2,
        class_names=("lymphocyte", "monocyte"),
        groups=ids,
        source=FolderSource(Path("nowhere")),
        quarantine=(Quarantined("cells/bad, \n.png", 'it is "bad"'),),
    )


def recipe_of(count, **changes):
    return {
        "backbone": {"name": "tiny", "size": 32},
        "taps": ["early:mean", "early:flatten", "late:none"],
        "handcrafted": {"colour": {"definition": "3" * 64, "shape": [21]}},
        "images": {"count": count},
        "shapes": {key: list(shape) for key, shape in SHAPES.items()},
        "dtype": "float32",
    } | changes


def features_of(count, dtype=np.float32):
    generator = np.random.default_rng(0)
    features = {key: generator.normal(size=(count, *shape)).astype(dtype) for key, shape in SHAPES.items()}
    return features | {"colour": generator.normal(size=(count, 21)).astype(np.float32)}


def fill(path, *, count=10, cuts=(4, 8), failed=(), dtype=np.float32, upto=None, table=None, **changes):
    """Write a store in shards that end at `cuts`, then at the end; rows in `failed` have no features."""
    table, features = table or table_of(count), features_of(count, dtype)
    with StoreWriter.open(path, recipe=recipe_of(count, dtype=np.dtype(dtype).name, **changes), table=table) as writer:
        for stop in [*cuts, count][:upto]:
            rows = [row for row in range(writer.rows_done, stop) if row not in failed]
            reasons = {table.ids[row]: f"reason {row}" for row in range(writer.rows_done, stop) if row in failed}
            writer.append({key: column[rows] for key, column in features.items()}, stop=stop, failed=reasons)
    return FeatureStore(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.integers(1, 12), st.data())
def test_every_row_comes_back_with_its_features_whatever_the_shards(tmp_path_factory, count, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, count - 1), max_size=4))) if count > 1 else ()
    failed = data.draw(st.sets(st.integers(0, count - 1)))
    store = fill(tmp_path_factory.mktemp("store") / "s", count=count, cuts=cuts, failed=failed)
    left = [row for row in range(count) if row not in failed]
    assert store.complete
    assert store.rows.ids == tuple(table_of(count).ids[row] for row in left)
    np.testing.assert_array_equal(store.rows.labels, table_of(count).labels[left])
    for key, column in features_of(count).items():
        np.testing.assert_array_equal(store.array(key), column[left])
        assert store.table(key).vectors.shape == (len(left), column[0].size)


def test_taps_are_keyed_as_they_were_asked_for(tmp_path):
    store = fill(tmp_path / "s")
    assert store.taps == tuple(SHAPES)
    assert [store.tap_of[key].pooling for key in store.taps] == ["mean", "flatten", "none"]


def test_a_file_is_named_after_its_tap_whatever_else_is_tapped(tmp_path):
    fill(tmp_path / "s")
    names = {path.name for path in (tmp_path / "s" / "shards" / "00000").glob("*.npy")}
    assert names == {"early__mean.npy", "early__flatten.npy", "late__none.npy", "colour.npy"}


def test_taps_stand_side_by_side_with_their_widths(tmp_path):
    store, features = fill(tmp_path / "s"), features_of(10)
    table = store.table(["late", "early:flatten"])
    np.testing.assert_array_equal(table.vectors[:, :5], features["late"])
    np.testing.assert_array_equal(table.vectors[:, 5:], features["early:flatten"].reshape(10, 6))
    assert (table.taps, table.widths) == (("late", "early:flatten"), (5, 6))
    assert (table.ids, table.class_names) == (store.rows.ids, ("lymphocyte", "monocyte"))


@pytest.mark.parametrize(
    ("keys", "pooling"),
    [("early:mean", "mean"), (["late", "early:mean"], "none+mean"), ("colour", "none"), (["late", "colour"], "none")],
    ids=str,
)
def test_the_pooling_of_a_table_is_said_once_each(tmp_path, keys, pooling):
    assert fill(tmp_path / "s").table(keys).pooling == pooling


def test_half_precision_is_computed_with_in_single_precision(tmp_path):
    store = fill(tmp_path / "s", dtype=np.float16)
    assert store.array("late").dtype == np.float16
    table = store.table(["late", "early:mean"])
    assert table.vectors.dtype == np.float32
    np.testing.assert_array_equal(table.vectors[:, :5], features_of(10)["late"].astype(np.float16))


def test_a_store_whose_rows_all_failed_has_tables_without_rows(tmp_path):
    store = fill(tmp_path / "s", failed=range(10))
    assert store.table(["early:flatten", "late"]).vectors.shape == (0, 11)


def test_a_store_without_a_shard_yet_has_tables_without_rows(tmp_path):
    store = fill(tmp_path / "s", upto=0)
    assert (store.rows_done, store.rows.ids, len(store.table("late").vectors)) == (0, (), 0)


def test_an_unknown_tap_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(UnknownNameError, match=r"Unknown tap of .* 'early:man'\. Did you mean 'early:mean'\?"):
        fill(tmp_path / "s").table("early:man")


def test_a_table_of_no_tap_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"No tap of .* was named\. Expected one or more of: early:mean"):
        fill(tmp_path / "s").table([])


def test_the_quarantine_names_what_the_reader_and_the_extraction_left_out(tmp_path):
    store = fill(tmp_path / "s", failed=(3, 9))
    assert store.quarantine == (
        Quarantined("cells/003.png", "reason 3"),
        Quarantined("cells/009.png", "reason 9"),
        Quarantined("cells/bad, \n.png", 'it is "bad"'),
    )


def test_a_store_can_be_read_while_it_is_written_up_to_the_last_whole_shard(tmp_path):
    with StoreWriter.open(tmp_path / "s", recipe=recipe_of(10), table=table_of(10)) as writer:
        writer.append({key: column[:4] for key, column in features_of(10).items()}, stop=4, failed={})
        (tmp_path / "s" / "shards" / ".writing-00001").mkdir()
        store = FeatureStore(tmp_path / "s")
        assert (store.complete, store.rows_done, store.rows.ids) == (False, 4, table_of(10).ids[:4])
        np.testing.assert_array_equal(store.array("late"), features_of(10)["late"][:4])


def test_a_writer_goes_on_where_the_last_one_stopped(tmp_path):
    half, whole = fill(tmp_path / "s", upto=1), fill(tmp_path / "t")
    assert half.digest != whole.digest
    assert fill(tmp_path / "s", cuts=(8,)).digest == whole.digest
    shutil.rmtree(tmp_path / "s" / "shards" / "00002")
    assert fill(tmp_path / "s", cuts=()).digest == whole.digest


def test_a_writer_removes_what_a_killed_one_left(tmp_path):
    fill(tmp_path / "s", upto=1)
    leftover = tmp_path / "s" / "shards" / ".writing-00001"
    leftover.mkdir()
    (leftover / "late__none.npy").write_bytes(b"half")
    with StoreWriter.open(tmp_path / "s", recipe=recipe_of(10), table=table_of(10)) as writer:
        assert not leftover.exists()
        assert writer.rows_done == 4


def test_a_flipped_bit_is_found_and_its_file_named(tmp_path):
    store = fill(tmp_path / "s")
    store.check_files()
    path = tmp_path / "s" / "shards" / "00001" / "late__none.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(DamageError, match=r"00001/late__none\.npy was altered"):
        store.check_files()


def test_a_missing_shard_and_a_truncated_record_are_named(tmp_path):
    fill(tmp_path / "s")
    record = tmp_path / "s" / "shards" / "00002" / "record.json"
    record.write_text(record.read_text()[:-5])
    with pytest.raises(DamageError, match="00002 has no readable record"):
        FeatureStore(tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / "shards" / "00001")
    with pytest.raises(DamageError):
        FeatureStore(tmp_path / "s")


def test_pickled_features_are_not_read(tmp_path):
    store = fill(tmp_path / "s")
    path = tmp_path / "s" / "shards" / "00000" / "late__none.npy"
    np.save(path, np.array([print, None], dtype=object), allow_pickle=True)
    with pytest.raises(DamageError, match=r"late__none\.npy cannot be read: .*Python objects"):
        store.table("late")


@pytest.mark.parametrize("text", ["", "[1]", '{"taps": ', "\xff"])
def test_a_damaged_recipe_is_named(tmp_path, text):
    fill(tmp_path / "s")
    (tmp_path / "s" / "recipe.json").write_text(text)
    with pytest.raises(DamageError, match=r"recipe\.json"):
        FeatureStore(tmp_path / "s")


def test_a_store_of_another_format_is_refused_with_both_numbers(tmp_path):
    path = fill(tmp_path / "s", format=FORMAT).path
    recipe = json.dumps({**json.loads((path / "recipe.json").read_text()), "format": 1}).encode()
    digests = unsealed((path / "digests.json").read_bytes())
    (path / "recipe.json").write_bytes(recipe)
    for kept in (sealed({**digests, "recipe.json": hashlib.sha256(recipe).hexdigest()}), b"kept in another form"):
        (path / "digests.json").write_bytes(kept)
        with pytest.raises(
            StaleStoreError, match=rf"is a store of format 1, .*; {FORMAT} was expected\. Extract it again"
        ):
            FeatureStore(path)


def test_another_format_that_the_digest_does_not_know_is_damage(tmp_path):
    path = fill(tmp_path / "s", format=FORMAT).path
    text = (path / "recipe.json").read_text()
    (path / "recipe.json").write_text(text.replace(f'"format": {FORMAT}', f'"format": {FORMAT ^ 1}'))
    with pytest.raises(DamageError, match=r"recipe\.json was altered: .* remove .*s and extract the store again"):
        FeatureStore(path)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_recipe_has_a_way_out(tmp_path, text):
    path = fill(tmp_path / "s").path
    (path / "recipe.json").write_text(text)
    way_out = re.escape(f"Put a sound copy in its place, or remove {path} and extract the store again.")
    for attempt in (lambda: FeatureStore(path), lambda: fill(path)):
        with pytest.raises(DamageError, match=way_out):
            attempt()
    shutil.rmtree(path)
    assert fill(path).complete


def test_a_store_whose_recipe_is_gone_is_called_that_and_left_alone(tmp_path):
    path = fill(tmp_path / "s").path
    (path / "run.json").write_text("{}")  # as a finished extraction has
    (path / "recipe.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    words = (
        r"s looks like a feature store, but .*recipe\.json, which says .*, is missing\. Put a sound copy in its place"
    )
    for attempt in (lambda: FeatureStore(path), lambda: fill(path)):
        with pytest.raises(DamageError, match=words):
            attempt()
    assert sorted(tmp_path.rglob("*")) == before


def test_digests_that_cannot_be_read_are_one_fault(tmp_path):
    store = fill(tmp_path / "s")
    (store.path / "digests.json").write_text("{}")
    (fault,) = FeatureStore(store.path).faults()
    assert "digests.json cannot be read" in str(fault)


def test_a_folder_that_is_no_store_is_neither_read_nor_written(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RequestError, match=r"is no feature store: it has no recipe\.json\. Make one with"):
        FeatureStore(tmp_path)
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with (
            pytest.raises(RequestError, match="exists and is no feature store"),
            StoreWriter.open(path, recipe=recipe_of(10), table=table_of(10)),
        ):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_may_become_a_store(tmp_path):
    assert fill(tmp_path).complete


def test_another_recipe_is_refused_and_the_difference_named(tmp_path):
    fill(tmp_path / "s")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    wanted = recipe_of(10, dtype="float16", backbone={"name": "vgg16", "size": 32})
    message = r"another recipe: backbone\.name is tiny in the store, vgg16 was asked for; dtype is float32 .* float16"
    with pytest.raises(StaleStoreError, match=message):
        FeatureStore(tmp_path / "s", recipe=wanted)
    with (
        pytest.raises(StaleStoreError, match=message),
        StoreWriter.open(tmp_path / "s", recipe=wanted, table=table_of(10)),
    ):
        pass
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_what_the_store_knows_beyond_a_request_is_no_difference(tmp_path):
    fill(tmp_path / "s")
    assert FeatureStore(tmp_path / "s", recipe={"dtype": "float32"}).complete


def test_labels_may_change_without_new_features(tmp_path):
    first = fill(tmp_path / "s")
    relabelled = replace(table_of(10), labels=np.full(10, 1), class_names=("a", "b"), metadata={"site": ("x",) * 10})
    second = fill(tmp_path / "s", cuts=(), upto=0, table=relabelled)
    assert (second.rows.class_names, second.rows.labels.tolist()) == (("a", "b"), [1] * 10)
    assert second.rows.metadata == {"site": ("x",) * 10}
    assert second.digest == first.digest
    np.testing.assert_array_equal(second.table("late").vectors, first.table("late").vectors)


def test_the_digest_covers_recipe_and_features(tmp_path):
    digests = {
        fill(tmp_path / "a").digest,
        fill(tmp_path / "b", extra="one more key").digest,
        fill(tmp_path / "c", dtype=np.float16).digest,
        fill(tmp_path / "d", failed=(2,)).digest,
    }
    assert len(digests) == 4
    assert fill(tmp_path / "e").digest in digests


def test_the_digest_does_not_cover_times_and_hosts(tmp_path):
    before = fill(tmp_path / "s").digest
    with StoreWriter.open(tmp_path / "s", recipe=recipe_of(10), table=table_of(10)) as writer:
        writer.finish({"seconds": 12.5, "host": "elsewhere"})
    assert json.loads((tmp_path / "s" / "run.json").read_text())["host"] == "elsewhere"
    assert FeatureStore(tmp_path / "s").digest == before


HOLD = """
import sys
from pathlib import Path
import numpy as np
from tfcells.features.recipe import FORMAT, sealed, unsealed
from tfcells.features.store import FeatureStore, StoreWriter
from tfcells.images.sources import FolderSource
from tfcells.images.table import ImageTable
path = Path(sys.argv[1])
store = FeatureStore(path)
table = ImageTable(ids=("a",), digests=("0",), labels=np.zeros(1, "int64"), class_names=("cell",), groups=("a",),
                   source=FolderSource(path))
with StoreWriter.open(path, recipe=store.recipe, table=table):
    assert not {"tensorflow", "keras"} & set(sys.modules), "reading or writing a store loaded TensorFlow"
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_and_a_dead_one_does_not_block(tmp_path):
    fill(tmp_path / "s", upto=1)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "holds\n"
        with pytest.raises(RequestError, match=r"Another process is writing to .* Wait for it"):
            fill(tmp_path / "s")
        holder.kill()
    assert fill(tmp_path / "s", cuts=(8,)).complete


def test_two_writers_in_one_process_are_refused_too(tmp_path):
    with (
        StoreWriter.open(tmp_path / "s", recipe=recipe_of(10), table=table_of(10)),
        pytest.raises(RequestError, match="Another process is writing"),
    ):
        fill(tmp_path / "s")
