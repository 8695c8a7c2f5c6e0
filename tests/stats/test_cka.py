import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.errors import RequestError
from tfcells.stats.cka import linear_cka


def features(rows=40, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width))


def rotation(width, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
def test_a_rotation_a_multiple_and_a_shift_change_nothing(seed, scale, shift):
    first = features(seed=seed)
    assert linear_cka(first, scale * first @ rotation(6, seed + 1) + shift) == pytest.approx(1.0, abs=1e-9)


def test_features_that_have_nothing_in_common_are_at_zero_however_wide_they_are():
    values = [linear_cka(features(30, 400, seed), features(30, 400, seed + 1000)) for seed in range(40)]
    # The plain estimate is 0.93 here; the mean of 40 debiased ones has an error of about 0.002.
    assert abs(np.mean(values)) < 0.01


def test_it_is_the_unbiased_ratio_written_out_over_tuples_of_rows():
    first, second = features(6, 2, 3), features(6, 3, 4)

    def hsic(one, other):  # Song et al. (2012), equation 4: sums over tuples of different rows
        n = len(one)
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        two = sum(one[i, j] * other[i, j] for i, j in pairs) / (n * (n - 1))
        four = sum(one[i, j] * other[k, m] for i, j in pairs for k, m in pairs if len({i, j, k, m}) == 4)
        three = sum(one[i, j] * other[i, k] for i, j in pairs for k in range(n) if k not in (i, j))
        return two + four / (n * (n - 1) * (n - 2) * (n - 3)) - 2 * three / (n * (n - 1) * (n - 2))

    one, other = first @ first.T, second @ second.T
    expected = hsic(one, other) / np.sqrt(hsic(one, one) * hsic(other, other))
    assert linear_cka(first, second) == pytest.approx(expected, rel=1e-9)


def test_it_is_symmetric_and_falls_as_noise_grows():
    first, noise = features(200), features(200, seed=1)
    values = [linear_cka(first, first + share * noise) for share in (0.1, 0.5, 2.0)]
    assert values == sorted(values, reverse=True)
    assert linear_cka(noise, first + noise) == pytest.approx(linear_cka(first + noise, noise))


def test_float32_features_give_the_same_answer():
    first, second = features(50, 8), features(50, 8, 1)
    assert linear_cka(first.astype(np.float32), second.astype(np.float32)) == pytest.approx(
        linear_cka(first, second), abs=1e-5
    )


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (features(5), features(6), "Features of 5 and 6 rows came. Expected the same rows twice, 4 or more."),
        (features(3), features(3), "Features of 3 and 3 rows came"),
        (features(5), np.full((5, 2), np.nan), "not finite"),
        (features(5), np.ones((5, 2)), "all alike"),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second, words):
    with pytest.raises(RequestError, match=words):
        linear_cka(first, second)
