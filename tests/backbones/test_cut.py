"""A cut is the model, seen at its layers; laws on a network that builds in a blink."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.backbones.catalog import Backbone, Preprocessing
from tfcells.backbones.cut import cut, cut_backbone, list_layers
from tfcells.backbones.open import OpenBackbone
from tfcells.backbones.preprocess import resize_images
from tfcells.backbones.taps import Tap
from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.resize import resize_image

CAFFE = Preprocessing("bgr", (1.0, 0.5, 0.25), (-103.939, -116.779, -123.68))
ROW = Backbone("tiny", "Tiny", "tiny", CAFFE, 32, "early", "late", "head")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(size=(5, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(2).integers(0, 256, (3, 40, 55, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def opened(tiny_backbone):
    return OpenBackbone(row=ROW, model=tiny_backbone, size=32, weights="none", sha256="0" * 64)


@pytest.fixture(scope="module")
def maps(tiny_backbone, images):
    """What the layers of the tiny network truly give, by layer."""
    early = tiny_backbone.get_layer("early")(images)
    late = tiny_backbone.get_layer("late")(early)
    return {"early": early.numpy(), "late": late.numpy()}


def test_the_last_tap_is_the_model_itself(tiny_backbone, images):
    found = cut(tiny_backbone, ["head:none"])(images)
    np.testing.assert_array_equal(found["head"].numpy(), tiny_backbone(images).numpy())


def test_every_tap_is_what_its_layer_gives(tiny_backbone, images, maps):
    found = cut(tiny_backbone, ["early", "late"], "none")(images)
    assert list(found) == ["early", "late"]
    for layer, expected in maps.items():
        np.testing.assert_allclose(found[layer].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_several_taps_in_one_pass_are_the_taps_one_by_one(tiny_backbone, images):
    together = cut(tiny_backbone, ["early:gem", "late:flatten", "head:none"])(images)
    for key, tap in {"early": "early:gem", "late": "late:flatten", "head": "head:none"}.items():
        np.testing.assert_array_equal(together[key].numpy(), cut(tiny_backbone, [tap])(images)[key].numpy())


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", lambda maps: maps.mean(axis=(1, 2))),
        ("max", lambda maps: maps.max(axis=(1, 2))),
        ("gem", lambda maps: (np.maximum(maps, 1e-6) ** 3).mean(axis=(1, 2)) ** (1 / 3)),
        ("flatten", lambda maps: maps.reshape(len(maps), -1)),
        ("none", lambda maps: maps),
    ],
)
def test_poolings_are_those_of_numpy(tiny_backbone, images, maps, pooling, expected):
    found = cut(tiny_backbone, ["early"], pooling)(images)["early"].numpy()
    np.testing.assert_allclose(found, expected(maps["early"]), rtol=1e-4, atol=1e-5)


def test_the_generalised_mean_lies_between_mean_and_maximum(tiny_backbone, images):
    found = cut(tiny_backbone, ["early:mean", "early:gem", "early:max"])(images)
    mean, gem, most = (found[f"early:{pooling}"].numpy() for pooling in ("mean", "gem", "max"))
    assert (mean <= gem + 1e-5).all()
    assert (gem <= most + 1e-5).all()


def test_a_layer_tapped_twice_is_keyed_by_its_poolings(tiny_backbone, images, maps):
    found = cut(tiny_backbone, ["late:max", "head:none", Tap("late", "flatten")])(images)
    assert set(found) == {"late:max", "late:flatten", "head"}
    np.testing.assert_allclose(found["late:max"].numpy(), maps["late"].max((1, 2)), rtol=1e-5, atol=1e-6)


def test_an_unknown_layer_is_refused_with_the_nearest_name(tiny_backbone):
    with pytest.raises(UnknownNameError, match=r"Unknown layer of tiny 'erly'\. Did you mean 'early'\? Expected one"):
        cut(tiny_backbone, ["late", "erly"])


@pytest.mark.parametrize("pooling", ["mean", "max", "gem"])
def test_a_layer_without_height_and_width_cannot_be_pooled(tiny_backbone, pooling):
    with pytest.raises(RequestError, match=r"Layer head gives shape \(12,\).*pooling `flatten` or `none`"):
        cut(tiny_backbone, [f"head:{pooling}"])


def test_a_layer_of_unknown_size_cannot_be_flattened():
    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, keras.layers.Conv2D(2, 3, name="maps")(pixels))
    with pytest.raises(RequestError, match=r"gives shape \(None, None, 2\), which depends on the picture.* Expected"):
        cut(model, ["maps:flatten"])
    assert cut(model, ["maps:max"])(np.zeros((1, 9, 7, 3), np.float32))["maps"].shape == (1, 2)


def test_a_cut_shares_the_weights_of_its_model(tiny_backbone):
    own = {id(variable) for variable in tiny_backbone.weights}
    assert {id(variable) for variable in cut(tiny_backbone, ["head:none"]).weights} == own
    assert {id(variable) for variable in cut(tiny_backbone, ["early"]).weights} < own


def test_answers_do_not_depend_on_the_batch(tiny_backbone, images):
    model = cut(tiny_backbone, ["early", "late:gem"])
    together = model(images)
    for row in range(len(images)):
        alone = model(images[row : row + 1])
        for key, answer in together.items():
            np.testing.assert_allclose(alone[key][0].numpy(), answer[row].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["cast", "mean", "reshape"])
def test_operations_of_a_loaded_model_may_bear_any_name(name, images):
    """Within one process Keras keeps names apart by itself; a file brings names from another one."""
    pixels = keras.Input((32, 32, 3), name="pixels_in")
    model = keras.Model(pixels, keras.layers.Conv2D(2, 3, name=name)(pixels))
    keras.backend.clear_session()
    found = cut(model, [f"{name}:mean", f"{name}:flatten"])(images)
    assert found[f"{name}:mean"].shape == (5, 2)


def test_answers_are_float32_whatever_the_network_computes_in(images):
    pixels = keras.Input((32, 32, 3))
    model = keras.Model(pixels, keras.layers.Conv2D(2, 3, dtype="float16", name="half")(pixels))
    assert cut(model, ["half"])(images)["half"].dtype == "float32"


def test_layers_are_listed_with_shape_parameters_and_bytes(tiny_backbone):
    rows = list_layers(tiny_backbone)
    assert [(row.name, row.kind, row.shape) for row in rows] == [
        ("early", "Conv2D", (15, 15, 8)),
        ("late", "Conv2D", (7, 7, 12)),
        ("head", "GlobalAveragePooling2D", (12,)),
    ]
    assert [row.parameters for row in rows] == [3 * 9 * 8 + 8, 8 * 9 * 12 + 12, 0]
    assert [rows[0].bytes_per_image(pooling) for pooling in ("gem", "flatten", "none")] == [32, 7200, 7200]


def test_a_sum_written_without_a_layer_can_be_tapped(images):
    pixels = keras.Input((32, 32, 3))
    model = keras.Model(pixels, keras.layers.Activation("relu")(pixels + 2 * pixels))
    total = next(row for row in list_layers(model) if row.kind == "Add")
    assert (total.shape, total.parameters) == ((32, 32, 3), 0)
    found = cut(model, [f"{total.name}:none"])(images)[total.name]
    np.testing.assert_allclose(found.numpy(), 3 * images, rtol=1e-6)


def test_layers_of_a_sequential_model_can_be_tapped(images):
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(2, 3, name="one"), keras.layers.ReLU()])
    assert [row.kind for row in list_layers(model)] == ["Conv2D", "ReLU"]
    assert cut(model, ["one:max"])(images)["one"].shape == (5, 2)


def test_layers_as_large_as_the_picture_are_listed_with_open_sides():
    pixels = keras.Input((None, None, 3))
    (row,) = list_layers(keras.Model(pixels, keras.layers.Conv2D(2, 3, name="maps")(pixels)))
    assert row.shape == (None, None, 2)
    assert row.bytes_per_image("mean") == 8
    with pytest.raises(RequestError, match="depends on the picture"):
        row.bytes_per_image("flatten")


def test_a_backbone_is_cut_at_the_taps_of_its_row(opened, tiny_backbone):
    fitting = Backbone("tiny", "Tiny", "tiny", CAFFE, 32, "early", "late", "early")
    with pytest.raises(RequestError, match="early:mean"):
        cut_backbone(OpenBackbone(row=fitting, model=tiny_backbone, size=32, weights="none", sha256="0" * 64))
    assert set(cut_backbone(opened, opened.row.taps, "none").output) == {"early", "late", "head"}


def test_a_backbone_is_cut_with_its_preprocessing_inside(opened, pictures):
    resized = np.stack([resize_image(picture, height=32, width=32) for picture in pictures])
    prepared = resized[..., ::-1] * np.float32(CAFFE.scale) + np.float32(CAFFE.offset)
    expected = opened.model(prepared).numpy()
    np.testing.assert_allclose(cut_backbone(opened, ["head:none"])(pictures)["head"].numpy(), expected, rtol=1e-4)


def test_pixels_may_be_whole_numbers_or_not(opened, pictures):
    model = cut_backbone(opened, ["late"])
    whole = model(pictures)["late"].numpy()
    np.testing.assert_array_equal(model(pictures.astype(np.float32))["late"].numpy(), whole)
    np.testing.assert_array_equal(model.predict(pictures, verbose=0)["late"], whole)


@settings(max_examples=25)
@given(st.integers(1, 90), st.integers(1, 90))
def test_pictures_of_any_size_are_taken_and_resized_as_the_reader_does(opened, height, width):
    picture = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    model = cut_backbone_once(opened)
    resized = resize_images(tf.constant(picture), size=32, kernel="bilinear")[None]
    np.testing.assert_allclose(
        model(picture[None])["late"].numpy(), model(resized)["late"].numpy(), rtol=1e-4, atol=1e-3
    )


CUTS: dict[int, keras.Model] = {}


def cut_backbone_once(opened):
    return CUTS.setdefault(id(opened), cut_backbone(opened, ["late"]))


@settings(max_examples=50)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(1, 60))
def test_the_kernel_in_graphs_is_that_in_python(height, width, size):
    picture = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    expected = resize_image(picture, height=size, width=size)
    found = resize_images(tf.constant(picture), size=size, kernel="bilinear")
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


def test_an_unknown_kernel_is_refused():
    with pytest.raises(UnknownNameError, match="Unknown resize kernel 'bicubic'"):
        resize_images(tf.zeros((4, 4, 3), tf.uint8), size=2, kernel="bicubic")


def test_a_cut_with_its_preprocessing_survives_a_file(opened, pictures, tmp_path):
    model = cut_backbone(opened, ["early:gem", "head:none"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
        model.save(tmp_path / "cut.keras")
    again = keras.saving.load_model(tmp_path / "cut.keras", safe_mode=True)
    for key, answer in model(pictures).items():
        np.testing.assert_array_equal(again(pictures)[key].numpy(), answer.numpy())
