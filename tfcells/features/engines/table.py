"""The fixed table of engines and precisions: which comes first on which machine, and what is impossible where.

Nothing is timed, so that the same machine always chooses the same. The orders were measured on processors with AVX2,
AVX-512 and AMX; `tfcells bench` says whether they hold on a machine.
"""

from collections.abc import Iterator
from typing import Final

from tfcells.errors import MissingExtraError, RequestError, UnknownNameError
from tfcells.features.engines.contract import AUTO, ENGINES, ONNXRUNTIME, OPENVINO, PRECISIONS, TENSORFLOW
from tfcells.features.engines.machine import Machine

Row = tuple[str, str]

_EXTRA: Final = {OPENVINO: "openvino", ONNXRUNTIME: "onnx"}
_LARGE_KERNELS: Final = frozenset({"vgg16", "vgg19"})  # 3 x 3 throughout: TensorFlow's float32 loses nothing there

_ON_GPU: Final = ((TENSORFLOW, "bfloat16"), (TENSORFLOW, "float16"), (TENSORFLOW, "float32"))
_BFLOAT16: Final = ((OPENVINO, "bfloat16"), (TENSORFLOW, "bfloat16"))
_AVX512: Final = ((ONNXRUNTIME, "float32"), (OPENVINO, "float32"), (TENSORFLOW, "float32"))
_LARGE_ON_AVX512: Final = ((TENSORFLOW, "float32"), (ONNXRUNTIME, "float32"), (OPENVINO, "float32"))
_OTHER_X86: Final = ((OPENVINO, "float32"), (ONNXRUNTIME, "float32"), (TENSORFLOW, "float32"))
_OTHER: Final = ((ONNXRUNTIME, "float32"), (TENSORFLOW, "float32"))


def order(machine: Machine, backbone: str) -> tuple[Row, ...]:
    """Engines and precisions for a machine and a backbone, the fastest first, possible or not."""
    if machine.gpu is not None:
        return _ON_GPU
    if machine.architecture != "x86_64":
        return _OTHER
    wide = _LARGE_ON_AVX512 if backbone in _LARGE_KERNELS else _AVX512
    rows = wide if "avx512f" in machine.flags else _OTHER_X86
    return _BFLOAT16 + rows if machine.bfloat16 else rows


def candidates(machine: Machine, backbone: str, *, engine: str = AUTO, precision: str = AUTO) -> tuple[Row, ...]:
    """Rows of the table that fit a request and are possible on a machine, in order.

    Args:
        machine: From `this_machine`.
        backbone: Name in the catalog.
        engine: One of `ENGINES`, or `auto`.
        precision: One of `PRECISIONS`, or `auto`.

    Raises:
        UnknownNameError: If there is no such engine or precision.
        MissingExtraError: If the engine that was named is not installed.
        RequestError: If what was named is impossible here; says why.
    """
    check_names(engine, precision)
    if engine != AUTO and precision != AUTO:
        require_possible(machine, engine, precision)
        return ((engine, precision),)
    known = dict.fromkeys((*order(machine, backbone), *((name, kind) for name in ENGINES for kind in PRECISIONS)))
    fitting = [row for row in known if engine in (AUTO, row[0]) and precision in (AUTO, row[1])]
    possible = tuple(
        row for row in fitting if not any(obstacles(machine, *row)) and not machine.missing_package(row[0])
    )
    if not possible:  # then the best of them is not installed, or none can be
        require_possible(machine, *next((row for row in fitting if not any(obstacles(machine, *row))), fitting[0]))
    return possible


def check_names(engine: str, precision: str) -> None:
    """Raise `UnknownNameError` for a name that is neither `auto` nor in the contract."""
    for what, name, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if name not in (AUTO, *known):
            raise UnknownNameError(what, name, (AUTO, *known))


def require_possible(machine: Machine, engine: str, precision: str) -> None:
    """Refuse what cannot run here.

    Raises:
        MissingExtraError: If the engine is not installed.
        RequestError: If it is impossible for another reason.
    """
    reason = next(obstacles(machine, engine, precision), None)
    if reason is not None:
        raise RequestError(
            f"Engine {engine} in {precision} was asked for, but {reason}. Choose another engine or precision, or auto."
        )
    if (package := machine.missing_package(engine)) is not None:
        raise MissingExtraError(package, extra=_EXTRA[engine])


def obstacles(machine: Machine, engine: str, precision: str) -> Iterator[str]:
    """Why an engine and a precision are impossible on a machine; nothing where they are possible."""
    on_gpu = engine == TENSORFLOW and machine.gpu is not None
    if engine == OPENVINO and machine.architecture != "x86_64":
        yield f"OpenVINO has no package for {machine.architecture}"
    if engine == ONNXRUNTIME and precision != "float32":
        yield "onnxruntime computes in float32 here"
    elif precision == "float16" and not on_gpu:
        yield "float16 needs a graphics card and TensorFlow; processors compute in float32 or bfloat16"
    elif precision == "float16" and (machine.gpu or (0, 0)) < (7, 0):
        yield "the graphics card's compute capability is below 7.0"
    elif precision == "bfloat16" and on_gpu and (machine.gpu or (0, 0)) < (8, 0):
        yield "the graphics card's compute capability is below 8.0"
    elif precision == "bfloat16" and not on_gpu and not machine.bfloat16:
        yield "this processor has neither AMX nor AVX512_BF16 and would emulate bfloat16"
