"""The contract of an engine: pixels of one size in, features by tap out, in batches of one fixed shape."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

AUTO: Final = "auto"
TENSORFLOW: Final = "tensorflow"
OPENVINO: Final = "openvino"
ONNXRUNTIME: Final = "onnxruntime"
ENGINES: Final = (TENSORFLOW, OPENVINO, ONNXRUNTIME)
PRECISIONS: Final = ("float32", "bfloat16", "float16")
REFERENCE: Final = (TENSORFLOW, "float32")
"""What everything exported computes with, and what every other engine is held against."""


class Engine(ABC):
    """A cut network, compiled for one batch shape. Opened once in a process; called from one thread at a time.

    Args:
        keys: The taps' keys, in the order of the answers.
        batch_size: Pictures per pass; a call with fewer is filled up with zeros, one with more takes several passes.
        size: Side of the pictures in pixels.
        precision: What the network computes in; what goes in and comes out is float32.
    """

    name: ClassVar[str]

    def __init__(self, *, keys: tuple[str, ...], batch_size: int, size: int, precision: str) -> None:
        self.keys = keys
        self.batch_size = batch_size
        self.size = size
        self.precision = precision

    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Features of pictures.

        Args:
            pixels: (pictures, size, size, 3) uint8 or float, RGB in [0, 255].

        Returns:
            float32 arrays of shape (pictures, ...) by tap key.
        """
        pixels = np.ascontiguousarray(pixels, dtype=np.float32)
        starts = range(0, len(pixels), self.batch_size)
        parts = [self._padded(pixels[start : start + self.batch_size]) for start in starts]
        if len(parts) == 1:
            return {key: parts[0][key] for key in self.keys}
        return {key: np.concatenate([part[key] for part in parts]) for key in self.keys}

    @abstractmethod
    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """One pass: float32 (batch_size, size, size, 3) to float32 arrays of shape (batch_size, ...) by tap key."""

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What a recipe says of the engine beside its name, precision and batch size: version, device, kernels."""

    def _padded(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        missing = self.batch_size - len(pixels)
        if not missing:
            return self.run(pixels)
        filler = np.zeros((missing, *pixels.shape[1:]), dtype=np.float32)
        return {key: output[: len(pixels)] for key, output in self.run(np.concatenate([pixels, filler])).items()}


def threads() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))
