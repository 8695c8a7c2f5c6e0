"""The truth about a generated collection: one row per file, kept beside the pictures, never among them."""

import csv
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tfcells.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class TruthRow:
    """The truth about one file.

    Args:
        id: Path relative to the collection, with forward slashes.
        true_class: Class of the cell.
        filed_class: Class whose folder it lies in; another one where label noise was planted.
        group: Number shared by an original and its copies.
        site: Name of the laboratory.
        copy: What was done to make a copy, empty for an original.
        shortcut: Kind of the mark it bears, or empty.
        fault: Why it cannot be decoded, or empty.
    """

    id: str
    true_class: str
    filed_class: str
    group: int
    site: str
    copy: str = ""
    shortcut: str = ""
    fault: str = ""


@dataclass(frozen=True)
class SampleTruth:
    """Rows in order of id."""

    rows: tuple[TruthRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[TruthRow]:
        return iter(self.rows)

    @property
    def readable(self) -> tuple[TruthRow, ...]:
        """Rows of files that can be decoded."""
        return tuple(row for row in self.rows if not row.fault)

    @property
    def faults(self) -> dict[str, str]:
        """Reason by id, of the files that cannot be decoded."""
        return {row.id: row.fault for row in self.rows if row.fault}

    @property
    def mislabelled(self) -> tuple[str, ...]:
        """Ids of the files that lie in another class's folder."""
        return tuple(row.id for row in self.rows if row.filed_class != row.true_class)

    def write(self, path: Path) -> None:
        """Writes the rows as CSV with a header."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(astuple(row) for row in self.rows)


def read_truth(path: Path) -> SampleTruth:
    """Reads what `SampleTruth.write` wrote.

    Raises:
        RequestError: The file has other columns.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise RequestError(
                f"{path} has the columns {', '.join(reader.fieldnames or ())}. Expected {', '.join(_COLUMNS)}."
            )
        return SampleTruth(tuple(TruthRow(group=int(row.pop("group")), **row) for row in reader))


_COLUMNS = tuple(field.name for field in fields(TruthRow))
