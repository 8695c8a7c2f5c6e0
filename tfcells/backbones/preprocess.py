"""Resizing and preprocessing inside graphs: the same two functions in tf.data, in cut models and in exports."""

import keras
import tensorflow as tf

from tfcells.backbones.catalog import Preprocessing
from tfcells.errors import UnknownNameError

KERNELS = {
    # A triangle as wide as the output's pixel spacing: without it, shrinking aliases granules into noise.
    "bilinear": lambda images, size: tf.image.resize(images, (size, size), method="bilinear", antialias=True),
}
"""Resize kernels by name: (images, side in pixels) to float32. `tfcells.images.resize` is their twin in NumPy."""


def resize_images(images: tf.Tensor, *, size: int, kernel: str) -> tf.Tensor:
    """Resize to a square; aspect ratio is not kept, nothing is cropped.

    Args:
        images: (height, width, 3) or (batch, height, width, 3), uint8 or float, in [0, 255].
        size: Side of the result in pixels.
        kernel: Name in `KERNELS`.

    Returns:
        float32 of shape (size, size, 3) or (batch, size, size, 3), in [0, 255], not rounded.
    """
    if kernel not in KERNELS:
        raise UnknownNameError("resize kernel", kernel, KERNELS)
    return tf.cast(KERNELS[kernel](images, size), tf.float32)


@keras.saving.register_keras_serializable(package="tfcells")
class Preprocess(keras.layers.Layer):
    """Canonical pixels of any size to what the weights were trained to see; holds no weights.

    Args:
        size: Side of the square the backbone takes, in pixels.
        kernel: Resize kernel.
        channel_order: `rgb` or `bgr`.
        scale: Factor per channel, after reordering.
        offset: Summand per channel, after reordering.
    """

    def __init__(
        self,
        *,
        size: int,
        kernel: str,
        channel_order: str,
        scale: tuple[float, float, float],
        offset: tuple[float, float, float],
        **kwargs: object,
    ) -> None:
        # Pixels keep their type until here: autocasting uint8 to a low precision would round them.
        super().__init__(autocast=False, trainable=False, **kwargs)
        self.size = size
        self.kernel = kernel
        self.channel_order = channel_order
        self.scale = tuple(scale)
        self.offset = tuple(offset)

    @classmethod
    def for_backbone(cls, preprocessing: Preprocessing, *, size: int, kernel: str) -> "Preprocess":
        """Return the layer for one row of the catalog."""
        return cls(
            size=size,
            kernel=kernel,
            channel_order=preprocessing.channel_order,
            scale=preprocessing.scale,
            offset=preprocessing.offset,
            name="preprocess",
        )

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """(batch, height, width, 3) in [0, 255] to (batch, size, size, 3) in the compute dtype."""
        resized = resize_images(images, size=self.size, kernel=self.kernel)
        if self.channel_order == "bgr":
            resized = resized[..., ::-1]
        return tf.cast(resized * tf.constant(self.scale) + tf.constant(self.offset), self.compute_dtype)

    def compute_output_spec(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Shape and dtype of the result."""
        return keras.KerasTensor((images.shape[0], self.size, self.size, 3), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, object]:
        """The arguments that make this layer again."""
        own = {name: getattr(self, name) for name in ("size", "kernel", "channel_order", "scale", "offset")}
        return {**super().get_config(), **own}
