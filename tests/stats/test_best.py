import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.errors import RequestError
from tfcells.stats.best import against_best
from tfcells.stats.corrections import holm
from tfcells.stats.paired import paired_balanced_difference


def drawn(levels, *, rows=200, groups=200, seed=0):
    """Hits of models of which half are those of all, classes of two sizes, groups of one row or more."""
    generator = np.random.default_rng(seed)
    group = np.arange(rows) % groups
    labels = (group % 3 == 0).astype(np.int64)
    shared = generator.uniform(size=rows) < 0.7
    own = generator.uniform(size=(len(levels), rows)) < np.array(levels)[:, None]
    return np.where(generator.uniform(size=own.shape) < 0.5, shared, own), labels, group


def test_of_two_models_it_is_the_paired_test():
    hits, labels, groups = drawn([0.9, 0.6], groups=80)
    found = against_best(hits, labels, groups)
    assert found.best == 0
    assert found.tests == (None, paired_balanced_difference(hits[0], hits[1], labels, groups))
    assert found.p_adjusted == (1.0, found.tests[1].p_value)


def test_one_model_has_nothing_to_be_compared_with():
    hits, labels, groups = drawn([0.9])
    assert (against_best(hits, labels, groups).tests, against_best(hits, labels, groups).p_adjusted) == (
        (None,),
        (1.0,),
    )


@given(seed=st.integers(0, 10_000), models=st.integers(3, 7), groups=st.integers(2, 60))
def test_counting_all_pairs_never_finds_more_and_agrees_with_its_intervals(seed, models, groups):
    hits, labels, codes = drawn(np.linspace(0.9, 0.4, models), rows=120, groups=groups, seed=seed)
    found = against_best(hits, labels, codes, draws=199)
    for number, (test, adjusted) in enumerate(zip(found.tests, found.p_adjusted, strict=True)):
        if test is None:
            assert number == found.best
            continue
        alone = paired_balanced_difference(hits[found.best], hits[number], labels, codes)
        assert (test.p_value, test.difference.value) == (alone.p_value, alone.difference.value)
        assert adjusted >= alone.p_value
        assert test.difference.low <= alone.difference.low <= alone.difference.high <= test.difference.high
        if adjusted <= 0.05:
            assert test.difference.low > 0


def test_the_order_of_models_does_not_matter():
    hits, labels, groups = drawn([0.9, 0.8, 0.7, 0.5])
    once, turned = against_best(hits, labels, groups), against_best(hits[::-1], labels, groups)
    assert turned.best == 3 - once.best
    assert turned.p_adjusted[::-1] == once.p_adjusted


def test_models_that_answered_alike_are_ties_and_widen_nothing():
    hits, labels, groups = drawn([0.9, 0.5, 0.7])
    once = against_best(hits, labels, groups)
    again = against_best(np.concatenate([hits, hits]), labels, groups)
    assert again.p_adjusted[:3] == pytest.approx(once.p_adjusted)
    assert again.p_adjusted[3 + once.best] == 1.0
    assert again.tests[1].difference == once.tests[1].difference


@pytest.mark.usefixtures("unchecked_shapes")
def test_of_equal_models_one_is_called_worse_in_about_five_studies_of_a_hundred():
    """A best that was picked on these rows is lucky: not to count the picking calls one worse three times as often."""
    false, by_holm = 0, 0
    for seed in range(120):
        hits, labels, groups = drawn([0.7] * 12, rows=150, groups=150, seed=seed)
        found = against_best(hits, labels, groups, draws=199)
        raw = np.array([test.p_value for test in found.tests if test is not None])
        false += min(found.p_adjusted) <= 0.05
        by_holm += holm(raw).min() <= 0.05
    assert false <= 120 * 0.05 + 2 * np.sqrt(120 * 0.05 * 0.95)
    assert by_holm > false


@pytest.mark.usefixtures("unchecked_shapes")
def test_few_groups_of_unequal_size_do_not_make_it_bolder():
    """A sign flip of few groups has lighter tails than what is drawn for all pairs."""
    false = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        groups = np.sort(generator.choice(30, p=np.arange(1, 31) / 465, size=180))
        labels = generator.integers(0, 2, size=180)
        luck = generator.normal(0.6, 0.2, size=(10, 30))[:, groups]
        hits = generator.uniform(size=(10, 180)) < luck
        false += min(against_best(hits, labels, groups, draws=199).p_adjusted) <= 0.05
    assert false <= 100 * 0.05 + 2 * np.sqrt(100 * 0.05 * 0.95)


def test_a_model_that_is_far_worse_is_told_from_the_best():
    hits, labels, groups = drawn([0.95, 0.94, 0.93, 0.3, 0.3], rows=400, groups=400)
    found = against_best(hits, labels, groups)
    assert [p <= 0.05 for p in found.p_adjusted] == [False, False, False, True, True]


def test_nothing_to_compare_is_refused():
    hits, labels, groups = drawn([0.9, 0.8])
    with pytest.raises(
        RequestError, match=r"0 models and 9999 draws came\. Expected one model or more and 19 draws or"
    ):
        against_best(hits[:0], labels, groups)
    with pytest.raises(RequestError, match="2 models and 5 draws came"):
        against_best(hits, labels, groups, draws=5)
