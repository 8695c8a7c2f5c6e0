"""Weights in half the space: kernels as float16, everything else as it is; the same file from the same weights.

Keras reads such a file as any other `.weights.h5`: it casts what it reads to the float32 of the network's variables.
"""

from pathlib import Path
from typing import Final

import h5py
import numpy as np

from tfcells.errors import RequestError

LARGEST: Final = float(np.finfo(np.float16).max)
_SMALLEST_RANK: Final = 2  # biases, and scale, shift, mean and variance of batch norm, are vectors


def write_compact(source: Path, target: Path) -> None:
    """Rewrite weights with every array of two or more axes, the kernels, as float16.

    Vectors keep their type: variances of batch norm reach from 1e-8 to 1e3, and they are 3 % of MobileNetV2. Groups
    and attributes stay, in the order of their names; nothing in the file says when it was written. Kernels are packed
    by deflate, their bytes shuffled, so that equal bytes on two machines need the same zlib.

    Args:
        source: `.weights.h5` as `keras.Model.save_weights` writes it.
        target: Where to; a file that is there is replaced in one step.

    Raises:
        RequestError: If a value of a kernel is no finite float16, or `source` holds no weights.
    """
    unfinished = target.with_name(f".unfinished-{target.name}")
    try:
        with h5py.File(source) as old, h5py.File(unfinished, "w", libver="earliest") as new:
            if _copy(old, new, whose=source) == 0:
                raise RequestError(f"{source} holds no array. Expected weights as Keras' save_weights writes them.")
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _copy(old: h5py.Group, new: h5py.Group, *, whose: Path) -> int:
    """Copy a group; returns the number of its arrays."""
    new.attrs.update(old.attrs)
    copied = 0
    for name in sorted(old):
        if isinstance(old[name], h5py.Group):
            copied += _copy(old[name], new.create_group(name), whose=whose)
            continue
        value = old[name][()]
        if value.ndim < _SMALLEST_RANK:
            array = new.create_dataset(name, data=value, track_times=False)
        else:
            half = _halved(value, where=f"{whose} {old[name].name}")
            array = new.create_dataset(
                name, data=half, chunks=half.shape, compression="gzip", shuffle=True, track_times=False
            )
        array.attrs.update(old[name].attrs)
        copied += 1
    return copied


def _halved(value: np.ndarray, *, where: str) -> np.ndarray:
    within = np.abs(value) <= LARGEST  # NaN is not
    if not within.all():
        raise RequestError(
            f"{where}: {int((~within).sum()):,} of {value.size:,} values are no finite float16, which reaches from "
            f"{-LARGEST:g} to {LARGEST:g}. Keep these weights in float32."
        )
    return value.astype(np.float16)
