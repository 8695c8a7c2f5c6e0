"""onnxruntime (extra `onnx`): the frozen graph, converted by tf2onnx."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from tfcells.errors import MissingExtraError
from tfcells.features.engines.contract import ONNXRUNTIME, Engine, threads
from tfcells.features.engines.frozen import FrozenNetwork

_OPSET: Final = 18


class OnnxRuntimeEngine(Engine):
    """A session on the processor, in float32.

    Its threads wait without spinning, so that the cores are free for decoding as soon as a pass is over.

    Args:
        frozen: From `freeze`.

    Raises:
        MissingExtraError: If onnxruntime or tf2onnx is not installed.
    """

    name: ClassVar[str] = ONNXRUNTIME

    def __init__(self, frozen: FrozenNetwork) -> None:
        super().__init__(keys=frozen.keys, batch_size=frozen.batch_size, size=frozen.size, precision="float32")
        try:
            import onnxruntime
            import tf2onnx
        except ImportError as missing:
            raise MissingExtraError("onnxruntime with tf2onnx", extra="onnx") from missing
        model, _ = tf2onnx.convert.from_graph_def(
            frozen.graph_def, input_names=[frozen.input_name], output_names=frozen.output_names, opset=_OPSET
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input, self._names, self._outputs = frozen.input_name, frozen.output_names, frozen.outputs

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """One pass; see `Engine`."""
        return dict(zip(self._outputs, self._session.run(self._names, {self._input: batch}), strict=True))

    def facts(self) -> Mapping[str, Any]:
        """Versions and device."""
        versions = {package: importlib.metadata.version(package) for package in ("onnxruntime", "tf2onnx")}
        return {"version": versions["onnxruntime"], "converter": f"tf2onnx {versions['tf2onnx']}", "device": "cpu"}
