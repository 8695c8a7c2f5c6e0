"""The head of a network: pooling, an optional hidden layer, dropout, logits. All of it computes in float32."""

from collections.abc import Iterator
from typing import Final

import keras

from tfcells.errors import RequestError

PREFIX: Final = "head_"
LOGITS: Final = f"{PREFIX}logits"
_POOLED: Final = {  # by pooling and the rank of what is pooled: maps, or the tokens of a transformer
    ("mean", 4): keras.layers.GlobalAveragePooling2D,
    ("max", 4): keras.layers.GlobalMaxPooling2D,
    ("mean", 3): keras.layers.GlobalAveragePooling1D,
    ("max", 3): keras.layers.GlobalMaxPooling1D,
}


def add_head(
    maps: keras.KerasTensor, *, classes: int, pooling: str, hidden: int, dropout: float, seeds: Iterator[int]
) -> tuple[keras.KerasTensor, tuple[str, ...]]:
    """Put a head on a network.

    Args:
        maps: (batch, height, width, channels), (batch, tokens, channels) or (batch, features), of any float dtype.
        classes: Number of logits.
        pooling: `mean` or `max` over height and width or over tokens, or `flatten`; features stay as they are.
        hidden: Units of a hidden layer with ReLU; 0 for none.
        dropout: Share dropped before each layer with weights.
        seeds: For kernels.

    Returns:
        Logits, float32 (batch, classes), and the names of the head's layers from input to output.

    Raises:
        RequestError: If there are no maps to pool.
    """
    rank = len(maps.shape)
    layers: list[keras.layers.Layer] = []
    if pooling == "flatten":
        layers.append(keras.layers.Flatten(dtype="float32", name=f"{PREFIX}flatten"))
    elif rank > 2:
        layers.append(_pooling_layer(pooling, maps))
    drop = [] if dropout == 0 else [dropout]
    if hidden:
        layers += [keras.layers.Dropout(rate, dtype="float32", name=f"{PREFIX}hidden_dropout") for rate in drop]
        he = keras.initializers.HeNormal(seed=next(seeds))
        layers.append(
            keras.layers.Dense(
                hidden, activation="relu", kernel_initializer=he, dtype="float32", name=f"{PREFIX}hidden"
            )
        )
    layers += [keras.layers.Dropout(rate, dtype="float32", name=f"{PREFIX}dropout") for rate in drop]
    glorot = keras.initializers.GlorotUniform(seed=next(seeds))
    layers.append(keras.layers.Dense(classes, kernel_initializer=glorot, dtype="float32", name=LOGITS))
    values = maps
    for layer in layers:
        values = layer(values)
    return values, tuple(layer.name for layer in layers)


def _pooling_layer(pooling: str, maps: keras.KerasTensor) -> keras.layers.Layer:
    kind = _POOLED.get((pooling, len(maps.shape)))
    if kind is None:
        raise RequestError(
            f"The network ends in shape {tuple(maps.shape[1:])}, which cannot be pooled by {pooling!r}. Expected "
            "(height, width, channels) or (tokens, channels), or pooling `flatten`."
        )
    return kind(dtype="float32", name=f"{PREFIX}pool")
