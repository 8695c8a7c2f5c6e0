"""The network in its trainee: what a phase may move, the rates it is said to have, one host."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.errors import RequestError
from tfcells.finetune.settings import FinetuneSettings, LossSettings, NetworkSettings, PhaseSettings, TrainingSettings
from tfcells.finetune.trainee import build_trainee, check_one_host

CLASSES = ("a", "b", "c")


def build_small(*, weights, include_top, input_shape):
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(4, 3, strides=2, name="block_1_conv")(pixels)
    maps = keras.layers.BatchNormalization(name="block_1_bn")(maps)
    return keras.Model(pixels, keras.layers.Conv2D(6, 3, strides=2, name="block_2_conv")(maps), name="small")


@pytest.fixture(scope="module")
def small_row():
    unit = Preprocessing("rgb", (1 / 127.5,) * 3, (-1.0,) * 3)
    with pytest.MonkeyPatch.context() as patch:
        row = Backbone("small", "Small", "small", unit, 32, "block_1_conv", "block_1_conv", "block_2_conv")
        patch.setitem(BACKBONES, "small", row)
        patch.setattr(keras.applications, "Small", build_small, raising=False)
        yield


def pictures(count=12):
    generator = np.random.default_rng(0)
    return generator.uniform(0, 255, size=(count, 32, 32, 3)).astype(np.float32), np.arange(count) % 3


def batches():
    pixels, labels = pictures()
    weights = np.ones(len(labels), dtype=np.float32)
    return tf.data.Dataset.from_tensor_slices((pixels, labels, weights)).batch(4)


def plain_batches():
    return tf.data.Dataset.from_tensor_slices(pictures()[0]).batch(4)


def trainee_of(*, batch_norm="frozen", loss=None, name="small"):
    settings = FinetuneSettings(
        network=NetworkSettings(name=name, weights="none", size=32),
        loss=loss or LossSettings(),
        training=TrainingSettings(batch_size=4, batch_norm=batch_norm, precision="float32"),
    )
    return build_trainee(settings, class_names=CLASSES, seed=1, batches=3, plain=plain_batches)("float32")


def test_nothing_is_compiled_by_xla_though_keras_would_on_a_gpu(small_row, monkeypatch):
    function, asked = tf.function, []

    def noted(*args, **options):
        if args:  # what is decorated with options alone is no step: one way of Keras to convolve, not taken here
            asked.append(options.get("jit_compile"))
        return function(*args, **options)

    gpu = [types.SimpleNamespace(device_type="GPU")]
    trainee = trainee_of()
    with monkeypatch.context() as patch:
        patch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpu)
        patch.setattr(tf, "function", noted)
        assert keras.Model(trainee.model.input, trainee.model.output).jit_compile is True  # what Keras would do
        logits, _ = trainee.look(tf.data.Dataset.from_tensor_slices(pictures()[0]).batch(5))
    assert logits.shape == (12, 3)
    assert asked
    assert not any(asked)


def epoch(trainee):
    trainee.model.fit(batches(), epochs=1, shuffle=False, verbose=0)


def values(model):
    return [variable.numpy() for variable in model.weights]


def test_the_head_phase_leaves_the_body_as_it_is_and_the_next_one_moves_it(small_row):
    trainee = trainee_of()
    before = values(trainee.network.body)
    trainee.begin(PhaseSettings(epochs=1, train="head", warmup=0.0, schedule="constant"), first=True)
    epoch(trainee)
    assert all(np.array_equal(one, other) for one, other in zip(before, values(trainee.network.body), strict=True))
    assert trainee.rates() == {"head": pytest.approx(8e-4), "body": 0.0}
    trainee.begin(PhaseSettings(epochs=1, warmup=0.0, schedule="constant"), first=False)
    epoch(trainee)
    assert not all(np.array_equal(one, other) for one, other in zip(before, values(trainee.network.body), strict=True))
    assert trainee.rates() == {"head": pytest.approx(8e-4), "body": pytest.approx(3e-5)}


def test_rates_are_those_after_the_last_step_of_the_schedule(small_row):
    trainee = trainee_of()
    trainee.begin(PhaseSettings(epochs=1, warmup=0.0), first=True)  # a cosine over its three batches
    epoch(trainee)
    assert trainee.rates() == {"head": pytest.approx(0.0, abs=1e-12), "body": pytest.approx(0.0, abs=1e-12)}


def test_batch_norm_is_measured_anew_before_the_first_phase_alone(small_row):
    phase = PhaseSettings(epochs=1, train="head")
    trainee = trainee_of(batch_norm="recalibrated")
    norm = trainee.network.body.get_layer("block_1_bn")
    before = norm.moving_mean.numpy()
    trainee.begin(phase, first=False)
    assert np.array_equal(norm.moving_mean.numpy(), before)
    trainee.begin(phase, first=True)
    assert not np.allclose(norm.moving_mean.numpy(), before)


def test_what_is_looked_at_is_what_the_model_says_and_what_its_last_layer_was_given(small_row):
    trainee = trainee_of()
    pixels, labels = pictures()
    logits, features = trainee.look(tf.data.Dataset.from_tensor_slices(pixels).batch(5))
    np.testing.assert_allclose(logits, trainee.model(pixels, training=False).numpy(), atol=1e-5)
    kernel, bias = trainee.model.get_layer(trainee.network.head[-1]).get_weights()
    np.testing.assert_allclose(features @ kernel + bias, logits, atol=1e-4)
    loss, chances = trainee.judge(labels, logits)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    assert loss == pytest.approx(float(-np.log(chances[np.arange(len(labels)), labels]).mean()), rel=1e-5)


def test_the_same_seed_builds_the_same_network_twice(small_row):
    first, second = (values(trainee_of().model) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_network_without_a_body_leaves_all_of_its_weights(small_row, tmp_path):
    trainee = trainee_of(name="light_cnn")
    path = trainee.write_weights(tmp_path, name="mine")
    assert path.name == "light_cnn_mine.weights.h5"
    other = trainee_of(name="light_cnn")
    for variable in other.model.weights:
        variable.assign(np.zeros(variable.shape))
    other.model.load_weights(path)
    assert all(np.array_equal(one, two) for one, two in zip(values(trainee.model), values(other.model), strict=True))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_several_hosts_are_refused_with_the_reason(monkeypatch):
    hosts = {"worker": ["one:1234", "two:1234"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": hosts, "task": {"type": "worker", "index": 0}}))
    with pytest.raises(
        RequestError, match=r"TF_CONFIG names 2 hosts\. Keras' fit fails under MultiWorkerMirroredStrategy"
    ):
        check_one_host()
    for text in (json.dumps({"cluster": {"worker": ["one:1234"]}}), "no json", "{}", "[]"):
        monkeypatch.setenv("TF_CONFIG", text)
        check_one_host()


def test_weights_of_a_whole_network_are_the_same_file_however_it_was_trained(tmp_path):
    from tfcells.backbones.weights import file_digest

    settings = FinetuneSettings(
        network=NetworkSettings(name="dense", weights="none"),
        training=TrainingSettings(batch_size=4, precision="float32"),
    )
    digests = []
    for begun in (False, True):
        trainee = build_trainee(settings, class_names=CLASSES, seed=1, batches=3, plain=plain_batches)("float32")
        if begun:  # an optimiser is there, and has a state
            trainee.begin(PhaseSettings(epochs=1, train="all"), first=True)
        (tmp_path / str(begun)).mkdir()
        path = trainee.write_weights(tmp_path / str(begun), name="mine")
        digests.append(file_digest(path))
    assert digests[0] == digests[1]
    fresh = build_trainee(settings, class_names=CLASSES, seed=2, batches=3, plain=plain_batches)("float32").model
    assert not np.array_equal(values(fresh)[0], values(trainee.model)[0])
    fresh.load_weights(path)
    for one, other in zip(values(fresh), values(trainee.model), strict=True):
        np.testing.assert_array_equal(one, other)
