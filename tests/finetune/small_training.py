"""A training that takes seconds: a network of some hundred weights on drawn pictures of three classes.

Run as a program it trains in folders until it is killed, again and again: `small_training.py ROOT NAME:BATCH...`.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfcells.finetune.settings import FinetuneSettings, LossSettings, NetworkSettings, PhaseSettings, TrainingSettings
from tfcells.finetune.train import train

SIDE, CLASSES = 16, 3


def drawn_pictures(count, seed):
    """Pictures whose mean colour tells the class, and noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pictures = generator.uniform(0, 120, size=(count, SIDE, SIDE, 3))
    pictures[np.arange(count), :, :, labels] += 60
    return pictures.astype(np.float32), labels.astype(np.int64)


@dataclass
class DrawnExamples:
    """48 pictures to learn from, 24 to look at; `poison` makes one epoch's pictures infinite."""

    poison: int = -1
    batch: int = 8

    def __post_init__(self):
        self.pictures, self.classes = drawn_pictures(48, 1)
        self.seen, self.labels = drawn_pictures(24, 2)
        self.batches = len(self.pictures) // self.batch

    def training(self, epoch):
        order = np.random.default_rng([7, epoch]).permutation(len(self.pictures))
        pictures = self.pictures[order] * (np.inf if epoch == self.poison else 1.0)
        weights = np.ones(len(order), dtype=np.float32)
        return tf.data.Dataset.from_tensor_slices((pictures, self.classes[order], weights)).batch(self.batch)

    def watched(self):
        return tf.data.Dataset.from_tensor_slices(self.seen).batch(10)


class SmallTrainee:
    """A body with batch norm, dropout, and a head; a phase `head` trains the head alone."""

    def __init__(self, precision="float32", *, dropout=0.3, overflow=1.0):
        policy = keras.DTypePolicy(precision)
        pixels = keras.Input((SIDE, SIDE, 3))
        scaled = keras.layers.Rescaling(1 / 255, dtype="float32")(pixels)
        maps = keras.layers.Conv2D(
            4, 3, name="body", dtype=policy, kernel_initializer=keras.initializers.GlorotUniform(seed=3)
        )(scaled)
        maps = keras.layers.BatchNormalization(name="norm", dtype=policy)(maps)
        maps = keras.layers.Rescaling(overflow, dtype=policy, name="overflow")(maps)
        pooled = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pooled")(keras.ops.relu(maps))
        kept = keras.layers.Dropout(dropout, seed=5)(pooled)
        initial = keras.initializers.GlorotUniform(seed=4)
        logits = keras.layers.Dense(CLASSES, name="head", kernel_initializer=initial, dtype="float32")(kept)
        self.model = keras.Model(pixels, logits)
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._looker = keras.Model(pixels, [logits, pooled])
        self.precision, self.begun = precision, []

    def begin(self, phase, *, first):
        self.begun.append((phase.train, first))
        for name in ("body", "norm"):
            self.model.get_layer(name).trainable = phase.train != "head"
        optimiser = keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(phase.head_rate, 100),
            global_clipnorm=1.0,
            gradient_accumulation_steps=phase.accumulate if phase.accumulate > 1 else None,
        )
        if self.precision == "mixed_float16":
            optimiser = keras.optimizers.LossScaleOptimizer(optimiser, initial_scale=8.0)
        optimiser.build(self.model.trainable_variables)
        self.model.compile(optimiser, self.loss, jit_compile=False, auto_scale_loss=False)

    def rates(self):
        optimiser = self.model.optimizer
        return {"head": float(getattr(optimiser, "inner_optimizer", optimiser).learning_rate)}

    def look(self, pictures):
        return self._looker.predict(pictures, verbose=0)

    def judge(self, labels, logits):
        return float(self.loss(labels, logits)), keras.ops.convert_to_numpy(keras.ops.softmax(logits)).astype(float)


def small_settings(*epochs, patience=0, monitor="loss", rate=0.02, accumulate=1):
    phases = [
        PhaseSettings(
            epochs=count, train="all" if number else "head", head_rate=rate, warmup=0.0, accumulate=accumulate
        )
        for number, count in enumerate(epochs or (2, 3))
    ]
    training = TrainingSettings(batch_size=8, patience=patience, monitor=monitor)
    return FinetuneSettings(network=NetworkSettings(), phases=tuple(phases), loss=LossSettings(), training=training)


def run(folder, *, build=SmallTrainee, settings=None, examples=None, recipe=None, **options):
    options = {"precision": "float32", **options}
    return train(
        build,
        examples or DrawnExamples(),
        settings or small_settings(),
        folder=Path(folder),
        recipe=recipe or {"seed": 1, "network": {"name": "small"}},
        **options,
    )


def timeless(curve):
    """The curve without what a clock and the machine say."""
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "peak_memory_bytes")} for row in curve
    ]


def weights_of(trained):
    return [variable.numpy() for variable in trained.trainee.model.variables]


def killed_training(folder, batch):
    """Train until so many batches of this process are over, and be killed in the next one; on to the end at 0."""
    over = []

    def kill_there(place, done, total):
        over.append(done > 0)
        if done and sum(over) == batch:
            os.kill(os.getpid(), signal.SIGKILL)

    trained = run(folder, progress=kill_there, settings=small_settings(accumulate=4))
    np.savez(Path(folder) / "weights.npz", *weights_of(trained))
    (Path(folder) / "curve.json").write_text(json.dumps(timeless(trained.curve)))


class MirroredTrainee(SmallTrainee):
    """On two halves of the processor, each taking half of every batch."""

    def __init__(self, precision="float32"):
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        self.strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with self.strategy.scope():
            super().__init__(precision, dropout=0.0)

    def begin(self, phase, *, first):
        with self.strategy.scope():
            super().begin(phase, first=first)


def mirrored_training(folder):
    """Two epochs of the head, without dropout."""
    trained = run(folder, build=MirroredTrainee, settings=small_settings(2), choose=False)
    (Path(folder) / "curve.json").write_text(json.dumps(timeless(trained.curve)))


if __name__ == "__main__":
    # A process for each word, forked once everything is imported, before TensorFlow has started a thread.
    for word in sys.argv[2:]:
        name, how = word.split(":")
        folder = Path(sys.argv[1]) / name
        child = os.fork()
        if not child:
            mirrored_training(folder) if how == "mirrored" else killed_training(folder, int(how))
            os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
