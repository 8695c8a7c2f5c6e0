"""The layers of a network in the order in which pictures pass them: what comes after a layer, and blocks of layers."""

import re
from dataclasses import dataclass
from typing import Any, Final

import keras

from tfcells.errors import UnknownNameError
from tfcells.finetune.networks import Network

_BLOCK_NAMES: Final = (
    # What a layer's name must begin with, and what its block is called then.
    (re.compile(r"(block(?:35|17|8)_\d+)(?:_|$)"), r"\1"),  # inception_resnet_v2
    (re.compile(r"(mixed\d+|mixed_\d[ab])$"), r"\1"),  # the concatenations that end the blocks of both Inceptions
    (re.compile(r"(?:normal|reduction)_concat_(\w+)$"), r"cell_\1"),  # those of nasnet
    (re.compile(r"conv_(?:pad|dw|pw)_(\d+)(?:_|$)"), r"conv_dw_\1"),  # mobilenet
    (re.compile(r"(expanded_conv(?:_\d+)?)_[a-z]"), r"\1"),  # mobilenet_v3, and the first block of mobilenet_v2
    (re.compile(r"(.*?block_?\d+[a-z]?)(?:_|$)"), r"\1"),  # block_13_expand, conv4_block6_out, block7a_bn, block5_pool
)


@dataclass(frozen=True, eq=False)
class Part:
    """A layer (or an operation without weights), and the names of the parts that it takes from."""

    layer: Any
    parents: frozenset[str]

    @property
    def name(self) -> str:
        """Of the layer."""
        name: str = self.layer.name
        return name

    @property
    def learns(self) -> bool:
        """Whether it has weights."""
        return bool(getattr(self.layer, "weights", []))


def list_parts(network: Network) -> dict[str, Part]:
    """The parts of a network by name, from input to output: those of the backbone or the named network, then the head.

    A layer that holds a sequence of layers (keras-hub's transformer) is replaced by what it holds.
    """
    trunk = network.model if network.body is None else network.body
    operations = [operation for operation in trunk.operations if operation.name not in network.head]
    makers = {id(tensor): made.name for made in operations for tensor in keras.tree.flatten(made.output)}
    parts: dict[str, Part] = {}
    ends: dict[str, str] = {}  # the last part of a sequence, by the name of its holder
    for operation in operations:
        taken = [] if isinstance(operation, keras.layers.InputLayer) else keras.tree.flatten(operation.input)
        parents = frozenset(ends.get(makers[id(tensor)], makers[id(tensor)]) for tensor in taken)
        for layer in network.sequences.get(operation.name, (operation,)):
            parts[layer.name] = Part(layer, parents)
            parents = frozenset({layer.name})
        (ends[operation.name],) = parents
    for name in network.head:
        parts[name] = Part(network.model.get_layer(name), frozenset({next(reversed(parts))}))
    return parts


def layers_from(network: Network, name: str) -> tuple[str, ...]:
    """A part and everything that its output reaches, the head included: names from input to output.

    Args:
        network: The network.
        name: Of a layer, with weights or without.

    Raises:
        UnknownNameError: If there is no such layer; names the nearest, and lists them from the last on.
    """
    parts = list_parts(network)
    if name not in parts:
        raise UnknownNameError(f"layer of {network.settings.name}", name, reversed(parts))
    reached = {name}
    for part in parts.values():  # parents stand before their children
        if part.parents & reached:
            reached.add(part.name)
    return tuple(part for part in parts if part in reached)


def list_blocks(network: Network) -> dict[str, tuple[str, ...]]:
    """The blocks before the head, from input to output: name to the layers with weights in it.

    Layers whose names begin alike are a block, where that beginning names one: `block_13_expand` to
    `block_13_project_BN` are `block_13`, and likewise `conv4_block6`, `block5`, `stage_3_block_2`. A layer whose name
    tells no block belongs to the first block that it leads to: a stem to the first block, the convolutions of an
    Inception to the concatenation (`mixed10`) that joins them. What leads to no block any more, such as MobileNetV2's
    `Conv_1` and `Conv_1_bn`, is a block of its own, named for its first layer.
    """
    parts = {name: part for name, part in list_parts(network).items() if name not in network.head}
    leads_to = _first_blocks(parts)
    blocks: dict[str, tuple[str, ...]] = {}
    last = ""
    for name, part in parts.items():
        if part.learns:
            block = leads_to[name]
            if block is None:
                block = last = last or name
            blocks[block] = (*blocks.get(block, ()), name)
    return blocks


def _first_blocks(parts: dict[str, Part]) -> dict[str, str | None]:
    """For each part the block that its name tells, or else that of the first part it leads to whose name tells one."""
    position = {name: index for index, name in enumerate(parts)}
    first: dict[str, str | None] = dict.fromkeys(parts)  # the part that names the block
    for name in reversed(parts):
        if _block_name(name):
            first[name] = name
        found = first[name]
        for parent in parts[name].parents:
            known = first[parent]
            if found and (known is None or position[found] < position[known]):
                first[parent] = found
    return {name: _block_name(found) if found else None for name, found in first.items()}


def _block_name(name: str) -> str | None:
    for pattern, called in _BLOCK_NAMES:
        match = pattern.match(name)
        if match:
            return match.expand(called)
    return None
