from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.errors import RequestError
from tfcells.stats.learning import EXPONENTS, REACH, fit_learning_curve, labels_needed, training_sizes

SEEDS = st.integers(0, 10_000)
SIZES = np.array([50, 100, 200, 400, 800])


def law(sizes, asymptote=0.05, scale=2.0, exponent=0.6):
    return 1 - asymptote - scale * sizes**-exponent


def drawn(seed, *, repeats=5, spread=0.01, shared=0.0, **parameters):
    generator = np.random.default_rng(seed)
    noise = spread * generator.normal(size=(repeats, len(SIZES))) + shared * generator.normal(size=(repeats, 1))
    return np.clip(law(SIZES, **parameters) + noise, 0, 1)


def chosen(seed, *, rows=300, groups=100, wanted=(40, 80, 160, 300)):
    """Labels, groups and subsets; groups are of one class mostly."""
    generator = np.random.default_rng(seed)
    number = np.concatenate([np.arange(groups), generator.integers(groups, size=rows - groups)])
    labels = np.where(generator.random(rows) < 0.9, number % 4, generator.integers(4, size=rows))
    return labels, number, training_sizes(labels, number, sizes=np.array(wanted), seed=seed)


@pytest.mark.parametrize("exponent", [EXPONENTS[20], EXPONENTS[50], EXPONENTS[70]])
def test_a_curve_without_noise_is_found(exponent):
    scores = np.tile(law(SIZES, exponent=exponent, scale=0.5), (3, 1))
    curve = fit_learning_curve(SIZES, scores)
    assert (curve.asymptote, curve.scale, curve.exponent) == pytest.approx((0.05, 0.5, exponent), rel=1e-3)
    assert curve.predict(4000).value == pytest.approx(law(4000, exponent=exponent, scale=0.5), abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from([0.0, 0.01, 0.1]), st.sampled_from([0.0, 0.5, 3.0]))
def test_a_prediction_is_an_interval_within_zero_and_one_and_rises(seed, spread, scale):
    curve = fit_learning_curve(SIZES, drawn(seed, spread=spread, scale=scale))
    found = [curve.predict(size) for size in (50, 300, 800, 2000, 8000)]
    for interval in found:
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert (np.diff([interval.value for interval in found]) >= 0).all()
    assert fit_learning_curve(SIZES, drawn(seed, spread=spread, scale=scale)).predict(900) == curve.predict(900)


@settings(deadline=None, max_examples=10)
@given(SEEDS)
def test_the_ends_are_those_of_a_search_over_all_curves(seed):
    curve = fit_learning_curve(SIZES, drawn(seed, repeats=3))
    value, _, _ = curve._scores_at(np.array([3000.0]))
    low, high = curve.predict(3000).low, curve.predict(3000).high
    shared = curve.shared_room
    a, b = np.meshgrid(np.linspace(0, 0.3, 300), np.geomspace(1e-3, 60, 500), indexing="ij")
    least, most = [], []
    best = np.inf
    fits = []
    for exponent in EXPONENTS[::4]:
        misfit = sum(
            ((1 - score - a - b * size**-exponent) / error) ** 2
            for size, score, error in zip(SIZES.astype(float), curve.scores, curve.size_errors, strict=True)
        )
        best = min(best, misfit.min())
        fits.append((exponent, misfit))
    for exponent, misfit in fits:
        within = misfit <= best + curve.quantile**2
        if within.any():
            errors = (a + b * 3000.0**-exponent)[within]
            least.append(errors.min())
            most.append(errors.max())
    assert 1 - low >= 1 - value[0] + np.hypot(max(most) - (1 - value[0]), shared) - 0.01
    assert high >= value[0] + np.hypot((1 - value[0]) - min(least), shared) - 0.01
    assert high - low <= np.hypot(max(most) - min(least), 2 * shared) + 0.03


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("shared", [0.0, 0.01])
def test_extrapolations_hold_the_truth_as_often_as_they_say(shared):
    held = []
    for seed in range(100):
        curve = fit_learning_curve(SIZES, drawn(seed, repeats=6, shared=shared))
        found = [curve.predict(size) for size in (800, 1600, 8000)]
        held.append([one.low <= law(size) <= one.high for one, size in zip(found, (800, 1600, 8000), strict=True)])
    assert (np.mean(held, axis=0) >= 0.95 - 2.5 * np.sqrt(0.95 * 0.05 / 100)).all()


def test_what_repeats_share_widens_the_interval_and_so_does_the_error_of_the_rows():
    plain = fit_learning_curve(SIZES, drawn(0)).predict(1600)
    for wider in (
        fit_learning_curve(SIZES, drawn(0, shared=0.03)),
        fit_learning_curve(SIZES, drawn(0), test_error=0.02),
    ):
        assert wider.predict(1600).high - wider.predict(1600).low > 1.5 * (plain.high - plain.low)


def test_a_failed_run_does_not_turn_the_curve():
    scores = drawn(1, repeats=8)
    good = fit_learning_curve(SIZES, scores).predict(1600)
    scores[3, 4] = 0.1
    bad = fit_learning_curve(SIZES, scores).predict(1600)
    assert bad.value == pytest.approx(good.value, abs=0.015)


def test_labels_for_a_target_lie_where_the_curve_reaches_it():
    curve = fit_learning_curve(SIZES, drawn(2, repeats=10, spread=0.003))
    found = labels_needed(curve, float(law(2000)))
    assert found.size == pytest.approx(2000, rel=0.15)
    assert found.low < 2000 < found.high
    assert found.statement == (
        f"{law(2000):.1%} takes about {found.size:,} training images (95 % interval: {found.low:,} to {found.high:,}), "
        f"{found.size - 800:,} more than the 800 there are."
    )
    assert curve.predict(found.size).value >= law(2000)


def test_nothing_is_promised_that_the_curve_does_not_show():
    curve = fit_learning_curve(SIZES, drawn(3, repeats=10, spread=0.003, asymptote=0.1, scale=4.0, exponent=1.0))
    beyond = labels_needed(curve, 0.97)
    assert (beyond.size, beyond.low, beyond.high, beyond.limit) == (None, None, None, 8000)
    assert beyond.statement.startswith(
        "97.0% is out of reach: no curve that fits the points gets there within 8,000 training"
    )
    unlikely = labels_needed(fit_learning_curve(SIZES, drawn(4, spread=0.03, scale=1.0)), 0.97)
    assert unlikely.size is None and unlikely.low is not None
    assert "is not to be expected: the fitted curve does not reach it within 8,000" in unlikely.statement
    done = labels_needed(curve, 0.7)
    assert done.statement == f"70.0% is reached with {done.size} training images; no more labels are needed for it."
    unsure = labels_needed(fit_learning_curve(SIZES, drawn(5, spread=0.03)), float(law(700)))
    assert unsure.high is None or unsure.high > 800
    assert f"(95 % interval: {unsure.low:,} to " in unsure.statement
    with pytest.raises(RequestError, match=r"at 8001 training rows .* to 8000, 10 times the largest; try larger"):
        curve.predict(REACH * 800 + 1)


def test_where_no_error_is_made_there_is_none_to_halve():
    scores = np.minimum(drawn(6, scale=1.0), 0.99)
    scores[:, -1] = 1.0
    found = labels_needed(fit_learning_curve(SIZES, scores), 0.999)
    assert found.statement == "No error was made after learning from 800 images: there is none to halve."


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.sampled_from([25, 100, 300]))
def test_subsets_are_nested_and_hold_whole_groups_and_every_class(seed, groups):
    labels, number, subsets = chosen(seed, groups=groups, wanted=(150, 200, 300))
    for smaller, larger in pairwise(subsets):
        assert set(smaller.tolist()) < set(larger.tolist())
    for subset, wanted in zip(subsets, (150, 200, 300), strict=True):
        assert not set(number[subset].tolist()) & set(np.delete(number, subset).tolist())
        assert set(labels[subset].tolist()) == set(labels.tolist())
        assert abs(len(subset) - wanted) <= np.bincount(number).max() / 2
        assert (np.diff(subset) > 0).all()
    assert len(subsets[-1]) == 300


def test_classes_come_in_proportion_and_a_seed_gives_one_answer():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    numbers = np.arange(1000)
    subset, _ = training_sizes(labels, numbers, sizes=np.array([100, 500]), seed=0)
    np.testing.assert_allclose(np.bincount(labels[subset]), [60, 30, 10], atol=2)
    first, same, other = (training_sizes(labels, numbers, sizes=np.array([50]), seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_impossible_requests_say_what_was_expected():
    scores = drawn(0)
    for few in (scores[:1], scores[:, :3]):
        with pytest.raises(RequestError, match=r"Scores of shape .* came for \d sizes\. Expected \(repeats, sizes\)"):
            fit_learning_curve(SIZES[: few.shape[1]], few)
    with pytest.raises(RequestError, match=r"Sizes \[800, 400, .* came\. Expected rising numbers of training rows"):
        fit_learning_curve(SIZES[::-1].copy(), scores)
    with pytest.raises(RequestError, match=r"The scores reach from .* leave out repeats in which a size failed"):
        fit_learning_curve(SIZES, scores + 1)
    with pytest.raises(RequestError, match=r"A test error of -1\.0 came\. Expected a standard error"):
        fit_learning_curve(SIZES, scores, test_error=-1.0)
    with pytest.raises(RequestError, match=r"A score of 1\.0 was asked for\. Expected one between 0 and 1"):
        labels_needed(fit_learning_curve(SIZES, scores), 1.0)
    labels = np.repeat([0, 1], 10)
    for wanted in ([1], [5, 5], [30], []):
        with pytest.raises(RequestError, match=r"Sizes \[.*\] were asked for\. Expected rising ones from 2, one group"):
            training_sizes(labels, np.arange(20), sizes=np.array(wanted, dtype=np.int64), seed=0)
    with pytest.raises(RequestError, match=r"20 rows came, 1 of them without a label\. Expected labelled rows"):
        training_sizes(np.where(np.arange(20) == 0, -1, labels), np.arange(20), sizes=np.array([5]), seed=0)
