"""Training that can be left alone: phases in order, and after every epoch nothing of it can be lost.

One epoch is one call of Keras' `fit` on a dataset that is a pure function of seed and epoch. `fit` brings loss
scaling, gradient accumulation and MirroredStrategy with it, and nothing that it holds outlives an epoch but the
variables of the network and of the optimiser: with those restored, going on is the same as never having stopped.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, runtime_checkable

import keras
import numpy as np
import tensorflow as tf

from tfcells.arrays import Float32, Labels, Probabilities
from tfcells.errors import DamageError
from tfcells.finetune.checkpoints import Best, Checkpoint, Checkpoints, Row, State, open_checkpoints
from tfcells.finetune.determinism import deterministic
from tfcells.finetune.epoch_metrics import better, epoch_metrics
from tfcells.finetune.memory import peak_memory
from tfcells.finetune.precision import overflow
from tfcells.finetune.settings import FinetuneSettings, PhaseSettings
from tfcells.progress import Progress, silent

_log = logging.getLogger(__name__)

FLOAT16: Final = "mixed_float16"
FLOAT32: Final = "float32"

Logits = Float32[np.ndarray, "images classes"]


@runtime_checkable
class Trainee(Protocol):
    """A network with what it takes to train it; see `tfcells.finetune.trainee`."""

    @property
    def model(self) -> keras.Model:
        """The network: float32 (batch, size, size, 3) in [0, 255] to float32 logits."""

    def begin(self, phase: PhaseSettings, *, first: bool) -> None:
        """Free the variables that a phase trains and compile with a new, built optimiser.

        Args:
            phase: What is trained, and how.
            first: Whether it is the first phase, before which batch norm may be measured anew.
        """

    def rates(self) -> Mapping[str, float]:
        """Learning rates as they are after the last step, by the part of the network."""

    def look(self, pictures: tf.data.Dataset) -> tuple[Logits, Float32[np.ndarray, "images features"]]:
        """Logits of pictures, and what the head saw of them."""

    def judge(self, labels: Labels, logits: Logits) -> tuple[float, Probabilities]:
        """Mean loss of rows without weights, and their class probabilities."""


Build = Callable[[str], Trainee]
"""From a precision (`float32`, `mixed_float16`, `mixed_bfloat16`) to a trainee with its initial weights."""


@runtime_checkable
class Examples(Protocol):
    """The pictures of one training; see `tfcells.finetune.table_examples`."""

    @property
    def labels(self) -> Labels:
        """int64 of shape (images,): of the rows that are looked at after every epoch."""

    @property
    def batches(self) -> int:
        """Batches of an epoch."""

    def training(self, epoch: int) -> tf.data.Dataset:
        """One epoch's batches of (pictures, labels, weights), a pure function of the epoch, which counts from 0."""

    def watched(self) -> tf.data.Dataset:
        """Batches of the pictures of `labels`, in their order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochSeen:
    """What one epoch came to, for whoever writes it down.

    Attributes:
        number: Epochs so far, this one counted, over all phases.
        row: Its row of the curve.
        curve: All rows so far, this one included.
        labels: int64 of shape (images,), of the rows looked at.
        probabilities: float64 of shape (images, classes).
        features: float32 of shape (images, features): what the head saw.
    """

    number: int
    row: Row
    curve: tuple[Row, ...]
    labels: Labels
    probabilities: Probabilities
    features: np.ndarray


Watcher = Callable[[EpochSeen], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A finished training.

    Attributes:
        trainee: With the weights that were chosen.
        curve: One row per epoch: phase, epoch, metrics, rates, seconds, peak memory, precision.
        best: The epoch whose weights these are; None if none was better than what was begun with.
        precision: What was computed in at the end.
        fallbacks: Changes of precision: phase, epoch, from, to, reason.
    """

    trainee: Trainee
    curve: tuple[Row, ...]
    best: Best | None
    precision: str
    fallbacks: tuple[Row, ...]


def train(
    build: Build,
    examples: Examples,
    settings: FinetuneSettings,
    *,
    precision: str,
    folder: Path,
    recipe: Mapping[str, Any],
    choose: bool = True,
    watch: Watcher = lambda seen: None,
    progress: Progress = silent,
) -> Trained:
    """Train through all phases, or go on where it was stopped.

    A phase goes on until its epochs are over, or until `training.patience` epochs brought no better value of
    `training.monitor`. Its end restores the best weights so far, and the next phase starts from them: a phase that
    makes nothing better changes nothing. On a processor the same seed, batches and network give the same weights,
    bit by bit, whether the training was interrupted or not.

    Args:
        build: Makes the network, in a precision.
        examples: The pictures.
        settings: What is asked for.
        precision: To begin with; `mixed_float16` that overflows becomes `float32` from the last checkpoint on.
        folder: Of the checkpoints; a training that was begun there is gone on with.
        recipe: JSON object of everything the course depends on.
        choose: Whether the rows looked at choose the epoch; else the last epoch's weights are the result, and no
            phase ends early.
        watch: Told of every epoch, before its checkpoint is written; an epoch that a kill cut off is told again.
        progress: Told how far an epoch is, in batches.

    Raises:
        RequestError: If another process trains in this folder.
        StaleStoreError: If another training was begun there.
        DamageError: If the loss is no number, or no checkpoint can be read.
    """
    with deterministic(), open_checkpoints(folder, recipe) as checkpoints:
        course = _Course(
            build=build,
            examples=examples,
            settings=settings,
            checkpoints=checkpoints,
            choose=choose,
            watch=watch,
            progress=progress,
        )
        return course.run(precision)


@dataclass(kw_only=True, eq=False)
class _Course:
    """One training under way."""

    build: Build
    examples: Examples
    settings: FinetuneSettings
    checkpoints: Checkpoints
    choose: bool
    watch: Watcher
    progress: Progress

    def run(self, precision: str) -> Trained:
        kept = self.checkpoints.latest()
        trainee = self.build(precision if kept is None else kept.state.precision)
        if kept is None:
            kept = Checkpoint(state=State(precision=precision), model=values_of(trainee.model.variables))
            self.checkpoints.save(kept)
        elif kept.state.curve:
            _log.info("training: %d epochs are done, going on after them", len(kept.state.curve))
        begun = False
        while kept.state.phase < len(self.settings.phases):
            if not begun:
                self._enter(trainee, kept)
                begun = True
            if self._over(kept.state):
                kept, begun = self._finish_phase(kept), False
                self.checkpoints.save(kept)
                continue
            try:
                kept = self._one_epoch(trainee, kept)
            except _OverflowError as beyond:
                kept, begun = self._fallen_back(kept, beyond), False
                trainee = self.build(kept.state.precision)
                continue
            self.checkpoints.save(kept)
        assign(trainee.model.variables, kept.model)
        state = kept.state
        return Trained(
            trainee=trainee,
            curve=state.curve,
            best=state.best,
            precision=state.precision,
            fallbacks=state.fallbacks,
        )

    def _enter(self, trainee: Trainee, kept: Checkpoint) -> None:
        """Bring a trainee to where a checkpoint is."""
        assign(trainee.model.variables, kept.model)
        trainee.begin(self.settings.phases[kept.state.phase], first=kept.state.serial == 0)
        if kept.state.epoch:
            assign(trainee.model.variables, kept.model)  # what beginning a phase measured is long in them
            optimiser, scaling = _parted(trainee.model.optimizer)
            assign(optimiser, kept.optimiser)
            if kept.scaling:
                assign(scaling, kept.scaling)

    def _over(self, state: State) -> bool:
        patience = self.settings.training.patience
        patient = not (self.choose and patience) or state.stalled < patience
        return state.epoch >= self.settings.phases[state.phase].epochs or not patient

    def _finish_phase(self, kept: Checkpoint) -> Checkpoint:
        state = replace(kept.state, phase=kept.state.phase + 1, epoch=0, phase_best=None, stalled=0)
        return Checkpoint(state=state, model=kept.best or kept.model, best=kept.best)

    def _one_epoch(self, trainee: Trainee, kept: Checkpoint) -> Checkpoint:
        state, started = kept.state, time.perf_counter()
        place = f"phase {state.phase + 1}, epoch {state.epoch + 1}"
        loss = self._pass(trainee, kept, place)
        logits, features = trainee.look(self.examples.watched())
        seconds = time.perf_counter() - started
        if not np.isfinite(logits).all():
            if state.precision == FLOAT16:
                raise _OverflowError("an answer on the validation rows is no number")
            self._stop(kept, place, "an answer on the validation rows", float("nan"))
        validation_loss, probabilities = trainee.judge(self.examples.labels, logits)
        row: Row = {
            "phase": state.phase + 1,
            "trained": self.settings.phases[state.phase].train,
            "epoch": state.epoch + 1,
            "training_loss": loss,
            **epoch_metrics(self.examples.labels, probabilities, loss=validation_loss),
            **{f"{part}_rate": rate for part, rate in trainee.rates().items()},
            "precision": state.precision,
            "seconds": seconds,
            "peak_memory_bytes": peak_memory(),
        }
        after = self._judged(kept, row, trainee)
        self.watch(
            EpochSeen(
                number=len(after.state.curve),
                row=row,
                curve=after.state.curve,
                labels=self.examples.labels,
                probabilities=probabilities,
                features=features,
            )
        )
        return after

    def _pass(self, trainee: Trainee, kept: Checkpoint, place: str) -> float:
        """One pass over the training pictures; the mean loss of its batches."""
        pictures, batches = self.examples.training(len(kept.state.curve)), self.examples.batches
        self.progress(place, 0, batches)
        guard = _Guard(place, batches, self.progress)
        history = trainee.model.fit(pictures, epochs=1, shuffle=False, verbose=0, callbacks=[guard])
        reason = overflow(trainee.model.optimizer, loss=guard.loss)
        if reason is not None:
            raise _OverflowError(reason)
        if guard.bad_batch is not None:
            self._stop(kept, place, f"the training loss, in batch {guard.bad_batch} of {batches},", guard.loss)
        return float(history.history["loss"][-1])

    def _stop(self, kept: Checkpoint, place: str, what: str, value: float) -> NoReturn:
        state = kept.state
        raise DamageError(
            f"In {place}, {what} became {value}, computed in {state.precision}. Nothing of this epoch is kept; "
            f"{self.checkpoints.folder} holds the weights of the {len(state.curve)} epochs before it. Train with lower "
            "body_rate and head_rate, a longer warmup or a smaller clip_norm, in another folder."
        )

    def _fallen_back(self, kept: Checkpoint, beyond: "_OverflowError") -> Checkpoint:
        state = kept.state
        entry = {
            "phase": state.phase + 1,
            "epoch": state.epoch + 1,
            "from": state.precision,
            "to": FLOAT32,
            "reason": str(beyond),
        }
        _log.warning("training: %s; the epoch begins anew in %s", beyond, FLOAT32)
        return replace(kept, state=replace(state, precision=FLOAT32, fallbacks=(*state.fallbacks, entry)), scaling=())

    def _judged(self, kept: Checkpoint, row: Row, trainee: Trainee) -> Checkpoint:
        """The checkpoint after an epoch: what is best by now, and for how long."""
        state, monitor = kept.state, self.settings.training.monitor
        value, here = float(row[monitor]), values_of(trainee.model.variables)
        best, best_values = state.best, kept.best
        if not self.choose:
            best, best_values = Best(phase=row["phase"], epoch=row["epoch"], value=value), ()
        elif better(value, None if best is None else best.value, monitor=monitor):
            best, best_values = Best(phase=row["phase"], epoch=row["epoch"], value=value), here
        progressed = better(value, state.phase_best, monitor=monitor)
        optimiser, scaling = _parted(trainee.model.optimizer)
        return Checkpoint(
            state=replace(
                state,
                epoch=state.epoch + 1,
                best=best,
                phase_best=value if progressed else state.phase_best,
                stalled=0 if progressed else state.stalled + 1,
                curve=(*state.curve, row),
            ),
            model=here,
            optimiser=values_of(optimiser),
            scaling=values_of(scaling),
            best=best_values,
        )


class _OverflowError(Exception):
    """A number beyond what float16 holds."""


class _Guard(keras.callbacks.Callback):
    """Stops an epoch at the first batch whose loss is no number, and tells how far it is."""

    def __init__(self, place: str, batches: int, progress: Progress) -> None:
        super().__init__()
        self.bad_batch: int | None = None
        self.loss = 0.0
        self._place, self._batches, self._progress = place, batches, progress

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """The mean over the epoch so far is no number from the batch on whose loss is none."""
        self.loss = float((logs or {})["loss"])
        self._progress(self._place, batch + 1, self._batches)
        if not math.isfinite(self.loss):
            self.bad_batch = batch + 1
            self.model.stop_training = True


def values_of(variables: Any) -> tuple[np.ndarray, ...]:
    """The values of Keras variables, in order."""
    return tuple(np.array(variable.numpy()) for variable in variables)


def assign(variables: Any, values: Any) -> None:
    """Give variables their values.

    Raises:
        DamageError: If their number or a shape differs: they are of another network.
    """
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise DamageError(
            f"A checkpoint with {len(values)} arrays does not fit a network of {len(variables)} variables, or not in "
            "their shapes. Was it made by another version? Remove the folder to begin anew."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _parted(optimiser: Any) -> tuple[list[Any], list[Any]]:
    """Variables of an optimiser, and those of the loss scaling around it."""
    if not isinstance(optimiser, keras.optimizers.LossScaleOptimizer):
        return list(optimiser.variables), []
    inner = list(optimiser.inner_optimizer.variables)
    own = {id(variable) for variable in inner}
    return inner, [variable for variable in optimiser.variables if id(variable) not in own]
