"""The precision that a network computes in: which one, what it costs in its answers, and when it has to be given up.

Weights, head and loss are float32 always; a mixed policy is that of the body's layers alone.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import keras
import numpy as np
import tensorflow as tf
from jaxtyping import Float32

from tfcells.errors import RequestError, UnknownNameError
from tfcells.features.engines.machine import Machine, this_machine
from tfcells.features.engines.tensorflow_graph import graphics_card
from tfcells.finetune.networks import Network, in_precision
from tfcells.finetune.settings import PRECISIONS

AUTO: Final = "auto"
_HALF: Final = (7, 0)  # compute capability from which on a graphics card multiplies float16 faster than float32
_BATCH: Final = 32


def resolve_precision(precision: str, *, machine: Machine | None = None) -> str:
    """The name of a Keras dtype policy for a request.

    Args:
        precision: `auto` takes `mixed_float16` on a graphics card with tensor cores, `mixed_bfloat16` on a processor
            that multiplies in it (AMX or AVX512_BF16), else `float32`. Any other name is met as it is, also where the
            hardware emulates it.
        machine: To choose for; this one by default.

    Raises:
        UnknownNameError: If the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    if precision != AUTO:
        return precision
    machine = machine or this_machine(gpu=graphics_card())
    if machine.gpu is not None:
        return "mixed_float16" if machine.gpu >= _HALF else "float32"
    return "mixed_bfloat16" if machine.bfloat16 else "float32"


def overflow(optimiser: keras.optimizers.Optimizer, *, loss: float) -> str | None:
    """Why float16 has to be given up, or None while it need not.

    Training goes on in float32, `in_precision(network, "float32")`, from weights that were good: an update with
    gradients that are not finite is left out by the loss scaling, but statistics of batch norm that learn may have
    taken in what is not finite, so the last checkpoint is safer than the network itself.

    Args:
        optimiser: Of the phase. One without loss scaling is not of float16: whatever its loss, precision is not why.
        loss: Of the last batch, or a mean over some.
    """
    if not isinstance(optimiser, keras.optimizers.LossScaleOptimizer):
        return None
    if not math.isfinite(loss):
        return f"the loss is {loss:g}: activations left the range of float16 (65,504), which no loss scale cures"
    scale = float(optimiser.dynamic_scale) if optimiser.built else optimiser.initial_scale
    if scale < 1:
        return f"the loss scale fell to {scale:g}: gradients overflow float16 though nothing is scaled up"
    return None


@dataclass(frozen=True, kw_only=True)
class PrecisionParity:
    """How a network's logits differ from those of the same weights in float32.

    Attributes:
        precision: Name of the dtype policy.
        images: How many were compared.
        cosine: Smallest cosine similarity of an image's logits.
        max_difference: Largest absolute difference of a logit.
        relative_difference: The same, in standard deviations of the float32 logits.
        agreement: Share of images with the same most likely class.
    """

    precision: str
    images: int
    cosine: float
    max_difference: float
    relative_difference: float
    agreement: float


def precision_parity(network: Network, pixels: Float32[np.ndarray, "images size size 3"]) -> PrecisionParity:
    """Compare a network with itself in float32, without TF32, which is as coarse as float16.

    Args:
        network: In any precision.
        pixels: Canonical pixels of its size, in [0, 255].

    Raises:
        RequestError: If there is no image.
    """
    if not len(pixels):
        raise RequestError("No image to compare precisions on. Expected one or more.")
    ours = _logits(network, pixels)
    exact = ours
    if network.precision != "float32":
        with _whole_float32():
            exact = _logits(in_precision(network, "float32"), pixels)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(exact, axis=1)
    largest = float(np.abs(ours - exact).max())
    return PrecisionParity(
        precision=network.precision,
        images=len(pixels),
        cosine=float(((ours * exact).sum(axis=1) / norms).min()),
        max_difference=largest,
        relative_difference=largest / float(exact.std()),
        agreement=float((ours.argmax(axis=1) == exact.argmax(axis=1)).mean()),
    )


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Products of all 24 bits, where a graphics card would take 11 of them."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _logits(network: Network, pixels: np.ndarray) -> np.ndarray:
    batches = range(0, len(pixels), _BATCH)
    parts = [network.model(pixels[start : start + _BATCH], training=False).numpy() for start in batches]
    return np.concatenate(parts).astype(np.float64)
