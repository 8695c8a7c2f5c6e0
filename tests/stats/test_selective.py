import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.errors import RequestError
from tfcells.stats.intervals import wilson_clustered
from tfcells.stats.selective import coverage_curve, threshold_for_accuracy

SEEDS = st.integers(0, 10_000)


def rows(seed, *, count=400, groups=400):
    """Confidences that are true chances, from one half to one; rows of a group are alike in confidence."""
    generator = np.random.default_rng(seed)
    number = np.arange(count) * groups // count
    confidence = 1 - 0.5 * generator.random(groups)[number] * (0.8 + 0.2 * generator.random(count))
    return confidence, generator.random(count) < confidence, number


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from([20, 400]), st.integers(1, 60))
def test_a_curve_counts_the_answers_of_each_threshold(seed, groups, points):
    confidence, hits, number = rows(seed, groups=groups)
    confidence = confidence.round(2)  # ties
    curve = coverage_curve(confidence, hits, number, points=points)
    assert len(curve.threshold) <= points
    assert curve.coverage[-1] == 1.0
    assert (np.diff(curve.threshold) < 0).all()
    for place in range(0, len(curve.threshold), 7):
        kept = confidence >= curve.threshold[place]
        expected = wilson_clustered(hits[kept], number[kept])
        found = curve.accuracy[place], curve.low[place], curve.high[place]
        assert curve.answered[place] == kept.sum()
        assert found == (expected.value, expected.low, expected.high)


def test_a_curve_of_every_row_has_the_accuracy_of_each_number_of_answers():
    confidence, hits, number = rows(1)
    order = np.argsort(-confidence)
    curve = coverage_curve(confidence, hits, number, points=400)
    np.testing.assert_array_equal(curve.threshold, confidence[order])
    np.testing.assert_allclose(curve.accuracy, np.cumsum(hits[order]) / np.arange(1, 401))


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.sampled_from([0.6, 0.8, 0.9]))
def test_a_threshold_passes_and_lower_targets_answer_no_less(seed, target):
    confidence, hits, number = rows(seed)
    found = threshold_for_accuracy(confidence, hits, number, target=target)
    easier = threshold_for_accuracy(confidence, hits, number, target=target - 0.1)
    assert easier.answered >= found.answered
    if found.threshold is None:
        assert found.best_low < target
    else:
        assert found.accuracy.low >= target
        assert found.answered == (confidence >= found.threshold).sum()
        assert found.coverage.value == found.answered / 400


def test_seventy_three_rows_without_a_miss_show_95_percent_and_72_do_not():
    for count, shown in ((73, True), (72, False)):
        right = np.ones(count, dtype=bool)
        found = threshold_for_accuracy(np.full(count, 0.9), right, np.arange(count), target=0.95)
        assert (found.threshold is not None) is shown


def test_statements_promise_no_more_than_was_shown():
    confidence, hits, number = rows(2)
    assert threshold_for_accuracy(confidence, hits, number, target=0.7).statement.startswith("At a confidence of 0.5")
    unreached = threshold_for_accuracy(confidence, hits, number, target=0.995)
    assert unreached.threshold is None
    assert unreached.statement.startswith("No confidence threshold was shown to keep an accuracy of 99.5%: the best")


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("groups", [400, 80])
def test_the_promise_fails_in_at_most_one_of_twenty_draws(groups):
    everyone, hits, _ = rows(99, count=200_000, groups=200_000)
    broken = []
    for seed in range(80):
        found = threshold_for_accuracy(*rows(seed, groups=groups), target=0.85)
        broken.append(found.threshold is not None and hits[everyone >= found.threshold].mean() < 0.85)
    assert np.mean(broken) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 80)


def test_impossible_requests_say_what_was_expected():
    confidence, hits, number = rows(0)
    for target in (0.0, 1.0, np.nan):
        with pytest.raises(RequestError, match=r"An accuracy of .* was asked for\. Expected one between 0 and 1"):
            threshold_for_accuracy(confidence, hits, number, target=target)
    with pytest.raises(RequestError, match=r"A curve of 0 points was asked for\. Expected 1 or more; 100 is usual"):
        coverage_curve(confidence, hits, number, points=0)
    with pytest.raises(RequestError, match=r"1 of 400 confidences are not in \[0, 1\], the first is nan"):
        coverage_curve(np.where(np.arange(400) == 3, np.nan, confidence), hits, number)
