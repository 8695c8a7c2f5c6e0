import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from tfcells.errors import MissingExtraError, RequestError, UnknownNameError
from tfcells.maps.reduce import METHODS, check_method, principal_components, reduce, tsne, umap


def drawn(seed=0, *, rows=40, columns=8):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, columns)) * generator.uniform(0.5, 3, columns) + generator.normal(size=columns)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 40), st.integers(1, 40), st.booleans())
def test_components_are_those_of_the_full_decomposition_up_to_sign(seed, rows, columns, single):
    vectors = drawn(seed, rows=rows, columns=columns)
    vectors = vectors.astype(np.float32) if single else vectors
    found = principal_components(vectors, axes=5)
    full = PCA(svd_solver="full").fit(vectors.astype(np.float64))
    axes = found.points.shape[1]
    assert axes == min(5, rows - 1, columns)
    expected = full.transform(vectors.astype(np.float64))[:, :axes]
    signs = np.sign((expected * found.points).sum(axis=0))
    np.testing.assert_allclose(found.points * signs, expected, atol=1e-8)
    np.testing.assert_allclose(found.variance_ratio, full.explained_variance_ratio_[:axes], atol=1e-12)


def test_all_components_together_keep_every_distance_and_all_variance():
    vectors = drawn(rows=30, columns=60)
    found = principal_components(vectors, axes=1000)
    assert found.points.shape == (30, 29)
    assert found.variance_ratio.sum() == pytest.approx(1)
    centred = vectors - vectors.mean(axis=0)
    np.testing.assert_allclose(found.points @ found.points.T, centred @ centred.T, atol=1e-9)


def test_the_sign_of_an_axis_makes_its_largest_coordinate_positive():
    points = principal_components(drawn(), axes=4).points
    np.testing.assert_array_equal(points[np.abs(points).argmax(axis=0), np.arange(4)], np.abs(points).max(axis=0))
    np.testing.assert_allclose(principal_components(-drawn(), axes=4).points, points)


def test_fewer_axes_come_back_where_the_features_span_fewer():
    line = np.arange(10.0)[:, None] * [[1.0, 2.0, 3.0]]
    found = principal_components(line, axes=3)
    assert found.points.shape == (10, 1)
    np.testing.assert_allclose(found.variance_ratio, [1])


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(1, 50), st.floats(-1e6, 1e6))
def test_equal_features_lie_at_zero_on_one_axis_without_variance(rows, columns, value):
    found = principal_components(np.full((rows, columns), value), axes=3)
    np.testing.assert_array_equal(found.points, np.zeros((rows, 1)))
    np.testing.assert_array_equal(found.variance_ratio, [0])


def test_one_picture_is_no_map():
    with pytest.raises(RequestError, match=r"1 image given\. Expected 2 or more to draw a map"):
        principal_components(np.zeros((1, 3)), axes=2)


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("rows", [2, 3, 4, 5, 7])
def test_a_map_of_few_pictures_has_two_finite_axes(method, rows):
    points = reduce(method, drawn(rows=rows))
    assert points.shape == (rows, 2)
    assert points.dtype == np.float64
    assert np.isfinite(points).all()


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_of_equal_pictures_is_drawn(method):
    assert np.isfinite(reduce(method, np.ones((12, 4)))).all()


def test_tsne_is_the_same_every_time():
    vectors = drawn(rows=60)
    np.testing.assert_array_equal(tsne(vectors, seed=3), tsne(vectors, seed=3))


def test_tsne_keeps_clusters_together():
    labels = np.arange(60) % 3
    points = tsne(drawn(rows=60) * 0.1 + 20 * np.eye(3, 8)[labels], perplexity=10.0)
    centres = np.stack([points[labels == label].mean(axis=0) for label in range(3)])
    distances = np.linalg.norm(points[:, None] - centres, axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), labels)


def test_a_map_of_principal_components_is_filled_up_to_the_axes_asked_for():
    points = reduce("pca", np.arange(6.0)[:, None], axes=2)
    np.testing.assert_array_equal(points[:, 1], 0)


def test_umap_names_the_extra_it_comes_with(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"umap-learn is not installed.*pip install 'tfcells\[maps\]'"):
        umap(drawn())


def test_an_unknown_method_is_named_with_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"Unknown map method 't-sne'\. Did you mean 'tsne'\?"):
        reduce("t-sne", drawn())
    for method in METHODS:
        check_method(method)


def test_umap_of_very_few_rows_is_their_principal_components(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=None))
    points = umap(drawn()[:2])
    assert points.shape == (2, 2)
    assert np.isfinite(points).all()


def test_umap_gives_the_same_points_twice():
    pytest.importorskip("umap", reason="umap-learn is not installed: pip install 'tfcells[maps]'")
    vectors = drawn()
    points = umap(vectors)
    assert points.shape == (len(vectors), 2)
    np.testing.assert_array_equal(points, umap(vectors))
