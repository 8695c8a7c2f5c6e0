"""A row of the catalog whose network builds in a blink, with what fine-tuning can go wrong in."""

import keras
import numpy as np
import tensorflow as tf

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.finetune.losses import ClassLoss
from tfcells.finetune.networks import build_network
from tfcells.finetune.settings import NetworkSettings

SIGNED = Preprocessing("rgb", (1 / 127.5,) * 3, (-1.0,) * 3)
TINY = Backbone("tiny", "Tiny", "tiny", SIGNED, 32, "stem_conv", "block_2_add", "out_relu")
NAMES = ("a", "b", "c")
BLOCKS = ("block_1", "block_2", "block_3", "top_conv")


def build_tiny(*, weights, include_top, input_shape):
    """A stem, a block, a block with dropout and a way around it, a block of two branches, a top."""
    if include_top or weights is not None:
        raise AssertionError("opened with a head or by Keras' own weights")
    conv, norm = keras.layers.Conv2D, keras.layers.BatchNormalization
    pixels = keras.Input(input_shape)
    stem = norm(name="stem_bn")(conv(4, 3, strides=2, use_bias=False, name="stem_conv")(pixels))
    maps = norm(name="block_1_bn")(conv(8, 3, strides=2, use_bias=False, name="block_1_conv")(stem))
    around = conv(8, 1, name="block_1_project")(keras.layers.ReLU(name="block_1_relu")(maps))
    maps = norm(name="block_2_bn")(conv(8, 3, padding="same", use_bias=False, name="block_2_conv")(around))
    maps = keras.layers.Dropout(0.5, name="block_2_drop")(keras.layers.ReLU(name="block_2_relu")(maps))
    maps = keras.layers.Add(name="block_2_add")([maps, around])
    left, right = conv(6, 1, name="block_3_left")(maps), conv(6, 3, padding="same", name="block_3_right")(maps)
    maps = keras.layers.Concatenate(name="block_3_concat")([left, right])
    maps = norm(name="top_bn")(conv(12, 1, use_bias=False, name="top_conv")(maps))
    return keras.Model(pixels, keras.layers.ReLU(name="out_relu")(maps), name="tiny_network")


def install_tiny(monkeypatch):
    """Put the row into the catalog."""
    monkeypatch.setitem(BACKBONES, "tiny", TINY)
    monkeypatch.setattr(keras.applications, "Tiny", build_tiny, raising=False)


def tiny_network(*, classes=3, seed=0, precision="float32", name="tiny", **settings):
    return build_network(
        NetworkSettings(name=name, weights="none", **settings), classes=classes, seed=seed, precision=precision
    )


def drawn_batch(count=8, *, size=32, classes=3, seed=0):
    """Pixels in [0, 255] and labels; the label shows in the brightness."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    pixels = generator.uniform(0, 255, (count, size, size, 3)) * (1 + labels[:, None, None, None]) / classes
    return pixels.astype(np.float32), labels.astype(np.int64)


def values(variables):
    return [variable.numpy() for variable in variables]


def same(ours, theirs):
    """Bit for bit."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))


def train_step(network, optimiser, batch):
    """What Keras' `train_on_batch` does, without the seconds that it takes to compile; the loss before the step."""
    pixels, labels = batch
    variables = network.model.trainable_variables
    with tf.GradientTape() as tape:
        loss = ClassLoss(NAMES)(labels, network.model(pixels, training=True))
        scaled = optimiser.scale_loss(loss)
    optimiser.apply(tape.gradient(scaled, variables), variables)
    return float(loss)
