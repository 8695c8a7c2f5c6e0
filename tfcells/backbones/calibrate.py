"""Random weights that are worth something: seeded by NumPy, batch norm calibrated to real activations.

A network with fresh batch-norm statistics answers near zero everywhere (MobileNetV2: embeddings around 1e-11),
so that every comparison on it passes for nothing. Calibrated, random convolutions are a fair baseline.
"""

import keras
import numpy as np

from tfcells.arrays import Pictures
from tfcells.backbones.catalog import Preprocessing

_CALIBRATION_IMAGES = 16


def randomise(model: keras.Model, *, seed: int) -> None:
    """Draw every kernel anew, He-normal (He et al. 2015, https://arxiv.org/abs/1502.01852).

    Vectors (biases, scales, statistics) keep the constants their layers start with. NumPy draws the numbers,
    so the same seed gives the same weights under any version of TensorFlow.
    """
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if len(shape) >= 2:
            depthwise = len(shape) == 4 and shape[-1] == 1  # (height, width, channels, 1): a channel sees only itself
            fan_in = int(np.prod(shape[:2] if depthwise else shape[:-1]))
            variable.assign(generator.normal(0.0, np.sqrt(2.0 / fan_in), shape).astype(np.float32))


def calibrate_batch_norm(model: keras.Model, preprocessing: Preprocessing, *, seed: int) -> None:
    """Set every batch norm's moving statistics to those of one batch of patterned pictures."""
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    size = model.input_shape[1]
    pictures = patterned_pictures(_CALIBRATION_IMAGES, size=size, seed=seed).astype(np.float32)
    if preprocessing.channel_order == "bgr":
        pictures = pictures[..., ::-1]
    scale, offset = (np.array(values, dtype=np.float32) for values in (preprocessing.scale, preprocessing.offset))
    inputs = pictures * scale + offset
    # Dropout would make the statistics depend on TensorFlow's own random numbers.
    drops = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    momenta, rates = [norm.momentum for norm in norms], [drop.rate for drop in drops]
    for norm in norms:
        norm.momentum = 0.0
    for drop in drops:
        drop.rate = 0.0
    try:
        model(inputs, training=True)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for drop, rate in zip(drops, rates, strict=True):
            drop.rate = rate


def patterned_pictures(count: int, *, size: int, seed: int) -> Pictures:
    """Pictures with natural statistics: noise whose power falls with the square of the frequency, and discs.

    Returns:
        uint8 of shape (count, size, size, 3).
    """
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    falloff = 1.0 / np.maximum(frequency, 1.0 / size)
    rows, columns = np.mgrid[:size, :size]
    pictures = np.empty((count, size, size, 3), dtype=np.uint8)
    for picture in pictures:
        spectrum = np.fft.rfft2(generator.normal(size=(3, size, size))) * falloff
        texture = np.fft.irfft2(spectrum, s=(size, size)).transpose(1, 2, 0)
        canvas = 170 + 30 * texture / texture.std()
        for _ in range(6):
            y, x, radius = generator.uniform(0, size, 3) * (1, 1, 0.25)
            canvas[np.hypot(rows - y, columns - x) < radius] += generator.uniform(-90, 40, 3)
        picture[:] = np.clip(canvas, 0, 255)
    return pictures
