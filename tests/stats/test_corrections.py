import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfcells.errors import RequestError
from tfcells.stats.corrections import holm

P_VALUES = arrays.arrays(np.float64, st.integers(0, 20), elements=st.floats(0, 1))


def test_holm_by_hand():
    # 4 x 0.01; 3 x 0.02 = 0.06; 2 x 0.03 = 0.06; 1 x 0.04 is raised to 0.06.
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03, 0.02])), [0.06, 0.04, 0.06, 0.06])


@settings(deadline=None, max_examples=50)
@given(P_VALUES)
def test_holm_is_never_below_raw_nor_above_bonferroni_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(p_values * len(p_values), 1)).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()


@settings(deadline=None, max_examples=50)
@given(P_VALUES, st.randoms(use_true_random=False))
def test_holm_does_not_know_the_order_of_tests(p_values, random):
    order = np.array(random.sample(range(len(p_values)), len(p_values)), dtype=int)
    np.testing.assert_array_equal(holm(p_values[order]), holm(p_values)[order])


def test_one_test_needs_no_correction_and_none_gives_none():
    np.testing.assert_array_equal(holm(np.array([0.03])), [0.03])
    assert holm(np.array([])).shape == (0,)


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1])
def test_what_is_not_a_p_value_is_refused(wrong):
    with pytest.raises(RequestError, match=r"1 of 2 p-values are not in \[0, 1\], the first is .*leave the others out"):
        holm(np.array([0.5, wrong]))
