"""ResNet18 and ViT by keras-hub's class constructors, with weights from this machine or none. Extra: `hub`.

Never by `from_preset`, which asks the network even for a model without weights.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from tfcells.backbones.calibrate import calibrate_batch_norm, randomise
from tfcells.backbones.catalog import Preprocessing, find_backbone
from tfcells.backbones.open import weights_digest
from tfcells.backbones.weights import NONE, find_weights, ways_out
from tfcells.errors import MissingExtraError, MissingWeightsError, RequestError

_PATCH: Final = 16  # pixels a side
_TOKEN_DEVIATION: Final = 0.02
_SUFFIX: Final = ".weights.h5"


@dataclass(frozen=True)
class HubNetwork:
    """A row of the table.

    Attributes:
        builder: Class in `keras_hub.models`.
        arguments: Of its constructor, beside shape and dtype.
        preprocessing: What keras-hub's ImageNet weights of it were trained to see.
        size: Default side of the input in pixels.
        transformer: Whether it is made of tokens, not maps.
    """

    builder: str
    arguments: dict[str, Any]
    preprocessing: Preprocessing
    size: int = 224
    transformer: bool = False


HUB: Final = {
    "resnet18": HubNetwork(
        "ResNetBackbone",
        {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": [64, 128, 256, 512],
            "stackwise_num_blocks": [2, 2, 2, 2],
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": "basic_block",
        },
        find_backbone("densenet121").preprocessing,  # mean and deviation of ImageNet, the convention of timm
    ),
    "vit": HubNetwork(  # ViT-B/16: Dosovitskiy et al. 2021, arXiv:2010.11929
        "ViTBackbone",
        {"patch_size": _PATCH, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072},
        find_backbone("mobilenet_v2").preprocessing,  # pixels from -1 to 1
        transformer=True,
    ),
}
"""The networks of keras-hub."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HubBody:
    """A network of keras-hub with its weights.

    Attributes:
        model: From scaled pixels to maps (batch, height, width, channels) or tokens (batch, tokens, channels).
        weights: Name of the weights.
        sha256: Of the weights file; of the weights themselves where there is none.
    """

    model: keras.Model
    weights: str
    sha256: str


def build_hub(name: str, size: int, *, policy: str = "float32") -> keras.Model:
    """Build the bare network of a row.

    Raises:
        MissingExtraError: If keras-hub is not installed.
        RequestError: If it cannot be built for this size.
    """
    try:
        import keras_hub
    except ImportError as missing:
        raise MissingExtraError("keras-hub", extra="hub") from missing
    row = HUB[name]
    if row.transformer and size % _PATCH:
        raise RequestError(f"{name} cannot be built for size = {size}. Expected a multiple of {_PATCH}.")
    builder = getattr(keras_hub.models, row.builder)
    return builder(image_shape=(size, size, 3), dtype=policy, name=f"{name}_backbone", **row.arguments)


def open_hub(name: str, *, weights: str | Path, size: int, seed: int) -> HubBody:
    """Build a network of keras-hub in float32 and load its weights, or draw them.

    Random kernels are drawn as for the catalog's networks; a transformer's from a normal distribution of deviation
    0.02 (Devlin et al. 2019, arXiv:1810.04805), since it has no batch norm to set them right.

    Args:
        name: Name in `HUB`.
        weights: `none`, a name or a file as for `find_weights`; the file is one that keras-hub's backbone wrote by
            `save_weights`.
        size: Side of the input in pixels.
        seed: Of random weights.

    Raises:
        MissingExtraError: If keras-hub is not installed.
        MissingWeightsError: If the weights are not on this machine; nothing is downloaded.
        RequestError: If the file does not fit.
    """
    model = build_hub(name, size)
    found = find_weights(name, weights)
    if found.path is not None:
        _load(model, found.path)
        return HubBody(model=model, weights=found.name, sha256=found.sha256 or "")
    if found.name != NONE:
        raise MissingWeightsError(
            f"No weights {found.name!r} for {name}: no {name}_{found.name}{_SUFFIX} on this machine, and tfcells "
            f"downloads none of keras-hub's. {ways_out(name)}"
        )
    if HUB[name].transformer:
        _draw_tokens(model, seed=seed)
    else:
        randomise(model, seed=seed)
    digest = weights_digest(model)
    calibrate_batch_norm(model, HUB[name].preprocessing, seed=seed)
    return HubBody(model=model, weights=NONE, sha256=digest)


def sequences(model: keras.Model) -> dict[str, tuple[keras.layers.Layer, ...]]:
    """Layers that hold a sequence of layers: the name of the holder to what it holds, from input to output.

    keras-hub's graph of a transformer has one layer for all of its blocks.
    """
    return {
        layer.name: (*layer.encoder_layers, layer.layer_norm)
        for layer in model.layers
        if hasattr(layer, "encoder_layers")
    }


def _load(model: keras.Model, path: Path) -> None:
    if not path.name.endswith(_SUFFIX):
        raise RequestError(
            f"{path} is no {_SUFFIX} file. Expected one that keras-hub's backbone wrote by save_weights."
        )
    try:
        model.load_weights(path)
    # h5py and Keras raise ValueError, KeyError, OSError and more for a file of another network.
    except Exception as misfit:
        reason = " ".join(str(misfit).split())[:300]
        raise RequestError(
            f"{path} does not fit {model.name} at {model.input_shape[1]} px: {reason}. Expected weights of "
            f"{type(model).__name__} in keras_hub.models, {len(model.weights)} arrays."
        ) from misfit


def _draw_tokens(model: keras.Model, *, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name == "bias":  # keras-hub draws some of them, around 1e-6, from a generator without a seed
            variable.assign(np.zeros(tuple(variable.shape), dtype=np.float32))
        elif len(variable.shape) >= 2:
            variable.assign(generator.normal(0.0, _TOKEN_DEVIATION, tuple(variable.shape)).astype(np.float32))
