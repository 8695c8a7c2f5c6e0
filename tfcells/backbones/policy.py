"""The same network computing in another precision: layer names and weights stay, Keras' global policy is put back."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from tfcells.backbones.catalog import Backbone
from tfcells.backbones.open import build_network


def rebuild(row: Backbone, model: keras.Model, policy: str) -> keras.Model:
    """Build a row's network anew, its layers computing by a dtype policy.

    Args:
        row: Of the catalog.
        model: Its network as `open_backbone` gives it; it is left alone.
        policy: Name of a Keras dtype policy, e.g. `mixed_bfloat16`; weights are float32 under the mixed ones.

    Returns:
        A model of the same layers with copies of the weights, frozen (`trainable` is False).
    """
    with _building_in(policy):
        twin = build_network(row, model.input_shape[1])
    copy_weights(model, twin)
    twin.trainable = False
    return twin


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy weights between two models of the same structure."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
        target.set_weights(source.get_weights())
    for layer in target._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with a copy of its weights


@contextmanager
def _building_in(policy: str) -> Iterator[None]:
    # keras.applications takes no policy but the global one.
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
