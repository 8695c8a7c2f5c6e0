import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from tfcells.errors import RequestError, UnknownNameError
from tfcells.probes.gram.columns import select_rows
from tfcells.probes.gram.matrices import Gram, gram_matrices
from tfcells.probes.gram.plan import plan_grams

SKLEARN = {"minmax": MinMaxScaler, "standard": StandardScaler}
SCALERS = ["none", "minmax", "standard"]
AMPLE = 2**30


def drawn(images, columns, *, seed=0, dtype=np.float32):
    """Features like those after a ReLU: many zeros, scales that differ, a constant and a nearly constant column."""
    generator = np.random.default_rng(seed)
    features = np.maximum(generator.normal(size=(images, columns)) * generator.lognormal(size=columns), 0)
    features[:, 0] = 2.5
    features[:, columns // 2] = 7 + 1e-4 * generator.normal(size=images)
    return features.astype(dtype)


def fold_sets(images, folds=5):
    return [np.flatnonzero(np.arange(images) % folds != fold) for fold in range(folds)]


def scaled(features, rows, scaler):
    wide = features.astype(np.float64)
    return wide if scaler == "none" else SKLEARN[scaler]().fit(wide[rows]).transform(wide)


def centred(values, rows):
    """Inner products after the mean of the training rows is taken away: what every reader looks at."""
    means = values[:, rows].mean(axis=1)
    return values - means[:, None] - means + means[rows].mean()


def by_hand(features, rows, scaler):
    wide = scaled(features, rows, scaler)
    wide = wide - wide[rows].mean(axis=0)
    return wide @ wide.T


def assert_same(found, expected, tolerance=1e-10):
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_matrices_are_the_inner_products_of_what_scikit_learn_scales(scaler, dtype):
    features = drawn(40, 70) if dtype != np.int32 else (10 * drawn(40, 70)).astype(dtype)
    features = features.astype(dtype)
    sets = fold_sets(40)
    for rows, gram in zip(sets, gram_matrices(features, sets, scaler=scaler), strict=True):
        assert_same(centred(gram.values, rows), by_hand(features, rows, scaler))
        np.testing.assert_array_equal(gram.values, gram.values.T)
        np.testing.assert_array_equal(gram.training, rows)


@pytest.mark.parametrize("scaler", SCALERS)
def test_the_variance_is_that_over_all_entries_of_the_scaled_training_rows(scaler):
    features = drawn(30, 50)
    for gram in gram_matrices(features, fold_sets(30), scaler=scaler):
        expected = scaled(features, gram.training, scaler)[gram.training].var()
        assert gram.variance == pytest.approx(expected, rel=1e-9)


@given(st.integers(4, 25), st.integers(1, 40), st.integers(2, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_base_with_differences_gives_what_all_columns_give(images, columns, folds, seed):
    generator = np.random.default_rng(seed)
    features = np.maximum(generator.normal(size=(images, columns)), 0) * 10.0 ** generator.integers(-3, 4, columns)
    features[:, generator.random(columns) < 0.2] = 1.5
    features[generator.integers(images)] *= 50  # one row holds most extremes
    features[generator.integers(images), generator.integers(columns)] += 1e-3  # constant but for one row, perhaps
    sets = [rows for rows in fold_sets(images, min(folds, images)) if len(rows) >= 2]
    whole = next(gram_matrices(features, [np.arange(images)], scaler="minmax"))
    direct = [next(gram_matrices(features, [rows], scaler="minmax")) for rows in sets]
    for base in (None, whole):
        for one, other in zip(gram_matrices(features, sets, scaler="minmax", base=base), direct, strict=True):
            assert_same(centred(one.values, one.training), centred(other.values, other.training))


def test_a_column_that_only_a_held_out_row_varies_is_scaled_by_one():
    features = drawn(30, 40)
    features[:, 3] = 0.25
    features[0, 3] = 0.75  # in the base the range is below 1, so that the difference is negative
    sets = fold_sets(30)
    assert plan_grams(30, 40, sets, scaler="minmax").method == "differences"
    for rows, gram in zip(sets, gram_matrices(features, sets, scaler="minmax"), strict=True):
        assert_same(centred(gram.values, rows), by_hand(features, rows, "minmax"))


def test_inner_folds_start_from_the_matrix_of_their_outer_fold():
    features = drawn(50, 90)
    for outer in gram_matrices(features, fold_sets(50), scaler="minmax"):
        rows = outer.training
        inner_sets = fold_sets(len(rows), 4)
        inner = gram_matrices(select_rows(features, rows), inner_sets, scaler="minmax", base=outer.only(rows))
        for within, gram in zip(inner_sets, inner, strict=True):
            assert_same(centred(gram.values, within), by_hand(features[rows], within, "minmax"))


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("matrices", [1, 2, 3, 5, 6])
def test_memory_decides_the_number_of_passes_and_nothing_else(scaler, matrices):
    features, sets = drawn(60, 150), fold_sets(60)
    memory = matrices * 60 * 60 * 8 + 60 * 70 * 8 * 4
    plan = plan_grams(60, 150, sets, scaler=scaler, memory=memory)
    assert plan.bytes <= memory
    seen = []
    grams = gram_matrices(features, sets, scaler=scaler, memory=memory, progress=lambda *told: seen.append(told))
    for rows, gram in zip(sets, grams, strict=True):
        assert_same(centred(gram.values, rows), by_hand(features, rows, scaler))
    assert seen[-1] == ("gram", plan.passes * plan.blocks, plan.passes * plan.blocks)


def test_a_plan_says_passes_and_bytes():
    sets = fold_sets(3600)
    plan = plan_grams(3600, 200_704, sets, scaler="minmax", memory=2**30)
    assert (plan.method, plan.passes, plan.sets_per_pass) == ("differences", 1, 5)
    assert plan.bytes <= 2**30
    tight = plan_grams(3600, 200_704, sets, scaler="standard", memory=250 * 2**20)
    assert (tight.method, tight.passes, tight.groups()[-1]) == ("direct", 3, range(4, 5))
    assert plan_grams(3600, 200_704, sets, scaler="none", memory=250 * 2**20).passes == 1
    # Halves share too few rows for a base to pay.
    assert plan_grams(3600, 200_704, fold_sets(3600, 2), scaler="minmax").method == "direct"


def test_private_memory_stays_within_the_plan():
    features, sets = drawn(150, 3000), fold_sets(150)
    memory = 2 * 2**20
    for scaler in SCALERS:
        tracemalloc.start()
        for gram in gram_matrices(features, sets, scaler=scaler, memory=memory):
            del gram
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < memory + 2**20  # the interpreter's own, and vectors of one number a column


def test_large_means_cost_no_digits():
    features = drawn(40, 60, dtype=np.float64)
    sets = fold_sets(40)
    pairs = zip(
        gram_matrices(features, sets, scaler="none"), gram_matrices(features + 1e6, sets, scaler="none"), strict=True
    )
    for near, far in pairs:
        assert_same(centred(far.values, far.training), centred(near.values, near.training), tolerance=1e-8)


def test_without_scaling_one_array_serves_every_set():
    grams = list(gram_matrices(drawn(20, 30), fold_sets(20), scaler="none"))
    assert all(gram.values is grams[0].values for gram in grams)


def test_what_is_held_out_changes_nothing_among_training_rows():
    features, rows = drawn(30, 40), np.arange(20)
    changed = features.copy()
    changed[20:] = 1e6 * np.random.default_rng(1).normal(size=(10, 40))
    for scaler in SCALERS:
        one, other = (next(gram_matrices(given, [rows], scaler=scaler)) for given in (features, changed))
        assert_same(centred(one.values, rows)[:20, :20], centred(other.values, rows)[:20, :20])
        assert one.variance == pytest.approx(other.variance)


def test_a_matrix_of_some_rows_keeps_its_training_rows():
    gram = next(gram_matrices(drawn(12, 30), [np.array([8, 2, 5])], scaler="none"))
    part = gram.only(np.array([2, 8, 0, 5]))
    np.testing.assert_array_equal(part.training, [1, 0, 3])
    np.testing.assert_array_equal(part.values, gram.values[np.ix_([2, 8, 0, 5], [2, 8, 0, 5])])
    np.testing.assert_array_equal(part.held_out, [2])
    with pytest.raises(RequestError, match="1 of 3 training rows are not among the 3 rows"):
        gram.only(np.array([2, 8, 0]))


def test_requests_that_cannot_be_met_say_why():
    features, sets = drawn(12, 30), fold_sets(12)
    with pytest.raises(UnknownNameError, match=r"Unknown scaler 'minmaks'\. Did you mean 'minmax'"):
        gram_matrices(features, sets, scaler="minmaks")
    with pytest.raises(RequestError, match="No training set came"):
        gram_matrices(features, [], scaler="none")
    with pytest.raises(RequestError, match="1,000 bytes of memory were allowed"):
        gram_matrices(features, sets, scaler="none", memory=1000)
    base = next(gram_matrices(features, sets, scaler="standard"))
    with pytest.raises(RequestError, match=r"scaler 'standard'\. Expected 12 images, 30 columns and 'minmax'"):
        gram_matrices(features, sets, scaler="minmax", base=base)
    with pytest.raises(RequestError, match="different row numbers"):
        Gram(values=np.eye(4), training=np.array([1, 4]), width=3)
