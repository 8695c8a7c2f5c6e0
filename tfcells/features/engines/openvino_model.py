"""OpenVINO (extra `openvino`): it reads the frozen graph itself."""

import importlib.metadata
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from tfcells.errors import MissingExtraError
from tfcells.features.engines.contract import OPENVINO, Engine, threads
from tfcells.features.engines.frozen import FrozenNetwork

_HINT: Final = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine(Engine):
    """A model compiled for the processor.

    The precision is always given by name: left alone, OpenVINO takes bfloat16 wherever the processor has it. One
    pass has all cores, and they are not pinned: decoding runs beside it.

    Args:
        frozen: From `freeze`.
        precision: `float32` or `bfloat16`.

    Raises:
        MissingExtraError: If OpenVINO is not installed.
    """

    name: ClassVar[str] = OPENVINO

    def __init__(self, frozen: FrozenNetwork, *, precision: str) -> None:
        super().__init__(keys=frozen.keys, batch_size=frozen.batch_size, size=frozen.size, precision=precision)
        try:
            import openvino
        except ImportError as missing:
            raise MissingExtraError("openvino", extra="openvino") from missing
        settings = {
            "INFERENCE_PRECISION_HINT": _HINT[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads(),
            "ENABLE_CPU_PINNING": False,
        }
        # By a file and not by `openvino.convert_model`, which takes ten times as long and reports to its makers.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "frozen.pb"
            path.write_bytes(frozen.graph_def.SerializeToString())
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(path), "CPU", settings)
        self._request = compiled.create_infer_request()
        self._outputs = {
            key: compiled.output(name) for key, name in zip(frozen.outputs, frozen.output_names, strict=True)
        }

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """One pass; see `Engine`."""
        answers = self._request.infer([batch], share_inputs=True)
        return {key: np.array(answers[output]) for key, output in self._outputs.items()}

    def facts(self) -> Mapping[str, Any]:
        """Version and device."""
        return {"version": importlib.metadata.version("openvino"), "device": "cpu"}
