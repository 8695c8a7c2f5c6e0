import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.probes.neighbors import NEIGHBORS, dudani_weights, nearest_neighbors

DISTANCES = st.lists(st.floats(0, 1e6), min_size=1, max_size=20).map(lambda row: np.array([row]))


@pytest.mark.parametrize(
    ("distances", "weights"),
    [
        ([1, 2, 5], [1, 0.75, 0]),
        ([0, 1], [1, 0]),
        ([3, 3, 3], [1, 1, 1]),
        ([0, 0], [1, 1]),
        ([7], [1]),
    ],
)
def test_weights_fall_in_distance_from_one_to_zero(distances, weights):
    np.testing.assert_allclose(dudani_weights(np.array([distances], dtype=float)), [weights])


@given(DISTANCES)
def test_weights_lie_between_zero_and_one_and_never_all_vanish(distances):
    weights = dudani_weights(distances)
    assert weights.min() >= 0
    assert weights.max() == 1


@given(DISTANCES, st.sampled_from([0.5, 2.0, 1024.0]))
def test_weights_do_not_depend_on_the_unit_of_distance(distances, unit):
    np.testing.assert_allclose(dudani_weights(unit * distances), dudani_weights(distances), atol=1e-12)


def test_each_query_is_weighted_by_itself():
    distances = np.random.default_rng(0).random((6, 11))
    alone = np.concatenate([dudani_weights(row[None]) for row in distances])
    np.testing.assert_array_equal(dudani_weights(distances), alone)


def test_a_probability_does_not_jump_when_the_last_neighbour_is_exchanged():
    near = np.linspace(-0.5, 0.5, NEIGHBORS - 1)
    images = np.concatenate([near, [-3.0, 3.0]])[:, None]
    labels = np.array([0, 1] * 5 + [0, 1])
    model = nearest_neighbors(len(images)).fit(images, labels)
    middle = np.array([[-1e-9], [1e-9]])
    last = model.kneighbors(middle, return_distance=False)[:, -1]
    assert sorted(last.tolist()) == [10, 11]  # of different classes
    before, after = model.predict_proba(middle)
    np.testing.assert_allclose(before, after, atol=1e-8)


def test_where_there_are_fewer_images_than_neighbours_all_of_them_are_asked():
    probe = nearest_neighbors(4).fit(np.arange(4.0)[:, None], np.array([0, 0, 1, 1]))
    assert probe.n_neighbors == 4
    np.testing.assert_allclose(probe.predict_proba([[0.0]]), [[5 / 6, 1 / 6]])  # weights 1, 2/3, 1/3, 0
