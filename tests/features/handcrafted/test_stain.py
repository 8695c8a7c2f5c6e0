"""Stain statistics: known answers, and scikit-image's conversions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfcells.features.handcrafted import HANDCRAFTED
from tfcells.features.handcrafted.stain import dye_densities, hue_saturation_value, lab

STAIN = HANDCRAFTED["stain"]
PLANES = arrays.arrays(np.uint8, st.tuples(st.just(3), st.integers(1, 30)))
PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def statistics_of(picture):
    """Channels by name, each seven numbers, and the two of the hue."""
    numbers = STAIN.measure(picture)
    names = ("haematoxylin", "eosin", "dab", "saturation", "value", "L", "a", "b")
    return dict(zip(names, numbers[:56].reshape(8, 7), strict=True)), numbers[56:]


def plain(*colour):
    return np.full((4, 5, 3), colour, dtype=np.uint8)


def test_white_holds_no_dye_and_no_colour():
    channels, hue = statistics_of(plain(255, 255, 255))
    for name, level in {"haematoxylin": 0, "eosin": 0, "dab": 0, "saturation": 0, "value": 1, "L": 100}.items():
        np.testing.assert_allclose(channels[name], [level, 0, *[level] * 5], atol=1e-4)
    np.testing.assert_allclose([channels["a"], channels["b"]], 0, atol=0.02)
    np.testing.assert_array_equal(hue, 0)


@pytest.mark.parametrize(
    ("dye", "absorbed"), [("haematoxylin", (0.65, 0.70, 0.29)), ("eosin", (0.07, 0.99, 0.11))], ids=str
)
def test_light_through_one_dye_is_that_dye_alone(dye, absorbed):
    light = 1e-6 ** (0.06 * np.array(absorbed))
    channels, _ = statistics_of(plain(*np.rint(255 * light)))
    assert channels.pop(dye)[0] == pytest.approx(0.06, abs=0.002)
    assert max(channels[other][0] for other in ("haematoxylin", "eosin", "dab") if other in channels) < 0.002


def test_red_is_where_the_standards_put_it():
    channels, hue = statistics_of(plain(255, 0, 0))
    assert [channels[name][0] for name in ("L", "a", "b")] == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert [channels[name][0] for name in ("saturation", "value")] == [1, 1]
    np.testing.assert_allclose(hue, [1, 0], atol=1e-6)
    _, hue = statistics_of(plain(0, 255, 0))
    np.testing.assert_allclose(hue, [np.cos(2 * np.pi / 3), np.sin(2 * np.pi / 3)], atol=1e-6)


@given(PICTURES, st.integers(0, 2**32))
def test_moving_pixels_about_changes_next_to_nothing(picture, seed):
    moved = np.random.default_rng(seed).permutation(picture.reshape(-1, 3)).reshape(picture.shape)
    np.testing.assert_allclose(STAIN.measure(moved), STAIN.measure(picture), rtol=1e-5, atol=1e-5)


@given(PLANES)
def test_conversions_are_scikit_images(planes):
    color = pytest.importorskip("skimage.color")
    picture = np.ascontiguousarray(planes.T[None])
    np.testing.assert_allclose(dye_densities(planes).T, color.rgb2hed(picture)[0], atol=1e-5)
    np.testing.assert_allclose(lab(planes).T, color.rgb2lab(picture)[0], atol=1e-3)
    hue, saturation, value = hue_saturation_value(planes)
    expected = color.rgb2hsv(picture)[0].T
    np.testing.assert_allclose(np.exp(1j * hue), np.exp(2j * np.pi * expected[0]), atol=1e-5)
    np.testing.assert_allclose([saturation, value], expected[1:], atol=1e-6)


@given(PICTURES)
def test_means_and_quantiles_are_those_of_the_channels(picture):
    channels, _ = statistics_of(picture)
    planes = np.ascontiguousarray(picture.reshape(-1, 3).T)
    for name, channel in zip(("L", "a", "b"), lab(planes), strict=True):
        expected = [
            channel.mean(),
            channel.std(),
            *np.quantile(channel, [0.05, 0.25, 0.5, 0.75, 0.95], method="inverted_cdf"),
        ]
        np.testing.assert_allclose(channels[name], expected, rtol=1e-4, atol=1e-3)
