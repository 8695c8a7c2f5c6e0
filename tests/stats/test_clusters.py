import numpy as np
import pytest
from scipy import stats

from tfcells.stats.clusters import (
    LEVEL,
    PRIOR_GROUPS,
    effective_number,
    effective_share,
    expanded_normal_quantile,
    normal_quantile,
)


def test_single_rows_count_fully():
    ones = np.ones(30, dtype=np.int64)
    assert effective_share(ones, ones * 0, ones, variance_ratio=1.0) == 1.0
    assert effective_share(ones, ones, ones, variance_ratio=3.0) == 1.0


def test_without_a_wrong_row_groups_count_as_one_row_each_less_the_few_groups():
    sizes, none = np.full(25, 4), np.zeros(25, dtype=np.int64)
    few = (stats.t.ppf(0.975, 99) / stats.t.ppf(0.975, 24)) ** 2
    assert effective_share(sizes, none, np.ones(25, dtype=np.int64), variance_ratio=1.0) == pytest.approx(few / 4)


def test_the_estimate_is_drawn_towards_the_worst_case_with_the_weight_of_the_prior():
    sizes, misses = np.full(400, 5), np.repeat([0, 1], [300, 100])
    share = effective_share(sizes, misses, np.ones(400, dtype=np.int64), variance_ratio=2.0)
    design_effect = (2.0 * 100 + 5 * PRIOR_GROUPS) / (100 + PRIOR_GROUPS)
    few = (stats.t.ppf(0.975, 1999) / stats.t.ppf(0.975, 399)) ** 2
    assert share == pytest.approx(few / design_effect)


def test_wins_from_many_groups_do_not_hide_losses_from_few():
    sizes, once = np.full(100, 10), np.ones(100, dtype=np.int64)
    wins, spread_losses, heaped_losses = (np.zeros(100, dtype=np.int64) for _ in range(3))
    wins[:30], spread_losses[30:60], heaped_losses[30:33] = 1, 1, 10
    shares = [
        effective_share(sizes, wins + losses, once, variance_ratio=2.0, parts=(wins, losses))
        for losses in (spread_losses, heaped_losses)
    ]
    without_parts = effective_share(sizes, wins + heaped_losses, once, variance_ratio=2.0)
    assert shares[1] < 0.75 * without_parts < shares[0]


def test_a_ratio_below_one_is_not_believed():
    sizes, misses, once = np.full(50, 4), np.ones(50, dtype=np.int64), np.ones(50, dtype=np.int64)
    assert effective_share(sizes, misses, once, variance_ratio=0.1) == effective_share(
        sizes, misses, once, variance_ratio=1.0
    )


def test_kinds_of_groups_with_counts_are_the_groups_written_out():
    sizes, misses, times = np.array([3, 3, 8]), np.array([0, 2, 1]), np.array([20, 5, 3])
    written_out = effective_share(
        np.repeat(sizes, times), np.repeat(misses, times), np.ones(28, dtype=np.int64), variance_ratio=1.7
    )
    assert effective_share(sizes, misses, times, variance_ratio=1.7) == pytest.approx(written_out)


def test_one_group_of_many_rows_says_nothing():
    assert effective_share(np.array([50]), np.array([7]), np.array([1]), variance_ratio=1.0) == 0.0


def test_effective_number_of_equal_groups_is_their_number():
    assert effective_number(np.full(12, 7), np.ones(12, dtype=np.int64)) == pytest.approx(12)
    assert effective_number(np.array([5, 0]), np.array([1, 9])) == pytest.approx(1)
    assert effective_number(np.array([0]), np.array([3])) == 0


def test_quantiles():
    assert normal_quantile() == pytest.approx(stats.norm.ppf(0.5 + LEVEL / 2))
    assert expanded_normal_quantile(10.0) == pytest.approx(stats.t.ppf(0.975, 9) * np.sqrt(10 / 9))
    assert expanded_normal_quantile(1e9) == pytest.approx(normal_quantile(), abs=1e-6)
