"""Local binary patterns: known answers, and scikit-image's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfcells.features.handcrafted import HANDCRAFTED
from tfcells.features.handcrafted.lbp import uniform_patterns

LBP = HANDCRAFTED["lbp"]
CIRCLES = ((8, 1), (16, 2), (24, 3))
PLANES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 70), st.integers(1, 40)))


def circles_of(picture):
    return np.split(LBP.measure(picture), [10, 28])


def test_each_circle_has_shares_of_all_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    assert [len(shares) for shares in circles_of(picture)] == [10, 18, 26]
    np.testing.assert_allclose([shares.sum() for shares in circles_of(picture)], 1, rtol=1e-6)


def test_on_black_every_neighbour_is_as_bright_as_its_pixel():
    for shares, (neighbours, _) in zip(circles_of(np.zeros((9, 9, 3), np.uint8)), CIRCLES, strict=True):
        np.testing.assert_array_equal(shares, np.eye(neighbours + 2)[neighbours])


def test_a_bright_pixel_alone_has_no_neighbour_as_bright():
    plane = np.zeros((9, 9), np.uint8)
    plane[4, 4] = 200
    for neighbours, radius in CIRCLES:
        expected = np.full((9, 9), neighbours)
        expected[4, 4] = 0
        np.testing.assert_array_equal(uniform_patterns(plane, neighbours, radius), expected)


def test_a_pixel_on_a_straight_edge_sees_half_a_circle_and_stripes_are_not_uniform():
    edge = np.repeat([[10] * 6 + [90] + [200] * 5], 12, axis=0).astype(np.uint8)
    assert uniform_patterns(edge, 8, 1)[5, 6] == 5  # above, below, to the right, and the two between
    stripes = np.repeat([[0, 200] * 6], 12, axis=0).astype(np.uint8)
    assert uniform_patterns(stripes, 8, 1)[5, 5] == 9  # above and below, but not between them


def test_a_quarter_turn_changes_next_to_nothing():
    picture = np.random.default_rng(1).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    np.testing.assert_allclose(LBP.measure(np.rot90(picture).copy()), LBP.measure(picture), atol=0.01)


def test_a_large_picture_is_shrunk_first():
    small = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[:, None, None], 3, axis=2).repeat(7, axis=1)
    large = small.repeat(100, axis=0).repeat(100, axis=1)
    assert max(large.shape) > LBP.parameters["longest"]
    assert LBP.measure(large).sum() == pytest.approx(3)


@settings(max_examples=40)
@given(PLANES, st.sampled_from(CIRCLES))
def test_every_pattern_is_scikit_images(plane, circle):
    patterns = pytest.importorskip("skimage.feature").local_binary_pattern(plane, *circle, method="uniform")
    np.testing.assert_array_equal(uniform_patterns(plane, *circle), patterns)


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.integers(0, 255))
def test_flat_regions_are_rounded_as_scikit_image_rounds_them(seed, level):
    plane = np.full((75, 40), level, dtype=np.uint8)
    plane[np.random.default_rng(seed).random(plane.shape) < 0.05] += 1
    feature = pytest.importorskip("skimage.feature")
    for circle in CIRCLES:
        expected = feature.local_binary_pattern(plane, *circle, method="uniform")
        np.testing.assert_array_equal(uniform_patterns(plane, *circle), expected)
