"""What an engine's choice depends on: the processor, the packages that are installed, the graphics card."""

import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfcells.features.engines.contract import ONNXRUNTIME, OPENVINO, TENSORFLOW

ONEDNN: Final = "TF_ENABLE_ONEDNN_OPTS"
BEST_GPU: Final = (99, 0)
"""Compute capability of a graphics card that can do everything: what it does not make possible, no card does."""
_PACKAGES: Final = {OPENVINO: ("openvino",), ONNXRUNTIME: ("onnxruntime", "tf2onnx", "onnx")}


@dataclass(frozen=True)
class Machine:
    """A machine, as far as engines care.

    Attributes:
        architecture: As `platform.machine()` says it, e.g. `x86_64` or `aarch64`.
        flags: The processor's, as Linux lists them; empty where it does not.
        extras: Engines beside TensorFlow whose packages are installed.
        gpu: Compute capability of the graphics card that TensorFlow sees; None without one.
    """

    architecture: str
    flags: frozenset[str]
    extras: frozenset[str]
    gpu: tuple[int, int] | None = None

    @property
    def bfloat16(self) -> bool:
        """Whether the processor multiplies bfloat16 matrices; others emulate them, slower than float32."""
        return bool(self.flags & {"amx_bf16", "avx512_bf16"})

    def missing_package(self, engine: str) -> str | None:
        """The package by which an engine that is not installed is known; None for one that is."""
        return None if engine == TENSORFLOW or engine in self.extras else engine


def this_machine(*, gpu: tuple[int, int] | None = None) -> Machine:
    """Look at the machine; the graphics card has to be told, since only TensorFlow knows."""
    return Machine(
        architecture=platform.machine(),
        flags=processor_flags(Path("/proc/cpuinfo")),
        extras=frozenset(engine for engine in _PACKAGES if not _missing(engine)),
        gpu=gpu,
    )


def processor_flags(path: Path) -> frozenset[str]:
    """The first processor's `flags` (x86) or `Features` (Arm) in a file as `/proc/cpuinfo`."""
    if not path.is_file():
        return frozenset()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def prefer_onednn() -> None:
    """Let TensorFlow use oneDNN's kernels on every processor; to be called before it is imported.

    It does so by itself on newer Intel processors alone. On an AMD processor with AVX2 they take less than half the
    time of its own kernels. A user's own setting wins, and a TensorFlow that is loaded stays as it is.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault(ONEDNN, "1")


def _missing(engine: str) -> list[str]:
    return [package for package in _PACKAGES.get(engine, ()) if importlib.util.find_spec(package) is None]
