import time
from collections import defaultdict
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.sources import FolderSource
from tfcells.images.table import ImageTable, Quarantined, codes_of, joined_groups

IDS = ("a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/3.png")


@pytest.fixture
def table():
    return ImageTable(
        ids=IDS,
        digests=tuple("12345"),
        labels=np.array([0, 0, 1, -1, 1]),
        class_names=("a", "b"),
        groups=("g", "a/2.png", "g", "b/2.png", "b/3.png"),
        source=FolderSource(Path("nowhere")),
        metadata={"site": tuple("xyxyx")},
        quarantine=(Quarantined("a/bad.png", "empty"),),
    )


partitions = st.integers(1, 25).flatmap(
    lambda rows: st.lists(st.lists(st.sampled_from("pqrstuvwxyz"), min_size=rows, max_size=rows), max_size=4)
)


def components(partitions, rows):
    """Connected components of rows that share a name in any partition, by depth-first search."""
    neighbours = defaultdict(set)
    for partition in partitions:
        for row, name in enumerate(partition):
            neighbours[row] |= {other for other in range(rows) if partition[other] == name}
    found = [-1] * rows
    for first in range(rows):
        waiting = [first] * (found[first] < 0)
        while waiting:
            row = waiting.pop()
            found[row] = first
            waiting += [other for other in neighbours[row] if found[other] < 0]
    return found


# What a table refuses.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"digests": ("1",)}, "5 ids but 1 digests. Each row has one of both; were they filtered separately?"),
        ({"labels": np.array([0])}, "5 ids but 1 labels"),
        ({"groups": tuple("123456")}, "5 ids but 6 groups"),
        ({"metadata": {"site": ("x",), "age": tuple("12345")}}, "5 ids but 1 metadata 'site'"),
        (
            {"labels": np.array([0, 0, 1, -1, 2])},
            "Labels must lie in -1 (unlabelled) to 1, the index of the last class",
        ),
        ({"labels": np.array([0, 0, 1, -2, 1])}, "they lie in -2 to 1"),
        ({"ids": ("x", "y", "x", "y", "z")}, "Ids must be unique, but these come more than once: x, y."),
    ],
)
def test_columns_that_do_not_fit_one_another_are_refused(table, change, words):
    with pytest.raises(RequestError) as refused:
        replace(table, **change)
    assert words in str(refused.value)


def test_naming_repeated_ids_takes_no_longer_in_a_large_table(table):
    ids = (*(f"{row}" for row in range(100_000)), "7", "7")
    column = ("x",) * len(ids)
    started = time.process_time()
    with pytest.raises(RequestError, match=r"more than once: 7\."):
        replace(table, files=(), ids=ids, digests=column, groups=ids, labels=np.zeros(len(ids), np.int64), metadata={})
    assert time.process_time() - started < 5


def test_a_table_without_rows_is_a_table(table):
    empty = table.take([])
    assert len(empty) == 0
    assert empty.class_counts() == {"a": 0, "b": 0}
    assert empty.group_codes.shape == (0,)


def test_a_table_is_frozen(table):
    with pytest.raises(FrozenInstanceError):
        table.ids = ()


# Reading it.


def test_rows_classes_and_groups_are_counted(table):
    assert len(table) == 5
    assert table.row_of["b/1.png"] == 2
    assert table.class_counts() == {"a": 2, "b": 2}
    assert table.group_codes.tolist() == [0, 1, 0, 2, 3]


@given(rows=st.lists(st.integers(0, 4), unique=True))
def test_taking_rows_keeps_everything_of_each_row_together(rows):
    table = ImageTable(
        ids=IDS,
        digests=tuple("12345"),
        labels=np.array([0, 1, -1, 1, 0]),
        class_names=("a", "b"),
        groups=tuple("vwxyz"),
        source=FolderSource(Path("nowhere")),
        metadata={"site": tuple("ABCDE")},
    )
    mask = np.isin(np.arange(5), rows)
    for taken, picked in (
        (table.take(rows), rows),
        (table.take(np.array(rows, int)), rows),
        (table.take(mask), sorted(rows)),
    ):
        assert taken.ids == tuple(IDS[row] for row in picked)
        assert taken.digests == tuple("12345"[row] for row in picked)
        assert taken.labels.tolist() == [[0, 1, -1, 1, 0][row] for row in picked]
        assert taken.groups == tuple("vwxyz"[row] for row in picked)
        assert taken.metadata == {"site": tuple("ABCDE"[row] for row in picked)}
        assert (taken.class_names, taken.source) == (table.class_names, table.source)


def test_a_mask_of_another_length_is_refused(table):
    with pytest.raises(IndexError):
        table.take(np.array([True, False, True]))


def test_taking_a_row_twice_is_refused(table):
    with pytest.raises(RequestError, match="Ids must be unique"):
        table.take([0, 0])


# Groups.


def test_new_groups_are_joined_to_the_old_ones(table):
    joined = table.with_groups({"b/1.png": "patient 1", "b/2.png": "patient 1", "a/2.png": "patient 2"})
    assert joined.groups == ("a/1.png", "a/2.png", "a/1.png", "a/1.png", "b/3.png")
    assert table.groups[0] == "g"
    assert (joined.ids, joined.metadata, joined.quarantine) == (table.ids, table.metadata, table.quarantine)


def test_a_new_group_may_bear_the_name_of_an_old_one_or_of_a_row(table):
    assert table.with_groups({"b/3.png": "g"}).groups[4] == "b/3.png"
    assert table.with_groups({"b/3.png": "b/2.png"}).groups[3:] == ("b/2.png", "b/3.png")


def test_groups_of_unknown_ids_are_refused_and_those_of_quarantined_ones_are_not(table):
    assert table.with_groups({"a/bad.png": "p", "a/2.png": "p"}).groups[1] == "a/2.png"
    with pytest.raises(UnknownNameError, match=r"Unknown id in the groups 'b/4\.png'\. Did you mean 'b/\d\.png'"):
        table.with_groups({"b/4.png": "p"})


@given(partitions)
def test_joined_groups_are_the_finest_that_part_no_group_of_any_partition(given_partitions):
    rows = len(given_partitions[0]) if given_partitions else 3
    ids = [f"{7 * row % 101:03d}" for row in range(rows)]
    joined = joined_groups(ids, given_partitions)
    expected = components(given_partitions, rows)
    assert codes_of(joined).tolist() == codes_of(map(str, expected)).tolist()
    for row, name in enumerate(joined):
        assert name == min(id for id, other in zip(ids, joined, strict=True) if other == joined[row])


@given(partitions)
def test_joining_again_or_in_another_order_changes_nothing(given_partitions):
    rows = len(given_partitions[0]) if given_partitions else 3
    ids = [f"{row:02d}" for row in range(rows)]
    joined = joined_groups(ids, given_partitions)
    assert joined_groups(ids, [joined]) == joined
    assert joined_groups(ids, [joined, *given_partitions[::-1], ids]) == joined


def test_a_long_chain_of_pairs_is_one_group():
    ids = [f"{row:06d}" for row in range(5_000)]
    even = [f"{row // 2}" for row in range(5_000)]
    odd = [f"{(row + 1) // 2}" for row in range(5_000)]
    assert set(joined_groups(ids, [even, odd])) == {"000000"}


@given(st.lists(st.sampled_from("abcdefg")))
def test_codes_number_names_in_order_of_appearance(names):
    codes = codes_of(names)
    assert codes.dtype == np.int64
    assert [names.index(name) for name in names] == [codes.tolist().index(code) for code in codes]
    assert all(later - earlier <= 1 for earlier, later in pairwise(np.maximum.accumulate([-1, *codes]).tolist()))


def test_a_table_is_shown_by_what_it_holds_and_not_row_by_row(table):
    assert repr(table) == "ImageTable(5 images, 4 groups, classes {a: 2, b: 2}, 1 quarantined)"
