"""TensorFlow: the frozen graph itself; in less than float32 where the hardware multiplies so."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training.saver import export_meta_graph
from tensorflow.python.util import _pywrap_util_port

from tfcells.backbones.open import OpenBackbone
from tfcells.backbones.taps import Tap, tap_keys
from tfcells.errors import RequestError
from tfcells.features.engines.contract import TENSORFLOW, Engine
from tfcells.features.engines.frozen import FrozenNetwork, freeze

_TO_BFLOAT16: Final = ("function", "constfold", "remap", "auto_mixed_precision_onednn_bfloat16")


class TensorFlowEngine(Engine):
    """A frozen graph.

    On a processor in bfloat16, oneDNN's automatic mixed precision rewrites the folded graph, which leaves sums and
    pooling in float32. On a graphics card Keras' mixed precision does the like, layer by layer.

    Args:
        backbone: From `open_backbone`.
        taps: Where to cut.
        batch_size: Pictures per pass.
        precision: `float32`, `bfloat16` or `float16`.

    Raises:
        RequestError: If TensorFlow leaves the graph in float32.
    """

    name: ClassVar[str] = TENSORFLOW

    def __init__(self, backbone: OpenBackbone, taps: tuple[Tap, ...], *, batch_size: int, precision: str) -> None:
        super().__init__(keys=tap_keys(taps), batch_size=batch_size, size=backbone.size, precision=precision)
        self._on_gpu = graphics_card() is not None
        policy = f"mixed_{precision}" if self._on_gpu and precision != "float32" else "float32"
        frozen = freeze(backbone, taps, batch_size=batch_size, policy=policy)
        self._outputs = frozen.outputs
        rewritten = precision == "bfloat16" and not self._on_gpu
        self._function = _in_bfloat16(frozen) if rewritten else frozen.function

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """One pass; see `Engine`."""
        answers = self._function(tf.constant(batch))
        return {key: answer.numpy() for key, answer in zip(self._outputs, answers, strict=True)}

    def facts(self) -> Mapping[str, Any]:
        """Version, device, and whether oneDNN's kernels are used."""
        device = "gpu" if self._on_gpu else "cpu"
        return {"version": tf.__version__, "device": device, "onednn": bool(_pywrap_util_port.IsMklEnabled())}


def graphics_card() -> tuple[int, int] | None:
    """Compute capability of the graphics card that TensorFlow uses; None where it sees none."""
    cards = tf.config.list_physical_devices("GPU")
    if not cards:
        return None
    major, minor = tf.config.experimental.get_device_details(cards[0]).get("compute_capability", (0, 0))
    return int(major), int(minor)


def _in_bfloat16(frozen: FrozenNetwork) -> Any:
    """Rewrite a frozen graph by TensorFlow's own optimiser, once, so that it does not depend on global switches."""
    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.optimizers.extend(_TO_BFLOAT16)
    options.min_graph_nodes = -1  # small graphs too
    fetched = meta_graph_pb2.CollectionDef()
    fetched.node_list.value.extend([frozen.input_name, *frozen.output_names])
    meta = export_meta_graph(graph_def=frozen.graph_def, graph=frozen.function.graph)
    meta.collection_def["train_op"].CopyFrom(fetched)
    graph_def = tf_optimizer.OptimizeGraph(config, meta)
    if not any(value.type == tf.bfloat16.as_datatype_enum for node in graph_def.node for value in node.attr.values()):
        raise RequestError(
            "TensorFlow left the graph in float32: its oneDNN kernels are off, or do not know bfloat16 on this "
            "processor. Unset TF_ENABLE_ONEDNN_OPTS, or ask for float32."
        )
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    return wrapped.prune([frozen.input_name], frozen.output_names)
