import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tfcells.errors import EmptyDataError, RequestError, UnknownNameError
from tfcells.finetune.draws import Draw, epoch_draws, even_batches


def ids_of(images):
    return tuple(f"class/{row:04d}.png" for row in range(images))


@st.composite
def draws_asked_for(draw):
    images = draw(st.integers(1, 80))
    labels = np.array(draw(st.lists(st.integers(0, 4), min_size=images, max_size=images)), np.int64)
    rows = draw(st.lists(st.integers(0, images - 1), min_size=1, max_size=images, unique=True))
    return ids_of(images), rows, labels, draw(st.integers(0, 2**40)), draw(st.integers(0, 1000))


@given(draws_asked_for())
def test_naturally_every_row_comes_once(asked):
    ids, rows, labels, seed, epoch = asked
    drawn = epoch_draws(ids, rows, labels, sampling="natural", seed=seed, epoch=epoch)
    assert sorted(drawn) == [(row, 0) for row in sorted(rows)]


@given(draws_asked_for())
def test_balanced_classes_and_rows_within_a_class_come_equally_often_up_to_one(asked):
    ids, rows, labels, seed, epoch = asked
    drawn = epoch_draws(ids, rows, labels, sampling="balanced", seed=seed, epoch=epoch)
    assert len(drawn) == len(rows)
    assert {draw.row for draw in drawn} <= set(rows)
    classes = np.bincount([labels[draw.row] for draw in drawn], minlength=5)[np.unique(labels[rows])]
    assert classes.max() - classes.min() <= 1
    for label in np.unique(labels[rows]):
        mine = [row for row in rows if labels[row] == label]
        times = [sum(draw.row == row for draw in drawn) for row in mine]
        assert max(times) - min(times) <= 1
    for row in rows:
        copies = sorted(draw.copy for draw in drawn if draw.row == row)
        assert copies == list(range(len(copies)))


@given(draws_asked_for(), st.sampled_from(["natural", "balanced"]), st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_their_numbers_matter(asked, sampling, random):
    ids, rows, labels, seed, epoch = asked
    names = [ids[draw.row] for draw in epoch_draws(ids, rows, labels, sampling=sampling, seed=seed, epoch=epoch)]
    places = list(range(len(ids)))
    random.shuffle(places)
    moved_ids, moved_labels = tuple(ids[place] for place in places), labels[places]
    moved_rows = [places.index(row) for row in reversed(rows)]
    moved = epoch_draws(moved_ids, moved_rows, moved_labels, sampling=sampling, seed=seed, epoch=epoch)
    assert [moved_ids[draw.row] for draw in moved] == names


def test_every_epoch_and_every_seed_has_another_order():
    ids, labels = ids_of(50), np.zeros(50, np.int64)
    orders = {
        tuple(epoch_draws(ids, range(50), labels, sampling="natural", seed=seed, epoch=epoch))
        for seed in range(4)
        for epoch in range(10)
    }
    assert len(orders) == 40


def test_no_place_in_the_epoch_belongs_to_a_row():
    """Over 400 epochs, each of 10 rows begins about 40 of them: five standard deviations are 30."""
    ids, labels = ids_of(10), np.zeros(10, np.int64)
    first = [
        epoch_draws(ids, range(10), labels, sampling="natural", seed=3, epoch=epoch)[0].row for epoch in range(400)
    ]
    assert np.abs(np.bincount(first, minlength=10) - 40).max() < 30


def test_balanced_epochs_show_each_picture_of_a_frequent_class_in_turn():
    """90 pictures of one class and 10 of the other: 50 of the 90 in each epoch, each about 5 times in 9 epochs."""
    ids, labels = ids_of(100), np.array([0] * 90 + [1] * 10)
    seen = np.zeros(100)
    for epoch in range(180):
        for draw in epoch_draws(ids, range(100), labels, sampling="balanced", seed=1, epoch=epoch):
            seen[draw.row] += 1
    assert (seen[90:] == 180 * 5).all()
    deviation = np.sqrt(180 * 5 / 9 * 4 / 9)
    assert np.abs(seen[:90] - 100).max() < 5 * deviation


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 5))
def test_batches_are_as_few_as_possible_and_differ_by_one_picture_a_replica_at_most(number, batch_size, replicas):
    draws = [Draw(row, 0) for row in range(number)]
    assume(batch_size >= replicas and number >= replicas)
    batches = even_batches(draws, batch_size, replicas=replicas)
    together = [draw for batch in batches for draw in batch]
    assert together == draws[: number - number % replicas]
    assert len(batches) == -(-(number // replicas) // (batch_size // replicas))
    lengths = [len(batch) for batch in batches]
    assert all(length % replicas == 0 for length in lengths)
    assert 0 < min(lengths) <= max(lengths) <= min(batch_size, min(lengths) + replicas)
    assert lengths == sorted(lengths, reverse=True)


def test_what_cannot_be_drawn_from_is_refused_in_words():
    ids, labels = ids_of(4), np.array([0, 1, -1, 1])
    cases = [
        ({"sampling": "balancd"}, UnknownNameError, r"Unknown sampling 'balancd'\. Did you mean 'balanced'\?"),
        ({"rows": []}, EmptyDataError, r"There are no rows to learn from\. Expected one or more\."),
        ({"rows": [0, 0, 1]}, RequestError, r"3 rows, of which 2 are different\. Expected each row once\."),
        ({"rows": [0, 2]}, RequestError, r"Picture 'class/0002\.png' has no class\. Expected labelled rows; leave it"),
        ({"labels": labels[:2]}, RequestError, r"2 labels for a table of 4 rows\. Expected one for every row of the"),
    ]
    for change, error, words in cases:
        options = {"rows": [0, 1], "labels": labels, "sampling": "natural", **change}
        rows, classes = options.pop("rows"), options.pop("labels")
        with pytest.raises(error, match=words):
            epoch_draws(ids, rows, classes, seed=0, epoch=0, **options)
