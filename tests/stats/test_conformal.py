import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.errors import RequestError
from tfcells.stats.conformal import calibrate, measure_coverage

SEEDS = st.integers(0, 10_000)
MIX = np.array([0.6, 0.3, 0.1])


def rows(seed, *, count=200, groups=None, likeness=0.0):
    """Probabilities of a model that is too sure, labels, and groups of one class whose features are alike."""
    generator = np.random.default_rng(seed)
    groups = count if groups is None else groups
    number = np.arange(count) * groups // count
    true = generator.choice(3, p=MIX, size=groups)[number]
    shared, own = generator.normal(size=(groups, 3))[number], generator.normal(size=(count, 3))
    logits = 3 * (np.sqrt(likeness) * shared + np.sqrt(1 - likeness) * own + 1.5 * np.eye(3)[true])
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True), true, number


def covered(rule, probabilities, true, *, seed=None):
    return rule.sets(probabilities, seed=seed)[np.arange(len(true)), true]


@pytest.mark.parametrize(("count", "alpha"), [(99, 0.1), (100, 0.1), (19, 0.05), (50, 0.33)])
def test_with_single_rows_the_threshold_is_the_order_statistic(count, alpha):
    probabilities, true, groups = rows(0, count=count)
    rule = calibrate(probabilities, true, groups, alpha=alpha)
    strange = np.sort(1 - probabilities[np.arange(count), true])
    expected = strange[int(np.ceil((count + 1) * (1 - alpha) - 1e-9)) - 1]
    np.testing.assert_array_equal(rule.thresholds, expected)


def test_too_few_groups_leave_all_classes_in():
    probabilities, true, _ = rows(0, count=180)
    for count, all_in in ((18, True), (19, False)):
        rule = calibrate(probabilities, true, np.arange(180) * count // 180, alpha=0.05)
        assert rule.sets(probabilities).all() == all_in
        assert rule.groups == count


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(20, 60), st.sampled_from(["lac", "aps"]))
def test_a_group_weighs_the_same_however_many_rows_it_has(seed, groups, score):
    probabilities, true, number = rows(seed, groups=groups)
    times = np.random.default_rng(seed).integers(1, 5, size=groups)[number]
    many = (np.repeat(array, times, axis=0) for array in (probabilities, true, number))
    once, again = calibrate(probabilities, true, number, score=score), calibrate(*many, score=score)
    np.testing.assert_array_equal(again.thresholds, once.thresholds)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from(["lac", "aps"]), st.booleans())
def test_fewer_misses_make_larger_sets_and_order_and_names_do_not_matter(seed, score, per_class):
    probabilities, true, number = rows(seed, groups=80)
    strict, loose = (
        calibrate(probabilities, true, number, alpha=alpha, score=score, per_class=per_class) for alpha in (0.05, 0.2)
    )
    assert (strict.sets(probabilities) >= loose.sets(probabilities)).all()
    order = np.random.default_rng(seed).permutation(len(true))
    again = calibrate(probabilities[order], true[order], 7 - number[order], alpha=0.2, score=score, per_class=per_class)
    np.testing.assert_allclose(again.thresholds, loose.thresholds)


def test_aps_adds_classes_from_the_likeliest_down():
    probabilities = np.array([[0.5, 0.3, 0.2]] * 9)
    true = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    rule = calibrate(probabilities, true, np.arange(9), alpha=0.35, score="aps")  # the 7th of 9 scores: 0.5 + 0.3
    np.testing.assert_allclose(rule.thresholds, 0.8)
    np.testing.assert_array_equal(rule.sets(np.array([[0.3, 0.2, 0.5]])), [[True, False, True]])


def test_a_class_has_its_own_threshold_from_its_own_rows():
    probabilities, true, groups = rows(1, count=600)
    rule = calibrate(probabilities, true, groups, per_class=True)
    alone = calibrate(probabilities[true == 2], true[true == 2], groups[true == 2])
    assert rule.thresholds[2] == alone.thresholds[0]
    few = true != 2
    assert calibrate(probabilities[few], true[few], groups[few], per_class=True).thresholds[2] == np.inf


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("randomised", [False, True])
@pytest.mark.parametrize("groups", [99, 33])
def test_sets_cover_as_promised(groups, randomised):
    held = []
    options = {"score": "aps", "seed": 1} if randomised else {}
    for seed in range(200):
        rule = calibrate(*rows(seed, count=99, groups=groups, likeness=0.6), alpha=0.2, **options)
        new, true, _ = rows(10_000 + seed, count=300)
        held.append(covered(rule, new, true, seed=seed + 2).mean())
    error = np.std(held) / np.sqrt(200)
    assert np.mean(held) >= 0.8 - 2 * error
    if groups == 99:
        assert np.mean(held) <= 0.8 + 1 / 100 + 2 * error


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_rare_class_is_covered_only_if_each_class_is_promised():
    together, apart = [], []
    for seed in range(60):
        new, true, _ = rows(10_000 + seed, count=1000)
        for found, per_class in ((together, False), (apart, True)):
            hits = covered(calibrate(*rows(seed, count=400), per_class=per_class), new, true)
            found.append(hits[true == 2].mean())
    assert np.mean(apart) >= 0.9 - 2 * np.std(apart) / np.sqrt(60)
    assert np.mean(together) <= np.mean(apart)


def test_measured_coverage_says_what_sets_do():
    probabilities, true, number = rows(3, count=600, groups=200, likeness=0.3)
    found = measure_coverage(probabilities, true, number, seed=0, alpha=0.1)
    assert found.coverage.low < 0.9 < found.coverage.high
    assert found.by_split.shape == (50,)
    assert found.by_split.mean() == pytest.approx(found.coverage.value, abs=0.002)
    assert found.empty + found.singletons <= 1
    assert found.mean_size >= found.singletons
    weighted = np.array([one.value for one in found.per_class]) @ np.bincount(true) / 600
    assert weighted == pytest.approx(found.coverage.value, abs=0.02)
    drawn = measure_coverage(probabilities, true, number, seed=0, score="aps", randomised=True, splits=10)
    assert drawn.coverage.low < 0.9 < drawn.coverage.high
    same = measure_coverage(probabilities, true, number, seed=0, score="aps", randomised=True, splits=10)
    np.testing.assert_array_equal(drawn.by_split, same.by_split)


def test_a_class_without_rows_has_no_measured_coverage():
    probabilities, true, number = rows(4)
    wider = np.concatenate([probabilities, np.zeros((200, 1))], axis=1)
    found = measure_coverage(wider, true, number, seed=0, splits=3)
    assert [one is None for one in found.per_class] == [False, False, False, True]


def test_impossible_requests_say_what_was_expected():
    probabilities, true, groups = rows(0)
    for alpha in (0.0, 1.0):
        with pytest.raises(RequestError, match=r"A share of .* misses was asked for\. Expected one between 0 and 1"):
            calibrate(probabilities, true, groups, alpha=alpha)
    with pytest.raises(RequestError, match=r"Score 'lac' with seed 1 was asked for\. Expected 'lac' without, or 'aps'"):
        calibrate(probabilities, true, groups, seed=1)
    with pytest.raises(RequestError, match=r"1 groups and 50 splits came\. Expected at least two groups"):
        measure_coverage(probabilities, true, groups * 0, seed=0)
    rule = calibrate(probabilities, true, groups, score="aps", seed=1)
    with pytest.raises(RequestError, match=r"A randomised rule came without a seed\. Expected a seed"):
        rule.sets(probabilities)
    with pytest.raises(RequestError, match=r"Probabilities of 2 classes came\. Expected 3, as in the calibration"):
        rule.sets(np.full((5, 2), 0.5), seed=0)
    with pytest.raises(RequestError, match=r"1 of 200 labels are not in \[0, 3\), the first is 3"):
        calibrate(probabilities, np.where(np.arange(200) == 0, 3, true), groups)
