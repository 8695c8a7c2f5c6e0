"""Random fields have the statistics their docstrings promise."""

import numpy as np
import pytest

from tfcells.images.synthetic.noise import band_field, random_bytes, smooth_field, white_field


def generator():
    return np.random.Generator(np.random.SFC64(0))


@pytest.mark.parametrize("shape", [(120, 120), (90, 131), (7, 5)])
def test_fields_have_the_shape_asked_for(shape):
    assert white_field(generator(), shape).shape == shape
    assert smooth_field(generator(), shape, scale=12.0).shape == shape
    assert band_field(generator(), shape, fine=1.2, coarse=4.0).shape == shape


def test_fields_are_standardised():
    assert white_field(generator(), (300, 300)).std() == pytest.approx(1, abs=0.02)
    assert band_field(generator(), (300, 300), fine=1.5, coarse=5.0).std() == pytest.approx(1, abs=0.01)
    assert smooth_field(generator(), (300, 300), scale=10.0).std() == pytest.approx(1, abs=0.25)


def test_bytes_are_even():
    counts = np.bincount(random_bytes(generator(), 256_001), minlength=256)
    assert counts.sum() == 256_001
    assert abs(counts / 1000 - 1).max() < 0.2


def test_a_smooth_field_is_smooth_and_a_white_one_is_not():
    def roughness(field):
        return np.abs(np.diff(field, axis=0)).mean() / field.std()

    assert roughness(smooth_field(generator(), (200, 200), scale=20.0)) < 0.2
    assert roughness(white_field(generator(), (200, 200))) > 1
