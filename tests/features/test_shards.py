"""One shard: whole or not there, and no changed bit goes unseen."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfcells.errors import DamageError
from tfcells.features.shards import RECORD, check_shard, read_shards, remove_leftovers, write_shard

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
            failed={"bad": "it was"},
        )


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


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_shard_is_noticed_at_the_next_one(tmp_path, missing):
    write(tmp_path, *{0, 1, 2} - {missing})
    with pytest.raises(DamageError, match=rf"{missing + 1:05d} begins at row {4 * missing + 4}, row {4 * missing} was"):
        list(read_shards(tmp_path))


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
    assert (facts["start"], facts["stop"], facts["failed"]) == (0, 4, {"bad": "it was"})
