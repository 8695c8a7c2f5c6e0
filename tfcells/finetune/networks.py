"""Networks to be trained, by name: canonical pixels of the right size in, float32 logits out.

The named networks are small and start from nothing (`plain`); a backbone of the catalog or of keras-hub is opened with
its weights and stands inside as a model of its own, layer names and all, so that it can be written back.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import keras
import numpy as np

from tfcells.backbones.catalog import BACKBONES, Preprocessing, find_backbone
from tfcells.backbones.open import open_backbone, weights_digest
from tfcells.backbones.policy import copy_weights, with_policy
from tfcells.backbones.preprocess import scale_pixels
from tfcells.backbones.weights import NONE
from tfcells.errors import RequestError, UnknownNameError
from tfcells.finetune.head import add_head
from tfcells.finetune.hub import HUB, build_hub, open_hub, sequences
from tfcells.finetune.plain import PLAIN
from tfcells.finetune.settings import NetworkSettings

NETWORKS: Final = (*PLAIN, *HUB, *BACKBONES)
"""All names."""
_POLICIES: Final = ("float32", "mixed_float16", "mixed_bfloat16")
_KERNEL: Final = "bilinear"


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
    if settings.name not in NETWORKS:
        raise UnknownNameError("network", settings.name, NETWORKS)
    if precision not in _POLICIES:
        raise UnknownNameError("dtype policy", precision, _POLICIES)
    if classes < 2:
        raise RequestError(f"A network for {classes} class{'' if classes == 1 else 'es'}. Expected 2 or more classes.")
    builders: tuple[tuple[object, Callable[[NetworkSettings, int, int, str], Network]], ...] = (
        (PLAIN, _plain),
        (HUB, _hub),
        (BACKBONES, _catalogued),
    )
    build = next(build for table, build in builders if settings.name in table)  # type: ignore[operator]
    network = build(settings, classes, seed, precision)
    _seed_dropout(network.model, seed)
    network.model.trainable = True
    return network


def in_precision(network: Network, precision: str) -> Network:
    """The same network, with copies of its weights and of its dropout's state, computing by another dtype policy.

    Raises:
        UnknownNameError: If there is no such precision.
    """
    if precision not in _POLICIES:
        raise UnknownNameError("dtype policy", precision, _POLICIES)
    if network.body is None:
        twin = _plain(network.settings, network.classes, network.seed, precision)
    else:
        twin = _with_head(
            network.settings,
            _body_in(network.body, network.settings.name, network.size, precision),
            classes=network.classes,
            seed=network.seed,
            kernel=network.kernel,
            preprocessing=network.preprocessing,
            precision=precision,
            weights=network.weights,
            sha256=network.sha256,
        )
    copy_weights(network.model, twin.model)
    for ours, theirs in zip(_generators(network.model), _generators(twin.model), strict=True):
        theirs.state.assign(ours.state)
    twin.model.trainable = True
    return twin


def write_body(network: Network, folder: Path, *, name: str) -> Path:
    """Write the backbone inside a network as weights that `open_backbone` reads.

    Args:
        network: With a backbone inside.
        folder: Where to; `open_backbone` finds it there through TFCELLS_WEIGHTS_DIR.
        name: Name of the weights.

    Returns:
        The file, `<backbone>_<name>.weights.h5`; one that was there is replaced in one step.

    Raises:
        RequestError: If there is no backbone inside, or the name cannot be one.
    """
    if network.body is None:
        raise RequestError(f"{network.settings.name} has no backbone inside to write. Expected one of the catalog's.")
    if not name or name in (NONE, "imagenet") or any(sign in name for sign in "/\\."):
        raise RequestError(
            f"Weights cannot be named {name!r}. Expected a word without dots and slashes, not `none` and not `imagenet`."
        )
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{network.settings.name}_{name}.weights.h5"
    # Hidden, and without the name's beginning: a folder is searched for files that begin with the backbone's name.
    unfinished = folder / f".unfinished-{os.getpid()}-{target.name}"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
            network.body.save_weights(unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def _plain(settings: NetworkSettings, classes: int, seed: int, precision: str) -> Network:
    row = PLAIN[settings.name]
    if settings.weights != NONE:
        raise RequestError(
            f"network.weights is {settings.weights!r}, and {settings.name} starts from nothing. Expected `none`."
        )
    if settings.pooling != NetworkSettings.pooling:
        raise RequestError(
            f"network.pooling is {settings.pooling!r}, which is for backbones: {settings.name} has its own "
            f"(`{row.pooling}`). Leave it out."
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


def _catalogued(settings: NetworkSettings, classes: int, seed: int, precision: str) -> Network:
    opened = open_backbone(settings.name, weights=settings.weights, size=settings.size, seed=seed)
    return _with_head(
        settings,
        _body_in(opened.model, settings.name, opened.size, precision),
        classes=classes,
        seed=seed,
        kernel=opened.row.kernel,
        preprocessing=opened.row.preprocessing,
        precision=precision,
        weights=opened.weights,
        sha256=opened.sha256,
    )


def _hub(settings: NetworkSettings, classes: int, seed: int, precision: str) -> Network:
    row = HUB[settings.name]
    size = settings.size or row.size
    opened = open_hub(settings.name, weights=settings.weights, size=size, seed=seed)
    return _with_head(
        settings,
        _body_in(opened.model, settings.name, size, precision),
        classes=classes,
        seed=seed,
        kernel=_KERNEL,
        preprocessing=row.preprocessing,
        precision=precision,
        weights=opened.weights,
        sha256=opened.sha256,
    )


def _with_head(
    settings: NetworkSettings,
    body: keras.Model,
    *,
    classes: int,
    seed: int,
    kernel: str,
    preprocessing: Preprocessing,
    precision: str,
    weights: str,
    sha256: str,
) -> Network:
    size = body.input_shape[1]
    pixels = keras.Input((size, size, 3), name="pixels", dtype="float32")
    logits, head = add_head(
        body(scale_pixels(pixels, preprocessing)),
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
        body=body,
        head=head,
        size=size,
        kernel=kernel,
        preprocessing=preprocessing,
        weights=weights,
        sha256=sha256,
        precision=precision,
        sequences=sequences(body),
    )


def _body_in(body: keras.Model, name: str, size: int, precision: str) -> keras.Model:
    """A body that computes by a dtype policy, with copies of the weights; itself if it does so in `float32` already."""
    if name in HUB:
        twin = build_hub(name, size, policy=precision)
        copy_weights(body, twin)
        return twin
    return with_policy(body, precision)


def _seeds(seed: int) -> Iterator[int]:
    """Seeds for as many things as are drawn, each of its own."""
    generator = np.random.default_rng(seed)
    while True:
        yield int(generator.integers(2**31))


def _seed_dropout(model: keras.Model, seed: int) -> None:
    # Keras seeds what was built without a seed, as the catalog's networks are, from Python's global generator.
    for generator, drawn in zip(_generators(model), _seeds(seed + 1), strict=False):
        generator.state.assign([drawn, 0])


def _generators(model: keras.Model) -> list[keras.random.SeedGenerator]:
    """Of everything random inside, in order."""
    layers = [layer for layer in model._flatten_layers() if layer is not model]
    return [layer.seed_generator for layer in layers if getattr(layer, "seed_generator", None) is not None]
