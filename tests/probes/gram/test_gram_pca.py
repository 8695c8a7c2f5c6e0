import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from tfcells.errors import RequestError
from tfcells.probes.gram.columns import StackedRows
from tfcells.probes.gram.folds import fold_pcas
from tfcells.probes.gram.matrices import gram_matrices
from tfcells.probes.gram.pca import fold_pca

SKLEARN = {"none": FunctionTransformer, "minmax": MinMaxScaler, "standard": StandardScaler}


def fold_sets(images, folds=3):
    return [np.flatnonzero(np.arange(images) % folds != fold) for fold in range(folds)]


def drawn(images, columns, *, rank=None, seed=0, dtype=np.float64, mean=0.0):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(images, rank or columns)) * np.arange(1, (rank or columns) + 1) ** -0.5
    if rank is not None:
        features = features @ generator.normal(size=(rank, columns))
    return (features + mean).astype(dtype)


def reference(features, rows, scaler, wanted):
    """scikit-learn's components, learned from the training rows in float64, and the scores of every row."""
    wide = features.astype(np.float64)
    wide = SKLEARN[scaler]().fit(wide[rows]).transform(wide)
    pca = PCA(wanted, svd_solver="full").fit(wide[rows])
    return pca, pca.transform(wide)


def assert_like_sklearn(found, features, scaler, wanted, tolerance=1e-8):
    pca, scores = reference(features, found.training, scaler, wanted)
    kept = found.n_components
    signs = np.where((scores[:, :kept] * found.scores).sum(axis=0) < 0, -1.0, 1.0)
    np.testing.assert_allclose(found.scores * signs, scores[:, :kept], atol=tolerance * np.abs(scores).max())
    ratio = pca.explained_variance_ratio_
    np.testing.assert_allclose(found.explained_variance_ratio[:kept], ratio[:kept], atol=1e-12)
    np.testing.assert_allclose(found.explained_variance[:kept], pca.explained_variance_[:kept], rtol=1e-6)
    return pca


@pytest.mark.parametrize("shape", [(30, 80), (30, 20), (30, 30), (80, 30)], ids=str)
@pytest.mark.parametrize("scaler", SKLEARN)
@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.95, 1, 6])
def test_each_fold_has_the_components_and_scores_of_scikit_learn(shape, scaler, wanted):
    features = drawn(*shape)
    sets = fold_sets(shape[0])
    for rows, found in zip(sets, fold_pcas(features, sets, n_components=wanted, scaler=scaler), strict=True):
        np.testing.assert_array_equal(found.training, rows)
        pca = assert_like_sklearn(found, features, scaler, wanted)
        assert found.n_components == pca.n_components_


@given(
    st.integers(6, 24),
    st.integers(2, 30),
    st.integers(1, 30),
    st.sampled_from([np.float32, np.float64, np.int16]),
    st.sampled_from([0.0, 100.0]),
    st.sampled_from(sorted(SKLEARN)),
    st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_features_of_any_shape_rank_and_dtype(images, columns, rank, dtype, mean, scaler, seed):
    scale = 50 if dtype == np.int16 else 1
    features = (scale * drawn(images, columns, rank=min(rank, columns), seed=seed, mean=mean)).astype(dtype)
    features[1] = features[0]  # an image that comes twice
    features[:, 0] = 3  # a column that never varies
    for found in fold_pcas(features, fold_sets(images), n_components=None, scaler=scaler):
        pca, scores = reference(features, found.training, scaler, None)
        wide = np.zeros_like(scores)
        wide[:, : found.n_components] = found.scores
        # Axes that share a variance may turn, inner products with training rows may not; what a held-out row has
        # along axes on which no training row varies is arbitrary in scikit-learn, and left out here.
        size = np.abs(scores @ scores.T).max()
        learned = found.training
        np.testing.assert_allclose(wide @ wide[learned].T, scores @ scores[learned].T, atol=1e-7 * size)
        np.testing.assert_allclose(found.explained_variance_ratio, pca.explained_variance_ratio_, atol=1e-9)
        np.testing.assert_allclose(found.scores[0], found.scores[1], atol=1e-7 * np.sqrt(size))


@given(st.integers(1, 12), st.floats(0.01, 0.99), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_a_share_takes_the_first_components_that_pass_it(rank, share, seed):
    features = drawn(20, 40, rank=rank, seed=seed)
    found = next(fold_pcas(features, [np.arange(15)], n_components=share))
    assert found.n_components == reference(features, np.arange(15), "none", share)[0].n_components_
    curve = np.cumsum(found.explained_variance_ratio)
    assert curve[found.n_components - 1] > share or found.n_components == rank
    assert found.n_components == 1 or curve[found.n_components - 2] <= share


def test_all_components_are_as_many_as_the_rank():
    for shape in ((20, 50), (50, 20)):
        found = next(fold_pcas(drawn(*shape, rank=5), [np.arange(15)]))
        assert found.n_components == 5
        assert len(found.explained_variance_ratio) == 15
        asked = next(fold_pcas(drawn(*shape, rank=5), [np.arange(15)], n_components=9))
        assert asked.n_components == 5


def test_large_means_are_no_rank():
    features = drawn(20, 50, rank=4) + 1e5
    found = next(fold_pcas(features, [np.arange(15)]))
    _, scores = reference(features, np.arange(15), "none", 4)
    np.testing.assert_allclose(np.abs(found.scores[:, :4]), np.abs(scores), atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20)], ids=["wide", "tall"])
@pytest.mark.parametrize("scaler", SKLEARN)
def test_held_out_rows_change_nothing_that_is_learned(shape, scaler):
    features, rows = drawn(*shape), np.arange(15)
    changed = features.copy()
    changed[16:] = 1e3 * np.random.default_rng(1).normal(size=changed[16:].shape)
    one, other = (next(fold_pcas(given, [rows], n_components=4, scaler=scaler)) for given in (features, changed))
    np.testing.assert_allclose(one.training_scores, other.training_scores, atol=1e-9)
    np.testing.assert_allclose(one.scores[15], other.scores[15], atol=1e-9)


def test_the_row_farthest_along_a_component_is_positive():
    for shape in ((20, 50), (50, 20)):
        scores = next(fold_pcas(drawn(*shape), [np.arange(15)])).training_scores
        farthest = np.abs(scores).argmax(axis=0)
        assert (scores[farthest, np.arange(scores.shape[1])] > 0).all()


def test_the_order_of_training_rows_is_kept():
    features, rows = drawn(20, 50), np.random.default_rng(0).permutation(20)[:15]
    found, ordered = (next(fold_pcas(features, [given], n_components=3)) for given in (rows, np.sort(rows)))
    np.testing.assert_allclose(found.scores, ordered.scores, atol=1e-12)
    np.testing.assert_array_equal(found.training_scores, found.scores[rows])
    np.testing.assert_array_equal(found.held_out_scores, found.scores[found.held_out])
    assert sorted([*found.held_out, *rows]) == list(range(20))


def test_stacked_parts_are_one_matrix():
    features = drawn(20, 50)
    whole, parts = (
        next(fold_pcas(given, [np.arange(15)], n_components=3))
        for given in (features, StackedRows([features[:7], features[7:]]))
    )
    np.testing.assert_array_equal(whole.scores, parts.scores)


def test_a_gram_matrix_is_left_as_it_was():
    gram = next(gram_matrices(drawn(20, 50), [np.arange(20)], scaler="none"))
    before = gram.values.copy()
    fold_pca(gram, n_components=0.8)
    np.testing.assert_array_equal(gram.values, before)


@pytest.mark.parametrize("wanted", [0, -1, 0.0, 1.0, 1.5, float("nan")])
def test_a_number_of_components_out_of_range_is_refused(wanted):
    with pytest.raises(RequestError, match="Expected a whole number from 1, a share"):
        fold_pcas(drawn(20, 50), [np.arange(15)], n_components=wanted)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20)], ids=["wide", "tall"])
def test_more_components_than_rows_or_columns_are_refused(shape):
    with pytest.raises(RequestError, match="n_components=16 must be between 1 and min"):
        list(fold_pcas(drawn(*shape), [np.arange(15)], n_components=16))


@pytest.mark.parametrize("shape", [(20, 50), (50, 20)], ids=["wide", "tall"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.1])
@pytest.mark.parametrize("scaler", SKLEARN)
def test_rows_that_are_all_equal_have_no_components(shape, value, scaler):
    with pytest.raises(RequestError, match=r"15 training rows of \d+ columns are all equal"):
        list(fold_pcas(np.full(shape, value), [np.arange(15)], scaler=scaler))


def test_memory_must_hold_tall_features():
    with pytest.raises(RequestError, match=r"100 bytes of memory were allowed\. 50 images of 20 columns take"):
        fold_pcas(drawn(50, 20), [np.arange(15)], memory=100)
