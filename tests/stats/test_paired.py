import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tfcells.errors import RequestError
from tfcells.stats.clusters import effective_share
from tfcells.stats.intervals import Interval, wilson
from tfcells.stats.metrics import balanced_accuracy, confusion
from tfcells.stats.paired import (
    _rows_like_these,
    _sign_flip,
    _variance_ratio,
    _weighted_share,
    _weighted_sign_flip,
    corrected_resampled_t,
    paired_balanced_difference,
    paired_difference,
)

SEEDS = st.integers(0, 10_000)


def hits_of(both, wins, losses, neither):
    """Hits of two models by the four cells of their table."""
    a = np.repeat([True, True, False, False], [both, wins, losses, neither])
    b = np.repeat([True, False, True, False], [both, wins, losses, neither])
    return a, b


def draw(seed, *, rows=60, groups=12, chances=(0.8, 0.6)):
    generator = np.random.default_rng(seed)
    return *(generator.random(rows) < chance for chance in chances), generator.integers(groups, size=rows)


def draw_classes(seed, *, rows=60, mix=(0.7, 0.2, 0.1)):
    """Labels in which each class occurs, as far as there are rows."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(len(mix), p=mix, size=rows)
    labels[: len(mix)] = np.arange(len(mix))[:rows]
    return generator.permutation(labels)


def numbers(test):
    return test.difference.value, test.difference.low, test.difference.high, test.p_value


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(0, 60))
def test_single_rows_are_tested_by_mcnemars_exact_test(wins, losses):
    a, b = hits_of(20, wins, losses, 20)
    test = paired_difference(a, b, np.arange(len(a)))
    assert test.method == "exact McNemar test"
    assert test.p_value == pytest.approx(stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0)


@pytest.mark.parametrize("differences", [[1], [3, -1], [2, 2, -1, 0, 5], [1] * 6, [4, -4, 1, 1, 1, -2, 3, 7, 0, 0, 6]])
def test_sign_flips_are_all_of_them(differences):
    differences = np.array(differences)
    flips = np.array(list(itertools.product([-1, 1], repeat=len(differences)))) @ differences
    assert _sign_flip(differences) == pytest.approx(np.mean(np.abs(flips) >= abs(differences.sum())))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 200), st.integers(0, 200))
def test_sign_flips_of_single_rows_are_mcnemars_test(wins, losses):
    p_value = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert _sign_flip(np.repeat([1, -1], [wins, losses])) == pytest.approx(max(p_value, 1e-12), rel=1e-3)


def test_sign_flips_of_many_groups_approach_the_normal():
    differences = np.random.default_rng(0).integers(-6, 7, size=20_000)
    z = abs(differences.sum()) / np.sqrt((differences**2).sum())
    assert _sign_flip(differences) == pytest.approx(2 * stats.norm.sf(z), rel=0.01)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 40), st.integers(1, 40))
def test_a_comparison_turns_round_and_does_not_know_order_or_names(seed, rows, groups):
    a, b, group = draw(seed, rows=rows, groups=groups)
    test, back = paired_difference(a, b, group), paired_difference(b, a, group)
    value, low, high, p_value = numbers(test)
    assert value == a.mean() - b.mean() or value == pytest.approx(a.mean() - b.mean())
    assert -1 <= low <= value <= high <= 1
    assert 0 < p_value <= 1
    assert numbers(back) == pytest.approx((-value, -high, -low, p_value))
    order = np.random.default_rng(seed).permutation(rows)
    assert numbers(paired_difference(a[order], b[order], 7 - group[order])) == pytest.approx(numbers(test))


@settings(deadline=None, max_examples=150)
@given(SEEDS, st.integers(20, 200), st.sampled_from([3, 10, 30, 10_000_000]))
def test_a_difference_is_never_called_real_when_its_interval_holds_zero(seed, rows, groups):
    test = paired_difference(*draw(seed, rows=rows, groups=groups, chances=(0.8, 0.7)))
    if test.p_value <= 0.05:
        assert test.difference.low > 0 or test.difference.high < 0


def test_the_interval_is_tangos():
    a, b = hits_of(30, 12, 2, 10)
    interval = paired_difference(a, b, np.arange(54)).difference
    for end in (interval.low, interval.high):
        assert score_statistic(12, 2, 54, end) == pytest.approx(stats.norm.ppf(0.975) ** 2, rel=1e-6)


def score_statistic(wins, losses, rows, difference):
    """Squared score statistic with the constrained estimate found by maximising the likelihood on a grid."""
    chance = np.linspace(1e-9, 1, 2_000_001)
    win = chance + difference
    rest = 1 - chance - win
    allowed = (win > 0) & (rest > 0)
    chance, win, rest = chance[allowed], win[allowed], rest[allowed]
    likelihood = wins * np.log(win) + losses * np.log(chance) + (rows - wins - losses) * np.log(rest)
    best = chance[np.argmax(likelihood)]
    variance = (2 * best + difference * (1 - difference)) / rows
    return ((wins - losses) / rows - difference) ** 2 / variance


@pytest.mark.parametrize("rows", [1, 10, 500])
def test_equal_predictions_are_a_tie_with_a_width(rows):
    hits = np.arange(rows) % 3 > 0
    test = paired_difference(hits, hits, np.arange(rows))
    z2 = stats.norm.ppf(0.975) ** 2
    assert test.p_value == 1
    assert numbers(test)[:3] == pytest.approx((0, -z2 / (rows + z2), z2 / (rows + z2)))


def test_equal_predictions_in_groups_are_as_little_known_as_their_groups():
    hits = np.ones(100, dtype=bool)
    grouped = paired_difference(hits, hits, np.arange(100) // 5).difference
    alone = paired_difference(hits[:20], hits[:20], np.arange(20)).difference
    assert alone.high < grouped.high < 1.3 * alone.high


def test_a_model_right_where_the_other_is_always_wrong():
    test = paired_difference(np.ones(30, dtype=bool), np.zeros(30, dtype=bool), np.arange(30))
    assert test.difference.high == 1.0
    assert 0.75 < test.difference.low < 1.0
    assert test.p_value == pytest.approx(2**-29)


@pytest.mark.parametrize("copies", [2, 5])
def test_copies_of_rows_add_no_evidence(copies):
    a, b, _ = draw(3, rows=150)
    alone = paired_difference(a, b, np.arange(150))
    copied = paired_difference(np.repeat(a, copies), np.repeat(b, copies), np.repeat(np.arange(150), copies))
    assert copied.p_value >= alone.p_value * (1 - 1e-6)
    assert copied.difference.high - copied.difference.low >= alone.difference.high - alone.difference.low


def test_one_group_decides_nothing():
    test = paired_difference(np.ones(9, dtype=bool), np.zeros(9, dtype=bool), np.zeros(9, dtype=np.int64))
    assert numbers(test) == (1.0, -1.0, 1.0, 1.0)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 5), st.integers(1, 12), st.sampled_from([3, 10_000_000]))
def test_classes_of_equal_size_are_compared_as_rows(seed, classes, of_each, groups):
    rows = classes * of_each
    labels = np.random.default_rng(seed).permutation(np.repeat(3 * np.arange(classes), of_each))
    a, b, group = draw(seed, rows=rows, groups=groups)
    assert paired_balanced_difference(a, b, labels, group) == paired_difference(a, b, group)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 60), st.sampled_from([1, 2, 8, 40, 10_000_000]))
def test_a_balanced_comparison_turns_round_and_does_not_know_order_or_names(seed, rows, groups):
    a, b, group = draw(seed, rows=rows, groups=groups)
    labels = draw_classes(seed, rows=rows)
    test, back = paired_balanced_difference(a, b, labels, group), paired_balanced_difference(b, a, labels, group)
    value, low, high, p_value = numbers(test)
    recalls = [balanced_accuracy(confusion(labels, np.where(hits, labels, 3), classes=4)) for hits in (a, b)]
    assert value == pytest.approx(recalls[0] - recalls[1])
    assert -1 <= low <= value <= high <= 1
    assert 0 < p_value <= 1
    assert numbers(back) == pytest.approx((-value, -high, -low, p_value))
    order = np.random.default_rng(seed).permutation(rows)
    renamed = np.array([5, 0, 2])[labels]
    moved = paired_balanced_difference(a[order], b[order], renamed[order], 7 - group[order])
    assert numbers(moved) == pytest.approx(numbers(test))


@settings(deadline=None, max_examples=150)
@given(
    SEEDS,
    st.integers(20, 200),
    st.sampled_from([3, 10, 30, 10_000_000]),
    st.sampled_from([(0.7, 0.2, 0.1), (0.9, 0.1)]),
    st.sampled_from([(0.8, 0.7), (0.98, 0.9), (0.7, 0.2)]),
)
def test_a_balanced_difference_is_never_called_real_when_its_interval_holds_zero(seed, rows, groups, mix, chances):
    a, b, group = draw(seed, rows=rows, groups=groups, chances=chances)
    test = paired_balanced_difference(a, b, draw_classes(seed, rows=rows, mix=mix), group)
    if test.p_value <= 0.05:
        assert test.difference.low > 0 or test.difference.high < 0


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 9), st.lists(st.sampled_from([1, 4, 7, 60, 997, 10_007]), min_size=2, max_size=5))
def test_weighted_sign_flips_are_all_of_them_and_rounding_makes_p_no_smaller(seed, groups, rows):
    differences = np.random.default_rng(seed).integers(-2, 3, size=(groups, len(rows)))
    sums = differences @ (1 / np.array(rows))
    flips = np.array(list(itertools.product([-1, 1], repeat=groups))) @ sums
    exact = np.mean(np.abs(flips) >= abs(sums.sum()) - 1e-12)
    wider = np.mean(np.abs(flips) >= abs(sums.sum()) - groups / 20_000 * np.abs(sums).sum() - 1e-12)
    assert exact * (1 - 1e-9) <= _weighted_sign_flip(differences, np.array(rows)) <= wider * (1 + 1e-9)


def test_a_weighted_sign_flip_by_hand():
    # In quarters: 4, 1, 1. Of the 8 sums, +-6 alone are as far as the observed one; 2 - 4 = -2 is passed by all.
    differences = np.array([[1, 0], [0, 1], [0, 1]])
    assert _weighted_sign_flip(differences, np.array([1, 4])) == pytest.approx(2 / 8)
    assert _weighted_sign_flip(differences * [-1, 1], np.array([1, 4])) == 1


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_weighted_sign_flips_with_equal_weights_are_the_plain_ones(seed):
    differences = np.random.default_rng(seed).integers(-3, 4, size=(50, 2))
    plain = _sign_flip(differences.sum(axis=1))
    assert _weighted_sign_flip(differences, np.array([35, 35])) == pytest.approx(plain)


def test_weighted_sign_flips_of_many_groups_approach_the_normal():
    differences = np.random.default_rng(0).integers(-3, 4, size=(1000, 4))
    differences[:60, 3] += 2
    rows = np.array([9001, 4003, 2003, 499])
    sums = differences @ (1 / rows)
    p_value = 2 * stats.norm.sf(abs(sums.sum()) / np.sqrt(sums @ sums))
    assert p_value * 0.97 < _weighted_sign_flip(differences, rows) < p_value * 1.1


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(2, 30))
def test_the_share_of_weighted_rows_is_the_plain_one_where_weights_are_equal(seed, groups):
    generator = np.random.default_rng(seed)
    sizes = np.tile(generator.integers(1, 6, size=(groups, 1)), 2)
    wins = generator.binomial(sizes, 0.3)
    losses = generator.binomial(sizes - wins, 0.3)
    of_groups = [counts.sum(axis=1) for counts in (sizes, wins + losses, wins, losses)]
    ratio = max(_variance_ratio(sizes, wins, losses), 1.0)
    plain = effective_share(*of_groups[:2], np.ones_like(of_groups[0]), variance_ratio=ratio, parts=(*of_groups[2:],))
    assert _weighted_share(sizes, wins, losses) == pytest.approx(plain)


def test_rows_of_equal_shares_are_as_many_as_their_weights_say():
    sizes = np.array([[40, 160]])
    for share in (0, 20, 40):  # no row, every second one, all of them
        wins = np.array([[share, 4 * share]])
        assert _rows_like_these(sizes, wins, np.zeros_like(wins)) == pytest.approx(4 / (1 / 40 + 1 / 160), rel=1e-9)


def test_what_is_worse_by_rows_may_be_better_by_classes():
    labels = np.repeat([0, 1], [900, 100])
    a, b = np.ones(1000, dtype=bool), np.ones(1000, dtype=bool)
    a[:60] = False  # 7 % of the common class, against 40 % of the rare one
    b[900:940] = False
    plain = paired_difference(a, b, np.arange(1000))
    balanced = paired_balanced_difference(a, b, labels, np.arange(1000))
    assert plain.difference.value < 0 < balanced.difference.low
    assert balanced.p_value < 1e-6
    assert balanced.method == "sign-flip and score test, classes weighted alike"


@pytest.mark.parametrize("size", [1, 5])
def test_equal_predictions_on_unequal_classes_are_a_tie_with_a_width(size):
    labels = np.repeat([0, 1], [160, 40])
    hits = np.arange(200) % 3 > 0
    test = paired_balanced_difference(hits, hits, labels, np.arange(200) // size)
    z2, rows = stats.norm.ppf(0.975) ** 2, 4 / (1 / 160 + 1 / 40) / size
    assert test.p_value == 1
    if size == 1:
        assert numbers(test)[:3] == pytest.approx((0, -z2 / (rows + z2), z2 / (rows + z2)))
    else:
        assert z2 / (rows + z2) < test.difference.high < 1.3 * z2 / (rows + z2)


@pytest.mark.parametrize("copies", [2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_copies_of_rows_add_no_evidence_by_classes(seed, copies):
    (a, b, _), labels = draw(seed, rows=150), draw_classes(seed, rows=150)
    alone = paired_balanced_difference(a, b, labels, np.arange(150))
    copied = paired_balanced_difference(
        *(np.repeat(values, copies) for values in (a, b, labels)), np.repeat(np.arange(150), copies)
    )
    assert copied.difference.value == pytest.approx(alone.difference.value)
    assert copied.p_value >= alone.p_value * (1 - 1e-6)
    assert copied.difference.high >= alone.difference.high - 1e-9
    assert copied.difference.low <= alone.difference.low + 1e-9


def test_one_group_of_unequal_classes_decides_nothing():
    a, labels = np.ones(9, dtype=bool), np.repeat([0, 1], [6, 3])
    test = paired_balanced_difference(a, ~a, labels, np.zeros(9, dtype=np.int64))
    assert numbers(test) == (1.0, -1.0, 1.0, 1.0)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("traded", [0.0, 0.1])
def test_equal_balanced_accuracies_are_called_unequal_in_5_percent_at_most(grouped, traded):
    """Also where one model is better in the common classes and the other in the rare ones."""
    generator, draws = np.random.default_rng(5), 150
    shift = traded * np.array([1, 0.5, -0.5, -1])
    rejected = plain = 0
    for seed in range(draws):
        labels = draw_classes(seed, rows=240, mix=(0.6, 0.2, 0.12, 0.08))
        groups = generator.integers(48, size=240) if grouped else np.arange(240)
        shared = generator.random((2, 240))[:, groups] < 0.85
        own = generator.random((2, 240)) < 0.85 + np.array([[1], [-1]]) * shift[labels]
        a, b = np.where(generator.random((2, 240)) < (0.4 if grouped else 0.0), shared, own)
        rejected += paired_balanced_difference(a, b, labels, groups).p_value <= 0.05
        plain += paired_difference(a, b, groups).p_value <= 0.05
    limit = 0.05 + 2 * np.sqrt(0.05 * 0.95 / draws)
    assert rejected / draws <= limit
    if traded:
        assert plain / draws > limit


def test_corrected_t_by_hand():
    differences = np.array([0.02, 0.04, 0.00, 0.06])
    test = corrected_resampled_t(differences, n_train=90, n_test=10)
    error = np.sqrt((1 / 4 + 1 / 9) * np.var(differences, ddof=1))
    assert test.p_value == pytest.approx(2 * stats.t.sf(0.03 / error, 3))
    half = stats.t.ppf(0.975, 3) * error
    assert numbers(test)[:3] == pytest.approx((0.03, 0.03 - half, 0.03 + half))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.integers(1, 50))
def test_corrected_t_is_more_careful_than_the_plain_one_and_agrees_with_its_interval(differences, n_test):
    differences = np.array(differences)
    test = corrected_resampled_t(differences, n_train=100, n_test=n_test)
    if np.ptp(differences) > 1e-6:
        assert test.p_value >= stats.ttest_1samp(differences, 0).pvalue * (1 - 1e-9)
        if abs(test.p_value - 0.05) > 1e-9:
            assert (test.p_value < 0.05) == (test.difference.low > 0 or test.difference.high < 0)


def test_splits_that_do_not_differ_decide_nothing():
    equal_but_for_rounding = np.array([0.9, 0.8, 0.3, 0.1]) - np.array([0.8, 0.7, 0.2, 0.0])
    assert np.ptp(equal_but_for_rounding) > 0
    test = corrected_resampled_t(equal_but_for_rounding, n_train=80, n_test=20)
    assert numbers(test) == pytest.approx((0.1, -1, 1, 1))
    assert test.undecided


def test_impossible_requests_say_what_was_expected():
    nothing = np.array([], dtype=bool)
    with pytest.raises(RequestError, match=r"No rows came\. Expected the hits of two models on at least one common"):
        paired_difference(nothing, nothing, np.array([], dtype=np.int64))
    with pytest.raises(RequestError, match=r"No rows came\. Expected the hits of two models on at least one common"):
        paired_balanced_difference(nothing, nothing, *np.zeros((2, 0), dtype=np.int64))
    with pytest.raises(RequestError, match=r"1 of 3 labels are negative, the lowest is -1\. Expected class indices"):
        paired_balanced_difference(*np.ones((2, 3), dtype=bool), np.array([0, -1, 1]), np.arange(3))
    with pytest.raises(RequestError, match=r"1 differences came, from 9 training and 1 test rows\. Expected at least"):
        corrected_resampled_t(np.array([0.1]), n_train=9, n_test=1)
    with pytest.raises(RequestError, match=r"reach from 0\.1 to 20\.0\. Expected differences of metrics in \[0, 1\]"):
        corrected_resampled_t(np.array([0.1, 20.0]), n_train=9, n_test=1)


def test_values_are_plain_floats():
    a, b, group = draw(0)
    for test in (
        paired_difference(a, b, group),
        paired_balanced_difference(a, b, draw_classes(0), group),
        corrected_resampled_t(np.array([0.0, 0.1]), n_train=2, n_test=1),
    ):
        assert {type(number) for number in numbers(test)} == {float}
    assert isinstance(wilson(1, 2), Interval)
    assert {type(number) for number in vars(wilson(1, 2)).values()} == {float}
