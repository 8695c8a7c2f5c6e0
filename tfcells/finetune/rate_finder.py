"""The learning-rate range test: a short training at rates that grow, to see between which ones the loss falls."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from tfcells.errors import RequestError
from tfcells.finetune.networks import Network
from tfcells.finetune.optimisers import assemble_optimiser
from tfcells.finetune.phases import start_phase
from tfcells.finetune.settings import PhaseSettings

_MEMORY: Final = 0.9  # of the exponential mean of losses
_DIVERGED: Final = 4.0  # times the lowest smoothed loss
_MARGIN: Final = 0.1
_FEWEST: Final = 10
_STILL: Final = 0.2  # share of the batches at whose rates next to nothing is learned
_CERTAIN: Final = 2.0  # standard errors


@dataclass(frozen=True, kw_only=True)
class RateTest:
    """What the test saw.

    Attributes:
        rates: Learning rates that were tried, of the fastest layers of the phase.
        losses: Loss of the batch at each, before its update; smoothed, see `find_rate`.
        suggested: A tenth of the rate at which the loss was lowest; None where it never fell, so that where it was
            lowest is chance.
        asked: What the phase sets for the same layers.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float | None
    asked: float


def find_rate(
    network: Network,
    batches: Iterable[tuple[Any, Any, Any]],
    *,
    steps: int,
    loss: keras.losses.Loss,
    phase: PhaseSettings,
    batch_norm: str = "frozen",
    lowest: float = 1e-7,
    highest: float = 1.0,
) -> RateTest:
    """Train on one batch after another, at rates from `lowest` to `highest` (Smith 2017, arXiv:1506.01186).

    Losses are smoothed by an exponential mean without its bias to zero; the test ends early where they are four times
    the lowest, or no number. Whether any rate lowered the loss goes by the batches of the first fifth, at whose rates
    next to nothing is learned: the lowest loss must lie two standard errors below their mean. The network is left as
    it was, its `trainable` flags as the phase sets them.

    Args:
        network: To be trained.
        batches: Pixels, labels and weights, from the training rows alone.
        steps: How many of the batches; 10 or more, and there must be as many.
        loss: Of labels and logits.
        phase: What learns and by which optimiser; the ratio of its rates is kept, the rates themselves are not used.
        batch_norm: Policy.
        lowest, highest: Rates of the fastest layers at the first and the last batch.

    Raises:
        RequestError: If there are fewer than 10 batches, or the loss is no number from the start.
    """
    if steps < _FEWEST:
        raise RequestError(f"{steps} batches to find a rate with. Expected {_FEWEST} or more.")
    if not 0 < lowest < highest:
        raise RequestError(f"Rates from {lowest:g} to {highest:g}. Expected two above 0, the lowest first.")
    kept = [variable.numpy() for variable in network.model.variables]
    learners = start_phase(network, phase, batch_norm=batch_norm)
    growth = keras.optimizers.schedules.ExponentialDecay(lowest, steps - 1, highest / lowest)
    optimiser = assemble_optimiser(phase, learners, growth, precision=network.precision)
    try:
        each = _losses(network, itertools.islice(batches, steps), loss=loss, optimiser=optimiser)
    finally:
        for variable, value in zip(network.model.variables, kept, strict=True):
            variable.assign(value)
    if not each:
        raise RequestError("The loss of the first batch is no number. Expected a finite loss to start from.")
    rates, losses = tuple(float(growth(step)) for step in range(len(each))), _smoothed(each)
    lowest_at = _lowest(each, losses)
    return RateTest(
        rates=rates,
        losses=tuple(losses),
        suggested=None if lowest_at is None else _MARGIN * rates[lowest_at],
        asked=max(learner.rate for learner in learners),
    )


def _lowest(each: list[float], losses: list[float]) -> int | None:
    """The batch at which the smoothed loss was lowest, if it is lower than at rates that teach next to nothing."""
    still = max(3, round(_STILL * len(each)))
    if len(each) <= still:
        return None
    place = still + int(np.argmin(losses[still:]))
    spread = float(np.std(each[:still], ddof=1))
    error = spread * math.sqrt(1 / still + (1 - _MEMORY) / (1 + _MEMORY))
    return place if losses[place] < float(np.mean(each[:still])) - _CERTAIN * error else None


def _smoothed(each: list[float]) -> list[float]:
    """Exponential means of losses without their bias to zero."""
    smoothed, mean = [], 0.0
    for number, value in enumerate(each, start=1):
        mean = _MEMORY * mean + (1 - _MEMORY) * value
        smoothed.append(mean / (1 - _MEMORY**number))
    return smoothed


def _losses(network: Network, batches: Iterable[tuple[Any, Any, Any]], *, loss: Any, optimiser: Any) -> list[float]:
    """The loss of each batch, up to where they diverge."""
    variables = network.model.trainable_variables
    optimiser.build(variables)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(pixels: Any, labels: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(labels, network.model(pixels, training=True), sample_weight=weights)
            scaled = optimiser.scale_loss(value)
        optimiser.apply(tape.gradient(scaled, variables), variables)
        return value

    each: list[float] = []
    for batch in batches:
        each.append(float(step(*batch)))
        smoothed = _smoothed(each)
        if not math.isfinite(smoothed[-1]) or smoothed[-1] > _DIVERGED * min(smoothed):
            return each[:-1]
    return each
