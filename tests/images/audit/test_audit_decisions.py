from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.images.audit.agreement import Agreement
from tfcells.images.audit.candidates import Candidate, nearest_outside
from tfcells.images.audit.closure import ALL_PAIRS, Search, components_of
from tfcells.images.audit.evidence import DEFAULT, Evidence, verdict
from tfcells.images.audit.marks import find_marks, marks_for
from tfcells.images.audit.self_check import SURE, checked_thresholds, negatives
from tfcells.images.audit.spool import Spool
from tfcells.images.table import joined_groups

BRIEF = settings(deadline=None, max_examples=50)


def evidence(median, *, low=None, blocks=60, overlap=0.9, inliers=30, shorter=360):
    median = float(median)
    return Evidence(inliers, Agreement(median, median if low is None else low, blocks, overlap), shorter)


# Verdicts.


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, "apart"),
        (evidence(0.61), "near"),
        (evidence(0.59), "possible"),
        (evidence(0.44), "apart"),
        (evidence(0.9, blocks=11), "possible"),
        (evidence(0.9, blocks=5), "apart"),
        (evidence(0.9, inliers=5), "possible"),
        (evidence(0.9, shorter=199), "near"),
        (evidence(0.79, shorter=199), "possible"),
        (evidence(0.9, low=0.5, shorter=199), "possible"),
        (evidence(0.9, inliers=11, shorter=199), "possible"),
        (evidence(0.9, overlap=0.4, shorter=199), "possible"),
        (evidence(0.9, blocks=6, shorter=80), "near"),
    ],
)
def test_verdicts(found, expected):
    assert verdict(found, DEFAULT) == expected


# The self-check.


def nulls(count, *, around, spread=0.05):
    return [evidence(score) for score in np.random.default_rng(0).normal(around, spread, count)]


def test_sound_negatives_leave_the_threshold_alone():
    assert checked_thresholds(DEFAULT, [None] * 300, [None] * 400) == DEFAULT
    assert checked_thresholds(DEFAULT, nulls(300, around=0.2), nulls(400, around=0.1)) == DEFAULT
    assert checked_thresholds(DEFAULT, [], []) == DEFAULT


def test_copies_under_two_labels_leave_the_threshold_alone_and_are_counted():
    neighbours = nulls(280, around=0.1) + [evidence(score) for score in np.linspace(0.65, 0.99, 20)]
    assert checked_thresholds(DEFAULT, neighbours, [None] * 400) == DEFAULT
    counts = negatives(DEFAULT, neighbours, [None] * 400)
    assert (counts.neighbours_passing, counts.taken_for_copies, counts.false_positive_rate) == (20, 20, 0)


@pytest.mark.parametrize("which", ["neighbours", "strangers"])
def test_shifted_negatives_raise_the_threshold_until_next_to_none_passes(which):
    shifted = nulls(400, around=0.6, spread=0.04)
    neighbours, strangers = (shifted, []) if which == "neighbours" else ([], shifted)
    assert negatives(DEFAULT, neighbours, strangers).false_positive_rate > 0.3
    raised = checked_thresholds(DEFAULT, neighbours, strangers)
    assert 0.68 < raised.agreement <= SURE
    assert raised.possible == pytest.approx(raised.agreement - 0.15)
    assert negatives(raised, neighbours, strangers).false_positive_rate <= 0.005


# Candidates and closure.


@given(seed=st.integers(0, 2**32), count=st.integers(1, 9), rows=st.integers(1, 300))
@BRIEF
def test_neighbours_are_the_nearest_outside_their_component(seed, count, rows):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(rows, 5)).astype(np.float32)
    components = rng.integers(0, rows, rows)
    with ThreadPoolExecutor(2) as pool:
        found = nearest_outside(codes, codes, components, count=count, pool=pool)
    likeness = codes @ codes.T
    likeness[components[:, None] == components] = -np.inf
    for row in range(0, rows, 37):
        outside = int(np.isfinite(likeness[row]).sum())
        got = found[row][found[row] >= 0]
        assert len(got) == min(count, outside)
        np.testing.assert_allclose(likeness[row][got], np.sort(likeness[row])[::-1][: len(got)], rtol=1e-4)


@given(data=st.data(), count=st.integers(1, 30))
@BRIEF
def test_components_are_the_joined_groups(data, count):
    rows = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(rows, rows), max_size=40))
    ids = [f"{row:03d}" for row in range(count)]
    partitions = [[ids[min(pair)] if row in pair else id for row, id in enumerate(ids)] for pair in pairs]
    assert [ids[row] for row in components_of(count, pairs).tolist()] == list(joined_groups(ids, partitions))


def test_a_chain_is_followed_to_its_end_although_each_picture_has_few_neighbours():
    count = 60
    angles = np.linspace(0, np.pi, count)
    codes = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    asked = []

    def compare(pair: Candidate):
        asked.append(pair)
        return evidence(0.9) if pair.second - pair.first == 1 and not pair.mirrored else None

    with ThreadPoolExecutor(1) as pool:
        search = Search(
            codes,
            np.zeros_like(codes),
            np.full((count, 1), -1),
            compare=compare,
            pool=pool,
            progress=lambda *_: None,
        )
        components = search.run(lambda found: found is not None)
    assert set(components.tolist()) == {0}
    assert len(asked) == len(set(asked)) < count * 8
    assert count > ALL_PAIRS


# Marks.


def test_a_mark_is_found_among_pictures_that_share_nothing_else():
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(40):
        picture = rng.integers(100, 220, (80, 100)).astype(np.uint8)
        picture[60:66, 50:90] = 0
        pictures.append(picture)
    marks = find_marks(pictures)
    assert marks is not None
    assert marks[58:68, 48:92].all()
    assert not marks[:40].any()
    scarce = [*pictures[:30], *(rng.integers(100, 220, (80, 100)).astype(np.uint8) for _ in range(40))]
    assert find_marks(scarce) is None  # on less than half of them
    assert find_marks(pictures[:15]) is None


def test_no_mark_is_found_where_there_is_none_or_nothing_else():
    rng = np.random.default_rng(0)
    assert find_marks([rng.integers(0, 256, (80, 100)).astype(np.uint8) for _ in range(30)]) is None
    alike = rng.integers(0, 256, (80, 100))
    assert find_marks([np.clip(alike + k, 0, 255).astype(np.uint8) for k in range(30)]) is None


def test_marks_hold_for_similar_sizes():
    mark = np.zeros((80, 100), dtype=bool)
    mark[60:66, 50:90] = True
    known = {(80, 100): mark}
    np.testing.assert_array_equal(marks_for((80, 100), known, (80, 100)), mark)
    assert marks_for((84, 98), known, (84, 98))[66, 60]
    assert marks_for((160, 200), known, (160, 200)) is None


def test_a_spool_gives_back_what_was_written_by_many_threads():
    spool = Spool(200)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda row: spool.write(row, bytes([row]) * row), range(200)))
    assert all(spool.read(row) == bytes([row]) * row for row in range(200))
