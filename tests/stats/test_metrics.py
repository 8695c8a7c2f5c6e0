import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from tfcells.errors import RequestError
from tfcells.stats.metrics import (
    GroupedConfusion,
    accuracy,
    auc,
    balanced_accuracy,
    confusion,
    confusion_by_group,
    expected_calibration_error,
    f1,
    macro_f1,
    precision,
    recall,
)


def labels(seed, rows=60, classes=4):
    generator = np.random.default_rng(seed)
    true = generator.integers(classes, size=rows)
    return true, np.where(generator.random(rows) < 0.6, true, generator.integers(classes, size=rows))


def scores(seed, rows=80, classes=4):
    generator = np.random.default_rng(seed)
    true = np.concatenate([np.arange(classes), generator.integers(classes, size=rows - classes)])
    # Rounded, so that ties are there.
    sharp = generator.dirichlet(np.ones(classes), size=rows).round(1) + 0.05
    return sharp / sharp.sum(axis=1, keepdims=True), true


@pytest.mark.parametrize("seed", range(20))
def test_every_count_metric_is_scikit_learns(seed):
    true, predicted = labels(seed, rows=12 + 5 * seed)
    table = confusion(true, predicted, classes=4)
    present = np.isin(np.arange(4), true)
    np.testing.assert_array_equal(table, sklearn_metrics.confusion_matrix(true, predicted, labels=range(4)))
    assert accuracy(table) == pytest.approx(sklearn_metrics.accuracy_score(true, predicted))
    assert balanced_accuracy(table) == pytest.approx(recall(table)[present].mean())
    assert macro_f1(table) == pytest.approx(sklearn_metrics.f1_score(true, predicted, average="macro", zero_division=0))
    ours = np.nan_to_num(np.stack([precision(table), recall(table), f1(table)]))
    theirs = sklearn_metrics.precision_recall_fscore_support(true, predicted, labels=range(4), zero_division=0)
    np.testing.assert_allclose(ours, theirs[:3])


def test_balanced_accuracy_leaves_out_a_class_without_rows_like_scikit_learn():
    true, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert balanced_accuracy(confusion(true, predicted, classes=3)) == pytest.approx(0.75)
    assert sklearn_metrics.balanced_accuracy_score(true, predicted) == pytest.approx(0.75)


def test_a_class_without_rows_has_no_recall_and_one_never_predicted_no_precision():
    table = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 0]])
    np.testing.assert_array_equal(recall(table), [0.75, np.nan, 0.0])
    np.testing.assert_array_equal(precision(table), [0.6, 0.0, np.nan])
    np.testing.assert_allclose(f1(table), [6 / 9, 0.0, 0.0])
    assert np.isnan(f1(np.zeros((2, 2)))).all()


def test_an_empty_table_scores_nan_and_not_zero():
    for metric in (accuracy, balanced_accuracy, macro_f1):
        assert np.isnan(metric(np.zeros((3, 3), dtype=np.int64)))


@pytest.mark.parametrize("metric", [accuracy, recall, precision, f1, balanced_accuracy, macro_f1])
def test_many_tables_at_once_score_as_one_by_one(metric):
    tables = np.random.default_rng(0).integers(0, 4, size=(3, 5, 4, 4))
    alone = [[metric(table) for table in row] for row in tables]
    np.testing.assert_array_equal(metric(tables), np.array(alone))


@pytest.mark.parametrize("metric", [accuracy, balanced_accuracy, macro_f1])
def test_metrics_of_counts_do_not_depend_on_their_scale(metric):
    table = np.random.default_rng(1).integers(1, 9, size=(4, 4))
    assert metric(table * 0.37) == pytest.approx(float(metric(table)))


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_scikit_learns(seed):
    probabilities, true = scores(seed)
    weights = np.random.default_rng(seed).integers(1, 4, size=len(true)).astype(float)
    for times in (None, weights):
        expected = sklearn_metrics.roc_auc_score(true, probabilities, multi_class="ovr", sample_weight=times)
        assert auc(probabilities, true, weights=times) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [auc, expected_calibration_error])
def test_a_row_of_weight_two_is_that_row_twice(metric):
    probabilities, true = scores(3)
    weights = np.random.default_rng(3).integers(0, 3, size=(5, len(true)))
    repeated = [metric(np.repeat(probabilities, row, axis=0), np.repeat(true, row)) for row in weights]
    np.testing.assert_allclose(metric(probabilities, true, weights=weights.astype(float)), repeated)


def test_auc_of_all_equal_scores_is_one_half_and_of_one_class_nan():
    assert auc(np.full((6, 2), 0.5), np.array([0, 0, 0, 1, 1, 1])) == 0.5
    assert np.isnan(auc(np.full((6, 2), 0.5), np.zeros(6, dtype=np.int64)))


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    true = np.array([0, 1, 0, 1])
    # Bin of 0.9: half right, gap 0.4 over 2 rows; bin of 0.6: all right, gap 0.4 over 2 rows.
    assert expected_calibration_error(probabilities, true, bins=10) == pytest.approx(0.4)
    # One bin: confidence 0.75, accuracy 0.75.
    assert expected_calibration_error(probabilities, true, bins=1) == pytest.approx(0.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12), st.integers(1, 4))
def test_group_tables_hold_every_row_and_do_not_know_order_or_names(seed, rows, groups, classes):
    generator = np.random.default_rng(seed)
    true, predicted = generator.integers(classes, size=(2, rows))
    group = generator.integers(groups, size=rows)
    grouped = confusion_by_group(true, predicted, group, classes=classes)
    np.testing.assert_array_equal(grouped.total, confusion(true, predicted, classes=classes))
    assert grouped.groups == len(np.unique(group))
    assert len(np.unique(grouped.tables, axis=0)) == len(grouped.tables)
    assert grouped.times @ grouped.sizes == rows
    assert grouped.times @ grouped.misses == np.sum(true != predicted)

    order, names = generator.permutation(rows), generator.permutation(groups) * 7 - 3
    other = confusion_by_group(true[order], predicted[order], names[group[order]], classes=classes)
    np.testing.assert_array_equal(other.tables, grouped.tables)
    np.testing.assert_array_equal(other.times, grouped.times)


def test_a_group_table_is_that_groups_confusion():
    true, predicted, group = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 0]), np.array([5, 5, 9, 7])
    grouped = confusion_by_group(true, predicted, group, classes=2)
    found = {table.tobytes(): times for table, times in zip(grouped.tables, grouped.times, strict=True)}
    for name in (5, 7, 9):
        assert found[confusion(true[group == name], predicted[group == name], classes=2).tobytes()] == 1


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_label_outside_the_classes_is_named_with_a_way_out(wrong):
    with pytest.raises(
        RequestError, match=rf"1 of 2 predicted labels are not in \[0, 3\), the first is {wrong}\. .*-1"
    ):
        confusion(np.array([0, 1]), np.array([0, wrong]), classes=3)
    with pytest.raises(RequestError, match="true labels"):
        auc(np.full((2, 3), 1 / 3), np.array([0, wrong]))


def test_impossible_requests_say_what_was_expected():
    nothing = np.array([], dtype=np.int64)
    with pytest.raises(RequestError, match=r"No rows came\. Expected at least one"):
        confusion_by_group(nothing, nothing, nothing, classes=2)
    with pytest.raises(RequestError, match=r"0 bins was asked for\. Expected 1 bin"):
        expected_calibration_error(np.ones((1, 1)), np.array([0]), bins=0)
    with pytest.raises(RequestError, match="Build it with confusion_by_group"):
        GroupedConfusion(np.zeros((1, 2, 2), dtype=np.int64), np.array([0]))
