import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tfcells.errors import RequestError
from tfcells.finetune.epoch_metrics import better, epoch_metrics
from tfcells.finetune.settings import MONITORS


def certain(predicted, classes):
    return np.eye(classes)[np.asarray(predicted)]


def test_the_metrics_of_a_table_worked_by_hand():
    # Class 0: 3 of 4 found; class 1: 1 of 2 found; class 2 never predicted, none of 1 found.
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    found = epoch_metrics(labels, certain([0, 0, 0, 1, 1, 0, 0], 3), loss=0.25)
    assert found["loss"] == 0.25
    assert found["accuracy"] == pytest.approx(4 / 7)
    assert found["weighted_recall"] == pytest.approx(4 / 7)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    assert found["weighted_precision"] == pytest.approx((4 * 3 / 5 + 2 * 1 / 2 + 0) / 7)
    assert found["weighted_f1"] == pytest.approx((4 * 6 / 9 + 2 * 2 / 4 + 0) / 7)
    assert found["macro_f1"] == pytest.approx((6 / 9 + 2 / 4 + 0) / 3)


def test_there_is_a_metric_for_everything_that_can_be_monitored():
    assert tuple(epoch_metrics(np.array([0, 1]), certain([0, 1], 2), loss=0.0)) == MONITORS


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_the_metrics_are_those_of_scikit_learn(rows):
    labels, predicted = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    found = epoch_metrics(labels, certain(predicted, 4), loss=1.0)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro", zero_division=0))
    assert found["weighted_f1"] == pytest.approx(
        metrics.f1_score(labels, predicted, average="weighted", zero_division=0)
    )
    recalls = metrics.recall_score(labels, predicted, labels=np.unique(labels), average=None, zero_division=0)
    assert found["balanced_accuracy"] == pytest.approx(recalls.mean())


def test_an_epoch_without_validation_rows_is_refused():
    with pytest.raises(RequestError, match=r"No validation rows came\. Expected at least one row"):
        epoch_metrics(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), loss=0.0)


def test_the_smallest_loss_and_the_largest_of_other_metrics_are_better():
    assert better(0.1, 0.2, monitor="loss")
    assert not better(0.2, 0.1, monitor="loss")
    assert better(0.2, 0.1, monitor="macro_f1")
    assert not better(0.1, 0.2, monitor="macro_f1")
    for monitor in MONITORS:
        assert better(0.5, None, monitor=monitor)
        assert not better(0.5, 0.5, monitor=monitor)
