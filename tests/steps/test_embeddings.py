"""What is kept of an epoch for TensorBoard's Projector: little, whatever the head reads."""

import types

import numpy as np

from tfcells.maps.reduce import principal_components
from tfcells.steps.embeddings import AXES, MOST_FEATURES, Embeddings


def kept(folder, features, places, write=Embeddings.write):
    write(Embeddings(folder, places), types.SimpleNamespace(number=1, features=features))
    return np.load(folder / "epoch-0001.npy", allow_pickle=False)


def test_of_a_flattened_map_the_components_are_kept_that_would_be_shown(tmp_path, unchecked_shapes):
    generator = np.random.default_rng(0)
    # 200 rows of 60 directions in a map of 7 x 7 x 1,280
    features = (generator.normal(size=(200, 60)) @ generator.normal(size=(60, 62_720))).astype(np.float32)
    places = np.arange(0, 200, 2)
    found = kept(tmp_path, features, places)
    assert found.shape == (100, AXES) and found.dtype == np.float32
    assert (tmp_path / "epoch-0001.npy").stat().st_size < 50_000  # of 25 MB
    shown = principal_components(found, axes=AXES).points
    expected = principal_components(features[places], axes=AXES).points
    np.testing.assert_allclose(shown, expected, atol=1e-4 * np.abs(expected).max())


def test_of_pooled_features_all_are_kept(tmp_path, unchecked_shapes):
    features = np.random.default_rng(0).normal(size=(20, MOST_FEATURES)).astype(np.float32)
    places = np.array([3, 7, 19])
    np.testing.assert_array_equal(kept(tmp_path, features, places), features[places])
