"""Which probes have to hold the features themselves, and the refusal where they do not fit."""

import math
import os
from typing import Final

from tfcells.errors import RequestError
from tfcells.probes.catalog import PROBES
from tfcells.probes.gram.plan import how_to_allow
from tfcells.probes.reading import NO_REDUCTION, Reading

_GIB: Final = 2**30
_NUMBER: Final = 8  # bytes of a float64
_COPIES: Final = 3  # as read, scaled, and the rows that one fold learns from


def memory_bytes(gib: float) -> int:
    """A limit for features or matrices in one process, in bytes.

    Args:
        gib: The same in GiB.

    Raises:
        RequestError: If it is no number above 0.
    """
    if not math.isfinite(gib) or gib * _GIB < 1:
        raise RequestError(
            f"A memory limit of {gib:g} GiB was given. Expected a number above 0 as `probes.memory` of a config or "
            "`tfcells probe --memory`, such as 1.5, the default."
        )
    return int(gib * _GIB)


def physical_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def held_bytes(reading: Reading, *, images: int, width: int) -> int:
    """Bytes of features wider than they are many that a reading has to hold at once, however they are streamed.

    Behind a reduction it holds scores. Support vectors and neighbours are the features, in the served model too, and
    trees look at single features in every fold; what is linear is a few numbers for each. Where images outnumber
    features every reading holds them: see `check_long`.

    Args:
        reading: Layers, scaler, reduction, probe.
        images: Rows that are learned from.
        width: Columns of its layers together.
    """
    kind = PROBES[reading.probe]
    if reading.reduction != NO_REDUCTION or width <= images or kind.linear:
        return 0
    return _NUMBER * images * width * (1 if kind.turnable else _COPIES)


def check_held(reading: Reading, *, images: int, width: int, memory: int) -> None:
    """Refuse a reading that has to hold more than the memory; nothing is read for it.

    Args:
        reading: Layers, scaler, reduction, probe.
        images: Rows that are learned from.
        width: Columns of its layers together.
        memory: Bytes for features or matrices.

    Raises:
        RequestError: If so.
    """
    needed = held_bytes(reading, images=images, width=width)
    if needed > memory:
        raise RequestError(
            f"{' + '.join(reading.taps)}: {images:,} images of {width:,} features take {needed:,} bytes that "
            f"{reading.probe} has to hold; {memory:,} are allowed. Put a reduction such as pca:0.8 before it, pool the "
            f"layer, leave {reading.probe} out, or {how_to_allow(needed)}."
        )


def check_long(reading: Reading, *, images: int, width: int, memory: int) -> None:
    """Refuse features that images outnumber if neither the limit nor this machine holds them; nothing is read.

    A fold holds them whole, with what is made of them: inner products between images, which serve wider ones, would
    take more. So they may exceed the limit, which is meant for those, but not what the machine has.

    Args:
        reading: Layers; they are held whatever reads them.
        images: Rows that are learned from.
        width: Columns of its layers together.
        memory: Bytes for features or matrices.

    Raises:
        RequestError: If so.
    """
    needed = _COPIES * _NUMBER * images * width if width <= images else 0
    if needed > max(memory, physical_memory()):
        raise RequestError(
            f"{' + '.join(reading.taps)}: {images:,} images of {width:,} features take {needed:,} bytes that a fold "
            f"has to hold. This machine has {physical_memory():,}, and {memory:,} are allowed. Pool the layer or leave "
            f"it out, use fewer images or a machine with more memory; or let this one swap, and {how_to_allow(needed)}."
        )
