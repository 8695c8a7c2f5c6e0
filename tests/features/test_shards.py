"""One shard: whole or not there, and no changed bit goes unseen."""

import errno
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfcells.errors import DamageError
from tfcells.features import shards
from tfcells.features.shards import (
    RECORD,
    check_shard,
    load_array,
    read_shards,
    remove_leftovers,
    remove_shards,
    require_record,
    whole_shards,
    write_shard,
)

in_place = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
NUMBERS = arrays.arrays(
    st.sampled_from([np.float32, np.float16]),
    arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4),
    elements=st.floats(width=16),
)
COLUMN = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(folder: Path, *numbers: int, rows: int = 4) -> None:
    """Shards of these numbers, of `rows` rows each."""
    for number in numbers:
        write_shard(
            folder / f"{number:05d}",
            start=number * rows,
            stop=(number + 1) * rows,
            arrays={"a__mean": COLUMN + number},
            failed={},
        )


def columns():
    return {"a__mean.npy": ((3,), COLUMN.dtype)}


@in_place
@given(st.dictionaries(st.sampled_from("abc"), NUMBERS), st.dictionaries(st.text(), st.text()), st.integers(0, 99))
def test_what_is_written_is_read(tmp_path_factory, columns, failed, stop):
    folder = tmp_path_factory.mktemp("shards")
    written = write_shard(folder / "00000", start=0, stop=stop, arrays=columns, failed=failed)
    ((path, record),) = read_shards(folder)
    assert record == written
    assert (record.stop, record.failed) == (stop, failed)
    for name, column in columns.items():
        stored = np.load(path / f"{name}.npy", allow_pickle=False)
        assert (stored.dtype, stored.tobytes(), stored.shape) == (column.dtype, column.tobytes(), column.shape)
    check_shard(path, record)


def test_shards_come_in_row_order(tmp_path):
    write(tmp_path, 0, 1, 2)
    assert [(path.name, record.start, record.stop) for path, record in read_shards(tmp_path)] == [
        ("00000", 0, 4),
        ("00001", 4, 8),
        ("00002", 8, 12),
    ]


def test_the_same_numbers_are_the_same_bytes(tmp_path):
    write(tmp_path / "a", 0, 1)
    write(tmp_path / "b", 0, 1)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_a_record_holds_the_sha256_of_each_file(tmp_path):
    write(tmp_path, 0)
    ((path, record),) = read_shards(tmp_path)
    assert record.files == {"a__mean.npy": hashlib.sha256((path / "a__mean.npy").read_bytes()).hexdigest()}


@in_place
@given(st.data())
def test_any_flipped_bit_is_found_and_its_file_named(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shards")
    write(folder, 0)
    ((path, record),) = read_shards(folder)
    content = bytearray((path / "a__mean.npy").read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (path / "a__mean.npy").write_bytes(content)
    with pytest.raises(DamageError, match=r"00000/a__mean\.npy was altered: its SHA-256 .* Delete .*00000"):
        check_shard(path, record)


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path, 0)
    ((path, record),) = read_shards(tmp_path)
    (path / "a__mean.npy").unlink()
    with pytest.raises(DamageError, match=r"a__mean\.npy cannot be read: .* it is made again"):
        check_shard(path, record)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_whoever_reads_sees_the_shards_up_to_a_missing_one_and_whoever_mends_all(tmp_path, missing):
    write(tmp_path, *{0, 1, 2} - {missing})
    assert [record.start for _, record in read_shards(tmp_path)] == [4 * number for number in range(missing)]
    assert [int(path.name) for path, _ in whole_shards(tmp_path, columns)] == sorted({0, 1, 2} - {missing})


@pytest.mark.parametrize(("number", "name", "left"), [(1, "00002", ["00000"]), (0, "00001", []), (1, "00000", [])])
def test_a_shard_under_anothers_name_is_no_shard_of_the_store(tmp_path, number, name, left):
    write(tmp_path, 0, 1)
    (tmp_path / f"{number:05d}").rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / name, ignore_errors=True)
    (tmp_path / "moved").rename(tmp_path / name)
    with pytest.raises(DamageError, match=rf"{name} begins at row .* does not belong here\. Delete it"):
        list(read_shards(tmp_path))
    assert [path.name for path, _ in whole_shards(tmp_path, columns)] == left


def test_from_a_hundred_thousand_on_shards_are_in_order_too(tmp_path):
    """Their names have six digits, and come before 99999 as text."""
    numbers = range(99_997, 100_003)
    write(tmp_path, *numbers)
    assert [int(path.name) for path, _ in whole_shards(tmp_path, columns)] == list(numbers)
    remove_shards(tmp_path, but={"99999", "100000"})
    assert {path.name for path in tmp_path.iterdir()} == {"99999", "100000"}


def test_a_shard_of_another_recipe_is_none_of_the_store(tmp_path):
    write_shard(tmp_path / "00000", start=0, stop=4, arrays={"a__mean": COLUMN}, failed={}, recipe="1" * 64)
    assert len(list(read_shards(tmp_path, recipe="1" * 64))) == 1
    assert list(whole_shards(tmp_path, columns, recipe="2" * 64)) == []
    with pytest.raises(DamageError, match=r"was made by another recipe than that of the store\. Delete it; it is"):
        list(read_shards(tmp_path, recipe="2" * 64))


def torn_in_half(path):
    path.write_bytes(path.read_bytes()[:150])


def longer(path):
    path.write_bytes(path.read_bytes() + b"0")


def of_another_type(path):
    np.save(path, COLUMN.astype(np.float64))


def of_another_shape(path):
    np.save(path, COLUMN[:2])


def without_a_record(path):
    path.with_name(RECORD).unlink()


@pytest.mark.parametrize(
    "damage", [Path.unlink, torn_in_half, longer, of_another_type, of_another_shape, without_a_record]
)
def test_a_torn_shard_is_left_out_by_whoever_mends_and_the_others_are_not(tmp_path, damage):
    write(tmp_path, 0, 1, 2)
    damage(tmp_path / "00001" / "a__mean.npy")
    assert [path.name for path, _ in whole_shards(tmp_path, columns)] == ["00000", "00002"]


def test_a_changed_bit_is_seen_by_whoever_compares_digests(tmp_path):
    write(tmp_path, 0, 1)
    content = bytearray((tmp_path / "00000" / "a__mean.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "00000" / "a__mean.npy").write_bytes(content)
    assert [path.name for path, _ in whole_shards(tmp_path, columns)] == ["00000", "00001"]
    assert [path.name for path, _ in whole_shards(tmp_path, columns, digests=True)] == ["00001"]


def test_what_the_system_does_not_let_be_read_for_a_moment_is_not_taken_for_torn(tmp_path, monkeypatch):
    write(tmp_path, 0)

    def refused(path, name, held):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shards, "_open", refused)
    with pytest.raises(DamageError, match="Input/output error"):
        list(whole_shards(tmp_path, columns))


@in_place
@given(st.data())
def test_a_damaged_header_is_damage_or_changes_nothing(tmp_path_factory, data):
    """NumPy reads a header as Python source: what it raises is nearly anything."""
    folder = tmp_path_factory.mktemp("shards")
    write(folder, 0)
    path = folder / "00000" / "a__mean.npy"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 127))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = load_array(folder / "00000", path.name, shape=(4, 3), dtype=COLUMN.dtype)
    except DamageError as damage:
        assert f"Delete {folder / '00000'}; it is made again" in str(damage)
    else:
        assert (found.shape, found.dtype) == ((4, 3), COLUMN.dtype)


def test_a_shard_that_was_made_again_is_not_taken_for_the_one_that_was_opened(tmp_path):
    write(tmp_path, 0)
    ((path, record),) = read_shards(tmp_path)
    require_record(path, record)
    write_shard(path, start=0, stop=4, arrays={"a__mean": COLUMN + 1}, failed={})
    with pytest.raises(DamageError, match=r"00000 was made again since the store was opened\. Open it again"):
        require_record(path, record)
    assert [entry.name for entry in tmp_path.iterdir()] == ["00000"]


@in_place
@given(st.integers(0))
def test_a_truncated_record_is_named(tmp_path_factory, length):
    folder = tmp_path_factory.mktemp("shards")
    write(folder, 0)
    text = (folder / "00000" / RECORD).read_text()
    (folder / "00000" / RECORD).write_text(text[: length % len(text)])
    with pytest.raises(DamageError, match=r"00000 has no readable record: .* Delete it; it is made again"):
        list(read_shards(folder))


@pytest.mark.parametrize("text", ["[]", "{}", '{"start": 0, "stop": 4, "failed": {}, "files": {}, "more": 1}', "null"])
def test_a_record_of_another_form_is_named(tmp_path, text):
    write(tmp_path, 0)
    (tmp_path / "00000" / RECORD).write_text(text)
    with pytest.raises(DamageError, match="has no readable record"):
        list(read_shards(tmp_path))


def test_what_a_killed_writer_left_is_passed_over_and_removed(tmp_path):
    write(tmp_path, 0)
    (tmp_path / ".writing-00001").mkdir()
    (tmp_path / ".writing-00001" / "a__mean.npy").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("not a shard")
    assert len(list(read_shards(tmp_path))) == 1
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000", "notes.txt"]


def test_a_leftover_does_not_block_the_shard_it_was_to_become(tmp_path):
    (tmp_path / ".writing-00000").mkdir()
    (tmp_path / ".writing-00000" / "stray.npy").write_bytes(b"half")
    write(tmp_path, 0)
    assert sorted(path.name for path in (tmp_path / "00000").iterdir()) == ["a__mean.npy", "record.json"]


def test_python_objects_are_not_written_and_leave_nothing(tmp_path):
    objects = np.array([{"a": 1}, None], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_shard(tmp_path / "00000", start=0, stop=2, arrays={"a": objects}, failed={})
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_json_that_anyone_can_read(tmp_path):
    write(tmp_path, 0)
    facts = json.loads((tmp_path / "00000" / RECORD).read_text())
    assert (facts["start"], facts["stop"], facts["failed"]) == (0, 4, {})
