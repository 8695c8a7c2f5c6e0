"""Cut a model at named layers: one model, one pass, a dict of pooled features."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import ops

from tfcells.backbones.open import OpenBackbone
from tfcells.backbones.preprocess import preprocess, scale_pixels
from tfcells.backbones.taps import Tap, parse_taps, tap_keys
from tfcells.errors import RequestError, UnknownNameError

_GEM_EXPONENT = 3.0
_GEM_FLOOR = 1e-6  # the generalised mean is for activations that are not negative


@dataclass(frozen=True)
class LayerRow:
    """What `tfcells layers` shows of one layer: name, kind, output shape (height, width, channels), parameters.

    A side is None where it is that of the picture.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    parameters: int

    def bytes_per_image(self, pooling: str) -> int:
        """Bytes of float32 features per image under a pooling."""
        pooled = pooling in ("mean", "max", "gem")
        return 4 * _numbers(self.name, self.shape[-1:] if pooled else self.shape)


def list_layers(model: keras.Model) -> list[LayerRow]:
    """List the layers of a functional model that can be tapped, from input to output.

    Sums and products written without a layer count: ConvNeXt's stages end in one.
    """
    rows = []
    for layer in _operations(model):
        output = layer.output
        if isinstance(layer, keras.layers.InputLayer) or not hasattr(output, "shape"):
            continue
        parameters = layer.count_params() if isinstance(layer, keras.layers.Layer) else 0
        rows.append(LayerRow(layer.name, type(layer).__name__, tuple(output.shape[1:]), parameters))
    return rows


def cut(model: keras.Model, taps: Sequence[str | Tap], pooling: str = "mean") -> keras.Model:
    """Return one model that gives every tap in one pass, sharing the weights of `model`.

    Args:
        model: A functional model; takes (batch, height, width, 3).
        taps: Layers, as `layer`, `layer:pooling` or `Tap`.
        pooling: For taps that do not name theirs: `mean`, `max`, `gem`, `flatten` or `none`.

    Returns:
        A model with a dict output: key (the layer; `layer:pooling` where one layer is tapped twice) to
        (batch, channels) for `mean`, `max` and `gem`, (batch, height * width * channels) for `flatten`, the
        layer's own output for `none`. Outputs are float32.

    Raises:
        UnknownNameError: If a layer or a pooling is unknown; suggests the nearest name.
        RequestError: If there is no tap, one comes twice, or a layer cannot be pooled as asked.
    """
    parsed = parse_taps(taps, pooling=pooling)
    maps = {key: _output_of(model, tap.layer) for key, tap in zip(tap_keys(parsed), parsed, strict=True)}
    given = model.inputs[0]
    body = keras.Model(given, maps, name=f"{model.name}_body")
    # Pooling stands outside the body: a model read from a file may hold operations of the very names (`mean`,
    # `cast`) that Keras would give to those added here.
    images = keras.Input(batch_shape=given.shape, dtype=given.dtype)
    reached = body(images)
    outputs = {key: _pooled(reached[key], tap) for key, tap in zip(tap_keys(parsed), parsed, strict=True)}
    return keras.Model(images, outputs, name=f"{model.name}_cut")


def cut_backbone(backbone: OpenBackbone, taps: Sequence[str | Tap] | None = None, pooling: str = "mean") -> keras.Model:
    """Cut a backbone with its preprocessing inside.

    Args:
        backbone: From `open_backbone`.
        taps: As for `cut`; the catalog row's early, middle and late taps by default.
        pooling: As for `cut`.

    Returns:
        A model from canonical pixels, (batch, height, width, 3) uint8 or float in [0, 255], any height and
        width, to a dict of float32 features.
    """
    body = cut(backbone.model, backbone.row.taps if taps is None else taps, pooling)
    pixels = keras.Input((None, None, 3), name="pixels", dtype="float32")
    row = backbone.row
    prepared = preprocess(pixels, row.preprocessing, size=backbone.size, kernel=row.kernel)
    return keras.Model(pixels, body(prepared), name=f"{row.name}_from_pixels")


def cut_resized(backbone: OpenBackbone, taps: Sequence[str | Tap], *, batch_size: int | None = None) -> keras.Model:
    """Cut a backbone for pictures that have its size already.

    Args:
        backbone: From `open_backbone`.
        taps: As for `cut`.
        batch_size: Fixes the shape of the batch, as engines want it; any number of pictures by default.

    Returns:
        A model from (batch, size, size, 3) float in [0, 255] to a dict of float32 features.
    """
    body = cut(backbone.model, taps)
    shape = (batch_size, backbone.size, backbone.size, 3)
    pixels = keras.Input(batch_shape=shape, name="pixels", dtype="float32")
    scaled = scale_pixels(pixels, backbone.row.preprocessing)
    return keras.Model(pixels, body(scaled), name=f"{backbone.row.name}_resized")


def _output_of(model: keras.Model, name: str) -> keras.KerasTensor:
    known = [row.name for row in list_layers(model)]
    if name not in known:
        raise UnknownNameError(f"layer of {model.name}", name, known)
    return next(layer.output for layer in _operations(model) if layer.name == name)


def _operations(model: keras.Model) -> Sequence[keras.Operation]:
    operations: Sequence[keras.Operation] = getattr(model, "operations", model.layers)  # a Sequential has layers alone
    return operations


def _pooled(maps: keras.KerasTensor, tap: Tap) -> keras.KerasTensor:
    maps = ops.cast(maps, "float32")  # pooled and stored in float32, whatever the network computes in
    if tap.pooling == "none":
        return maps
    if tap.pooling == "flatten":
        return ops.reshape(maps, (-1, _numbers(tap.layer, maps.shape[1:])))
    if len(maps.shape) != 4:
        raise RequestError(
            f"Layer {tap.layer} gives shape {tuple(maps.shape[1:])}, which has no height and width to pool over. "
            "Expected (height, width, channels), or pooling `flatten` or `none`."
        )
    if tap.pooling == "mean":
        return ops.mean(maps, axis=(1, 2))
    if tap.pooling == "max":
        return ops.max(maps, axis=(1, 2))
    powers = ops.power(ops.maximum(maps, _GEM_FLOOR), _GEM_EXPONENT)
    return ops.power(ops.mean(powers, axis=(1, 2)), 1.0 / _GEM_EXPONENT)


def _numbers(layer: str, shape: Sequence[int | None]) -> int:
    known = [side for side in shape if side is not None]
    if len(known) < len(shape):
        raise RequestError(
            f"Layer {layer} gives shape {tuple(shape)}, which depends on the picture. "
            "Expected a model whose input has a fixed size, or pooling `mean`, `max` or `gem`."
        )
    return math.prod(known)
