import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tfcells.errors import RequestError
from tfcells.images.splits import (
    HOLDOUT,
    LEFT_OUT,
    TRAIN,
    Split,
    assign_parts,
    read_split,
    split_rows,
    split_table,
    write_split,
)

BRIEF = settings(deadline=None, max_examples=50)
QUIET = settings(BRIEF, suppress_health_check=[HealthCheck.function_scoped_fixture])

shares_of = st.sampled_from([[0.5, 0.5], [0.8, 0.2], [0.2] * 5, [0.7, 0.2, 0.1], [0.98, 0.02]])
seeds = st.integers(0, 2**32 - 1)


@st.composite
def mixed(draw):
    """Labels and groups of which each may hold every class."""
    rows = draw(st.integers(1, 80))
    labels = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    groups = draw(st.lists(st.integers(-5, 40), min_size=rows, max_size=rows))
    return np.array(labels), np.array(groups)


@st.composite
def pure(draw, *, least=1, most=40):
    """Labels and groups of one class each, of up to 4 rows, shuffled."""
    sizes = [draw(st.lists(st.integers(1, 4), min_size=least, max_size=most)) for _ in range(draw(st.integers(1, 3)))]
    labels = np.concatenate([np.repeat(index, sum(size)) for index, size in enumerate(sizes)])
    groups = np.repeat(np.arange(sum(map(len, sizes))), np.concatenate(sizes))
    order = np.random.default_rng(draw(seeds)).permutation(len(labels))
    return labels[order], groups[order]


def sides_of_groups(parts, groups):
    return [len(set(np.asarray(parts, dtype=object)[np.asarray(groups) == group])) for group in set(groups)]


def made(labels, groups=None, **options):
    ids = tuple(f"{row:04d}" for row in range(len(labels)))
    names = tuple("abcdefgh"[: max(labels) + 1])
    return split_rows(ids, np.array(labels), names, groups or ids, **options)


# Dealing groups.


@given(data=mixed(), shares=shares_of, seed=seeds)
@BRIEF
def test_every_row_gets_a_part_and_no_group_is_parted(data, shares, seed):
    labels, groups = data
    parts = assign_parts(labels, groups, shares=shares, seed=seed)
    assert parts.shape == labels.shape
    assert set(parts.tolist()) <= set(range(len(shares)))
    assert set(sides_of_groups(parts.tolist(), groups.tolist())) == {1}


@given(data=mixed(), shares=shares_of, seed=seeds, shift=st.integers(-1000, 1000))
@BRIEF
def test_the_same_seed_deals_alike_whatever_the_groups_are_called(data, shares, seed, shift):
    labels, groups = data
    parts = assign_parts(labels, groups, shares=shares, seed=seed)
    np.testing.assert_array_equal(assign_parts(labels, groups, shares=shares, seed=seed), parts)
    np.testing.assert_array_equal(assign_parts(labels, shift - 3 * groups, shares=shares, seed=seed), parts)


def test_another_seed_deals_otherwise():
    labels = np.arange(100) % 4
    deals = {tuple(assign_parts(labels, np.arange(100), shares=[0.5, 0.5], seed=seed)) for seed in range(10)}
    assert len(deals) == 10


@given(data=pure(least=20, most=50), shares=st.sampled_from([[0.5, 0.5], [0.8, 0.2], [0.2] * 5]), seed=seeds)
@BRIEF
def test_a_class_misses_its_share_of_a_part_by_less_than_its_largest_group(data, shares, seed):
    labels, groups = data
    counts, largest = np.bincount(labels), [np.bincount(groups[labels == index]).max() for index in np.unique(labels)]
    parts = assign_parts(labels, groups, shares=shares, seed=seed)
    for index, (count, size) in enumerate(zip(counts, largest, strict=True)):
        found = np.bincount(parts[labels == index], minlength=len(shares))
        assert (np.abs(found - np.array(shares) * count) < size + 1e-6).all()


@given(counts=st.lists(st.integers(50, 90), min_size=1, max_size=4), shares=shares_of, seed=seeds)
@BRIEF
def test_single_pictures_are_dealt_to_the_exact_share_of_every_class(counts, shares, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = assign_parts(labels, np.arange(len(labels)), shares=shares, seed=seed)
    for index, count in enumerate(counts):
        found = np.bincount(parts[labels == index], minlength=len(shares))
        assert (np.abs(found - np.array(shares) * count) < 1 + 1e-6).all()
    # What the classes leave over is spread over the parts as well.
    assert (np.abs(np.bincount(parts, minlength=len(shares)) - np.array(shares) * len(labels)) < len(counts)).all()


@given(data=pure(least=5, most=9), shares=shares_of, seed=seeds)
@BRIEF
def test_every_part_gets_every_class_that_has_groups_enough(data, shares, seed):
    labels, groups = data
    parts = assign_parts(labels, groups, shares=shares, seed=seed)
    for index in np.unique(labels):
        assert len(np.unique(parts[labels == index])) == len(shares)


@given(data=pure(least=6, most=9), small=st.floats(0.01, 0.99), seed=seeds)
@BRIEF
def test_a_part_gets_the_least_it_needs_before_shares_count(data, small, seed):
    labels, groups = data
    parts = assign_parts(labels, groups, shares=[1 - small, small], seed=seed, least=[4, 2])
    for index in np.unique(labels):
        assert len(np.unique(groups[(labels == index) & (parts == 0)])) >= 4
        assert len(np.unique(groups[(labels == index) & (parts == 1)])) >= 2


def test_a_rare_class_counts_as_much_as_a_common_one():
    labels = np.array([0] * 990 + [1] * 10)
    parts = assign_parts(labels, np.arange(1000), shares=[0.2] * 5, seed=0)
    assert np.bincount(parts[990:]).tolist() == [2] * 5
    assert np.bincount(parts).tolist() == [200] * 5


@pytest.mark.parametrize(
    "shares", [[], [1.0], [0.5, 0.6], [0.5, 0.4], [1.5, -0.5], [1.0, 0.0], [float("nan"), 0.5], [float("inf"), 0.5]]
)
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(RequestError, match=r"given\. Expected two or more positive numbers that sum to 1"):
        assign_parts(np.array([0, 1]), np.array([0, 1]), shares=shares, seed=0)


# Splitting tables.


@given(data=mixed(), folds=st.integers(2, 4), holdout=st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]), seed=seeds)
@settings(deadline=None, max_examples=150)
def test_every_law_of_a_split_holds_whatever_the_groups_hold(data, folds, holdout, seed):
    labels, groups = data
    labels = labels - (labels == 3) * 4  # the last class is unlabelled
    names = [f"g{group}" for group in groups]
    try:
        split = made(np.append(labels, [0]).tolist(), [*names, "other"], folds=folds, holdout=holdout, seed=seed)
    except RequestError as refused:
        assert "Expected 2 or more" in str(refused) or (holdout and "every class has an image there" in str(refused))
        return
    parts, labels = np.array(split.parts, dtype=object), np.append(labels, 0)
    assert set(split.parts) <= {TRAIN, HOLDOUT, LEFT_OUT}
    np.testing.assert_array_equal(split.folds >= 0, parts == TRAIN)
    assert split.folds.max() < folds
    left_out = {"abc".index(name) for name in split.left_out} | {-1}
    np.testing.assert_array_equal(parts == LEFT_OUT, np.isin(labels, list(left_out)))
    used = np.flatnonzero(parts != LEFT_OUT)
    sides = [(split.parts[row], int(split.folds[row])) for row in used]
    assert set(sides_of_groups([str(side) for side in sides], [split.groups[row] for row in used])) == {1}
    for index in np.unique(labels[used]):
        assert len(np.unique(split.folds[(labels == index) & (parts == TRAIN)])) >= 2  # learned without any fold
        assert holdout == 0 or (parts[labels == index] == HOLDOUT).any()


@given(data=pure(least=6), holdout=st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.95]), seed=seeds)
@BRIEF
def test_groups_of_one_class_are_learned_and_tested_in_every_fold(data, holdout, seed):
    labels, groups = data
    assume(labels.max() > 0)
    split = made(labels.tolist(), [str(group) for group in groups], folds=5, holdout=holdout, seed=seed)
    assert split.left_out == {}
    for index in np.unique(labels):
        assert set(split.folds[labels == index]) >= {0, 1, 2, 3, 4}
        assert (HOLDOUT in np.array(split.parts, dtype=object)[labels == index]) == (holdout > 0)


@given(data=pure(least=6), holdout=st.floats(0.001, 0.95), seed=seeds)
@BRIEF
def test_the_share_that_came_is_said_beside_the_one_asked_for_where_they_differ(data, holdout, seed):
    labels, groups = data
    assume(labels.max() > 0)
    split = made(labels.tolist(), [str(group) for group in groups], folds=5, holdout=holdout, seed=seed)
    came = split.parts.count(HOLDOUT) / len(labels)
    assert split.shares == {HOLDOUT: {"asked": holdout, "came": came}}
    assert bool(split.unlike_asked) == (abs(came - holdout) > 0.1 * min(holdout, 1 - holdout))
    assert split.aligned_to(split.ids[::-1]).shares == split.shares


def test_shares_that_groups_do_not_allow_are_said_in_words():
    few = [0, 1] * 10
    assert made(few, holdout=0.2).unlike_asked == ()
    assert made(few).shares == {}
    assert made(few, folds=5, holdout=0.95).unlike_asked == (
        "holdout: 95.0% of the images were asked for, 50.0% came; whole groups, and every class in every part, allow "
        "no nearer share",
    )
    both = made([0, 1] * 200, folds=5, holdout=0.001, validation=0.25)
    assert both.parts.count("validation") == 100
    assert [words.split(" of")[0] for words in both.unlike_asked] == ["holdout: 0.1%"]


def test_a_class_that_cannot_be_in_the_holdout_is_named():
    # Five patients, of whom four have cells of two classes.
    labels, groups = [0, 1, 0, 2, 0, 2, 1, 1, 2], list("ppqqrssrt")
    with pytest.raises(RequestError) as refused:
        made(labels, groups, folds=2, holdout=0.2)
    assert "holdout = 0.2 was asked for, but whole groups could not be dealt so that every class" in str(refused.value)
    assert "c has none. Expected every class in groups enough" in str(refused.value)
    assert "choose another share or seed, or leave such classes out." in str(refused.value)


def test_a_class_without_pictures_is_left_out_by_name():
    ids = tuple(map(str, range(20)))
    split = split_rows(ids, np.array([0, 2] * 10), ("a", "b", "c"), ids)
    assert split.left_out == {"b": "it has no usable image"}


def test_single_pictures_are_split_to_the_exact_number():
    split = made([0] * 50 + [1] * 100, folds=4, holdout=0.2)
    assert split.parts.count(HOLDOUT) == 30
    assert split.parts[:50].count(HOLDOUT) == 10
    assert np.bincount(split.folds[:50][split.folds[:50] >= 0]).tolist() == [10] * 4
    assert np.bincount(split.folds[50:][split.folds[50:] >= 0]).tolist() == [20] * 4


def test_the_split_does_not_depend_on_what_ids_and_groups_are_called():
    labels, groups = np.arange(60) % 3, [f"{number // 2}" for number in range(60)]
    one = made(labels.tolist(), groups, holdout=0.2, seed=4)
    ids = tuple(f"picture {60 - row}" for row in range(60))
    other = split_rows(ids, labels, ("x", "y", "z"), [f"{99 - int(name)}th" for name in groups], holdout=0.2, seed=4)
    assert one.parts == other.parts
    np.testing.assert_array_equal(one.folds, other.folds)


def test_seeds_decide_and_are_kept():
    splits = [made([0, 1] * 30, holdout=0.2, seed=seed) for seed in (0, 0, 1)]
    assert splits[0].digest == splits[1].digest != splits[2].digest
    assert [split.seed for split in splits] == [0, 0, 1]


def test_a_class_with_too_few_groups_is_left_out_by_name_with_the_reason():
    labels = [0] * 20 + [1] * 20 + [2] * 8
    groups = [f"g{row}" for row in range(40)] + ["p", "p", "p", "q", "q", "q", "r", "s"]
    split = made(labels, groups, folds=4, holdout=0.0)
    assert split.left_out == {}
    split = made(labels, groups, folds=4, holdout=0.1)
    assert split.left_out == {"c": "8 images in 4 groups, fewer than the 5 groups that the split needs"}
    assert set(split.parts[40:]) == {LEFT_OUT}
    assert set(split.parts[:40]) == {TRAIN, HOLDOUT}


def test_a_class_that_came_into_one_fold_alone_is_left_out_by_name():
    # Three patients: the first has cells of a and b, the second of a and c, the third of b and c.
    split = made([0, 1, 0, 2, 2, 1, 2], ["p", "p", "q", "q", "q", "r", "r"], folds=2)
    assert split.left_out == {"c": "all its groups, which hold other classes too, came into one fold"}
    assert [part == LEFT_OUT for part in split.parts] == [False, False, False, True, True, False, True]
    assert split.folds[0] == split.folds[1] != split.folds[2]


def test_unlabelled_rows_are_left_out_without_a_word():
    split = made([0, 1, -1] * 10, folds=5)
    assert split.parts[2::3] == (LEFT_OUT,) * 10
    assert split.folds[2::3].tolist() == [-1] * 10
    assert split.left_out == {}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            [0] * 20,
            "1 usable classes (a). Expected 2 or more with at least 5 groups each; a probe tells classes apart.",
        ),
        ([0] * 20 + [1] * 4, "Left out: b: 4 images in 4 groups, fewer than the 5 groups that the split needs."),
        ([0, 1, 2], "0 usable classes (none)."),
        ([-1, -1, 0], "0 usable classes (none)."),
    ],
)
def test_fewer_than_two_usable_classes_are_refused_with_what_there_is(labels, words):
    with pytest.raises(RequestError) as refused:
        made(labels)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folds": 1}, "folds = 1 given. Expected 2 or more."),
        ({"folds": -3}, "folds = -3 given"),
        ({"holdout": 1.0}, "holdout = 1.0 given. Expected a share from 0 to less than 1."),
        ({"holdout": -0.1}, "holdout = -0.1 given"),
        ({"holdout": float("nan")}, "holdout = nan given"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, words):
    with pytest.raises(RequestError) as refused:
        made([0, 1] * 20, **options)
    assert words in str(refused.value)


def test_a_table_is_split_by_its_own_columns(cells):
    split = split_table(cells, folds=3, holdout=0.25, seed=2)
    assert (split.ids, split.groups, split.seed) == (cells.ids, cells.groups, 2)
    assert split.parts.count(HOLDOUT) == 9
    assert (
        split.digest
        == split_rows(cells.ids, cells.labels, cells.class_names, cells.groups, folds=3, holdout=0.25, seed=2).digest
    )


# Rows of a split.


def test_a_split_is_aligned_by_id_and_keeps_its_digest():
    split = made([0, 1] * 20, holdout=0.2)
    backwards = split.aligned_to(split.ids[::-1])
    assert backwards.parts == split.parts[::-1]
    np.testing.assert_array_equal(backwards.folds, split.folds[::-1])
    assert backwards.groups == split.groups[::-1]
    assert backwards.digest == split.digest
    assert split.aligned_to(split.ids[:3]).digest != split.digest


def test_a_row_that_the_split_does_not_know_is_named():
    with pytest.raises(RequestError, match=r"2 of 3 rows are not in the split, the first is x\. Make the split from"):
        made([0, 1] * 20).aligned_to(["0003", "x", "y"])


@pytest.mark.parametrize("column", ["ids", "parts", "groups"])
def test_the_digest_depends_on_every_column(column):
    split = made([0, 1] * 20)
    assert replace(split, **{column: ("other", *getattr(split, column)[1:])}).digest != split.digest
    assert replace(split, folds=(split.folds + 1) % 5).digest != split.digest


# Files.

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(rows=st.lists(st.tuples(names, names, st.integers(-2, 4)), unique_by=(lambda row: row[0], lambda row: row[1])))
@QUIET
def test_what_was_written_is_read(tmp_path, rows):
    assume(rows)
    split = Split(
        ids=tuple(id for id, _, _ in rows),
        parts=tuple(TRAIN if fold >= 0 else (HOLDOUT, LEFT_OUT)[fold] for _, _, fold in rows),
        folds=np.array([max(fold, -1) for _, _, fold in rows], dtype=np.int64),
        groups=tuple(group for _, group, _ in rows),
        seed=5,
        left_out={"a": "small"},
    )
    write_split(split, tmp_path / "split.csv")
    again = read_split(tmp_path / "split.csv")
    assert (again.ids, again.parts, again.groups) == (split.ids, split.parts, split.groups)
    np.testing.assert_array_equal(again.folds, split.folds)
    assert again.digest == split.digest


def test_the_seed_of_a_file_is_not_known_unless_a_file_beside_it_knows(tmp_path):
    split = made([0, 1] * 20, holdout=0.2, seed=7)
    path, beside = tmp_path / "split.csv", tmp_path / "split.json"
    write_split(split, path)
    assert (read_split(path).seed, read_split(path).asked) == (None, {})
    facts = {"seed": 7, "digest": split.digest, "shares": split.shares}
    beside.write_text(json.dumps(facts))
    assert (read_split(path).seed, read_split(path).asked) == (7, {HOLDOUT: 0.2})
    wrong = ["", "[]", "[" * 100_000, json.dumps({"digest": split.digest})]
    changes = ({"digest": "0"}, {"seed": -1}, {"seed": "7"}, {"seed": 1.5}, {"shares": {"holdout": {"asked": 2}}})
    for text in [*wrong, *(json.dumps(facts | change) for change in changes)]:
        beside.write_text(text)
        assert (read_split(path).seed, read_split(path).asked) == (None, {})


def test_a_file_has_the_columns_that_are_promised(tmp_path):
    write_split(made([0, 1] * 20, holdout=0.2), tmp_path / "split.csv")
    with (tmp_path / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "split", "fold", "group"]
    assert {(row["split"], row["fold"] == "") for row in rows} == {(TRAIN, False), (HOLDOUT, True)}


def read(tmp_path, text):
    (tmp_path / "split.csv").write_bytes(text.encode())
    return read_split(tmp_path / "split.csv")


def test_a_split_made_by_hand_needs_no_groups_and_may_leave_rows_out(tmp_path):
    split = read(tmp_path, "\ufefffold,id,split,note\n0,a,train,x\n1,b,train,\n,c,holdout,\n7,d,left_out,\n,e\n")
    assert split.ids == split.groups == tuple("abcde")
    assert split.parts == (TRAIN, TRAIN, HOLDOUT, LEFT_OUT, LEFT_OUT)
    assert split.folds.tolist() == [0, 1, -1, -1, -1]


def test_a_row_without_a_group_is_in_no_group_of_that_name(tmp_path):
    text = "id,split,fold,group\nb,train,0,a\na,train,1,\na (alone),train,2,\nc,train,0,a (alone) (alone)\nd,train,1,\n"
    split = read(tmp_path, text)
    assert split.groups == ("a", "a (alone) (alone) (alone)", "a (alone)", "a (alone) (alone)", "d")
    write_split(split, tmp_path / "again.csv")
    again = read_split(tmp_path / "again.csv")
    assert (again.groups, again.digest) == (split.groups, split.digest)


cells_of_groups = st.sampled_from(["", "", "a", "b", "a (alone)", "b (alone)", "a (alone) (alone)"])


@given(cells=st.lists(cells_of_groups, min_size=1, max_size=8))
@QUIET
def test_rows_share_a_group_only_where_the_file_says_so(tmp_path, cells):
    ids = ["a", "b", "a (alone)", "b (alone)", "a (alone) (alone)", "c", "d", "e"][: len(cells)]
    rows = "".join(f"{id},train,0,{cell}\n" for id, cell in zip(ids, cells, strict=True))
    groups = read(tmp_path, "id,split,fold,group\n" + rows).groups
    for row, cell in enumerate(cells):
        others = [other for other in range(len(cells)) if groups[other] == groups[row]]
        assert others == ([other for other in range(len(cells)) if cells[other] == cell] if cell else [row])
        assert not cell or groups[row] == cell


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a,train,0,g\nb,train,1,g\n", "parts the group 'g': b is in train 1, others of its group are not"),
        ("a,train,0,g\nb,holdout,,g\n", "parts the group 'g': b is in holdout, others"),
        ("a,holdout,,g\nb,left_out,,g\nc,train,1,g\n", "parts the group 'g': c is in train 1, others"),
        ("a,train,0,g\na,holdout,,h\n", "has a more than once. Expected one row per id"),
        ("a,Train,0,g\n", "says 'Train' of a. Expected one of train, holdout, validation, left_out, or nothing"),
        ("a,train,,g\n", "has a train row without a whole number as its fold: ''"),
        ("a,train\n", "has a train row without a whole number as its fold"),
        ("a,train,1.0,g\n", "'1.0' is no number"),
        ("a,train,-1,g\n", "'-1' is no number"),
        ("a,train,99999999999999999999,g\n", "is no number from 0"),
        ("", "has the columns id, split, fold, group and 0 rows. Expected id, split, fold and group"),
    ],
)
def test_a_split_that_is_not_sound_is_refused_with_the_place(tmp_path, rows, words):
    with pytest.raises(RequestError) as refused:
        read(tmp_path, "id,split,fold,group\n" + rows)
    assert words in str(refused.value)


def test_rows_that_are_left_out_part_no_group(tmp_path):
    assert read(tmp_path, "id,split,fold,group\na,train,0,g\nb,left_out,,g\n").parts == (TRAIN, LEFT_OUT)


@pytest.mark.parametrize("text", ["", "id,split\na,train\n", "id;split;fold\na;train;0\n", "a,train,0\n"])
def test_missing_columns_are_named(tmp_path, text):
    with pytest.raises(RequestError, match=r"has the columns .* rows\. Expected id, split, fold and group"):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(RequestError, match="cannot be read as a split"):
        read_split(tmp_path / "nowhere.csv")
    with pytest.raises(RequestError, match="cannot be read as a split"):
        read_split(tmp_path)


@given(
    data=st.binary(max_size=120), start=st.sampled_from([b"", b"id,split,fold,group\n", b"id,split,fold\na,train,0\n"])
)
@QUIET
def test_whatever_a_file_holds_it_is_a_split_or_refused(tmp_path, start, data):
    (tmp_path / "split.csv").write_bytes(start + data)
    try:
        assert len(read_split(tmp_path / "split.csv").digest) == 64
    except RequestError as refused:
        assert "split.csv" in str(refused)


def test_groups_that_are_joined_to_a_split_may_not_be_parted_by_it(tmp_path):
    split = read(tmp_path, "id,split,fold\na,train,0\nb,train,1\nc,holdout,\n")
    assert split.with_groups(("1", "2", "3"), whose="it") is split
    with pytest.raises(RequestError, match="it parts the group 'a': b is in train 1"):
        split.with_groups(("1", "1", "3"), whose="it")
    together = read(tmp_path, "id,split,fold\na,train,0\nb,train,0\nc,holdout,\n")
    assert together.with_groups(("1", "1", "3"), whose="it").groups == ("a", "a", "c")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed, cells):
    with pytest.raises(RequestError, match=f"seed = {seed} given. Expected 0 to 4,294,967,295"):
        split_table(cells, seed=seed)
