import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from tfcells.errors import RequestError
from tfcells.probes.gram.estimator import GramPCA

SHAPES = [(30, 70), (70, 30), (30, 30)]
LEARNED = ["components_", "explained_variance_", "explained_variance_ratio_", "singular_values_", "mean_"]


def drawn(images, columns, *, seed=0, rank=None):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(images, columns)) * np.arange(1, columns + 1) ** -0.5
    if rank is not None:
        features = generator.normal(size=(images, rank)) @ features[:rank]
    return features


@parametrize_with_checks([GramPCA(), GramPCA(None), GramPCA(1)])
def test_it_keeps_the_contract_of_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)  # checks warn of what they do themselves
        check(estimator)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("wanted", [0.8, 0.999, 1, 9])
def test_it_is_scikit_learns_pca_signs_included(shape, wanted):
    features = drawn(*shape)
    found, reference = GramPCA(wanted).fit(features), PCA(wanted, svd_solver="full").fit(features)
    assert found.n_components_ == reference.n_components_
    for name in LEARNED:
        np.testing.assert_allclose(getattr(found, name), getattr(reference, name), rtol=1e-8, atol=1e-10)
    assert found.noise_variance_ == pytest.approx(reference.noise_variance_, abs=1e-12)
    new = drawn(11, shape[1], seed=1)
    scores = reference.transform(new)
    np.testing.assert_allclose(found.transform(new), scores, atol=1e-9)
    np.testing.assert_allclose(found.inverse_transform(scores), reference.inverse_transform(scores), atol=1e-9)
    np.testing.assert_allclose(GramPCA(wanted).fit_transform(features), reference.transform(features), atol=1e-9)
    np.testing.assert_array_equal(found.get_feature_names_out()[:1], ["grampca0"])


@given(st.integers(4, 20), st.integers(4, 20), st.integers(1, 4), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_all_components_rebuild_the_features(images, columns, rank, seed):
    features = drawn(images, columns, rank=min(rank, images - 1, columns), seed=seed)
    pca = GramPCA(None).fit(features)
    assert pca.n_components_ <= min(rank, images - 1, columns)
    np.testing.assert_allclose(pca.components_ @ pca.components_.T, np.eye(pca.n_components_), atol=1e-6)
    np.testing.assert_allclose(pca.inverse_transform(pca.transform(features)), features, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_blocks_change_nothing(shape):
    features = drawn(*shape)
    least = 8 * (min(shape) ** 2 + 4 * 64 * min(shape))
    ample, tight = GramPCA(5).fit(features), GramPCA(5, memory=least).fit(features)
    for name in LEARNED:
        np.testing.assert_allclose(getattr(tight, name), getattr(ample, name), atol=1e-11)
    np.testing.assert_allclose(tight.transform(features), ample.transform(features), atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_smaller_floats_on_disk_are_computed_with_in_float64(shape, dtype, tmp_path):
    features = (drawn(*shape) + 300).astype(dtype)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    found = GramPCA(0.8).fit(mapped)
    reference = PCA(0.8, svd_solver="full").fit(features.astype(np.float64))
    np.testing.assert_allclose(found.components_, reference.components_, atol=1e-9)
    scores = found.transform(mapped)
    assert scores.dtype == found.components_.dtype == np.float64
    np.testing.assert_allclose(scores, reference.transform(features.astype(np.float64)), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", [(200, 40_000), (20_000, 200)], ids=str)
def test_a_file_that_is_larger_than_the_memory_allowed_is_never_copied_as_a_whole(shape, dtype, tmp_path):
    generator, rank, memory = np.random.default_rng(0), 5, 3 * 2**20
    features = np.lib.format.open_memmap(tmp_path / "features.npy", mode="w+", dtype=dtype, shape=shape)
    features[:] = generator.normal(size=(shape[0], rank)) @ generator.normal(size=(rank, shape[1]))
    features.flush()
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    components, scores = 8 * rank * shape[1], 8 * rank * shape[0]
    pca = GramPCA(rank, memory=memory)
    assert mapped.nbytes > 2 * (memory + components + scores)
    for use in (pca.fit, pca.transform):
        tracemalloc.start()
        use(mapped)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # A decomposition and the components before their signs come on top.
        assert peak < memory + 3 * components + scores + 2 * 8 * min(shape) ** 2
        assert peak < mapped.nbytes


def test_it_stands_where_pca_stood_in_a_pipeline():
    features, labels = drawn(60, 200), np.arange(60) % 3
    ours, theirs = (
        make_pipeline(MinMaxScaler(), reduction, SVC(C=10, tol=1e-8, decision_function_shape="ovo"))
        for reduction in (GramPCA(0.8), PCA(0.8, svd_solver="full"))
    )
    said = [
        clone(pipeline).fit(features[:45], labels[:45]).decision_function(features[45:]) for pipeline in (ours, theirs)
    ]
    np.testing.assert_allclose(said[0], said[1], atol=1e-7)


@pytest.mark.parametrize("wanted", [0, -3, 0.0, 1.0, "mle", 31])
def test_numbers_out_of_range_are_refused(wanted):
    with pytest.raises(RequestError, match="n_components="):
        GramPCA(wanted).fit(drawn(30, 70))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equal_rows_and_single_rows_are_refused(shape):
    with pytest.raises(RequestError, match="are all equal"):
        GramPCA().fit(np.full(shape, 0.3))
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        GramPCA().fit(drawn(1, 5))


def test_it_must_be_fitted_first():
    for ask in (GramPCA().transform, GramPCA().inverse_transform):
        with pytest.raises(NotFittedError):
            ask(drawn(4, 5))
