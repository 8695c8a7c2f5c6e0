"""What becomes of the moving statistics of batch norm: three policies, each tested by the statistics themselves.

`frozen` and `recalibrated` hold every batch norm of the body: it normalises by its moving statistics in training too,
these stay bit for bit, and so do its scale and shift (Keras' own frozen state; the convolutions around it may learn).
With few pictures in a batch this is what keeps a pretrained backbone whole. `trained` leaves batch norm to the phase:
in layers that learn, batches normalise themselves and the statistics follow; in layers that do not, they stay.
A network without a body inside started from nothing: its batch norm has no statistics worth keeping and always learns.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from jaxtyping import Float32

from tfcells.errors import DamageError, EmptyDataError
from tfcells.finetune.networks import Network

HELD: Final = ("frozen", "recalibrated")
"""Policies under which the body's batch norm does not learn."""

Batch = Float32[np.ndarray, "_ size size 3"]  # batches may differ in number


def batch_norms(network: Network) -> list[keras.layers.BatchNormalization]:
    """Every batch norm of the body, however deep, from input to output; none where there is no body."""
    if network.body is None:
        return []
    return [layer for layer in network.body._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


def hold_statistics(network: Network, policy: str) -> None:
    """Apply a policy to the flags that a phase has set: under `frozen` and `recalibrated` batch norm is held."""
    if policy in HELD:
        for layer in batch_norms(network):
            layer.trainable = False


def recalibrate(network: Network, batches: Iterable[Batch]) -> int:
    """Measure the body's moving statistics anew on training pictures.

    Every batch is passed in training mode once, without dropout, and the mean and variance of all pictures together
    are put together exactly from those of the batches, each weighted by its pictures: no momentum, no memory of the
    old statistics (Wu & Johnson 2021, "precise" batch norm, arXiv:2105.07576).

    Args:
        network: The network.
        batches: Canonical pixels of the right size, float32 (images, size, size, 3) in [0, 255]; from the training
            rows alone, not augmented more than in training.

    Returns:
        The number of batch norms whose statistics were measured; 0, without reading a batch, where there are none.

    Raises:
        EmptyDataError: If there is no picture.
        DamageError: If a statistic is not finite; those of before stay.
    """
    norms = batch_norms(network)
    if not norms:
        return 0
    sums = [tuple(np.zeros_like(values) for values in _statistics(norm)) for norm in norms]
    pictures = 0
    # What is not finite is refused below, in words.
    with _TrainingMode(network, norms) as passed, np.errstate(invalid="ignore", over="ignore"):
        for batch in batches:
            passed(batch)
            pictures += len(batch)
            for (total, squares), norm in zip(sums, norms, strict=True):
                mean, variance = _statistics(norm)
                total += len(batch) * mean
                squares += len(batch) * (variance + mean**2)
        measured = [_moments(total, squares, max(pictures, 1)) for total, squares in sums]
    if not pictures:
        raise EmptyDataError("No training picture to measure batch norm on. Expected one batch or more.")
    if not all(np.isfinite(values).all() for both in measured for values in both):
        raise DamageError(
            f"Batch norm of {network.settings.name} measured on {pictures} pictures is not finite under "
            f"{network.precision}. Expected finite activations: use float32, or batch_norm `frozen`."
        )
    for norm, both in zip(norms, measured, strict=True):
        _put(norm, both)
    return len(norms)


class _TrainingMode:
    """A pass in training mode that leaves the statistics of its batch behind; at the end all is as it was before."""

    def __init__(self, network: Network, norms: list[keras.layers.BatchNormalization]) -> None:
        self._network = network
        self._norms = norms
        self._drops = [layer for layer in network.model._flatten_layers() if isinstance(layer, keras.layers.Dropout)]

    def __enter__(self) -> Callable[[Batch], Any]:
        self._before = [(norm.momentum, norm.trainable, _statistics(norm)) for norm in self._norms]
        self._rates = [drop.rate for drop in self._drops]
        for norm in self._norms:
            norm.trainable, norm.momentum = True, 0.0
        for drop in self._drops:
            drop.rate = 0.0
        # Traced here, so that it sees the flags as they are now.
        model = self._network.model
        shape = (None, self._network.size, self._network.size, 3)
        signature = [tf.TensorSpec(shape, tf.float32)]
        passed: Callable[[Batch], Any] = tf.function(
            lambda pixels: model(pixels, training=True), input_signature=signature, autograph=False
        )
        return passed

    def __exit__(self, *_: object) -> None:
        for norm, (momentum, trainable, statistics) in zip(self._norms, self._before, strict=True):
            norm.momentum, norm.trainable = momentum, trainable
            _put(norm, statistics)
        for drop, rate in zip(self._drops, self._rates, strict=True):
            drop.rate = rate


def _statistics(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    return norm.moving_mean.numpy().astype(np.float64), norm.moving_variance.numpy().astype(np.float64)


def _put(norm: keras.layers.BatchNormalization, statistics: tuple[np.ndarray, np.ndarray]) -> None:
    mean, variance = statistics
    norm.moving_mean.assign(mean.astype(np.float32))
    norm.moving_variance.assign(variance.astype(np.float32))


def _moments(total: np.ndarray, squares: np.ndarray, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    mean = total / pictures
    return mean, np.maximum(squares / pictures - mean**2, 0.0)
