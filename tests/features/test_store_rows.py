"""The rows of a store as text: whatever a row is called, it comes back as it was."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfcells.errors import DamageError
from tfcells.features.rows import Rows, read_quarantine, read_rows, write_quarantine, write_rows
from tfcells.images.sources import FolderSource
from tfcells.images.table import ImageTable, Quarantined

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
TRICKY = (
    "a,b.png",
    'say "cell".png',
    "two\nlines.png",
    "mac\rline.png",
    "both\r\n.png",
    "кровь/血.png",
    " space ",
    "'",
    "=1+1",
)

in_place = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


ROWS = Rows(
    ids=tuple("abcde"),
    digests=tuple("vwxyz"),
    labels=np.arange(5),
    class_names=tuple("abcde"),
    groups=tuple("12345"),
    metadata={"site": tuple("ABCDE")},
)


def table_of(ids, labels=None, metadata=None):
    return ImageTable(
        ids=tuple(ids),
        digests=tuple(f"{row:064x}" for row in range(len(ids))),
        labels=np.zeros(len(ids), np.int64) if labels is None else np.array(labels, np.int64),
        class_names=("lymphocyte", "a, b\n"),
        groups=tuple(reversed(ids)),
        source=FolderSource(Path("nowhere")),
        metadata=metadata or {},
    )


def read_back(path, table):
    write_rows(path / "rows.csv", table)
    return read_rows(path / "rows.csv", class_names=table.class_names)


@in_place
@given(st.lists(NAMES, min_size=1, max_size=8, unique=True), st.data())
def test_rows_come_back_as_they_were(tmp_path, ids, data):
    labels = data.draw(st.lists(st.integers(-1, 1), min_size=len(ids), max_size=len(ids)))
    columns = st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=len(ids), max_size=len(ids)
    )
    metadata = data.draw(st.dictionaries(NAMES, columns.map(tuple), max_size=3))
    table = table_of(ids, labels, metadata)
    rows = read_back(tmp_path, table)
    assert (rows.ids, rows.digests, rows.groups) == (table.ids, table.digests, table.groups)
    assert dict(rows.metadata) == dict(table.metadata)
    np.testing.assert_array_equal(rows.labels, table.labels)


def test_names_with_commas_quotes_and_line_ends_come_back(tmp_path):
    assert read_back(tmp_path, table_of(TRICKY)).ids == TRICKY


def test_a_column_of_the_user_may_bear_a_name_of_ours(tmp_path):
    rows = read_back(tmp_path, table_of("ab", metadata={"id": ("x", "y"), "label": ("p", "q")}))
    assert rows.ids == ("a", "b")
    assert rows.metadata == {"id": ("x", "y"), "label": ("p", "q")}


def test_no_row_at_all_comes_back_as_no_row(tmp_path):
    rows = read_back(tmp_path, table_of([], metadata={"site": ()}))
    assert (rows.ids, dict(rows.metadata), len(rows.labels)) == ((), {"site": ()}, 0)


@given(st.lists(st.integers(0, 4), max_size=6))
def test_taking_rows_takes_every_column_along(picked):
    rows = ROWS.take(np.array(picked, np.int64))
    assert rows.ids == tuple("abcde"[row] for row in picked)
    assert rows.digests == tuple("vwxyz"[row] for row in picked)
    assert rows.groups == tuple("12345"[row] for row in picked)
    assert rows.metadata == {"site": tuple("ABCDE"[row] for row in picked)}
    np.testing.assert_array_equal(rows.labels, np.array(picked, np.int64))


@in_place
@given(st.lists(st.tuples(NAMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=30)), max_size=6))
def test_a_quarantine_comes_back_as_it_was(tmp_path, entries):
    entries = tuple(Quarantined(*entry) for entry in entries)
    write_quarantine(tmp_path / "quarantine.csv", entries)
    assert read_quarantine(tmp_path / "quarantine.csv") == entries


@pytest.mark.parametrize(
    "damage", [b"", b"id,pixels\na,0,0\n", b"\xff\xfe\x00", b"id,pixels,label,group\na,0,tiger,a\n"]
)
def test_damaged_rows_are_named(tmp_path, damage):
    (tmp_path / "rows.csv").write_bytes(damage)
    with pytest.raises(DamageError, match=r"rows\.csv cannot be read: .* Extract the store again"):
        read_rows(tmp_path / "rows.csv", class_names=("lymphocyte",))


@pytest.mark.parametrize("damage", [b"", b"id,reason\na\n", b"id,reason\n\xff,x\n"])
def test_a_damaged_quarantine_is_named(tmp_path, damage):
    (tmp_path / "quarantine.csv").write_bytes(damage)
    with pytest.raises(DamageError, match=r"quarantine\.csv cannot be read: .* Extract the store again"):
        read_quarantine(tmp_path / "quarantine.csv")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DamageError, match=r"rows\.csv cannot be read"):
        read_rows(tmp_path / "rows.csv", class_names=())
    with pytest.raises(DamageError, match=r"quarantine\.csv cannot be read"):
        read_quarantine(tmp_path / "quarantine.csv")
