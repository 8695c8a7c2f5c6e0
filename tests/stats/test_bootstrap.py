import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.errors import RequestError
from tfcells.stats.bootstrap import cluster_bootstrap, cluster_bootstrap_rows
from tfcells.stats.intervals import wilson, wilson_of_metric
from tfcells.stats.metrics import (
    accuracy,
    auc,
    balanced_accuracy,
    confusion_by_group,
    expected_calibration_error,
    macro_f1,
)


def draw(seed, *, rows=200, groups=60, classes=4, right=0.85):
    generator = np.random.default_rng(seed)
    true = generator.integers(classes, size=rows)
    predicted = np.where(generator.random(rows) < right, true, generator.integers(classes, size=rows))
    return true, predicted, generator.integers(groups, size=rows)


def draw_scores(seed, rows=150, classes=3):
    generator = np.random.default_rng(seed)
    true = generator.integers(classes, size=rows)
    logits = generator.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[true]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), true


def log_loss(probabilities, true, *, weights):
    """A mean over rows that may exceed 1."""
    return weights @ -np.log(probabilities[np.arange(len(true)), true]) / weights.sum(axis=-1)


def ends(interval):
    return interval.low, interval.high


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12))
def test_an_interval_holds_its_value_and_does_not_know_order_or_names(seed, rows, groups):
    true, predicted, group = draw(seed, rows=rows, groups=groups)
    interval = cluster_bootstrap(confusion_by_group(true, predicted, group, classes=4), macro_f1, seed=0, resamples=99)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high > interval.low
    order = np.random.default_rng(seed).permutation(rows)
    again = confusion_by_group(true[order], predicted[order], 100 - group[order], classes=4)
    assert cluster_bootstrap(again, macro_f1, seed=0, resamples=99) == interval


def test_the_seed_is_an_argument():
    grouped = confusion_by_group(*draw(0), classes=4)
    first, same, other = (cluster_bootstrap(grouped, macro_f1, seed=seed) for seed in (1, 1, 2))
    assert first == same
    assert first != other
    assert ends(first) == pytest.approx(ends(other), abs=0.01)


@pytest.mark.parametrize("metric", [accuracy, balanced_accuracy, macro_f1])
@pytest.mark.parametrize("groups", [100, 1000])
def test_with_many_groups_it_agrees_with_wilson_of_the_metric(metric, groups):
    grouped = confusion_by_group(*draw(1, rows=1000, groups=groups), classes=4)
    assert ends(cluster_bootstrap(grouped, metric, seed=0)) == pytest.approx(
        ends(wilson_of_metric(grouped, metric)), abs=0.006
    )


def test_weights_of_rows_and_tables_of_groups_tell_the_same():
    true, predicted, group = draw(2, rows=300)
    by_tables = cluster_bootstrap(confusion_by_group(true, predicted, group, classes=4), accuracy, seed=0)
    hits = (true == predicted).astype(np.float64)
    by_rows = cluster_bootstrap_rows(lambda weights: weights @ hits / weights.sum(axis=-1), group, seed=0)
    assert by_rows.value == by_tables.value
    assert ends(by_rows) == pytest.approx(ends(by_tables), abs=0.008)


def test_names_of_groups_do_not_matter_to_row_weights():
    probabilities, true = draw_scores(0)
    group = np.random.default_rng(0).integers(40, size=150)

    def metric(weights):
        return auc(probabilities, true, weights=weights)

    names = np.random.default_rng(1).permutation(40)
    assert cluster_bootstrap_rows(metric, names[group], seed=3) == cluster_bootstrap_rows(metric, group, seed=3)


@pytest.mark.parametrize("metric", [auc, expected_calibration_error, log_loss])
def test_copies_of_rows_in_groups_change_nothing(metric):
    probabilities, true = draw_scores(4)
    once = cluster_bootstrap_rows(lambda w: metric(probabilities, true, weights=w), np.arange(150), seed=0)
    many, truths, group = (np.repeat(array, 3, axis=0) for array in (probabilities, true, np.arange(150)))
    thrice = cluster_bootstrap_rows(lambda w: metric(many, truths, weights=w), group, seed=0)
    assert (thrice.value, *ends(thrice)) == pytest.approx((once.value, *ends(once)))


def test_a_skewed_mean_gets_bcas_longer_upper_end():
    losses = np.random.default_rng(0).exponential(size=80)
    interval = cluster_bootstrap_rows(lambda w: w @ losses / w.sum(axis=-1), np.arange(80), seed=0, resamples=5000)
    assert interval.high - interval.value > 1.15 * (interval.value - interval.low)


def test_a_perfect_score_has_wilsons_interval_of_its_groups():
    true, _, _ = draw(5)
    group = np.arange(200) // 4
    perfect = cluster_bootstrap(confusion_by_group(true, true, group, classes=4), balanced_accuracy, seed=0)
    assert ends(perfect) == ends(wilson(50, 50))


def test_one_group_says_nothing():
    true, predicted, _ = draw(6)
    grouped = confusion_by_group(true, predicted, np.zeros(200, dtype=np.int64), classes=4)
    assert ends(cluster_bootstrap(grouped, accuracy, seed=0)) == (0.0, 1.0)


def test_resamples_that_lose_a_class_are_left_out():
    probabilities, true = draw_scores(7, rows=40, classes=2)
    true[:] = 0
    true[:2] = 1
    interval = cluster_bootstrap_rows(lambda w: auc(probabilities, true, weights=w), np.arange(40), seed=0)
    assert 0 <= interval.low < interval.high <= 1


def test_two_thousand_resamples_of_two_thousand_rows_take_well_under_a_second():
    grouped = confusion_by_group(*draw(8, rows=2000, groups=700, classes=8), classes=8)
    started = time.process_time()
    cluster_bootstrap(grouped, macro_f1, seed=0, resamples=2000)
    assert time.process_time() - started < 1


def test_a_metric_that_most_resamples_lack_is_refused():
    def fragile(weights):  # a number only if the first of three groups comes once: in 44 % of resamples
        return np.where(weights[..., 0] == 1, weights.mean(axis=-1), np.nan)

    with pytest.raises(RequestError, match=r"is 1\.0 on all rows, and a number on 1\d\d of 400 resamples"):
        cluster_bootstrap_rows(fragile, np.arange(30) % 3, seed=0, resamples=400)


def test_impossible_requests_say_what_was_expected():
    probabilities, true = draw_scores(0)
    with pytest.raises(
        RequestError, match=r"nan on all rows, and a number on 0 of 2000 resamples.*in one group only\?"
    ):
        cluster_bootstrap_rows(lambda w: auc(probabilities, true * 0, weights=w), np.arange(150), seed=0)
    with pytest.raises(RequestError, match=r"the same value, 1\.\d+, which is not in \[0, 1\].*only one group\?"):
        cluster_bootstrap_rows(lambda w: 1 + auc(probabilities, true, weights=w), true * 0, seed=0)
    with pytest.raises(RequestError, match=r"No rows came\. Expected at least one row to resample"):
        cluster_bootstrap_rows(lambda w: w.sum(axis=-1), np.array([], dtype=np.int64), seed=0)
