"""What a phase of training trains, and how fast: layers and learning rates from the network and the settings."""

from dataclasses import dataclass
from typing import Any

import keras

from tfcells.errors import RequestError, UnknownNameError
from tfcells.finetune.batchnorm import hold_statistics
from tfcells.finetune.blocks import layers_from, list_blocks, list_parts
from tfcells.finetune.networks import Network
from tfcells.finetune.settings import ALL, HEAD, LAST, PhaseSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """A variable that a phase trains.

    Attributes:
        variable: Of the model.
        layer: Name of the layer that holds it.
        rate: Its learning rate, at the top of the schedule.
    """

    variable: Any
    layer: str
    rate: float


def start_phase(network: Network, phase: PhaseSettings, *, batch_norm: str = "frozen") -> tuple[Learner, ...]:
    """Let the layers of a phase learn and no others; to be called before the model is compiled.

    Args:
        network: Its `trainable` flags are set anew, whatever a phase before left.
        phase: What to train and at which rates. A layer with rate 0 does not learn.
        batch_norm: Policy; see `batchnorm`.

    Returns:
        What learns, in the order of `model.trainable_variables`.

    Raises:
        UnknownNameError: If a layer is unknown.
        RequestError: If nothing would learn, or there are not so many blocks.
    """
    rates = layer_rates(network, phase)
    network.model.trainable = True
    parts = list_parts(network)
    for name, part in parts.items():
        if isinstance(part.layer, keras.layers.Layer):
            part.layer.trainable = name in rates
    hold_statistics(network, batch_norm)
    holders = {id(variable): name for name in rates for variable in parts[name].layer.variables}
    learners = tuple(
        Learner(variable=variable, layer=holders[id(variable)], rate=rates[holders[id(variable)]])
        for variable in network.model.trainable_variables
    )
    if not learners:
        raise _nothing_learns(phase)
    return learners


def check_phase(network: Network, phase: PhaseSettings, *, batches: int) -> None:
    """Refuse a phase that cannot be, before others are trained.

    Args:
        network: To be trained.
        phase: What is asked for.
        batches: Of an epoch.

    Raises:
        UnknownNameError: If a layer is unknown.
        RequestError: If there are not so many blocks, or nothing would learn.
    """
    if not layer_rates(network, phase):
        raise _nothing_learns(phase)
    if phase.accumulate > phase.epochs * batches:
        raise RequestError(
            f"Nothing would learn: accumulate is {phase.accumulate}, and {phase.epochs} epoch"
            f"{'' if phase.epochs == 1 else 's'} of {batches:,} batches end before so many gradients are averaged for "
            f"the first step. Expected accumulate from 1 to {phase.epochs * batches:,}, or more epochs."
        )


def _nothing_learns(phase: PhaseSettings) -> RequestError:
    return RequestError(f"Nothing would learn: train is {phase.train!r} and {_all_rates(phase)}. Expected a rate > 0.")


def layer_rates(network: Network, phase: PhaseSettings) -> dict[str, float]:
    """The layers that learn, from input to output, and their learning rates.

    The head learns at `head_rate`, the backbone at `body_rate`, and from a layer named in `rates` on at that rate; of
    two such layers the later one counts. A network without a backbone inside started from nothing: all of it learns
    at `head_rate`.

    Raises:
        UnknownNameError: If a layer is unknown.
        RequestError: If there are not so many blocks.
    """
    body_rate = phase.head_rate if network.body is None else phase.body_rate
    rates = {name: phase.head_rate if name in network.head else body_rate for name in list_parts(network)}
    order = list(rates)
    for name in phase.rates:
        if name not in order or name in network.head:
            known = [layer for layer in reversed(order) if layer not in network.head]
            raise UnknownNameError(f"layer in rates of {network.settings.name}", name, known)
    for name in sorted(phase.rates, key=order.index):
        rates |= {after: phase.rates[name] for after in layers_from(network, name) if after not in network.head}
    learning = learning_layers(network, phase.train)
    return {name: rates[name] for name in learning if rates[name] > 0}


def learning_layers(network: Network, train: str) -> tuple[str, ...]:
    """The layers with weights that a phase trains, from input to output.

    Args:
        network: The network.
        train: `head`; `all`; `last:N`, the head and the last N blocks (see `list_blocks`); or the name of a layer: it
            and everything its output reaches. A branch beside that layer does not learn.

    Raises:
        UnknownNameError: If it is none of these.
        RequestError: If there are not so many blocks.
    """
    parts = list_parts(network)
    if train == ALL:
        chosen: tuple[str, ...] = tuple(parts)
    elif train == HEAD:
        chosen = network.head
    elif train.startswith(LAST):
        chosen = _last_blocks(network, int(train.removeprefix(LAST)))
    elif train in parts:
        chosen = layers_from(network, train)
    else:
        known = (HEAD, ALL, f"{LAST}{len(list_blocks(network))}", *reversed(parts))
        raise UnknownNameError(f"part of {network.settings.name} to train", train, known)
    return tuple(name for name, part in parts.items() if name in chosen and part.learns)


def _last_blocks(network: Network, count: int) -> tuple[str, ...]:
    blocks = list_blocks(network)
    if count > len(blocks):
        raise RequestError(
            f"train is '{LAST}{count}', and {network.settings.name} has {len(blocks)} blocks: {', '.join(blocks)}. "
            f"Expected `{LAST}1` to `{LAST}{len(blocks)}`, or `{ALL}`."
        )
    last = list(blocks.values())[-count:]
    return (*(name for block in last for name in block), *network.head)


def _all_rates(phase: PhaseSettings) -> str:
    named = {"body_rate": phase.body_rate, "head_rate": phase.head_rate, **phase.rates}
    return ", ".join(f"{name} {rate:g}" for name, rate in named.items())
