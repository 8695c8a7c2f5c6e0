"""A network with what it takes to train it: what `train` asks for, made of the parts beside this file."""

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from tfcells.arrays import Float32, Labels, Probabilities
from tfcells.errors import RequestError
from tfcells.finetune.batchnorm import recalibrate
from tfcells.finetune.body_weights import write_body
from tfcells.finetune.families import family_mask, probabilities
from tfcells.finetune.losses import build_loss
from tfcells.finetune.networks import Network, build_network
from tfcells.finetune.optimisers import build_optimiser
from tfcells.finetune.phases import start_phase
from tfcells.finetune.settings import FinetuneSettings, PhaseSettings

CLUSTER: Final = "TF_CONFIG"
RECALIBRATED: Final = "recalibrated"

Logits = Float32[np.ndarray, "images classes"]


class NetworkTrainee:
    """A network that can be trained by `train`.

    Args:
        network: From `build_network`.
        settings: What is asked for.
        class_names: Names of the classes, in the order of the logits.
        batches: Batches of an epoch.
        plain: Gives batches of the training pictures as they are, for batch norm that is measured anew.
    """

    def __init__(
        self,
        network: Network,
        settings: FinetuneSettings,
        *,
        class_names: tuple[str, ...],
        batches: int,
        plain: Callable[[], tf.data.Dataset],
    ) -> None:
        self.network = network
        self._settings, self._class_names = settings, class_names
        self._batches, self._plain = batches, plain
        self._loss = build_loss(settings.loss, class_names)
        # What the head's last layer is given, beside what it gives.
        with self.model.distribute_strategy.scope():
            last = self.model.get_layer(network.head[-1])
            self._looker = keras.Model(self.model.input, [self.model.output, last.input])
        # Nor by XLA, as in training: on a GPU Keras would take it, compile anew for a shorter last batch, and round
        # otherwise than training does.
        self._looker.jit_compile = False
        self._parts: dict[str, float] = {}

    @property
    def model(self) -> keras.Model:
        """The network: float32 (batch, size, size, 3) in [0, 255] to float32 logits."""
        return self.network.model

    def begin(self, phase: PhaseSettings, *, first: bool) -> None:
        """Free the variables that a phase trains and compile with a new, built optimiser; see `train.Trainee`."""
        policy = self._settings.training.batch_norm
        if first and policy == RECALIBRATED:
            recalibrate(self.network, (batch.numpy() for batch in self._plain()))
        learners = start_phase(self.network, phase, batch_norm=policy)
        with self.model.distribute_strategy.scope():
            optimiser = build_optimiser(
                phase, learners, batches_per_epoch=self._batches, precision=self.network.precision
            )
            optimiser.build(self.model.trainable_variables)
            # Not by XLA, which is slower than slow on a processor; scaled by the optimiser itself, where it is.
            self.model.compile(optimiser, self._loss, jit_compile=False, auto_scale_loss=False)
        head = set(self.network.head)
        of_head = [learner.rate for learner in learners if learner.layer in head]
        of_body = [learner.rate for learner in learners if learner.layer not in head]
        top = max(of_head + of_body)
        self._parts = {"head": max(of_head, default=0.0) / top, "body": max(of_body, default=0.0) / top}

    def rates(self) -> Mapping[str, float]:
        """Learning rates of the `head` and, the highest one, of the `body`, as they are after the last step."""
        optimiser = self.model.optimizer
        now = float(getattr(optimiser, "inner_optimizer", optimiser).learning_rate)
        return {part: share * now for part, share in self._parts.items()}

    def look(self, pictures: tf.data.Dataset) -> tuple[Logits, Float32[np.ndarray, "images features"]]:
        """Logits of pictures, and what the head's last layer was given."""
        logits, features = self._looker.predict(pictures, verbose=0)
        return logits, features.reshape(len(features), -1)

    def judge(self, labels: Labels, logits: Logits) -> tuple[float, Probabilities]:
        """Mean loss of rows without weights, and their class probabilities, within their families where asked for."""
        competing = family_mask(self._class_names)[labels] if self._settings.loss.families else None
        return float(self._loss(labels, logits)), probabilities(logits, competing=competing)

    def write_weights(self, folder: Path, *, name: str) -> Path:
        """Write `<network>_<name>.weights.h5`: of the backbone inside, for any study to open, or else of everything."""
        if self.network.body is not None:
            return write_body(self.network, folder, name=name)
        path = folder / f"{self.network.settings.name}_{name}.weights.h5"
        unfinished = folder / f".unfinished-{path.name}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
            # Of a model without the optimiser, whose state and name depend on how often training was interrupted; under
            # a name of its own, or Keras would count how many models this process has made.
            whole = keras.Model(self.model.input, self.model.output, name=self.network.settings.name)
            whole.save_weights(unfinished)
        unfinished.replace(path)
        return path


def build_trainee(
    settings: FinetuneSettings,
    *,
    class_names: tuple[str, ...],
    seed: int,
    batches: int,
    plain: Callable[[], tf.data.Dataset],
) -> Callable[[str], NetworkTrainee]:
    """What makes trainees, each with the same initial weights, from a precision.

    On a host with several GPUs each batch is parted among them (`MirroredStrategy`).

    Raises:
        RequestError: If several hosts were set up.
    """
    check_one_host()

    def build(precision: str) -> NetworkTrainee:
        with strategy_of_host().scope():
            network = build_network(settings.network, classes=len(class_names), seed=seed, precision=precision)
        return NetworkTrainee(network, settings, class_names=class_names, batches=batches, plain=plain)

    return build


def strategy_of_host() -> Any:
    """`MirroredStrategy` where there are several GPUs, else the default one."""
    several = len(tf.config.list_logical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()


def replicas_of_host() -> int:
    """Among how many GPUs `strategy_of_host` parts each batch; 1 where it parts none."""
    return max(1, len(tf.config.list_logical_devices("GPU")))


def check_one_host() -> None:
    """Refuse several hosts.

    Raises:
        RequestError: If `TF_CONFIG` names more than one.
    """
    try:
        hosts = json.loads(os.environ.get(CLUSTER) or "{}").get("cluster", {})
        count = sum(len(addresses) for addresses in hosts.values())
    except (ValueError, AttributeError, TypeError):
        return  # TensorFlow itself says what is wrong with it
    if count > 1:
        raise RequestError(
            f"{CLUSTER} names {count} hosts. Keras' fit fails under MultiWorkerMirroredStrategy, so training takes "
            f"one host, with as many GPUs as it has. Unset {CLUSTER}."
        )
