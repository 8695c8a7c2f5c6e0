"""The rows of a store as a CSV file: labels, groups and metadata, which may change without new features."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tfcells.arrays import Ids, Labels
from tfcells.errors import DamageError
from tfcells.images.table import ImageTable, Quarantined

_OWN: Final = ("id", "pixels", "label", "group")
_PREFIX: Final = "meta."
_LINE_END: Final = "\r\n"  # as in RFC 4180: csv quotes a lone carriage return only where the line end holds one


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Everything a store knows of its rows but their features; see `ImageTable` for the attributes."""

    ids: Ids
    digests: tuple[str, ...]
    labels: Labels
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    metadata: Mapping[str, tuple[str, ...]]

    def take(self, rows: np.ndarray) -> "Rows":
        """Return these rows, in this order."""
        picked = rows.tolist()
        return Rows(
            ids=tuple(self.ids[row] for row in picked),
            digests=tuple(self.digests[row] for row in picked),
            labels=self.labels[rows],
            class_names=self.class_names,
            groups=tuple(self.groups[row] for row in picked),
            metadata={name: tuple(column[row] for row in picked) for name, column in self.metadata.items()},
        )


def write_rows(path: Path, table: ImageTable) -> None:
    """Write `id,pixels,label,group` and a column `meta.<name>` for each metadata column; unlabelled is empty."""
    names = list(table.metadata)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator=_LINE_END)
        writer.writerow([*_OWN, *(f"{_PREFIX}{name}" for name in names)])
        columns = [table.metadata[name] for name in names]
        for row, (id, pixels, label, group) in enumerate(
            zip(table.ids, table.digests, table.labels.tolist(), table.groups, strict=True)
        ):
            label_name = table.class_names[label] if label >= 0 else ""
            writer.writerow([id, pixels, label_name, group, *(column[row] for column in columns)])


def read_rows(path: Path, *, class_names: tuple[str, ...]) -> Rows:
    """Read what `write_rows` wrote.

    Raises:
        DamageError: If the file is missing or not of that form.
    """
    number = {name: index for index, name in enumerate(class_names)} | {"": -1}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader)
            columns = list(zip(*reader, strict=True)) or [()] * len(header)
        by_name = dict(zip(header, columns, strict=True))
        labels = np.array([number[name] for name in by_name["label"]], dtype=np.int64)
        return Rows(
            ids=by_name["id"],
            digests=by_name["pixels"],
            labels=labels,
            class_names=class_names,
            groups=by_name["group"],
            metadata={name.removeprefix(_PREFIX): by_name[name] for name in header[len(_OWN) :]},
        )
    except (OSError, ValueError, KeyError, StopIteration, csv.Error) as broken:
        raise DamageError(f"{path} cannot be read: {broken!r}. Extract the store again.") from broken


def write_quarantine(path: Path, entries: tuple[Quarantined, ...]) -> None:
    """Write `id,reason`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator=_LINE_END)
        writer.writerow(["id", "reason"])
        writer.writerows(entries)


def read_quarantine(path: Path) -> tuple[Quarantined, ...]:
    """Read what `write_quarantine` wrote.

    Raises:
        DamageError: If the file is missing or not of that form.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            next(reader)
            return tuple(Quarantined(id, reason) for id, reason in reader)
    except (OSError, ValueError, StopIteration, csv.Error) as broken:
        raise DamageError(f"{path} cannot be read: {broken!r}. Extract the store again.") from broken
