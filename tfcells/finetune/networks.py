"""Networks to be trained, by name: canonical pixels of the right size in, float32 logits out.

The named networks are small and start from nothing (`plain`); a backbone of the catalog or of keras-hub is opened with
its weights and stands inside as a model of its own, layer names and all, so that it can be written back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import keras
import numpy as np

from tfcells.backbones.catalog import BACKBONES, Preprocessing, find_backbone
from tfcells.backbones.open import open_backbone, weights_digest
from tfcells.backbones.policy import copy_weights, rebuild
from tfcells.backbones.preprocess import scale_pixels
from tfcells.backbones.weights import NONE
from tfcells.errors import RequestError, UnknownNameError
from tfcells.finetune.head import add_head
from tfcells.finetune.hub import HUB, build_hub, open_hub, sequences
from tfcells.finetune.plain import PLAIN
from tfcells.finetune.settings import NetworkSettings

_POLICIES: Final = ("float32", "mixed_float16", "mixed_bfloat16")
_KERNEL: Final = "bilinear"  # of what has no row in the catalog


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A network that can be trained.

    Attributes:
        settings: What was asked for.
        classes: Number of logits.
        seed: Of whatever was drawn.
        model: From canonical pixels, float32 (batch, size, size, 3) in [0, 255], resized already, to float32 logits
            (batch, classes). Preprocessing is inside.
        body: The backbone inside `model`: from scaled pixels to maps; None for the named networks without one.
        head: Names of the layers of `model` that are the head, from input to output; the last gives the logits.
        size: Side of the input in pixels.
        kernel: Name of the kernel that pictures are resized by.
        preprocessing: Channel order and value range that the first layer is fed.
        weights: Name of the weights the body came with; `none` where all were drawn.
        sha256: Of the weights file, as `OpenBackbone` has it; of the drawn weights themselves where there is none.
        precision: Name of the dtype policy that all but the head computes by.
        sequences: Layers of the body that hold a sequence of layers, by name; a transformer's blocks.
    """

    settings: NetworkSettings
    classes: int
    seed: int
    model: keras.Model
    body: keras.Model | None
    head: tuple[str, ...]
    size: int
    kernel: str
    preprocessing: Preprocessing
    weights: str
    sha256: str
    precision: str
    sequences: dict[str, tuple[keras.layers.Layer, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Body:
    """What is inside a network, before it has a head; the attributes are those of `Network`."""

    model: keras.Model
    kernel: str
    preprocessing: Preprocessing
    weights: str
    sha256: str


def network_names() -> tuple[str, ...]:
    """All names that `build_network` knows."""
    return (*PLAIN, *HUB, *BACKBONES)


def build_network(settings: NetworkSettings, *, classes: int, seed: int, precision: str = "float32") -> Network:
    """Build a network with its weights.

    Args:
        settings: Name, weights, size and head.
        classes: Number of classes.
        seed: Of everything that is drawn: the same seed gives the same weights, and the same dropout.
        precision: Name of a dtype policy: `float32`, `mixed_float16` or `mixed_bfloat16`. The weights do not depend
            on it, the head computes in float32 whatever it is, and Keras' global policy is left alone.

    Raises:
        UnknownNameError: If there is no such network or precision.
        MissingExtraError: If it needs keras-hub, which is not installed.
        MissingWeightsError: If the weights are not on this machine and cannot be fetched.
        RequestError: If weights or size do not fit it, or there are fewer than two classes.
    """
    if settings.name not in network_names():
        raise UnknownNameError("network", settings.name, network_names())
    _check_policy(precision)
    if classes < 2:
        raise RequestError(f"A network for {classes} class{'' if classes == 1 else 'es'}. Expected 2 or more classes.")
    if settings.name in PLAIN:
        network = _plain(settings, classes=classes, seed=seed, precision=precision)
    else:
        body = _open_body(settings, seed=seed)
        if precision != "float32":
            body = replace(body, model=_body_in(body.model, settings.name, precision))
        network = _with_head(body, settings, classes=classes, seed=seed, precision=precision)
    _seed_dropout(network.model, seed)
    network.model.trainable = True
    return network


def in_precision(network: Network, precision: str) -> Network:
    """The same network computing by another dtype policy, with copies of its weights and of its dropout's state.

    Raises:
        UnknownNameError: If there is no such precision.
    """
    _check_policy(precision)
    settings, classes, seed = network.settings, network.classes, network.seed
    if network.body is None:
        twin = _plain(settings, classes=classes, seed=seed, precision=precision)
    else:
        body = _Body(
            model=_body_in(network.body, settings.name, precision),
            kernel=network.kernel,
            preprocessing=network.preprocessing,
            weights=network.weights,
            sha256=network.sha256,
        )
        twin = _with_head(body, settings, classes=classes, seed=seed, precision=precision)
    copy_weights(network.model, twin.model)
    for ours, theirs in zip(_generators(network.model), _generators(twin.model), strict=True):
        theirs.state.assign(ours.state)
    twin.model.trainable = True
    return twin


def _plain(settings: NetworkSettings, *, classes: int, seed: int, precision: str) -> Network:
    row = PLAIN[settings.name]
    if settings.weights != NONE:
        raise RequestError(
            f"network.weights is {settings.weights!r}, and {settings.name} starts from nothing. Expected `none`."
        )
    if settings.pooling != NetworkSettings.pooling:
        raise RequestError(
            f"network.pooling is {settings.pooling!r}, which is for backbones: {settings.name} has its own, "
            f"{row.pooling!r}. Leave it out."
        )
    size = settings.size or row.size
    preprocessing = find_backbone("mobilenet_v2").preprocessing  # pixels from -1 to 1
    seeds = _seeds(seed)
    pixels = keras.Input((size, size, 3), name="pixels", dtype="float32")
    maps = row.layers(scale_pixels(pixels, preprocessing), seeds, precision)
    logits, head = add_head(
        maps, classes=classes, pooling=row.pooling, hidden=settings.hidden, dropout=settings.dropout, seeds=seeds
    )
    model = keras.Model(pixels, logits, name=settings.name)
    return Network(
        settings=settings,
        classes=classes,
        seed=seed,
        model=model,
        body=None,
        head=head,
        size=size,
        kernel=_KERNEL,
        preprocessing=preprocessing,
        weights=NONE,
        sha256=weights_digest(model),
        precision=precision,
    )


def _open_body(settings: NetworkSettings, *, seed: int) -> _Body:
    if settings.name in HUB:
        row = HUB[settings.name]
        size = settings.size or row.size
        hub = open_hub(settings.name, weights=settings.weights, size=size, seed=seed)
        return _Body(
            model=hub.model,
            kernel=_KERNEL,
            preprocessing=row.preprocessing,
            weights=hub.weights,
            sha256=hub.sha256,
        )
    opened = open_backbone(settings.name, weights=settings.weights, size=settings.size, seed=seed)
    return _Body(
        model=opened.model,
        kernel=opened.row.kernel,
        preprocessing=opened.row.preprocessing,
        weights=opened.weights,
        sha256=opened.sha256,
    )


def _with_head(body: _Body, settings: NetworkSettings, *, classes: int, seed: int, precision: str) -> Network:
    size = body.model.input_shape[1]
    pixels = keras.Input((size, size, 3), name="pixels", dtype="float32")
    logits, head = add_head(
        body.model(scale_pixels(pixels, body.preprocessing)),
        classes=classes,
        pooling=settings.pooling,
        hidden=settings.hidden,
        dropout=settings.dropout,
        seeds=_seeds(seed),
    )
    return Network(
        settings=settings,
        classes=classes,
        seed=seed,
        model=keras.Model(pixels, logits, name=f"{settings.name}_classifier"),
        body=body.model,
        head=head,
        size=size,
        kernel=body.kernel,
        preprocessing=body.preprocessing,
        weights=body.weights,
        sha256=body.sha256,
        precision=precision,
        sequences=sequences(body.model),
    )


def _body_in(body: keras.Model, name: str, precision: str) -> keras.Model:
    """A copy of a body that computes by a dtype policy."""
    if name not in HUB:
        return rebuild(find_backbone(name), body, precision)
    twin = build_hub(name, body.input_shape[1], policy=precision)
    copy_weights(body, twin)
    return twin


def _check_policy(precision: str) -> None:
    if precision not in _POLICIES:
        raise UnknownNameError("dtype policy", precision, _POLICIES)


def _seeds(seed: int) -> Iterator[int]:
    """Seeds for as many things as are drawn, each of its own."""
    generator = np.random.default_rng(seed)
    while True:
        yield int(generator.integers(2**31))


def _seed_dropout(model: keras.Model, seed: int) -> None:
    # What was built without a seed, as the catalog's networks are, Keras seeds from Python's global generator.
    drawn = np.random.default_rng((seed, 1))
    for generator in _generators(model):
        generator.state.assign([int(drawn.integers(2**31)), 0])


def _generators(model: keras.Model) -> list[keras.random.SeedGenerator]:
    """Of everything random inside, in order."""
    layers = model._flatten_layers()
    return [layer.seed_generator for layer in layers if getattr(layer, "seed_generator", None) is not None]
