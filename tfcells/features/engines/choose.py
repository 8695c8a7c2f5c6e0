"""Open the engine that a request and the table lead to, if it answers as TensorFlow does in float32."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfcells.backbones.cut import cut_resized
from tfcells.backbones.open import OpenBackbone
from tfcells.backbones.taps import Tap
from tfcells.errors import RequestError
from tfcells.features.engines.contract import AUTO, OPENVINO, REFERENCE, TENSORFLOW, Engine
from tfcells.features.engines.frozen import FrozenNetwork, freeze
from tfcells.features.engines.machine import Machine, this_machine
from tfcells.features.engines.parity import ACCEPTED, Parity, compare, described, parity_pictures, rounded
from tfcells.features.engines.table import candidates, require_possible
from tfcells.features.engines.tensorflow_graph import TensorFlowEngine, graphics_card

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Choice:
    """An opened engine, and what a recipe says of it.

    Attributes:
        engine: The engine.
        facts: `name`, `precision`, `batch_size`, the engine's own facts, and, where it is not TensorFlow in
            float32, `parity`: by tap the smallest `cosine` and the largest `relative_error`.
    """

    engine: Engine
    facts: Mapping[str, Any]


class Workbench:
    """What candidates are opened from and held against: one backbone, cut at some taps.

    Args:
        backbone: From `open_backbone`.
        taps: Where to cut.
        batch_size: Pictures per pass.

    Raises:
        UnknownNameError: If a layer is unknown.
        RequestError: If a layer cannot be pooled as asked.
    """

    def __init__(self, backbone: OpenBackbone, taps: tuple[Tap, ...], *, batch_size: int) -> None:
        self.backbone = backbone
        self.taps = taps
        self.batch_size = batch_size
        self.network = cut_resized(backbone, taps)

    @cached_property
    def frozen(self) -> FrozenNetwork:
        """The network in float32, for engines that convert it."""
        return freeze(self.backbone, self.taps, batch_size=self.batch_size)

    @cached_property
    def pictures(self) -> np.ndarray:
        """Pictures on which features are compared."""
        return parity_pictures(size=self.backbone.size, kernel=self.backbone.row.kernel)

    @cached_property
    def reference(self) -> dict[str, np.ndarray]:
        """Their features by TensorFlow in float32."""
        outputs = self.network(self.pictures, training=False)
        return {key: output.numpy() for key, output in outputs.items()}

    def open(self, name: str, precision: str) -> Engine:
        """Compile the network for an engine.

        Raises:
            RequestError: If the engine cannot have it.
        """
        if name == TENSORFLOW:
            return TensorFlowEngine(self.backbone, self.taps, batch_size=self.batch_size, precision=precision)
        if name == OPENVINO:
            from tfcells.features.engines.openvino_model import OpenVinoEngine

            return OpenVinoEngine(self.frozen, precision=precision)
        from tfcells.features.engines.onnx_session import OnnxRuntimeEngine

        return OnnxRuntimeEngine(self.frozen)

    def parity(self, engine: Engine) -> dict[str, Parity]:
        """How far an engine is from TensorFlow in float32."""
        return compare(engine(self.pictures), self.reference)


def choose_engine(
    bench: Workbench, *, engine: str = AUTO, precision: str = AUTO, machine: Machine | None = None
) -> Choice:
    """Open the first engine of the table that fits the request and answers as TensorFlow does in float32.

    Args:
        bench: The network.
        engine: Name, or `auto`.
        precision: Name, or `auto`.
        machine: The machine to choose for; this one by default.

    Raises:
        UnknownNameError: If there is no such engine or precision.
        MissingExtraError: If the engine that was named is not installed.
        RequestError: If what was named is impossible here, or its features are too far from TensorFlow's.
    """
    machine = machine or this_machine(gpu=graphics_card())
    rows = candidates(machine, bench.backbone.row.name, engine=engine, precision=precision)
    refused = []
    for row in rows:
        try:
            opened = bench.open(*row)
        except RequestError as unfit:
            refused.append(f"{' '.join(row)}: {unfit}")
            continue
        if row == REFERENCE:
            return Choice(opened, _facts(opened))
        parity = bench.parity(opened)
        if all(entry.accepted for entry in parity.values()):
            return Choice(opened, {**_facts(opened), "parity": rounded(parity)})
        refused.append(f"{' '.join(row)}: {described(parity)}; a cosine of {ACCEPTED} is needed")
        _log.info("features: engine %s passed over", refused[-1])
    raise RequestError(
        f"No engine fits --engine {engine} --precision {precision} for {bench.backbone.row.name}: "
        f"{'; '.join(refused)}. Ask for float32, or leave both to auto."
    )


def reopen_engine(bench: Workbench, stored: Mapping[str, Any]) -> Choice:
    """Open the engine that a store was begun with; its figures stay as they were found then.

    Args:
        bench: The network.
        stored: The `engine` of the store's recipe.

    Raises:
        MissingExtraError: If it is no longer installed.
        RequestError: If it is impossible on this machine.
    """
    name, precision = str(stored["name"]), str(stored["precision"])
    require_possible(this_machine(gpu=graphics_card()), name, precision)
    opened = bench.open(name, precision)
    kept = {"parity": stored["parity"]} if "parity" in stored else {}
    return Choice(opened, {**_facts(opened), **kept})


def _facts(engine: Engine) -> dict[str, Any]:
    own = {"name": engine.name, "precision": engine.precision, "batch_size": engine.batch_size}
    return {**own, **engine.facts()}
