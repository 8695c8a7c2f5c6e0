"""Colour statistics: known answers, and nothing about where a colour is."""

from fractions import Fraction
from math import ceil

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfcells.features.handcrafted import colour_statistics

PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
SHARES = (Fraction(5, 100), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(95, 100))


def test_a_picture_of_one_colour_is_that_colour():
    found = colour_statistics(np.full((7, 5, 3), (10, 200, 255), dtype=np.uint8))
    np.testing.assert_array_equal(found, np.array([[c, 0, c, c, c, c, c] for c in (10, 200, 255)]).reshape(-1))


def test_a_ramp_has_the_numbers_one_expects():
    ramp = np.arange(100, dtype=np.uint8).reshape(10, 10)
    found = colour_statistics(np.stack([ramp, ramp + 100, ramp // 50 * 255], axis=-1)).reshape(3, 7)
    deviation = np.sqrt((100**2 - 1) / 12)
    np.testing.assert_allclose(found[0], [49.5, deviation, 4, 24, 49, 74, 94], rtol=1e-6)
    np.testing.assert_allclose(found[1], [149.5, deviation, 104, 124, 149, 174, 194], rtol=1e-6)
    np.testing.assert_allclose(found[2], [127.5, 127.5, 0, 0, 0, 255, 255], rtol=1e-6)


@given(PICTURES)
def test_means_and_deviations_are_those_of_numpy(picture):
    found = colour_statistics(picture).reshape(3, 7)
    np.testing.assert_allclose(found[:, 0], picture.mean((0, 1)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], picture.std((0, 1)), rtol=1e-5, atol=1e-5)


@given(PICTURES)
def test_a_quantile_is_the_first_level_that_enough_pixels_do_not_exceed(picture):
    for channel, found in zip(picture.reshape(-1, 3).T, colour_statistics(picture).reshape(3, 7), strict=True):
        levels = np.sort(channel)
        np.testing.assert_array_equal(found[2:], [levels[ceil(share * len(levels)) - 1] for share in SHARES])


@given(PICTURES, st.integers(0, 2**32))
def test_moving_pixels_about_changes_nothing(picture, seed):
    moved = np.random.default_rng(seed).permutation(picture.reshape(-1, 3)).reshape(picture.shape)
    np.testing.assert_array_equal(colour_statistics(moved), colour_statistics(picture))


@given(PICTURES)
def test_exchanging_channels_exchanges_their_numbers(picture):
    found = colour_statistics(picture[..., ::-1]).reshape(3, 7)
    np.testing.assert_array_equal(found, colour_statistics(picture).reshape(3, 7)[::-1])
