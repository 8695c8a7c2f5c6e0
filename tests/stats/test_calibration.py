import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.errors import RequestError
from tfcells.stats.calibration import calibration_error, reliability_diagram
from tfcells.stats.intervals import wilson
from tfcells.stats.metrics import expected_calibration_error
from tfcells.stats.scored import one_class, top_label

SEEDS = st.integers(0, 10_000)


def rows(seed, *, count=300, too_sure=0.0, groups=None, likeness=0.0):
    """Confidences, verdicts of a model that is `too_sure` by as much, and groups whose rows share verdicts."""
    generator = np.random.default_rng(seed)
    number = np.arange(count) if groups is None else np.arange(count) * groups // count
    confidence = generator.uniform(0.6, 1.0, size=count)
    shared, own = generator.random(number.max() + 1)[number], generator.random(count)
    quantile = np.where(generator.random(count) < likeness, shared, own)
    return confidence, quantile < confidence - too_sure, number


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 30), st.sampled_from(["width", "mass"]))
def test_bins_hold_every_row_once_between_their_edges(seed, bins, equal):
    confidence, hits, groups = rows(seed)
    confidence = confidence.round(2)  # ties
    diagram = reliability_diagram(confidence, hits, groups, bins=bins, equal=equal)
    assert diagram.count.sum() == 300
    assert diagram.count @ diagram.accuracy == pytest.approx(hits.sum())
    assert diagram.count @ diagram.confidence == pytest.approx(confidence.sum())
    assert (diagram.left < diagram.confidence).all() and (diagram.confidence <= diagram.right + 1e-12).all()
    assert (diagram.low <= diagram.accuracy).all() and (diagram.accuracy <= diagram.high).all()
    for left, right, count in zip(diagram.left, diagram.right, diagram.count, strict=True):
        assert ((confidence > left) & (confidence <= right)).sum() == count


def test_bins_of_equal_mass_are():
    confidence, hits, groups = rows(0, count=1000)
    np.testing.assert_array_equal(reliability_diagram(confidence, hits, groups, bins=10, equal="mass").count, 100)


def test_its_error_is_the_expected_calibration_error():
    generator = np.random.default_rng(0)
    probabilities, true = generator.dirichlet(np.ones(3), size=200), generator.integers(3, size=200)
    for bins in (1, 7, 15):
        diagram = reliability_diagram(*top_label(probabilities, true), np.arange(200), bins=bins)
        assert diagram.error == pytest.approx(float(expected_calibration_error(probabilities, true, bins=bins)))


def test_a_bin_of_single_rows_has_wilsons_interval():
    confidence, hits = np.full(40, 0.9), np.arange(40) < 33
    diagram = reliability_diagram(confidence, hits, np.arange(40))
    expected = wilson(33, 40)
    assert (diagram.low[0], diagram.high[0]) == pytest.approx((expected.low, expected.high))
    assert (diagram.left[0], diagram.right[0]) == pytest.approx((13 / 15, 14 / 15))


def test_one_class_is_calibrated_against_its_own_share():
    probabilities = np.tile([0.25, 0.75], (80, 1))
    true = np.where(np.arange(80) % 4 == 0, 0, 1)
    for k in (0, 1):
        assert reliability_diagram(*one_class(probabilities, true, of_class=k), np.arange(80)).error == 0.0


@settings(deadline=None, max_examples=15)
@given(SEEDS, st.sampled_from([0.0, 0.2]), st.sampled_from([None, 40]))
def test_the_interval_starts_at_zero_unless_the_test_finds_something(seed, too_sure, groups):
    confidence, hits, number = rows(seed, too_sure=too_sure, groups=groups, likeness=0.3)
    found = calibration_error(confidence, hits, number, seed=0, resamples=200)
    assert 0 <= found.error.low <= found.error.value <= found.error.high <= 1
    assert found.p_value <= 0.025 or found.error.low == 0
    assert found.error.value <= found.observed + 0.02
    assert calibration_error(confidence, hits, number, seed=0, resamples=200) == found


@pytest.mark.usefixtures("unchecked_shapes")
def test_what_chance_shows_is_not_called_miscalibration_and_what_is_there_is_found():
    draws = 40
    calm = [calibration_error(*rows(seed), seed=seed, resamples=200) for seed in range(draws)]
    grouped = [
        calibration_error(*rows(seed, groups=60, likeness=0.7), seed=seed, resamples=200) for seed in range(draws)
    ]
    sure = [calibration_error(*rows(seed, too_sure=0.12), seed=seed, resamples=200) for seed in range(draws)]
    error = np.sqrt(0.05 * 0.95 / draws)
    for none in (calm, grouped):
        assert np.mean([one.distinguishable for one in none]) <= 0.05 + 3 * error
        assert np.mean([one.error.low == 0 for one in none]) >= 0.95 - 2 * error
    assert np.mean([one.observed for one in calm]) == pytest.approx(np.mean([one.by_chance for one in calm]), rel=0.1)
    assert np.mean([one.observed for one in calm]) > 0.03  # the bias that is taken off
    assert np.median([one.error.value for one in calm]) < 0.015
    assert np.mean([one.distinguishable for one in sure]) > 0.9
    assert np.median([one.error.value for one in sure]) == pytest.approx(0.12, abs=0.015)
    assert np.mean([one.error.low <= 0.12 <= one.error.high for one in sure]) >= 0.95 - 3 * error


def test_rows_without_a_miss_are_not_taken_for_a_model_without_one():
    found = calibration_error(np.full(50, 0.99), np.ones(50, dtype=bool), np.arange(50), seed=0)
    assert found.p_value > 0.5
    assert found.error.low == 0
    assert found.error.high > 0.04


def test_one_group_says_nothing():
    confidence, hits, _ = rows(0)
    found = calibration_error(confidence, hits, np.zeros(300, dtype=np.int64), seed=0)
    assert (found.p_value, found.error.low, found.error.high) == (1.0, 0.0, 1.0)


def test_impossible_requests_say_what_was_expected():
    confidence, hits, groups = rows(0)
    with pytest.raises(RequestError, match=r"A diagram of 0 bins was asked for\. Expected 1 bin or more"):
        reliability_diagram(confidence, hits, groups, bins=0)
    with pytest.raises(RequestError, match=r"0 resamples were asked for\. Expected 1 or more"):
        calibration_error(confidence, hits, groups, seed=0, resamples=0)
    with pytest.raises(RequestError, match=r"300 of 300 confidences are not in \[0, 1\].*e\.g\. from top_label"):
        reliability_diagram(confidence + 1, hits, groups)
    with pytest.raises(RequestError, match=r"0 confidences and 0 hits came\. Expected as many of each, at least one"):
        calibration_error(confidence[:0], hits[:0], groups[:0], seed=0)
