"""A cut model as one graph of constants: what every engine starts from."""

import warnings
from dataclasses import dataclass, replace
from typing import Any, Final

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfcells.backbones.cut import cut_resized
from tfcells.backbones.open import OpenBackbone
from tfcells.backbones.taps import Tap, tap_keys

_INPUT: Final = "pixels"


@dataclass(frozen=True, eq=False)
class FrozenNetwork:
    """A network whose variables have become constants, so that whatever runs it can fold batch norm into kernels.

    Attributes:
        function: From float32 (batch_size, size, size, 3) to a list of outputs in the order of `outputs`.
        keys: The taps' keys, in the order of the request.
        outputs: The same keys in the order in which TensorFlow flattens a dict: sorted.
        batch_size: Pictures per pass.
        size: Side of the pictures in pixels.
    """

    function: Any
    keys: tuple[str, ...]
    outputs: tuple[str, ...]
    batch_size: int
    size: int

    @property
    def graph_def(self) -> Any:
        """The graph as a protocol buffer."""
        return self.function.graph.as_graph_def()

    @property
    def input_name(self) -> str:
        """Tensor name of the pixels."""
        name: str = self.function.inputs[0].name
        return name

    @property
    def output_names(self) -> list[str]:
        """Tensor names in the order of `outputs`."""
        return [output.name for output in self.function.outputs]


def freeze(backbone: OpenBackbone, taps: tuple[Tap, ...], *, batch_size: int, policy: str = "float32") -> FrozenNetwork:
    """Cut a backbone for resized pictures and freeze it.

    Args:
        backbone: From `open_backbone`.
        taps: Where to cut.
        batch_size: Pictures per pass.
        policy: What Keras' layers compute in, e.g. `mixed_bfloat16`; weights and outputs stay float32.
    """
    if policy != "float32":
        backbone = replace(backbone, model=_with_policy(backbone.model, policy))
    model = cut_resized(backbone, taps, batch_size=batch_size)
    shape = (batch_size, backbone.size, backbone.size, 3)
    function = tf.function(lambda pixels: model(pixels, training=False), autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name=_INPUT))
    keys = tap_keys(taps)
    function = convert_variables_to_constants_v2(concrete)
    return FrozenNetwork(function, keys, tuple(sorted(keys)), batch_size, backbone.size)


def _with_policy(model: keras.Model, policy: str) -> keras.Model:
    """The same network and weights, its layers computing by another dtype policy."""

    def rebuilt(layer: keras.Operation) -> keras.Operation:
        # Sums and products written without a layer (ConvNeXt, MobileNetV3) have no policy: they take what comes.
        if isinstance(layer, keras.layers.InputLayer) or not isinstance(layer, keras.layers.Layer):
            return layer.__class__.from_config(layer.get_config())
        return layer.__class__.from_config({**layer.get_config(), "dtype": policy})

    clone = keras.models.clone_model(model, clone_function=rebuilt)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
        clone.set_weights(model.get_weights())
    for layer in clone.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with a copy of its weights
    clone.trainable = False
    return clone
