"""The rows of a store as a CSV file: labels, groups and metadata, which may change without new features."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tfcells.arrays import Ids, Labels
from tfcells.errors import DamageError
from tfcells.images.table import FileFacts, ImageTable, Quarantined

_OWN: Final = ("id", "pixels", "file_sha256", "width", "height", "label", "group")
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
    files: tuple[FileFacts, ...]

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
            files=tuple(self.files[row] for row in picked),
        )


def rows_csv(table: ImageTable) -> bytes:
    """A line per row: `id,pixels,file_sha256,width,height,label,group`, and `meta.<name>` for each metadata column.

    Unlabelled is empty, as is the digest of a row that has no file.
    """
    names = list(table.metadata)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=_LINE_END)
    writer.writerow([*_OWN, *(f"{_PREFIX}{name}" for name in names)])
    columns = [table.metadata[name] for name in names]
    for row, (id, pixels, file, label, group) in enumerate(
        zip(table.ids, table.digests, table.files, table.labels.tolist(), table.groups, strict=True)
    ):
        label_name = table.class_names[label] if label >= 0 else ""
        writer.writerow([id, pixels, *file, label_name, group, *(column[row] for column in columns)])
    return text.getvalue().encode()


def read_rows(data: bytes, *, path: Path, class_names: tuple[str, ...]) -> Rows:
    """Read what `rows_csv` made; `path` is for the message.

    Raises:
        DamageError: If it is not of that form.
    """
    number = {name: index for index, name in enumerate(class_names)} | {"": -1}
    try:
        reader = csv.reader(io.StringIO(data.decode(), newline=""))
        header = next(reader)
        columns = list(zip(*reader, strict=True)) or [()] * len(header)
        by_name = dict(zip(header, columns, strict=True))
        seen = zip(by_name["file_sha256"], map(int, by_name["width"]), map(int, by_name["height"]), strict=True)
        labels = np.array([number[name] for name in by_name["label"]], dtype=np.int64)
        return Rows(
            ids=by_name["id"],
            digests=by_name["pixels"],
            labels=labels,
            class_names=class_names,
            groups=by_name["group"],
            metadata={name.removeprefix(_PREFIX): by_name[name] for name in header[len(_OWN) :]},
            files=tuple(FileFacts(*facts) for facts in seen),
        )
    except (ValueError, KeyError, StopIteration, csv.Error) as broken:
        raise DamageError(f"{path} cannot be read: {broken!r}. Extract the store again.") from broken


def quarantine_csv(entries: tuple[Quarantined, ...]) -> bytes:
    """A line `id,reason` for each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=_LINE_END)
    writer.writerow(["id", "reason"])
    writer.writerows(entries)
    return text.getvalue().encode()


def read_quarantine(data: bytes, *, path: Path) -> tuple[Quarantined, ...]:
    """Read what `quarantine_csv` made; `path` is for the message.

    Raises:
        DamageError: If it is not of that form.
    """
    try:
        reader = csv.reader(io.StringIO(data.decode(), newline=""))
        next(reader)
        return tuple(Quarantined(id, reason) for id, reason in reader)
    except (ValueError, StopIteration, csv.Error) as broken:
        raise DamageError(f"{path} cannot be read: {broken!r}. Extract the store again.") from broken
