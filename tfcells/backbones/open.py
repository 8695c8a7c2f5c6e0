"""Open a backbone: build the network of a catalog row, load exactly the weights that were asked for."""

import hashlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import numpy as np
from keras.src.backend.common import global_state

from tfcells.backbones.calibrate import calibrate_batch_norm, randomise
from tfcells.backbones.catalog import Backbone, find_backbone
from tfcells.backbones.weights import IMAGENET, NONE, WeightsFile, find_weights, ways_out
from tfcells.errors import MissingWeightsError, RequestError

_NAME_COUNTERS: Final = "object_name_uids"
_IMAGENET_VARIANCES: Final = (0.229**2, 0.224**2, 0.225**2)  # of pixels in [0, 1]


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenBackbone:
    """A network with its weights.

    Attributes:
        row: Its row of the catalog.
        model: Keras model without preprocessing and without a head: (batch, size, size, 3) as the weights
            expect it, to (batch, h, w, channels).
        size: Side of its square input, in pixels.
        weights: Name of the weights.
        sha256: Of the weights file; of the weights themselves where there is no file (`none`, Keras' download).
    """

    row: Backbone
    model: keras.Model
    size: int
    weights: str
    sha256: str


def open_backbone(name: str, *, weights: str | Path = IMAGENET, size: int | None = None, seed: int = 0) -> OpenBackbone:
    """Build a backbone and load its weights.

    Args:
        name: Name in the catalog.
        weights: `imagenet`, `none`, another name, a file or a folder; see `find_weights`.
        size: Side of the square input in pixels; the row's own by default.
        seed: Of random weights, where `none` was asked for.

    Raises:
        UnknownNameError: If the catalog has no such row.
        MissingWeightsError: If the weights are neither on this machine nor to be fetched.
        RequestError: If the file does not fit the network.
    """
    row = find_backbone(name)
    found = find_weights(name, weights)
    size = row.size if size is None else size
    if found.path is None and found.name == IMAGENET:
        model = _downloaded(row, size)
    else:
        model = build_network(row, size)
        if found.path is None:
            randomise(model, seed=seed)
        else:
            _load(model, found)
    digest = found.sha256 or weights_digest(model)
    if found.name == NONE:
        # After the digest: calibrated statistics differ in the last bits between processors, the weights'
        # identity must not.
        calibrate_batch_norm(model, row.preprocessing, seed=seed)
    model.trainable = False
    return OpenBackbone(row=row, model=model, size=size, weights=found.name, sha256=digest)


def build_network(row: Backbone, size: int, *, weights: str | None = None) -> keras.Model:
    """Build a row's network, with layer names that do not depend on what was built before in this process.

    Raises:
        RequestError: If the network cannot be built for this size.
    """
    with _fresh_layer_names():
        builder = getattr(keras.applications, row.builder)
        try:
            return builder(weights=weights, include_top=False, input_shape=(size, size, 3))
        except ValueError as unfit:
            if weights is not None:  # then it may as well be the download
                raise
            raise RequestError(
                f"{row.name} cannot be built for size = {size}: {unfit}. Its own is {row.size}."
            ) from unfit


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over the paths, shapes and values of all weights, in order."""
    digest = hashlib.sha256()
    for variable in model.weights:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{variable.path} {value.shape} {value.dtype}|".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


@contextmanager
def _fresh_layer_names() -> Iterator[None]:
    # Some builders leave layers to Keras' counters (`activation_19`), which count over the whole process: the
    # same tap would have another name the second time. The counters are put back, so that layers a caller
    # builds around this do not clash.
    before = global_state.get_global_attribute(_NAME_COUNTERS)
    global_state.set_global_attribute(_NAME_COUNTERS, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(_NAME_COUNTERS, before)


def _downloaded(row: Backbone, size: int) -> keras.Model:
    try:
        with redirect_stdout(sys.stderr):  # where Keras reports its download; stdout belongs to results
            return build_network(row, size, weights=IMAGENET)
    # Keras reports an unreachable host as a bare Exception, a bad download as ValueError.
    except Exception as fault:
        build_network(row, size)  # says so where the size is at fault, not the download
        raise MissingWeightsError(
            f"No weights 'imagenet' for {row.name}: no {row.name}_imagenet.weights.h5 on this machine, and Keras "
            f"could not download them ({fault}). {ways_out(row.name)}"
        ) from fault


def _load(model: keras.Model, found: WeightsFile) -> None:
    path = found.path
    if path is None:
        raise RequestError(f"Weights {found.name!r} have no file to load; `{NONE}` and downloads are made, not loaded.")
    try:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            if path.suffix == ".keras":
                _copy_by_layer(keras.saving.load_model(path, compile=False, safe_mode=True), model, path)
            else:
                model.load_weights(path)
        for note in notes:  # of layers that Keras left random it may only warn
            if "freshly-initialized" in str(note.message):
                raise ValueError(note.message)
        _divide_twice_where_trained_so(model)
    except RequestError:
        raise
    # h5py and Keras raise ValueError, KeyError, OSError and more for a file of another network.
    except Exception as misfit:
        reason = " ".join(str(misfit).split())[:300]
        raise RequestError(
            f"{path} does not fit {model.name}: {reason}. Expected weights of "
            f"keras.applications with include_top=False, {len(model.weights)} arrays."
        ) from misfit


def _copy_by_layer(source: keras.Model, target: keras.Model, path: Path) -> None:
    """Copy weights between models by layer name; a head the source has beyond the target is left behind."""
    donors = {layer.name: layer for layer in source._flatten_layers() if layer.weights}
    needed = [layer for layer in target.layers if layer.weights]
    missing = [layer.name for layer in needed if layer.name not in donors]
    if missing:
        raise RequestError(
            f"{path} has no layer {missing[0]!r} ({len(missing)} of {len(needed)} layers are missing). Expected a "
            f"model that contains {target.name}, with its layer names."
        )
    for layer in needed:
        layer.set_weights(donors[layer.name].get_weights())
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with a copy of its weights


def _divide_twice_where_trained_so(model: keras.Model) -> None:
    # The first EfficientNets were trained on inputs divided twice, by ImageNet's deviations and by their square
    # roots (https://github.com/tensorflow/tensorflow/issues/49930). Keras adds a layer for the second division,
    # but for weights="imagenet" alone: here it goes into the first, where the file holds ImageNet's variances.
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            mean, variance, count = layer.get_weights()
            if np.allclose(variance, _IMAGENET_VARIANCES, rtol=1e-3):
                layer.set_weights([mean, variance**1.5, count])
                layer.finalize_state()
