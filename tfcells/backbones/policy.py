"""The same network computing in another precision: weights and layer names stay, global state is not touched."""

import warnings

import keras


def with_policy(model: keras.Model, policy: str) -> keras.Model:
    """Rebuild a functional model with layers that compute by another dtype policy.

    Args:
        model: A functional model; it keeps its own weights.
        policy: Name of a Keras dtype policy, e.g. `mixed_bfloat16`; weights stay float32 under the mixed ones.

    Returns:
        A model of the same layer names with copies of the weights, frozen (`trainable` is False).
    """

    def rebuilt(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.InputLayer):
            return layer.__class__.from_config(layer.get_config())
        return layer.__class__.from_config({**layer.get_config(), "dtype": policy})

    clone = keras.models.clone_model(model, clone_function=rebuilt)
    copy_weights(model, clone)
    clone.trainable = False
    return clone


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy weights between two models of the same structure."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
        target.set_weights(source.get_weights())
    for layer in target._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with a copy of its weights
