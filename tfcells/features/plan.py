"""What an extraction will cost, before it costs it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcells.errors import RequestError
from tfcells.features.recipe import Recipe

_BESIDE = 250  # bytes per image beside its taps: the colour statistics, a line of rows.csv
_SPARE = 1.05  # records, headers and file-system blocks come on top


@dataclass(frozen=True)
class Plan:
    """What an extraction will cost.

    Attributes:
        rows: Images still to be extracted.
        bytes_by_tap: Bytes on disk of all images, by tap key.
        bytes_missing: Bytes still to be written.
        bytes_free: Bytes free where the store lies.
        seconds: Expected time for the rows still missing, from the rate measured on this machine.
        images_per_second: That rate.
        memory_bytes: Expected peak of one shard, its batch and the network's weights.
        rows_kept: Images whose features a store holds already, at the taps kept.
        taps_kept: The taps it holds them of.
    """

    rows: int
    bytes_by_tap: Mapping[str, int]
    bytes_missing: int
    bytes_free: int
    seconds: float
    images_per_second: float
    memory_bytes: int
    rows_kept: int = 0
    taps_kept: tuple[str, ...] = ()

    def require_room(self, path: Path) -> None:
        """Raise `RequestError` if the disk cannot hold what is still to be written."""
        if self.bytes_missing > self.bytes_free:
            raise RequestError(
                f"{path} needs {self.bytes_missing / 2**30:.2f} GiB more, its disk has {self.bytes_free / 2**30:.2f} "
                "GiB free. Pool the layers (mean instead of flatten), use float16, name fewer layers, or choose "
                "another disk."
            )


def plan_of(
    recipe: Recipe, *, into: Path, rows_done: int, images_per_second: float, weights_bytes: int, shard_rows: int
) -> Plan:
    """Work out a plan from a complete recipe and a measured rate."""
    count = int(recipe["images"]["count"])
    width = np.dtype(recipe["dtype"]).itemsize
    per_image = {key: width * int(np.prod(shape)) for key, shape in recipe["shapes"].items()}
    missing = count - rows_done
    size, batch = int(recipe["backbone"]["size"]), int(recipe["engine"]["batch_size"])
    folder = next(parent for parent in [into, *into.parents, Path()] if parent.exists())
    return Plan(
        rows=missing,
        bytes_by_tap={key: number * count for key, number in per_image.items()},
        bytes_missing=int(_SPARE * missing * (sum(per_image.values()) + _BESIDE)),
        bytes_free=shutil.disk_usage(folder).free,
        seconds=missing / images_per_second,
        images_per_second=images_per_second,
        # A shard is held as batches, joined, and serialised: three times. Pictures wait in four batches.
        memory_bytes=weights_bytes + 3 * shard_rows * sum(per_image.values()) + 4 * batch * size * size * 3 * 4,
    )
