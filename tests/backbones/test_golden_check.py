"""The golden check: what it lets pass, and what it must never let pass."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfcells.backbones.cut import cut_backbone
from tfcells.backbones.golden import TOLERANCE, check_fingerprint, fingerprint, golden_picture, known_fingerprints
from tfcells.backbones.open import open_backbone
from tfcells.backbones.preprocess import KERNELS
from tfcells.backbones.taps import parse_taps
from tfcells.backbones.weights import SEARCH_VARIABLE, file_digest
from tfcells.errors import DamageError
from tfcells.features.engines.tensorflow_graph import TensorFlowEngine
from tfcells.features.forward import engine_golden, golden

PLAIN = {"interpolation": "bilinear", "antialias": False}
CUBIC = {"interpolation": "bicubic", "antialias": True}
REAL = ("mobilenet_v2_imagenet", "vgg16_hed")


@pytest.fixture(scope="module")
def mobilenet():
    return open_backbone("mobilenet_v2", weights="none", size=96)


@pytest.fixture(scope="module", params=REAL)
def real(request, real_weights):
    path = real_weights / f"{request.param}.weights.h5"
    return open_backbone(request.param.rpartition("_")[0], weights=path)


def answers(backbone):
    return fingerprint({key: answer.numpy() for key, answer in cut_backbone(backbone)(golden_picture()[None]).items()})


def with_preprocessing(backbone, **changes):
    return replace(backbone, row=replace(backbone.row, preprocessing=replace(backbone.row.preprocessing, **changes)))


def other_order(backbone):
    """The neighbour's convention; offsets stay with the place, as in the classic mistake."""
    order = "rgb" if backbone.row.preprocessing.channel_order == "bgr" else "bgr"
    return with_preprocessing(backbone, channel_order=order)


def scaled_before(backbone):
    """Pixels already in [0, 1] when the network scales them."""
    scale = tuple(factor / 255 for factor in backbone.row.preprocessing.scale)
    return with_preprocessing(backbone, scale=scale)


def other_kernel(kernel):
    def change(backbone, monkeypatch):
        monkeypatch.setitem(KERNELS, "other", kernel)
        return replace(backbone, row=replace(backbone.row, kernel="other"))

    return change


MISTAKES = {
    "channel order": lambda backbone, monkeypatch: other_order(backbone),
    "double scaling": lambda backbone, monkeypatch: scaled_before(backbone),
    "without antialiasing": other_kernel(PLAIN),
    "bicubic": other_kernel(CUBIC),
}


def difference(found, expected):
    """Largest difference at any tap, as the check measures it."""
    return max(
        np.abs(np.subtract(found[tap], values)).max() / np.sqrt(np.mean(np.square(values)))
        for tap, values in expected.items()
    )


def test_the_golden_picture_is_what_it_was():
    picture = golden_picture()
    assert picture.shape == (257, 301, 3)
    assert hashlib.sha256(picture.tobytes()).hexdigest() == (
        "6a7cdad042a96494b8cd6b0fc8322f61ce26b2ab0febbfb74d598a159cb25286"
    )


def test_the_golden_picture_has_no_symmetry():
    picture = golden_picture().astype(int)
    for other in (picture[::-1], picture[:, ::-1], picture[::-1, ::-1], picture[..., ::-1], picture[..., [1, 0, 2]]):
        assert np.abs(picture - other).mean() > 20


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_caught_on_random_weights(mobilenet, mistake, monkeypatch):
    found = answers(MISTAKES[mistake](mobilenet, monkeypatch))
    assert difference(found, answers(mobilenet)) > 1e-2 > TOLERANCE
    with pytest.raises(DamageError, match=r"golden check of me failed at tap .*channel order, scaling, resize kernel"):
        check_fingerprint(found, answers(mobilenet), whose="me")


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_caught_on_real_weights(real, mistake, monkeypatch):
    found = answers(MISTAKES[mistake](real, monkeypatch))
    with pytest.raises(DamageError, match="failed at tap"):
        check_fingerprint(found, known_fingerprints()[real.sha256], whose=real.weights)


@pytest.mark.real
def test_real_weights_give_the_fingerprint_that_is_shipped(real):
    shipped = known_fingerprints()[real.sha256]
    assert set(shipped) == set(real.row.taps)
    check_fingerprint(golden(cut_backbone(real)), shipped, whose=real.weights)
    assert difference(golden(cut_backbone(real)), shipped) < 1e-3


def test_the_weights_that_ship_give_the_fingerprint_that_ships(monkeypatch):
    monkeypatch.delenv(SEARCH_VARIABLE, raising=False)
    cells = open_backbone("mobilenet_v2", weights="cells")
    check_fingerprint(golden(cut_backbone(cells)), known_fingerprints()[cells.sha256], whose=cells.weights)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_shipped_fingerprints_are_of_files_that_exist(real_weights, name):
    assert file_digest(real_weights / f"{name}.weights.h5") in known_fingerprints()


def test_the_frozen_graph_and_the_eager_network_agree(mobilenet):
    taps = parse_taps(mobilenet.row.taps)
    engine = TensorFlowEngine(mobilenet, taps, batch_size=2, precision="float32")
    frozen = engine_golden(engine, kernel=mobilenet.row.kernel)
    check_fingerprint(frozen, answers(mobilenet), whose="the graph")
    assert difference(frozen, answers(mobilenet)) < TOLERANCE / 20


def test_a_fingerprint_has_32_evenly_spaced_values_or_all():
    found = fingerprint({"wide": np.arange(311.0)[None], "narrow": np.arange(6.0).reshape(1, 2, 3)})
    np.testing.assert_array_equal(found["wide"], np.arange(0, 311, 10))
    np.testing.assert_array_equal(found["narrow"], np.arange(6))


@given(arrays.arrays(np.float32, 40, elements=st.floats(-1e3, 1e3, width=32)))
def test_a_fingerprint_passes_its_own_check_after_a_file(values):
    found = fingerprint({"tap": values[None]})
    check_fingerprint({"tap": [float(repr(value)) for value in found["tap"]]}, found, whose="itself")


@given(st.integers(0, 31), st.sampled_from([-1, 1]), st.floats(1.1, 100))
def test_one_value_beyond_the_tolerance_is_enough(place, sign, times):
    expected = np.random.default_rng(0).normal(size=32)
    found = expected.copy()
    found[place] += sign * times * TOLERANCE * np.sqrt(np.mean(expected**2))
    with pytest.raises(DamageError, match="failed at tap 'late'"):
        check_fingerprint({"late": found.tolist()}, {"late": expected.tolist()}, whose="me")


@given(st.floats(-0.9, 0.9))
def test_what_lies_within_the_tolerance_passes(share):
    expected = np.random.default_rng(0).normal(size=32)
    found = expected + share * TOLERANCE * np.sqrt(np.mean(expected**2))
    check_fingerprint({"late": found.tolist()}, {"late": expected.tolist()}, whose="me")


def test_the_message_names_the_tap_the_size_and_what_may_be_wrong():
    with pytest.raises(
        DamageError, match=r"check of vgg16 hed failed at tap 'b': .* differ by 0\.5 of their size, 0\.002"
    ):
        check_fingerprint({"a": [1.0], "b": [3.0]}, {"a": [1.0], "b": [2.0]}, whose="vgg16 hed")


@pytest.mark.parametrize("found", [{}, {"other": [1.0]}, {"late": [1.0, 2.0]}], ids=str)
def test_a_tap_that_cannot_be_compared_is_named(found):
    with pytest.raises(DamageError, match="has no comparable tap 'late'; it was made by another cut"):
        check_fingerprint(found, {"late": [1.0]}, whose="me")


def test_taps_that_nobody_asked_about_do_not_matter():
    check_fingerprint({"late": [1.0], "early": [5.0]}, {"late": [1.0]}, whose="me")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_answers_that_are_no_numbers_never_pass(bad):
    with pytest.raises(DamageError, match="failed at tap 'late'"):
        check_fingerprint({"late": [1.0, bad]}, {"late": [1.0, 2.0]}, whose="me")


def test_a_tap_that_is_zero_everywhere_is_compared_too():
    check_fingerprint({"late": [0.0, 0.0]}, {"late": [0.0, 0.0]}, whose="me")
    with pytest.raises(DamageError):
        check_fingerprint({"late": [0.0, 1e-6]}, {"late": [0.0, 0.0]}, whose="me")
