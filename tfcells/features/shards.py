"""One shard: a folder of `.npy` files and a record, committed by a single rename.

A shard is written under a temporary name and renamed when all its files are on disk, so that a kill at any
moment leaves either the whole shard or none of it.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.errors import DamageError
from tfcells.features.recipe import canonical_json

RECORD: Final = "record.json"
_TEMPORARY: Final = ".writing-"


@dataclass(frozen=True)
class ShardRecord:
    """What a shard holds.

    Attributes:
        start: First row of the table it covers.
        stop: Row after the last.
        failed: Reason by id, for rows that could not be used; they have no features.
        files: SHA-256 by file name.
    """

    start: int
    stop: int
    failed: Mapping[str, str]
    files: Mapping[str, str]


def write_shard(
    folder: Path, *, start: int, stop: int, arrays: Mapping[str, np.ndarray], failed: Mapping[str, str]
) -> ShardRecord:
    """Write arrays (file name without suffix: rows first) and their record as one unit."""
    temporary = folder.with_name(f"{_TEMPORARY}{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        files = {f"{name}.npy": _write(temporary / f"{name}.npy", _npy_bytes(array)) for name, array in arrays.items()}
        record = ShardRecord(start, stop, dict(failed), files)
        _write(temporary / RECORD, canonical_json(record.__dict__).encode())
        _flush_folder(temporary)
        temporary.rename(folder)
        _flush_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return record


def read_shards(folder: Path) -> Iterator[tuple[Path, ShardRecord]]:
    """Whole shards in row order; what a killed writer left behind is passed over.

    Raises:
        DamageError: If a record cannot be read, or shards do not follow one another.
    """
    expected = 0
    for path in sorted(entry for entry in folder.glob("[0-9]*") if entry.is_dir()):
        try:
            facts: dict[str, Any] = json.loads((path / RECORD).read_text(encoding="utf-8"))
            record = ShardRecord(**facts)
        except (OSError, ValueError, TypeError) as broken:
            raise DamageError(
                f"Shard {path} has no readable record: {broken}. Delete it; it is made again."
            ) from broken
        if record.start != expected:
            raise DamageError(
                f"Shard {path} begins at row {record.start}, row {expected} was expected: one before it is missing. "
                "Delete this shard and the later ones; they are made again."
            )
        expected = record.stop
        yield path, record


def check_shard(path: Path, record: ShardRecord) -> None:
    """Compare every file with its digest.

    Raises:
        DamageError: If a file is missing or altered; names it.
    """
    for name, digest in record.files.items():
        try:
            with (path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as missing:
            raise DamageError(f"{path / name} cannot be read: {missing}. Delete {path}; it is made again.") from missing
        if found != digest:
            raise DamageError(f"{path / name} was altered: its SHA-256 is not the recorded one. Delete {path}.")


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left behind; only for the one who holds the store's lock."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> str:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
