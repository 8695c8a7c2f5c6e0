"""What an extraction will cost, before it costs it."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tfcells.errors import RequestError
from tfcells.features.recipe import COLOUR, Recipe, stored_dtype, stored_shapes, taps_of

_SPARE = 1.05  # file-system blocks, and reasons of rows that fail, come on top
_HEADER = 128  # bytes of an .npy file before its numbers
_RECORD = 220  # bytes of a shard's record beside its files
_RECORDED = 90  # bytes there of one file beside its name: its digest
_FILES = 2048  # bytes of classes.json, quarantine.csv, digests.json and run.json
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

    @property
    def pooled(self) -> bool:
        """Whether no layer keeps its places."""
        return not any(self._has_places(key) for key in self.widths)

    def require_budget(self, budget: int | None) -> None:
        """Raise `RequestError` if the whole store would be larger than a number of bytes; None is no limit."""
        if budget is not None and self.bytes_total > budget:
            largest = max(self.taps, key=lambda key: self.taps[key].bytes)
            named = f"tap is {largest} ({self.taps[largest].pooling})" if largest in self.widths else f"is {largest}"
            ways = ["pool it"] * self._has_places(largest) + ["leave it out"] * (len(self._asked) > 1)
            raise RequestError(
                f"The store would take {self.bytes_total:,} bytes, the budget is {budget:,}. The largest {named} with "
                f"{self.taps[largest].bytes:,}: {_either([*ways, *self._narrower, 'allow more'])}."
            )

    def require_room(self, path: Path) -> None:
        """Raise `RequestError` if the disk cannot hold what is still to be written."""
        if self.bytes_missing > self.bytes_free:
            ways = ["pool the layers (mean instead of flatten)"] * (not self.pooled)
            ways += [*self._narrower, *["name fewer features"] * (len(self._asked) > 1)]
            advice = _either([*ways, "choose another disk"])
            raise RequestError(
                f"{path} needs {bytes_text(self.bytes_missing)} more, its disk has {bytes_text(self.bytes_free)} free. "
                f"{advice[0].upper()}{advice[1:]}."
            )

    @property
    def _asked(self) -> list[str]:
        """What could be left out: every store has the colour statistics."""
        return [key for key in self.taps if key != COLOUR]

    @property
    def _narrower(self) -> list[str]:
        """The way of fewer bits, where it is not taken yet; the colour statistics are never rounded."""
        return ["use float16"] if self._asked and not any(tap.rounding for tap in self.taps.values()) else []

    def _has_places(self, key: str) -> bool:
        return key in self.widths and self.taps[key].pooling in ("flatten", "none")


def plan_of(
    recipe: Recipe,
    *,
    into: Path,
    rows_bytes: int,
    rows_done: int,
    images_per_second: float,
    weights_bytes: int,
    shard_rows: int,
) -> Plan:
    """Work out a plan from a complete recipe, the bytes of its `rows.csv`, and a measured rate."""
    count = int(recipe["images"]["count"])
    per_image = {
        key: stored_dtype(recipe, key).itemsize * int(np.prod(shape)) for key, shape in stored_shapes(recipe).items()
    }
    pooling = {key: tap.pooling for key, tap in taps_of(recipe).items()}
    missing = count - rows_done
    size = 0 if recipe["backbone"] is None else int(recipe["backbone"]["size"])
    batch = int(recipe["engine"]["batch_size"])
    held = min(shard_rows, count)
    beside = rows_bytes + _bytes_beside(recipe, count=count, shard_rows=shard_rows)
    bytes_total = int(_SPARE * (count * sum(per_image.values()) + beside))
    return Plan(
        rows=missing,
        engine=f"{recipe['engine']['name']} {recipe['engine']['precision']}",
        widths={key: int(np.prod(shape)) for key, shape in recipe["shapes"].items()},
        taps={
            key: TapPlan(
                pooling=pooling.get(key, "none"),
                bytes=number * count,
                memory_bytes=_SHARDS * held * number,
                rounding=recipe["rounding"][key]["relative_error"] if key in recipe["rounding"] else 0.0,
            )
            for key, number in per_image.items()
        },
        bytes_total=bytes_total,
        bytes_missing=bytes_total * missing // max(count, 1),
        bytes_free=bytes_free(into),
        seconds=missing / images_per_second,
        images_per_second=images_per_second,
        memory_bytes=weights_bytes + _SHARDS * held * sum(per_image.values()) + _BATCHES * batch * size * size * 3 * 4,
    )


def _either(ways: Sequence[str]) -> str:
    """`a`, or `a, b, or c`."""
    return ", ".join([*ways[:-1], f"or {ways[-1]}"]) if ways[1:] else ways[0]


def _bytes_beside(recipe: Recipe, *, count: int, shard_rows: int) -> int:
    """Bytes of a store's small files, `rows.csv` left out: the recipe, and each shard's record and headers."""
    shards = -(-count // shard_rows)
    files = sum(_HEADER + _RECORDED + len(key) for key in stored_shapes(recipe))
    return len(json.dumps(recipe, indent=1)) + _FILES + shards * (_RECORD + files)


def bytes_free(path: Path) -> int:
    """Bytes free on the disk where a path lies or would lie."""
    folder = next(parent for parent in [path, *path.parents, Path()] if parent.exists())
    return shutil.disk_usage(folder).free


def bytes_text(number: int) -> str:
    """A number of bytes in the unit that suits it, e.g. `12.3 MiB`."""
    if number < 2**20:
        return f"{number / 2**10:,.1f} KiB"
    return f"{number / 2**30:,.2f} GiB" if number >= 2**30 else f"{number / 2**20:,.1f} MiB"


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
