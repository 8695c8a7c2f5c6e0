"""Every engine answers as Keras does in float32, whatever shares the batch. On a network that builds in a blink."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tfcells.backbones.catalog import Preprocessing, find_backbone
from tfcells.backbones.cut import cut_resized
from tfcells.backbones.open import OpenBackbone
from tfcells.backbones.taps import parse_taps, tap_keys
from tfcells.errors import RequestError
from tfcells.features.engines.choose import Workbench
from tfcells.features.engines.frozen import freeze
from tfcells.features.engines.parity import compare

BATCH, SIZE = 4, 32
TAPS = parse_taps(["late:max", "early:flatten", "late:mean"])
PACKAGES = {"tensorflow": (), "openvino": ("openvino",), "onnxruntime": ("onnxruntime", "tf2onnx")}


@pytest.fixture(scope="module")
def backbone():
    """Convolution, batch norm with statistics that are not neutral, BGR preprocessing."""
    pixels = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Conv2D(8, 3, strides=2, name="early")(pixels)
    maps = keras.layers.BatchNormalization(name="norm")(maps)
    model = keras.Model(pixels, keras.layers.DepthwiseConv2D(3, activation="relu6", name="late")(maps), name="small")
    generator = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(np.abs(generator.normal(0.2, 0.1, tuple(variable.shape))))
    caffe = Preprocessing("bgr", (0.02,) * 3, (-1.0, -1.1, -1.2))
    row = replace(find_backbone("mobilenet_v2"), name="small", preprocessing=caffe, size=SIZE)
    return OpenBackbone(row=row, model=model, size=SIZE, weights="none", sha256="0" * 64)


@pytest.fixture(scope="module")
def workbench(backbone):
    return Workbench(backbone, TAPS, batch_size=BATCH)


@pytest.fixture(scope="module", params=PACKAGES)
def engine(request, workbench):
    for package in PACKAGES[request.param]:
        pytest.importorskip(package)
    return workbench.open(request.param, "float32")


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_answers_are_those_of_keras_for_any_number_of_pictures(engine, backbone, count):
    pixels = noise(count)
    expected = cut_resized(backbone, TAPS)(pixels.astype(np.float32))
    found = engine(pixels)
    assert tuple(found) == tap_keys(TAPS) == engine.keys
    for key, answer in expected.items():
        assert found[key].dtype == np.float32
        np.testing.assert_allclose(found[key], answer.numpy(), rtol=1e-4, atol=1e-4)


def test_a_picture_is_answered_to_the_bit_whatever_shares_its_batch(engine):
    first, others = noise(1), noise(3, seed=1)
    alone, together = engine(first), engine(np.concatenate([first, others]))
    for key in alone:
        np.testing.assert_array_equal(alone[key][0], together[key][0])


def test_an_answer_stays_as_it_was_when_the_engine_is_asked_again(engine):
    kept = engine(noise(BATCH))
    copies = {key: value.copy() for key, value in kept.items()}
    engine(noise(BATCH, seed=5))
    for key, value in kept.items():
        np.testing.assert_array_equal(value, copies[key])


def test_parity_on_the_fixed_pictures_is_one(engine, workbench):
    for figures in workbench.parity(engine).values():
        assert figures.cosine > 0.999999
        assert figures.relative_error < 1e-4


def test_an_engine_says_its_version_and_device(engine):
    assert {"version", "device"} <= set(engine.facts())
    assert engine.facts()["device"] in ("cpu", "gpu")


def test_tensorflow_that_stays_in_float32_is_not_called_bfloat16(workbench):
    """Where the processor has bfloat16, the graph must show it and answer nearly the same."""
    try:
        engine = workbench.open("tensorflow", "bfloat16")
    except RequestError as refused:
        assert "TensorFlow left the graph in float32" in str(refused)
    else:
        assert all(figures.accepted for figures in workbench.parity(engine).values())


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_network_rebuilt_for_mixed_precision_has_the_same_weights_and_float32_answers(backbone, policy):
    pixels = noise(BATCH).astype(np.float32)
    outputs = {}
    for name in ("float32", policy):
        frozen = freeze(backbone, TAPS, batch_size=BATCH, policy=name)
        answers = frozen.function(keras.ops.convert_to_tensor(pixels))
        outputs[name] = {key: answer.numpy() for key, answer in zip(frozen.outputs, answers, strict=True)}
    assert all(output.dtype == np.float32 for output in outputs[policy].values())
    for figures in compare(outputs[policy], outputs["float32"]).values():
        assert figures.cosine > 0.999
        assert figures.relative_error > 0
