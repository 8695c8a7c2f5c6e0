"""Resizing and preprocessing inside graphs: the same kernel in tf.data, in cut models and in exports."""

from typing import Any, Final

import keras
import tensorflow as tf
from keras import ops

from tfcells.backbones.catalog import Preprocessing
from tfcells.errors import UnknownNameError

KERNELS: Final[dict[str, dict[str, Any]]] = {
    # A triangle as wide as the output's pixel spacing: without it, shrinking aliases granules into noise.
    "bilinear": {"interpolation": "bilinear", "antialias": True},
}
"""Resize kernels by name, as `keras.layers.Resizing` takes them; `tfcells.images.resize` is the twin in Python."""


@tf.autograph.experimental.do_not_convert  # there is no control flow in it
def resize_images(images: tf.Tensor, *, size: int, kernel: str) -> tf.Tensor:
    """Resize to a square; aspect ratio is not kept, nothing is cropped.

    Args:
        images: (height, width, 3) or (batch, height, width, 3), uint8 or float, in [0, 255].
        size: Side of the result in pixels.
        kernel: Name in `KERNELS`.

    Returns:
        float32 of shape (size, size, 3) or (batch, size, size, 3), in [0, 255], not rounded.
    """
    settings = _kernel(kernel)
    resized = tf.image.resize(images, (size, size), method=settings["interpolation"], antialias=settings["antialias"])
    return tf.cast(resized, tf.float32)


def preprocess(pixels: keras.KerasTensor, preprocessing: Preprocessing, *, size: int, kernel: str) -> keras.KerasTensor:
    """Canonical pixels of any size to what the weights were trained to see; Keras' own layers, no weights.

    Args:
        pixels: (batch, height, width, 3) in [0, 255].
        preprocessing: From the backbone's row.
        size: Side of the square the backbone takes, in pixels.
        kernel: Name in `KERNELS`.

    Returns:
        (batch, size, size, 3) float32.
    """
    resized = keras.layers.Resizing(size, size, **_kernel(kernel), dtype="float32", name="resize")(pixels)
    return scale_pixels(resized, preprocessing)


def scale_pixels(resized: keras.KerasTensor, preprocessing: Preprocessing) -> keras.KerasTensor:
    """Channel order and value range, after resizing: (batch, size, size, 3) float32 to the same shape."""
    if preprocessing.channel_order == "bgr":
        resized = ops.flip(resized, axis=-1)
    scale, offset = _shortest(preprocessing.scale), _shortest(preprocessing.offset)
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="rescale")(resized)


def _shortest(values: tuple[float, ...]) -> float | list[float]:
    """One number where all are the same: onnxruntime multiplies by it nine times as fast as by three."""
    return values[0] if len(set(values)) == 1 else list(values)


def _kernel(name: str) -> dict[str, Any]:
    if name not in KERNELS:
        raise UnknownNameError("resize kernel", name, KERNELS)
    return KERNELS[name]
