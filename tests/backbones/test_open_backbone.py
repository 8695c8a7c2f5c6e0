"""Opening a backbone: exactly the weights that were asked for, under names that depend on nothing else."""

import warnings
from dataclasses import replace
from unittest.mock import patch

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils

from tfcells.backbones.calibrate import calibrate_batch_norm, patterned_pictures, randomise
from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.backbones.open import build_network, open_backbone, weights_digest
from tfcells.backbones.weights import SEARCH_VARIABLE, file_digest
from tfcells.errors import MissingWeightsError, RequestError, UnknownNameError

SIGNED = Preprocessing("rgb", (1 / 127.5,) * 3, (-1.0,) * 3)
CAFFE = Preprocessing("bgr", (1.0,) * 3, (-103.939, -116.779, -123.68))
TINY = Backbone("tiny", "Tiny", "tiny", SIGNED, 32, "early", "middle", "activation")


def build_tiny(*, weights, include_top, input_shape):
    """Every kind of layer that weights can go wrong in, two of them named by Keras' counters."""
    if include_top or weights is not None:
        raise AssertionError("opened with a head or by Keras' own weights")
    pixels = keras.Input(input_shape)
    maps = keras.layers.Normalization(name="normalise")(pixels)
    maps = keras.layers.Conv2D(8, 3, strides=2, name="early")(maps)
    maps = keras.layers.BatchNormalization(name="norm")(maps)
    maps = keras.layers.ReLU()(maps)
    maps = keras.layers.DepthwiseConv2D(3, name="middle")(maps)
    maps = keras.layers.BatchNormalization(name="middle_norm")(maps)
    maps = keras.layers.Dropout(0.5)(maps)
    maps = keras.layers.Conv2D(12, 1, name="late")(maps)
    return keras.Model(pixels, keras.layers.Activation("relu")(maps), name="tiny_network")


@pytest.fixture(autouse=True)
def tiny_row(monkeypatch):
    """A row of the catalog whose network builds in a blink."""
    monkeypatch.setitem(BACKBONES, "tiny", TINY)
    monkeypatch.setattr(keras.applications, "Tiny", build_tiny, raising=False)
    monkeypatch.delenv(SEARCH_VARIABLE, raising=False)


@pytest.fixture
def donor(tiny_row):
    """The tiny network with weights of its own, those of its normalisation too."""
    model = open_backbone("tiny", weights="none", seed=5).model
    layer = model.get_layer("normalise")
    layer.set_weights([np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0]), np.array(7)])
    layer.finalize_state()
    return model


@pytest.fixture(scope="module")
def mobilenet():
    return open_backbone("mobilenet_v2", weights="none", size=96)


PICTURES = patterned_pictures(4, size=32, seed=1).astype(np.float32) / 127.5 - 1


def save(model, path):
    """As a person would, in the format that the suffix says."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
        if path.name.endswith(".weights.h5"):
            model.save_weights(path)
        elif path.name == "weights_only.h5":
            with h5py.File(path, "w") as file:
                legacy_h5_format.save_weights_to_hdf5_group(file, model)
        else:
            model.save(path)
    return path


def with_head(model):
    pooled = keras.layers.GlobalAveragePooling2D()(model.output)
    return keras.Model(model.input, keras.layers.Dense(5, name="classes")(pooled))


def wrapped(model):
    return keras.Sequential([keras.Input((32, 32, 3)), model, keras.layers.Flatten(), keras.layers.Dense(5)])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tiny_cells.weights.h5", None),
        ("tiny.keras", None),
        ("whole.h5", None),
        ("weights_only.h5", None),
        ("head.keras", with_head),
        ("nested.keras", wrapped),
        ("head.weights.h5", with_head),
    ],
)
def test_weights_of_any_format_give_the_network_they_came_from(donor, tmp_path, name, change):
    path = save(change(donor) if change else donor, tmp_path / name)
    opened = open_backbone("tiny", weights=path)
    np.testing.assert_array_equal(opened.model(PICTURES).numpy(), donor(PICTURES).numpy())
    assert opened.sha256 == file_digest(path)


def test_a_real_network_comes_back_from_its_file(mobilenet, tmp_path):
    path = save(mobilenet.model, tmp_path / "mobilenet_v2_cells.weights.h5")
    opened = open_backbone("mobilenet_v2", weights=tmp_path, size=96)
    assert (opened.weights, opened.sha256) == ("cells", file_digest(path))
    assert weights_digest(opened.model) == weights_digest(mobilenet.model)


def test_a_layer_that_a_file_lacks_is_named(donor, tmp_path):
    short = keras.Model(donor.input, donor.get_layer("middle").output)
    path = save(short, tmp_path / "short.keras")
    with pytest.raises(RequestError, match=r"short\.keras has no layer 'middle_norm' \(2 of 6 layers are missing\)"):
        open_backbone("tiny", weights=path)


@pytest.mark.parametrize("name", ["other.weights.h5", "other.keras", "whole.h5", "weights_only.h5"])
def test_a_file_of_another_network_is_refused_and_what_was_expected_is_said(tiny_backbone, tmp_path, name):
    path = save(tiny_backbone, tmp_path / name)
    expected = r"Expected (weights of keras\.applications with include_top=False, 260 arrays|a model that contains)"
    with pytest.raises(RequestError, match=rf"{name} .*{expected}"):
        open_backbone("mobilenet_v2", weights=path, size=96)


def test_arrays_of_another_shape_are_refused_though_the_layers_bear_the_right_names(tmp_path, donor):
    wider = keras.models.clone_model(
        donor, clone_function=lambda layer: type(layer).from_config(layer.get_config() | widened(layer))
    )
    with pytest.raises(RequestError, match=r"wider\.keras does not fit tiny_network: .*Expected weights of"):
        open_backbone("tiny", weights=save(wider, tmp_path / "wider.keras"))


def widened(layer):
    return {"filters": 13} if layer.name == "late" else {}


@pytest.mark.parametrize("name", ["bad.weights.h5", "bad.keras", "bad.h5"])
def test_a_file_that_is_no_model_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"no model" * 100)
    with pytest.raises(RequestError, match=rf"{name} does not fit tiny_network"):
        open_backbone("tiny", weights=tmp_path / name)


def test_code_in_a_model_file_is_not_run(tmp_path):
    pixels = keras.Input((32, 32, 3))
    model = keras.Model(pixels, keras.layers.Lambda(lambda maps: maps * 2)(pixels))
    with pytest.raises(RequestError, match=r"code\.keras does not fit tiny_network: .*[Ll]ambda"):
        open_backbone("tiny", weights=save(model, tmp_path / "code.keras"))


def test_layer_names_do_not_depend_on_what_was_built_before():
    row = BACKBONES["mobilenet_v3_small"]
    first = [layer.name for layer in build_network(row, 96).layers]
    keras.layers.Activation("relu"), keras.layers.ReLU(), keras.layers.Conv2D(3, 3)
    assert [layer.name for layer in build_network(row, 96).layers] == first


def test_the_name_counters_of_the_caller_go_on_as_if_nothing_was_built():
    before = int(keras.layers.Activation("relu").name.rpartition("_")[2] or 0)
    open_backbone("tiny", weights="none")
    assert keras.layers.Activation("relu").name == f"activation_{before + 1}"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (open_backbone("tiny", weights="none", seed=seed) for seed in (3, 3, 4))
    assert first.sha256 == again.sha256 != other.sha256
    assert weights_digest(first.model) == weights_digest(again.model) != weights_digest(other.model)


def test_the_digest_of_random_weights_is_what_it_was():
    """Stores and exports name random weights by it, on any machine and under any TensorFlow."""
    assert (
        open_backbone("tiny", weights="none", seed=0).sha256
        == "5303fe2e27eda6b5be8af0eb187eb9ba6bf3f277391a285725a5687d2cca1b03"
    )


def test_the_digest_of_random_weights_does_not_depend_on_the_size():
    assert open_backbone("tiny", weights="none", size=40).sha256 == open_backbone("tiny", weights="none").sha256


def test_nothing_that_is_opened_learns(donor, mobilenet, tmp_path):
    from_file = open_backbone("tiny", weights=save(donor, tmp_path / "tiny.keras"))
    assert not from_file.model.trainable_weights
    assert not mobilenet.model.trainable_weights


def test_random_weights_are_drawn_by_he():
    model = keras.Sequential([keras.Input((9, 9, 50)), keras.layers.Conv2D(80, 3), keras.layers.DepthwiseConv2D(5)])
    randomise(model, seed=0)
    (kernel, bias), (depthwise, _) = (layer.get_weights() for layer in model.layers)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 50)), rel=0.02)
    assert depthwise.std() == pytest.approx(np.sqrt(2 / 25), rel=0.05)
    assert not bias.any()


def test_random_weights_do_not_answer_near_zero(mobilenet):
    """MobileNetV2 as it comes from Keras, `weights=None`, answers around 1e-11."""
    answers = mobilenet.model(patterned_pictures(2, size=96, seed=9).astype(np.float32) / 127.5 - 1).numpy()
    assert 0.1 < answers.std() < 10
    assert (answers.max(axis=(0, 1, 2)) > 0).mean() > 0.9


@pytest.mark.parametrize("preprocessing", [SIGNED, CAFFE], ids=["rgb", "bgr"])
def test_random_weights_come_with_batch_norm_that_gives_mean_zero_and_deviation_one(preprocessing, monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", replace(TINY, preprocessing=preprocessing))
    model = open_backbone("tiny", weights="none").model
    pictures = patterned_pictures(16, size=32, seed=0).astype(np.float32)
    ordered = pictures[..., ::-1] if preprocessing.channel_order == "bgr" else pictures
    inputs = ordered * np.float32(preprocessing.scale) + np.float32(preprocessing.offset)
    for name in ("norm", "middle_norm"):
        answers = keras.Model(model.input, model.get_layer(name).output)(inputs).numpy()
        np.testing.assert_allclose(answers.mean((0, 1, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(answers.std((0, 1, 2)), 1, atol=1e-2)


def test_calibration_leaves_the_network_as_it_was_otherwise():
    model = build_network(TINY, 32)
    calibrate_batch_norm(model, SIGNED, seed=0)
    assert model.get_layer("norm").momentum == 0.99
    assert model.get_layer("dropout").rate == 0.5


def test_patterned_pictures_depend_on_the_seed_alone_and_are_not_flat():
    pictures = patterned_pictures(3, size=40, seed=2)
    np.testing.assert_array_equal(pictures, patterned_pictures(3, size=40, seed=2))
    assert (pictures != patterned_pictures(3, size=40, seed=3)).mean() > 0.5
    assert (pictures.std(axis=(1, 2)) > 10).all()


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_a_size_that_the_network_cannot_take_is_refused_as_such(weights):
    message = r"inception_v3 cannot be built for size = 64: .*at least 75x75.* Its own is 299\."
    with pytest.raises(RequestError, match=message) as refused:
        open_backbone("inception_v3", weights=weights, size=64)
    assert not isinstance(refused.value, MissingWeightsError)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'tiny'"):
        open_backbone("tinny", weights="none")


def test_imagenet_without_a_network_says_what_was_tried_and_the_ways_out(monkeypatch):
    def unreachable(*args, **kwargs):
        raise Exception("URL fetch failure on https://storage.googleapis.com: None -- Name or service not known")

    monkeypatch.setattr(file_utils, "get_file", unreachable)
    message = (
        r"No weights 'imagenet' for mobilenet_v2: no mobilenet_v2_imagenet\.weights\.h5 on this machine, .*"
        r"URL fetch failure .* Three ways out: "
    )
    with pytest.raises(MissingWeightsError, match=message) as missing:
        open_backbone("mobilenet_v2", size=96)
    assert missing.value.exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_b0_imagenet.weights.h5", "whole.keras", "whole.h5"])
def test_efficientnet_from_a_file_is_that_of_keras(tmp_path, name):
    """Keras divides a second time, but only in networks it builds for weights="imagenet"."""
    row = BACKBONES["efficientnet_b0"]
    with patch.object(file_utils, "get_file"), patch.object(keras.Model, "load_weights"):
        theirs = build_network(row, 96, weights="imagenet")
    imagenet = [np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]) ** 2, np.array(0)]
    theirs.get_layer("normalization").set_weights(imagenet)
    theirs.get_layer("normalization").finalize_state()
    randomise(theirs, seed=0)
    calibrate_batch_norm(theirs, row.preprocessing, seed=0)
    ours = open_backbone(row.name, weights=save(theirs, tmp_path / name), size=96).model
    pictures = patterned_pictures(2, size=96, seed=1).astype(np.float32)
    a, b = (keras.Model(model.input, model.get_layer(row.early).output)(pictures).numpy() for model in (ours, theirs))
    np.testing.assert_allclose(a, b, atol=1e-4 * b.std())
