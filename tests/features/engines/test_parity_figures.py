import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.features.engines.parity import ACCEPTED, Parity, compare, described, parity_pictures


@given(st.integers(0, 99), st.floats(0.1, 100.0))
def test_equal_features_are_at_one_and_a_factor_shows_in_the_error_alone(seed, factor):
    features = {"tap": np.random.default_rng(seed).normal(size=(3, 4, 5)).astype(np.float32)}
    same = compare(features, features)["tap"]
    assert (same.cosine, same.relative_error) == (1.0, 0.0)
    scaled = compare({"tap": factor * features["tap"]}, features)["tap"]
    assert scaled.cosine == pytest.approx(1.0)
    assert scaled.relative_error == pytest.approx(abs(factor - 1), abs=1e-5)


def test_the_worst_picture_counts():
    reference = np.eye(3, dtype=np.float32)
    found = reference.copy()
    found[1] = [0.6, 0.8, 0.0]
    figures = compare({"tap": found}, {"tap": reference})["tap"]
    assert figures.cosine == pytest.approx(0.8)
    assert figures.relative_error == pytest.approx(0.6)
    assert not figures.accepted


def test_zero_features_are_equal_to_zero_features_only():
    zero, some = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)
    assert compare({"tap": zero}, {"tap": zero})["tap"].accepted
    assert compare({"tap": zero}, {"tap": some})["tap"].cosine == 0.0
    assert compare({"tap": some}, {"tap": zero})["tap"].cosine == 0.0


def test_what_is_no_number_is_not_accepted():
    broken = np.full((1, 4), np.nan, np.float32)
    assert not compare({"tap": broken}, {"tap": np.ones((1, 4), np.float32)})["tap"].accepted
    assert Parity(ACCEPTED, 0.1).accepted


def test_pictures_are_the_same_every_time_and_differ_from_one_another():
    pictures = parity_pictures(size=24, kernel="bilinear")
    assert pictures.shape[1:] == (24, 24, 3)
    assert len(np.unique(pictures, axis=0)) == len(pictures) >= 8
    np.testing.assert_array_equal(pictures, parity_pictures(size=24, kernel="bilinear"))


def test_figures_are_said_with_their_taps():
    assert described({"late": Parity(0.98765432, 0.0123)}) == "late cosine 0.98765 and relative error 1.2e-02"
