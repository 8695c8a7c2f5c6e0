import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.errors import RequestError
from tfcells.steps.maps import stratified_sample

LABELS = st.lists(st.integers(-1, 4), min_size=2, max_size=200).map(np.array)


@given(LABELS, st.integers(2, 200), st.integers(0, 100))
def test_a_sample_has_the_classes_own_shares(labels, count, seed):
    rows = stratified_sample(labels, count, seed=seed)
    assert len(rows) == min(count, len(labels))
    assert (np.diff(rows) > 0).all()
    for label in np.unique(labels):
        share = (labels == label).sum() * len(rows) / len(labels)
        assert abs((labels[rows] == label).sum() - share) < 1


def test_a_sample_is_drawn_by_its_seed():
    labels = np.arange(500) % 3
    first, again, other = (stratified_sample(labels, 50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_every_row_can_be_drawn():
    labels = np.arange(20) % 2
    drawn = {row for seed in range(60) for row in stratified_sample(labels, 5, seed=seed).tolist()}
    assert drawn == set(range(20))


def test_a_map_of_one_row_is_refused():
    with pytest.raises(RequestError, match="A map of 1 rows was asked for"):
        stratified_sample(np.zeros(10, dtype=np.int64), 1, seed=0)
