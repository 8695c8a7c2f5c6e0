"""Histograms of oriented gradients: known answers, and scikit-image's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.features.handcrafted import HANDCRAFTED
from tfcells.features.handcrafted.grey import grey_levels
from tfcells.features.handcrafted.hog import oriented_gradients
from tfcells.images.resize import resize_plane

HOG = HANDCRAFTED["hog"]


def blocks_of(picture):
    return HOG.measure(picture).reshape(35, 35, 2, 2, 9)


def grey_picture(plane):
    return np.repeat(np.asarray(plane, dtype=np.uint8)[:, :, None], 3, axis=2)


def noise(seed, height=90, width=70):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_there_are_44100_numbers():
    assert HOG.measure(noise(0)).shape == (44_100,)


@pytest.mark.parametrize(("axis", "direction"), [(1, 0), (0, 4)])
def test_an_even_slope_has_one_direction_everywhere(axis, direction):
    """Four equal cells in a block: each has 1 / sqrt(4) of its length, before clipping and after."""
    slope = np.indices((360, 360))[axis] // 2
    inner = blocks_of(grey_picture(slope))[1:-1, 1:-1]
    np.testing.assert_allclose(inner[..., direction], 0.5, rtol=1e-3)
    np.testing.assert_allclose(np.delete(inner, direction, axis=-1), 0, atol=1e-6)


def test_a_picture_of_one_colour_has_no_gradient():
    np.testing.assert_array_equal(HOG.measure(np.full((50, 60, 3), 77, dtype=np.uint8)), 0)


def test_no_block_is_longer_than_one():
    assert np.linalg.norm(blocks_of(noise(1)).reshape(35 * 35, 36), axis=1).max() <= 1 + 1e-6


def test_a_brighter_copy_has_the_same_numbers():
    """What gradients share is divided out; the small constant in the divisor is all that is left."""
    dark = noise(2) // 4
    np.testing.assert_allclose(HOG.measure(dark + 60), HOG.measure(dark), atol=1e-3)


@settings(max_examples=8)
@given(st.integers(0, 2**32), st.integers(1, 500), st.integers(1, 500))
def test_it_is_scikit_images(seed, height, width):
    hog = pytest.importorskip("skimage.feature").hog
    picture = noise(seed, height, width)
    plane = resize_plane(grey_levels(picture) / 255, height=360, width=360)
    expected = hog(plane.astype(np.float64), orientations=9, pixels_per_cell=(10, 10), cells_per_block=(2, 2))
    np.testing.assert_allclose(HOG.measure(picture), expected, atol=1e-6)


def test_other_parameters_are_scikit_images_too():
    hog = pytest.importorskip("skimage.feature").hog
    plane = resize_plane(grey_levels(noise(3)) / 255, height=64, width=64).astype(np.float64)
    found = oriented_gradients(noise(3), side=64, orientations=6, cell=8, block=3)
    expected = hog(plane, orientations=6, pixels_per_cell=(8, 8), cells_per_block=(3, 3))
    np.testing.assert_allclose(found, expected, atol=1e-6)
