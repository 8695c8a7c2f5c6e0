import numpy as np
import pytest

from tfcells.maps import quality
from tfcells.maps.quality import map_quality


def drawn(rows=80, columns=2, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def test_the_identity_is_a_perfect_map():
    vectors = drawn()
    found = map_quality(vectors, vectors, np.zeros(80, dtype=np.int64))
    assert (found.trustworthiness, found.kept_neighbors, found.rows) == (1.0, 1.0, 80)


def test_turning_stretching_and_moving_a_map_does_not_change_its_quality():
    vectors, labels = drawn(), np.arange(80) % 3
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert map_quality(vectors, 7 * vectors @ turn + 100, labels) == map_quality(vectors, vectors, labels)


def test_a_shuffled_map_keeps_neighbours_by_chance_only():
    vectors = drawn(200)
    found = map_quality(vectors, np.random.default_rng(1).permutation(vectors), np.zeros(200, dtype=np.int64))
    assert found.kept_neighbors == pytest.approx(10 / 199, abs=0.03)
    assert found.trustworthiness == pytest.approx(0.5, abs=0.05)


def test_classes_that_lie_apart_have_neighbours_of_their_own():
    labels = np.arange(80) % 2
    vectors = drawn() + 100 * labels[:, None]
    found = map_quality(vectors, drawn(seed=1), labels)
    assert found.same_class_features == 1.0
    assert found.same_class == pytest.approx(0.5, abs=0.1)


def test_unlabelled_pictures_have_no_class_to_share():
    vectors = drawn()
    found = map_quality(vectors, vectors, np.full(80, -1))
    assert np.isnan([found.same_class, found.same_class_features]).all()


def test_only_labelled_pictures_are_asked_for_their_class():
    vectors = np.concatenate([drawn(30), drawn(30) + 100])
    labels = np.repeat([0, -1], 30)
    assert map_quality(vectors, vectors, labels).same_class == 1.0


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 12])
def test_few_pictures_are_judged_by_fewer_neighbours_or_not_at_all(rows):
    vectors = drawn(rows)
    found = map_quality(vectors, vectors, np.zeros(rows, dtype=np.int64))
    if rows < 3:
        assert np.isnan([found.trustworthiness, found.kept_neighbors]).all()
    else:
        assert (found.trustworthiness, found.kept_neighbors) == (1.0, 1.0)


def test_a_large_map_is_judged_by_a_seeded_sample(monkeypatch):
    monkeypatch.setattr(quality, "_LARGEST", 50)
    vectors, labels = drawn(300), np.arange(300) % 3
    found = map_quality(vectors, vectors, labels, seed=5)
    assert found.rows == 50
    assert found == map_quality(vectors, vectors, labels, seed=5)


def test_neighbours_in_the_features_are_sought_among_many_components():
    vectors = drawn(60, 40)
    assert map_quality(vectors, vectors[:, :2], np.zeros(60, dtype=np.int64)).kept_neighbors < 0.6
