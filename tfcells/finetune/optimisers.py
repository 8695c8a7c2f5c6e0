"""AdamW and SGD with a learning rate for each variable, weight decay where it belongs, and state that can be kept."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfcells.errors import RequestError
from tfcells.finetune.phases import Learner
from tfcells.finetune.schedules import build_schedule
from tfcells.finetune.settings import PhaseSettings

_NESTEROV: Final = 0.9


class _RatePerVariable(keras.optimizers.Optimizer):
    """What both optimisers do beyond Keras': a factor of the learning rate for each variable, by its path.

    The decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101) goes by the variable's own rate too, which
    Keras' does not, and leaves biases and normalisation alone.
    """

    def __init__(self, *, factors: Mapping[str, float], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.factors = dict(factors)

    def build(self, variables: Sequence[Any]) -> None:
        """Make the state for variables; each must have its factor.

        Raises:
            RequestError: If one has none, or two have one path.
        """
        if self.built:
            return
        paths = [variable.path for variable in variables]
        strange = [path for path in paths if path not in self.factors or paths.count(path) > 1]
        if strange:
            raise RequestError(
                f"Variable {strange[0]!r} has no learning rate of its own ({len(strange)} of {len(paths)} have none or "
                "share a path). Expected an optimiser made for what the phase trains."
            )
        self.exclude_from_weight_decay([variable for variable in variables if not _decays(variable)])
        # By Keras' own key, since `update_step` is given TensorFlow's variables, which have no path.
        self._factor_of = {self._var_key(v): self.factors[v.path] for v in variables}
        super().build(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Decay and step, both at the variable's own rate."""
        rate = ops.cast(learning_rate, variable.dtype) * self._factor_of[self._var_key(variable)]
        if self.weight_decay and self._use_weight_decay(variable):
            self.assign_sub(variable, variable * (rate * self.weight_decay))
        super().update_step(gradient, variable, rate)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Nothing: Keras would decay all at one rate; `update_step` does it."""

    def get_config(self) -> dict[str, Any]:
        """As Keras has it, with the factors."""
        return {**super().get_config(), "factors": dict(self.factors)}


@keras.saving.register_keras_serializable(package="tfcells")
class AdamW(_RatePerVariable, keras.optimizers.AdamW):
    """AdamW with a learning rate for each variable."""


@keras.saving.register_keras_serializable(package="tfcells")
class SGD(_RatePerVariable, keras.optimizers.SGD):
    """SGD with momentum, with a learning rate for each variable."""


def build_optimiser(
    phase: PhaseSettings, learners: Sequence[Learner], *, batches_per_epoch: int, precision: str = "float32"
) -> keras.optimizers.Optimizer:
    """The optimiser of a phase.

    Gradients of `accumulate` batches are averaged before they are clipped, so the norm that is clipped is that of one
    large batch. What is accumulated goes on over the end of an epoch; at the end of a phase an incomplete rest is
    dropped. (Under a MirroredStrategy Keras clips on every replica, before the gradients are summed.)

    Args:
        phase: Rates, schedule, decay, clipping and accumulation.
        learners: From `start_phase`.
        batches_per_epoch: Batches, not updates.
        precision: Under `mixed_float16` the loss is scaled (Micikevicius et al. 2018, arXiv:1710.03740): an update
            whose gradients are not finite is left out and the scale halved.

    Returns:
        An optimiser whose state, schedule included, is in its variables: see `optimiser_state`.

    Raises:
        RequestError: If gradients shall be accumulated on several replicas.
    """
    schedule = build_schedule(_top(learners), phase, batches_per_epoch=batches_per_epoch)
    return assemble_optimiser(phase, learners, schedule, precision=precision)


def assemble_optimiser(
    phase: PhaseSettings,
    learners: Sequence[Learner],
    schedule: keras.optimizers.schedules.LearningRateSchedule,
    *,
    precision: str = "float32",
) -> keras.optimizers.Optimizer:
    """The optimiser of a phase with another schedule, which is that of the fastest variables; see `build_optimiser`."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if phase.accumulate > 1 and replicas > 1:
        raise RequestError(
            f"accumulate is {phase.accumulate} on {replicas} replicas, and Keras cannot accumulate gradients under a "
            f"MirroredStrategy. Expected accumulate 1: {replicas} GPUs hold larger batches already."
        )
    top = _top(learners)
    arguments: dict[str, Any] = {
        "learning_rate": schedule,
        "factors": {learner.variable.path: learner.rate / top for learner in learners},
        "weight_decay": phase.weight_decay,
        "global_clipnorm": phase.clip_norm or None,
        "gradient_accumulation_steps": phase.accumulate if phase.accumulate > 1 else None,
    }
    if phase.optimiser == "adamw":
        optimiser: keras.optimizers.Optimizer = AdamW(**arguments)
    else:
        optimiser = SGD(momentum=_NESTEROV, nesterov=True, **arguments)
    return keras.optimizers.LossScaleOptimizer(optimiser) if precision == "mixed_float16" else optimiser


def optimiser_state(optimiser: keras.optimizers.Optimizer) -> dict[str, np.ndarray]:
    """Everything an optimiser remembers: moments, accumulated gradients, steps, loss scale; arrays by name."""
    state: dict[str, Any] = {}
    optimiser.save_own_variables(state)
    return {name: np.asarray(value) for name, value in state.items()}


def restore_optimiser(optimiser: keras.optimizers.Optimizer, state: Mapping[str, np.ndarray]) -> None:
    """Put a state back into an optimiser that was built for the same variables; it goes on bit for bit.

    Raises:
        RequestError: If the state is of other variables. (Keras would warn, and go on without it.)
    """
    ours = {name: tuple(array.shape) for name, array in optimiser_state(optimiser).items()}
    theirs = {name: tuple(array.shape) for name, array in state.items()}
    if ours != theirs:
        raise RequestError(
            f"State of an optimiser with {len(theirs)} arrays for one with {len(ours)}, or of other shapes. Expected "
            "the state of the same phase of the same network, and an optimiser that is built."
        )
    optimiser.load_own_variables(dict(state))


def _top(learners: Sequence[Learner]) -> float:
    return max(learner.rate for learner in learners)


def _decays(variable: Any) -> bool:
    """Kernels decay; biases, and the scale and shift of normalisation, which are vectors, do not."""
    return len(variable.shape) > 1 and variable.name != "bias"
