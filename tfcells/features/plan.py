"""What an extraction will cost, before it costs it."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tfcells.errors import RequestError
from tfcells.features.recipe import Recipe, stored_dtype, stored_shapes, taps_of

_BESIDE = 166  # bytes per image beside its features: a line of rows.csv
_SPARE = 1.05  # records, headers and file-system blocks come on top
_SHARDS = 3  # one is filled, one is joined, and one is serialised and written
_BATCHES = 5  # three are decoded, one is in the network, which holds a copy
_UNITS: Final = {"": 1, "B": 1, **{f"{letter}B": 1000**power for power, letter in enumerate("KMGTP", 1)}} | {
    f"{letter}iB": 1024**power for power, letter in enumerate("KMGTP", 1)
}


@dataclass(frozen=True)
class TapPlan:
    """What one tap costs.

    Attributes:
        pooling: How it is pooled.
        bytes: On disk, of all images.
        memory_bytes: Of its share of the shards that are held.
        rounding: Largest error of storing it in fewer bits than float32, as a share of its largest number, on fixed
            pictures; 0 where it is stored as it is.
    """

    pooling: str
    bytes: int
    memory_bytes: int
    rounding: float


@dataclass(frozen=True)
class Plan:
    """What an extraction will cost.

    Attributes:
        rows: Images still to be extracted.
        engine: What the features are made with, e.g. `openvino float32`.
        widths: Numbers of one image, by tap key; hand-made features left out.
        taps: What each tap costs, by its key, hand-made features among them; time is that of one pass, which serves
            all of them.
        bytes_total: Bytes of the whole store on disk.
        bytes_missing: Bytes still to be written.
        bytes_free: Bytes free where the store lies.
        seconds: Expected time for the rows still missing, from the rate measured on this machine.
        images_per_second: That rate.
        memory_bytes: Expected peak of shards, batches and the network's weights, whatever the number of images.
        rows_kept: Images whose features a store holds already, at the taps kept.
        taps_kept: The taps it holds them of.
    """

    rows: int
    engine: str
    widths: Mapping[str, int]
    taps: Mapping[str, TapPlan]
    bytes_total: int
    bytes_missing: int
    bytes_free: int
    seconds: float
    images_per_second: float
    memory_bytes: int
    rows_kept: int = 0
    taps_kept: tuple[str, ...] = ()

    def require_budget(self, budget: int | None) -> None:
        """Raise `RequestError` if the whole store would be larger than a number of bytes; None is no limit."""
        if budget is not None and self.bytes_total > budget:
            largest = max(self.taps, key=lambda key: self.taps[key].bytes)
            raise RequestError(
                f"The store would take {self.bytes_total:,} bytes, the budget is {budget:,}. The largest tap is "
                f"{largest} ({self.taps[largest].pooling}) with {self.taps[largest].bytes:,}: pool it, leave it out, "
                "use float16, or allow more."
            )

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
    per_image = {
        key: stored_dtype(recipe, key).itemsize * int(np.prod(shape)) for key, shape in stored_shapes(recipe).items()
    }
    pooling = {key: tap.pooling for key, tap in taps_of(recipe).items()}
    missing = count - rows_done
    size = 0 if recipe["backbone"] is None else int(recipe["backbone"]["size"])
    batch = int(recipe["engine"]["batch_size"])
    folder = next(parent for parent in [into, *into.parents, Path()] if parent.exists())
    beside = sum(per_image.values()) + _BESIDE
    return Plan(
        rows=missing,
        engine=f"{recipe['engine']['name']} {recipe['engine']['precision']}",
        widths={key: int(np.prod(shape)) for key, shape in recipe["shapes"].items()},
        taps={
            key: TapPlan(
                pooling=pooling.get(key, "none"),
                bytes=number * count,
                memory_bytes=_SHARDS * min(shard_rows, count) * number,
                rounding=recipe["rounding"][key]["relative_error"] if key in recipe["rounding"] else 0.0,
            )
            for key, number in per_image.items()
        },
        bytes_total=int(_SPARE * count * beside),
        bytes_missing=int(_SPARE * missing * beside),
        bytes_free=shutil.disk_usage(folder).free,
        seconds=missing / images_per_second,
        images_per_second=images_per_second,
        memory_bytes=weights_bytes
        + _SHARDS * shard_rows * sum(per_image.values())
        + _BATCHES * batch * size * size * 3 * 4,
    )


def parse_bytes(text: str) -> int:
    """Read a number of bytes such as `20GB`, `1.5GiB` or `1000000`.

    Raises:
        RequestError: If it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([A-Za-z]*)", text.strip())
    units = {unit.upper(): factor for unit, factor in _UNITS.items()}
    if found is None or found[2].upper() not in units:
        raise RequestError(f"{text!r} is no number of bytes. Expected one such as 20GB, 1.5GiB or 1000000.")
    return int(float(found[1]) * units[found[2].upper()])
