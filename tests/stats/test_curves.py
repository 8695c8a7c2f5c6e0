import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from tfcells.errors import RequestError
from tfcells.stats.bootstrap import cluster_bootstrap_rows
from tfcells.stats.curves import auc_interval, roc_curve, threshold_curve
from tfcells.stats.metrics import auc

SEEDS = st.integers(0, 10_000)


def scores(seed, *, rows=80, classes=3):
    """Probabilities with ties, and labels of which every class has some."""
    generator = np.random.default_rng(seed)
    true = np.concatenate([np.arange(classes), generator.integers(classes, size=rows - classes)])
    tied = generator.dirichlet(np.ones(classes), size=rows).round(1) + 0.05 + 0.3 * np.eye(classes)[true]
    return tied / tied.sum(axis=1, keepdims=True), true


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_curves_of_a_class_are_scikit_learns(seed):
    probabilities, true = scores(seed)
    positive, column = true == 1, probabilities[:, 1]
    roc = roc_curve(probabilities, true, of_class=1)
    false, hit, thresholds = sklearn_metrics.roc_curve(positive, column, drop_intermediate=False)
    np.testing.assert_allclose((roc.false_positive_rate, roc.true_positive_rate), (false, hit))
    np.testing.assert_array_equal(roc.threshold, thresholds)
    found = threshold_curve(probabilities, true, of_class=1)
    precision, recall, cuts = sklearn_metrics.precision_recall_curve(positive, column)
    np.testing.assert_allclose((found.positive_predictive_value, found.sensitivity), (precision[:-1], recall[:-1]))
    np.testing.assert_array_equal(found.threshold, cuts)


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_curves_rise_from_none_to_all_and_the_mean_of_their_areas_is_the_auc(seed):
    probabilities, true = scores(seed)
    curves = [roc_curve(probabilities, true, of_class=k) for k in range(3)]
    assert np.mean([curve.area for curve in curves]) == pytest.approx(float(auc(probabilities, true)))
    for curve in curves:
        for rate in (curve.false_positive_rate, curve.true_positive_rate):
            assert (np.diff(rate) >= 0).all()
            assert (rate[0], rate[-1]) == (0.0, 1.0)


def test_a_mean_over_classes_leaves_out_those_without_rows():
    probabilities, true = scores(0)
    wider = np.concatenate([probabilities, np.zeros((80, 1))], axis=1)
    assert auc_interval(wider, true, np.arange(80)) == auc_interval(probabilities, true, np.arange(80))


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_a_threshold_does_what_counting_says(seed):
    probabilities, true = scores(seed)
    curve = threshold_curve(probabilities, true, of_class=2)
    place = seed % len(curve.threshold)
    called, positive = probabilities[:, 2] >= curve.threshold[place], true == 2
    assert curve.sensitivity[place] == pytest.approx(called[positive].mean())
    assert curve.specificity[place] == pytest.approx((~called)[~positive].mean())
    assert curve.positive_predictive_value[place] == pytest.approx(positive[called].mean())
    assert curve.f1[place] == pytest.approx(sklearn_metrics.f1_score(positive, called))
    assert (np.diff(curve.threshold) > 0).all()
    assert (curve.sensitivity[0], curve.specificity[0]) == (1.0, 0.0)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(2, 80), st.sampled_from([None, 0, 2]))
def test_an_interval_holds_the_area_and_does_not_know_order_or_names(seed, groups, of_class):
    probabilities, true = scores(seed)
    generator = np.random.default_rng(seed)
    group = generator.integers(groups, size=80)
    interval = auc_interval(probabilities, true, group, of_class=of_class)
    area = (
        float(auc(probabilities, true)) if of_class is None else roc_curve(probabilities, true, of_class=of_class).area
    )
    assert interval.value == pytest.approx(area)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    order = generator.permutation(80)
    again = auc_interval(probabilities[order], true[order], 1000 - group[order], of_class=of_class)
    assert (again.low, again.high) == pytest.approx((interval.low, interval.high))


def test_it_agrees_with_the_bootstrap_where_rows_are_many():
    probabilities, true = scores(2, rows=1500)
    group = np.arange(1500) // 3
    interval = auc_interval(probabilities, true, group)
    resampled = cluster_bootstrap_rows(lambda w: auc(probabilities, true, weights=w), group, seed=0, resamples=1000)
    assert (interval.low, interval.high) == pytest.approx((resampled.low, resampled.high), abs=0.004)


def test_copies_of_rows_in_groups_widen_nothing_but_as_single_rows_they_would():
    probabilities, true = scores(3)
    once = auc_interval(probabilities, true, np.arange(80))
    many, truths = np.repeat(probabilities, 4, axis=0), np.repeat(true, 4)
    grouped = auc_interval(many, truths, np.repeat(np.arange(80), 4))
    blind = auc_interval(many, truths, np.arange(320))
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=0.25)
    assert blind.high - blind.low < 0.6 * (once.high - once.low)


def test_a_perfect_ranking_keeps_an_interval_and_a_rare_class_a_wider_one():
    def ranked(rare):
        true = np.repeat([0, 1], [300 - rare, rare])
        return auc_interval(np.eye(2)[true] * 0.8 + 0.1, true, np.arange(300))

    assert ranked(100).value == ranked(100).high == 1.0
    assert ranked(5).low < ranked(30).low < ranked(100).low < 0.99
    assert ranked(30).low > 0.85


def test_impossible_requests_say_what_was_expected():
    probabilities, true = scores(0)
    with pytest.raises(RequestError, match=r"Class 3 was asked for\. Expected the index of one of 3 classes"):
        roc_curve(probabilities, true, of_class=3)
    with pytest.raises(RequestError, match=r"80 of 80 rows are of class 0\. Expected rows of it and of other"):
        threshold_curve(probabilities, true * 0, of_class=0)
    with pytest.raises(RequestError, match=r"80 of 80 rows are of class 0"):
        auc_interval(probabilities, true * 0, true)
    with pytest.raises(RequestError, match=r"1 of 80 labels are not in \[0, 3\), the first is -1.*leave unlabelled"):
        auc_interval(probabilities, np.where(np.arange(80) == 5, -1, true), true)
    with pytest.raises(RequestError, match=r"80 of 80 rows are not class probabilities, the first is row 0: .*softmax"):
        auc_interval(probabilities * 2, true, true)
    with pytest.raises(RequestError, match=r"0 rows of probabilities and 0 labels came\. Expected as many of each"):
        auc_interval(probabilities[:0], true[:0], true[:0])
