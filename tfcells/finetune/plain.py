"""Small networks that start from nothing: what a fine-tuned backbone has to beat.

Each maps scaled pixels, (batch, size, size, 3), to what the head reads. Layers are named `block<n>_<kind>`, so that
phases can speak of blocks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import keras


@dataclass(frozen=True)
class PlainNetwork:
    """A row of the table.

    Attributes:
        layers: From scaled pixels, seeds for the kernels and the name of a dtype policy to what the head reads.
        size: Default side of the input in pixels.
        pooling: How the head reads it.
    """

    layers: Callable[[keras.KerasTensor, Iterator[int], str], keras.KerasTensor]
    size: int
    pooling: str


def dense(pixels: keras.KerasTensor, seeds: Iterator[int], policy: str) -> keras.KerasTensor:
    """A dense net: pixels flattened, then 512 and 128 units with ReLU. It knows nothing of neighbourhood."""
    values = keras.layers.Flatten(name="block1_flatten", dtype=policy)(pixels)
    for block, units in enumerate((512, 128), start=1):
        layer = keras.layers.Dense(
            units, activation="relu", kernel_initializer=_he(seeds), dtype=policy, name=f"block{block}_dense"
        )
        values = layer(values)
    return values


def light_cnn(pixels: keras.KerasTensor, seeds: Iterator[int], policy: str) -> keras.KerasTensor:
    """Three blocks of 3 x 3 convolution, ReLU and 2 x 2 max pooling, with 10, 20 and 40 channels; no normalisation."""
    maps = pixels
    for block, channels in enumerate((10, 20, 40), start=1):
        maps = _convolution(channels, seeds, policy, block)(maps)
        maps = keras.layers.ReLU(dtype=policy, name=f"block{block}_relu")(maps)
        maps = keras.layers.MaxPooling2D(dtype=policy, name=f"block{block}_pool")(maps)
    return maps


def cnn(pixels: keras.KerasTensor, seeds: Iterator[int], policy: str) -> keras.KerasTensor:
    """Three blocks of 3 x 3 convolution, batch norm, ReLU and 2 x 2 max pooling, with 64, 128 and 256 channels."""
    maps = pixels
    for block, channels in enumerate((64, 128, 256), start=1):
        # Without a bias: batch norm, which follows, would take it away again.
        maps = _convolution(channels, seeds, policy, block, use_bias=False)(maps)
        maps = keras.layers.BatchNormalization(dtype=policy, name=f"block{block}_bn")(maps)
        maps = keras.layers.ReLU(dtype=policy, name=f"block{block}_relu")(maps)
        maps = keras.layers.MaxPooling2D(dtype=policy, name=f"block{block}_pool")(maps)
    return maps


PLAIN: Final = {
    "dense": PlainNetwork(dense, size=32, pooling="flatten"),
    "light_cnn": PlainNetwork(light_cnn, size=64, pooling="flatten"),
    "cnn": PlainNetwork(cnn, size=128, pooling="mean"),
}
"""The named networks without a backbone."""


def _convolution(
    channels: int, seeds: Iterator[int], policy: str, block: int, *, use_bias: bool = True
) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(
        channels,
        3,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=_he(seeds),
        dtype=policy,
        name=f"block{block}_conv",
    )


def _he(seeds: Iterator[int]) -> keras.Initializer:
    """He-normal: He et al. 2015, arXiv:1502.01852."""
    return keras.initializers.HeNormal(seed=next(seeds))
