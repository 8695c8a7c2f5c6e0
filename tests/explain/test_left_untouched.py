"""Whatever happens while a network is explained, it and the process are left as they were, bit by bit."""

import importlib.util
import random
from dataclasses import replace

import numpy as np
import pytest
from small_networks import SIZE

from tfcells.explain.attribution import Attribution
from tfcells.explain.explained import explain_probe
from tfcells.explain.gradients import integrated_maps
from tfcells.explain.methods import METHODS
from tfcells.explain.randomised import randomised, rank_correlations
from tfcells.explain.shapley import GRADIENT, PARTITION

needs_shap = pytest.mark.skipif(importlib.util.find_spec("shap") is None, reason="shap is not installed")
# What checks shapes while tests run draws which items of a list it looks at.
pytestmark = pytest.mark.usefixtures("unchecked_shapes")
EVERY = [pytest.param(name, marks=needs_shap if name in (GRADIENT, PARTITION) else ()) for name in METHODS]
QUICK = {"exact": {}, "gradcam": {}, "ig": {"most_steps": 17}, "occlusion": {"patch": 16, "stride": 16}}
QUICK |= {PARTITION: {"evaluations": 20}, GRADIENT: {"samples": 4}}


class Fuse:
    """Lets so many passes through a network, forwards and backwards counted apart, and fails at the next."""

    def __init__(self):
        import tensorflow as tf

        self.forwards, self.backwards = (tf.Variable(-1, dtype=tf.int32, trainable=False) for _ in range(2))

    def set(self, *, forwards=-1, backwards=-1):
        self.forwards.assign(forwards)
        self.backwards.assign(backwards)

    def __call__(self, pixels):
        import tensorflow as tf

        def spent(counter, values):
            whole = tf.debugging.assert_none_equal(counter, 0, message="the fuse blew")
            with tf.control_dependencies([whole]), tf.control_dependencies([counter.assign_sub(1)]):
                return tf.identity(values)

        @tf.custom_gradient
        def passed(values):
            return spent(self.forwards, values), lambda upstream: spent(self.backwards, upstream)

        return passed(pixels)


@pytest.fixture(scope="module")
def fused(opened):
    """A linear probe on a backbone with a fuse, batch norm, dropout, noise and a frozen variable; and the fuse."""
    import keras
    from sklearn.linear_model import LogisticRegression

    from tfcells.backbones.taps import Tap

    fuse = Fuse()
    pixels = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Lambda(fuse, output_shape=(SIZE, SIZE, 3))(pixels)
    maps = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="early", dtype="float32")(maps)
    maps = keras.layers.GaussianNoise(0.1, seed=3)(keras.layers.BatchNormalization(name="norm")(maps))
    maps = keras.layers.Dropout(0.3, seed=4)(maps)
    maps = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="late")(maps)
    model = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(maps), name="fused")
    generator = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(generator.uniform(0.1, 0.5, tuple(variable.shape)))
    model.get_layer("norm").gamma.trainable = False
    model.get_layer("early").trainable = False
    probe = LogisticRegression().fit(generator.normal(size=(30, 6)), np.arange(30) % 2)
    return explain_probe(replace(opened, model=model), (Tap("late"),), probe, ("a", "b")), fuse


def state_of(explained):
    """All that an explainer might change: of the network, of Keras, of TensorFlow, of generators of random numbers."""
    import keras
    from keras.src.backend.common import global_state
    from tensorflow.python.eager import backprop, execute
    from tensorflow.python.framework import ops

    model = explained.model
    layers = model._flatten_layers()
    recorders = [getattr(module, "record_gradient", None) for module in (execute, backprop)]
    table = ops.gradient_registry._registry
    names = global_state.get_global_attribute("object_name_uids") or {}
    seed = global_state.get_global_attribute("global_seed_generator")
    kind, words, *rest = np.random.get_state()
    return {
        "variables": [(variable.path, variable.numpy().tobytes()) for variable in model.variables],
        "learning": [(variable.path, variable.trainable) for variable in model.variables],
        "layers": [(layer.name, layer.trainable, layer.dtype_policy.name) for layer in layers],
        "calls": [layer.__dict__.get("call") for layer in layers],
        "activations": [getattr(layer, "activation", None) for layer in layers],
        "momenta": [getattr(layer, "momentum", None) for layer in layers],
        "rates": [getattr(layer, "rate", None) for layer in layers],
        "joined": [len(layer._inbound_nodes) + len(layer._outbound_nodes) for layer in layers],
        "policy": (keras.config.dtype_policy().name, keras.config.floatx(), keras.config.image_data_format()),
        "seed": None if seed is None else seed.state.numpy().tolist(),
        "names": {name: count for name, count in names.items() if name != "keras_tensor"},
        "gradients": {name: dict(entry) for name, entry in table.items()},
        "recorders": recorders,
        "numpy": (kind, words.tolist(), rest),
        "python": random.getstate(),
    }


def towards(explained, pictures):
    return np.repeat(explained.contrast("a", "b")[None], len(pictures), axis=0)


@pytest.mark.parametrize("passes", [{"forwards": 0}, {"forwards": 2}, {"backwards": 0}, {"backwards": 1}])
@pytest.mark.parametrize("name", EVERY)
def test_a_method_that_fails_leaves_everything_as_it_was(name, passes, fused, pictures):
    explained, fuse = fused
    some = pictures[:2]

    def make():
        return METHODS[name].make(explained, some, towards(explained, some), batch_size=1, **QUICK[name]).heat

    fuse.set()
    heat, gradients = make(), integrated_maps(explained, some, towards(explained, some)).heat
    before = state_of(explained)
    fuse.set(**passes)
    failed = True
    try:
        make()
        failed = False
    except Exception as reason:
        assert "the fuse blew" in str(reason)
    assert failed == ("forwards" in passes or name in ("gradcam", "ig", GRADIENT))  # of others no gradient is asked
    assert state_of(explained) == before
    fuse.set()
    np.testing.assert_array_equal(make(), heat)
    np.testing.assert_array_equal(integrated_maps(explained, some, towards(explained, some)).heat, gradients)


@pytest.mark.parametrize("name", EVERY)
def test_a_method_leaves_everything_as_it_was(name, fused, pictures):
    explained, fuse = fused
    fuse.set()
    some = pictures[:2]
    METHODS[name].make(explained, some, towards(explained, some), **QUICK[name])  # what it traces stays
    before = state_of(explained)
    METHODS[name].make(explained, some, towards(explained, some), **QUICK[name])
    assert state_of(explained) == before


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("passes", [0, 1])
def test_a_method_that_fails_on_a_randomised_network_leaves_everything_as_it_was(name, passes, fused, pictures):
    explained, fuse = fused
    some, contrasts = pictures[:2], towards(explained, pictures[:2])

    def make(*asked):
        fuse.set(forwards=passes)
        return METHODS[name].make(*asked, batch_size=1, **QUICK[name])

    fuse.set()
    logits = explained.logits(some)
    before = state_of(explained)
    maps = Attribution(method="drawn", heat=np.random.default_rng(0).uniform(size=(2, 4, 4)), signed=True)
    with pytest.raises(Exception, match="the fuse blew"):
        rank_correlations(explained, make, some, contrasts, maps)
    fuse.set()
    assert state_of(explained) == before
    np.testing.assert_array_equal(explained.logits(some), logits)


@pytest.mark.parametrize("passes", [-1, 0])
def test_randomised_weights_are_put_back_whether_they_were_calibrated_or_not(passes, fused, pictures):
    explained, fuse = fused
    fuse.set()
    before = state_of(explained)
    fuse.set(forwards=passes)
    try:
        with randomised(explained, seed=0):
            inside = state_of(explained)
        assert passes == -1
        assert inside["variables"] != before["variables"]
    except Exception as reason:
        assert passes == 0 and "the fuse blew" in str(reason)
    assert state_of(explained) == before
