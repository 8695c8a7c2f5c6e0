"""The rows of a store as text: whatever a row is called, it comes back as it was."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.errors import DamageError
from tfcells.features.rows import Rows, quarantine_csv, read_quarantine, read_rows, rows_csv
from tfcells.images.sources import FolderSource
from tfcells.images.table import FileFacts, ImageTable, Quarantined

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


ROWS = Rows(
    ids=tuple("abcde"),
    digests=tuple("vwxyz"),
    labels=np.arange(5),
    class_names=tuple("abcde"),
    groups=tuple("12345"),
    metadata={"site": tuple("ABCDE")},
    files=tuple(FileFacts(name, 3, 4) for name in "fghij"),
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
        files=tuple(FileFacts(f"{row:064x}" if row % 2 else "", row, 7) for row in range(len(ids))),
    )


def read_back(table):
    return read_rows(rows_csv(table), path=Path("rows.csv"), class_names=table.class_names)


@given(st.lists(NAMES, min_size=1, max_size=8, unique=True), st.data())
def test_rows_come_back_as_they_were(ids, data):
    labels = data.draw(st.lists(st.integers(-1, 1), min_size=len(ids), max_size=len(ids)))
    columns = st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=len(ids), max_size=len(ids)
    )
    metadata = data.draw(st.dictionaries(NAMES, columns.map(tuple), max_size=3))
    table = table_of(ids, labels, metadata)
    rows = read_back(table)
    assert (rows.ids, rows.digests, rows.groups) == (table.ids, table.digests, table.groups)
    assert rows.files == table.files
    assert dict(rows.metadata) == dict(table.metadata)
    np.testing.assert_array_equal(rows.labels, table.labels)


def test_names_with_commas_quotes_and_line_ends_come_back():
    assert read_back(table_of(TRICKY)).ids == TRICKY


def test_a_column_of_the_user_may_bear_a_name_of_ours():
    rows = read_back(table_of("ab", metadata={"id": ("x", "y"), "label": ("p", "q")}))
    assert rows.ids == ("a", "b")
    assert rows.metadata == {"id": ("x", "y"), "label": ("p", "q")}


def test_no_row_at_all_comes_back_as_no_row():
    rows = read_back(table_of([], metadata={"site": ()}))
    assert (rows.ids, dict(rows.metadata), len(rows.labels)) == ((), {"site": ()}, 0)


@given(st.lists(st.integers(0, 4), max_size=6))
def test_taking_rows_takes_every_column_along(picked):
    rows = ROWS.take(np.array(picked, np.int64))
    assert rows.ids == tuple("abcde"[row] for row in picked)
    assert rows.digests == tuple("vwxyz"[row] for row in picked)
    assert rows.groups == tuple("12345"[row] for row in picked)
    assert rows.metadata == {"site": tuple("ABCDE"[row] for row in picked)}
    assert rows.files == tuple(FileFacts("fghij"[row], 3, 4) for row in picked)
    np.testing.assert_array_equal(rows.labels, np.array(picked, np.int64))


@given(st.lists(st.tuples(NAMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=30)), max_size=6))
def test_a_quarantine_comes_back_as_it_was(entries):
    entries = tuple(Quarantined(*entry) for entry in entries)
    assert read_quarantine(quarantine_csv(entries), path=Path("quarantine.csv")) == entries


HEADER = b"id,pixels,file_sha256,width,height,label,group\n"


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"id,pixels\na,0,0\n",
        b"\xff\xfe\x00",
        HEADER + b"a,0,,0,0,tiger,a\n",
        HEADER + b"a,0,,wide,0,lymphocyte,a\n",
        HEADER + b"a,0,,0,0,lymphocyte\n",
    ],
)
def test_damaged_rows_are_named(damage):
    with pytest.raises(DamageError, match=r"rows\.csv cannot be read: .* Extract the store again"):
        read_rows(damage, path=Path("rows.csv"), class_names=("lymphocyte",))


@pytest.mark.parametrize("damage", [b"", b"id,reason\na\n", b"id,reason\n\xff,x\n"])
def test_a_damaged_quarantine_is_named(damage):
    with pytest.raises(DamageError, match=r"quarantine\.csv cannot be read: .* Extract the store again"):
        read_quarantine(damage, path=Path("quarantine.csv"))
