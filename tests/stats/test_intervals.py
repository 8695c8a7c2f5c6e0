import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tfcells.errors import RequestError
from tfcells.stats.intervals import (
    Interval,
    difference_of_independent,
    wilson,
    wilson_clustered,
    wilson_of_metric,
)
from tfcells.stats.metrics import accuracy, balanced_accuracy, confusion_by_group, macro_f1, recall

SEEDS = st.integers(0, 10_000)
METRICS = [accuracy, balanced_accuracy, macro_f1]


def draw(seed, *, rows=60, groups=20, classes=3, right=0.8):
    generator = np.random.default_rng(seed)
    true = generator.integers(classes, size=rows)
    predicted = np.where(generator.random(rows) < right, true, generator.integers(classes, size=rows))
    return true, predicted, generator.integers(groups, size=rows)


def ends(interval):
    return interval.low, interval.high


@pytest.mark.parametrize(("successes", "total"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 30), (1990, 2000)])
def test_wilson_is_scipys(successes, total):
    theirs = stats.binomtest(successes, total).proportion_ci(0.95, method="wilson")
    assert ends(wilson(successes, total)) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert wilson(successes, total).value == successes / total


@settings(deadline=None, max_examples=60)
@given(SEEDS)
def test_a_group_per_row_is_plain_wilson(seed):
    hits = np.random.default_rng(seed).random(40) < 0.7
    assert wilson_clustered(hits, np.random.default_rng(seed).permutation(40)) == wilson(int(hits.sum()), 40)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 40), st.integers(1, 15), st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]))
def test_clustered_wilson_holds_its_value_within_zero_and_one(seed, rows, groups, chance):
    generator = np.random.default_rng(seed)
    hits, group = generator.random(rows) < chance, generator.integers(groups, size=rows)
    interval = wilson_clustered(hits, group)
    assert interval.value == hits.mean()
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    order, names = generator.permutation(rows), generator.permutation(groups) * 3 - 5
    assert ends(wilson_clustered(hits[order], names[group[order]])) == pytest.approx(ends(interval))
    mirrored = wilson_clustered(~hits, group)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx(ends(interval))


@settings(deadline=None, max_examples=60)
@given(SEEDS)
def test_grouping_never_narrows_the_interval(seed):
    true, predicted, group = draw(seed)
    alone, grouped = wilson_clustered(true == predicted, np.arange(60)), wilson_clustered(true == predicted, group)
    assert grouped.low <= alone.low + 1e-12
    assert grouped.high >= alone.high - 1e-12


@pytest.mark.parametrize("copies", [2, 10])
def test_copies_of_rows_add_nothing(copies):
    hits = np.random.default_rng(0).random(200) < 0.8
    interval = wilson_clustered(np.repeat(hits, copies), np.repeat(np.arange(200), copies))
    alone = wilson(int(hits.sum()), 200)
    assert alone.high - alone.low <= interval.high - interval.low < 1.1 * (alone.high - alone.low)


def test_independent_rows_in_many_groups_cost_little():
    generator = np.random.default_rng(1)
    hits = generator.random(2000) < 0.8
    interval, alone = wilson_clustered(hits, np.arange(2000) // 4), wilson(int(hits.sum()), 2000)
    assert interval.high - interval.low < 1.1 * (alone.high - alone.low)


def test_one_group_says_nothing():
    assert wilson_clustered(np.array([True, True, False]), np.zeros(3, dtype=np.int64)) == Interval(2 / 3, 0.0, 1.0)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 30))
def test_wilson_of_accuracy_is_the_clustered_wilson(seed, groups):
    true, predicted, group = draw(seed, groups=groups)
    found = wilson_of_metric(confusion_by_group(true, predicted, group, classes=3), accuracy)
    expected = wilson_clustered(true == predicted, group)
    assert ends(found) == pytest.approx(ends(expected), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 60), st.integers(1, 20), st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.sampled_from(METRICS))
def test_wilson_of_a_metric_holds_its_value_and_does_not_know_order_or_names(seed, rows, groups, right, metric):
    true, predicted, group = draw(seed, rows=rows, groups=groups, right=right)
    grouped = confusion_by_group(true, predicted, group, classes=3)
    interval = wilson_of_metric(grouped, metric)
    assert interval.value == float(metric(grouped.total))
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high > interval.low
    order = np.random.default_rng(seed).permutation(rows)
    again = confusion_by_group(true[order], predicted[order], -group[order], classes=3)
    assert wilson_of_metric(again, metric) == interval


@pytest.mark.parametrize("metric", [balanced_accuracy, macro_f1])
def test_metrics_of_even_classes_have_about_the_width_of_accuracy(metric):
    true = np.arange(800) % 8
    predicted = np.where(np.random.default_rng(0).random(800) < 0.9, true, (true + 1) % 8)
    grouped = confusion_by_group(true, predicted, np.arange(800), classes=8)
    width, expected = ends(wilson_of_metric(grouped, metric)), ends(wilson_of_metric(grouped, accuracy))
    assert np.ptp(width) == pytest.approx(np.ptp(expected), rel=0.03)


def test_recall_of_one_class_is_wilson_on_its_rows():
    true = np.repeat([0, 1], [50, 150])
    predicted = true.copy()
    predicted[:10], predicted[50:80] = 1, 0
    interval = wilson_of_metric(
        confusion_by_group(true, predicted, np.arange(200), classes=2), lambda tables: recall(tables)[..., 0]
    )
    assert ends(interval) == pytest.approx(ends(wilson(40, 50)), abs=1e-3)


def test_a_rare_class_without_a_miss_is_not_taken_for_a_perfect_one():
    true = np.repeat([0, 1], [500, 3])
    predicted = np.where(np.arange(503) < 50, 1, true)  # 90 % of the first class, 3 of 3 of the second
    interval = wilson_of_metric(confusion_by_group(true, predicted, np.arange(503), classes=2), balanced_accuracy)
    without_the_rare = np.ptp(ends(wilson(450, 500))) / 2
    assert np.ptp(ends(interval)) > 2 * without_the_rare


def test_a_perfect_score_keeps_an_interval():
    true, _, _ = draw(0)
    for metric in METRICS:
        interval = wilson_of_metric(confusion_by_group(true, true, np.arange(60), classes=3), metric)
        assert interval.high == 1.0
        assert interval.low == pytest.approx(wilson(60, 60).low, abs=0.02)


def test_one_class_alone_has_the_interval_of_its_rows():
    same = np.zeros(9, dtype=np.int64)
    interval = wilson_of_metric(confusion_by_group(same, same, np.arange(9), classes=1), balanced_accuracy)
    assert ends(interval) == pytest.approx(ends(wilson(9, 9)))


def test_difference_is_newcombes():
    # Newcombe (1998), table II, first column, method 10: 56/70 - 48/80.
    found = difference_of_independent(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@settings(deadline=None, max_examples=60)
@given(SEEDS)
def test_difference_turns_round_and_is_wider_than_either(seed):
    first, second = np.random.default_rng(seed).integers(0, 51, size=2).tolist()
    a, b = wilson(first, 50), wilson(second, 50)
    there, back = difference_of_independent(a, b), difference_of_independent(b, a)
    assert (there.low, there.value, there.high) == pytest.approx((-back.high, -back.value, -back.low))
    assert there.high - there.low >= max(a.high - a.low, b.high - b.low) - 1e-12
    assert there.low >= -1
    assert there.high <= 1


def test_an_interval_is_three_finite_numbers_in_order():
    for numbers in ((0.5, 0.6, 0.7), (0.5, 0.1, 0.4), (np.nan, 0.0, 1.0), (0.5, -np.inf, 1.0)):
        with pytest.raises(RequestError, match=r"the value between the ends\. Was the metric computed on a class"):
            Interval(*numbers)


def test_impossible_requests_say_what_was_expected():
    for successes, total in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(RequestError, match=f"{successes} successes of {total} rows came. Expected at least one"):
            wilson(successes, total)
    with pytest.raises(RequestError, match=r"No rows came\. Expected at least one row"):
        wilson_clustered(np.array([], dtype=bool), np.array([], dtype=np.int64))
    grouped = confusion_by_group(*draw(0), classes=3)
    with pytest.raises(RequestError, match=r"A metric of value 60\.0 came\. Expected one in \[0, 1\]; take cluster_b"):
        wilson_of_metric(grouped, lambda tables: np.asarray(tables.sum(axis=(-2, -1))))
