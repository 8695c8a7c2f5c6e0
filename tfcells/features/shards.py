"""One shard: a folder of `.npy` files and a record, committed by a single rename.

A shard is written under a temporary name and renamed when all its files are on disk, so that a kill at any
moment leaves either the whole shard or none of it.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np

from tfcells.errors import DamageError
from tfcells.features.pieces import flush_folder, write_file
from tfcells.features.recipe import sealed, unsealed

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

    @property
    def rows(self) -> int:
        """Rows that have features."""
        return self.stop - self.start - len(self.failed)


def write_shard(
    folder: Path, *, start: int, stop: int, arrays: Mapping[str, np.ndarray], failed: Mapping[str, str]
) -> ShardRecord:
    """Write arrays (file name without suffix: rows first) and their record as one unit."""
    temporary = folder.with_name(f"{_TEMPORARY}{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        files = {}
        for name, array in arrays.items():
            data = _npy_bytes(array)
            write_file(temporary / f"{name}.npy", data)
            files[f"{name}.npy"] = _sha256(data)
        record = ShardRecord(start, stop, dict(failed), files)
        write_file(temporary / RECORD, sealed(record.__dict__))
        flush_folder(temporary)
        temporary.rename(folder)
        flush_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return record


def read_shards(folder: Path, *, held: int | None = None) -> Iterator[tuple[Path, ShardRecord]]:
    """Whole shards in row order; what a killed writer left behind is passed over.

    Args:
        folder: Where the shards are.
        held: File descriptor of that folder, where the name may belong to another one by now.

    Raises:
        DamageError: If a record cannot be read, or shards do not follow one another.
    """
    expected = 0
    for path in (folder / name for name in _names(folder, held) if name[:1].isdecimal()):
        try:
            record = _read_record(path, held)
        except NotADirectoryError:
            continue
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


def shard_faults(path: Path, record: ShardRecord, *, held: int | None = None) -> Iterator[DamageError]:
    """Compare every file with its digest; each error names a file that is missing or altered."""
    for name, digest in record.files.items():
        try:
            with _open(path, name, held) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as missing:
            yield DamageError(f"{path / name} cannot be read: {missing}. Delete {path}; it is made again.")
            continue
        if found != digest:
            yield DamageError(f"{path / name} was altered: its SHA-256 is not the recorded one. Delete {path}.")


def check_shard(path: Path, record: ShardRecord, *, held: int | None = None) -> None:
    """Compare every file with its digest.

    Raises:
        DamageError: If a file is missing or altered; names the first.
    """
    for fault in shard_faults(path, record, held=held):
        raise fault


def load_array(path: Path, name: str, *, held: int | None = None) -> np.ndarray:
    """Map one array of a shard into memory, read-only; `held` as in `read_shards`.

    Raises:
        DamageError: If the file is missing, or no array of numbers.
    """
    try:
        with _open(path, name, held) as file:
            # Not numpy.load, which maps files by their name alone.
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else _refuse_version
            shape, fortran, dtype = read_header(file)
            if dtype.hasobject:
                raise ValueError("it holds Python objects")
            order: Literal["F", "C"] = "F" if fortran else "C"
            array: np.ndarray = np.memmap(file, dtype=dtype, mode="r", offset=file.tell(), shape=shape, order=order)
            return array
    except (OSError, ValueError) as broken:
        raise DamageError(f"{path / name} cannot be read: {broken}. Delete {path}; it is made again.") from broken


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left behind; only for the one who holds the store's lock."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _names(folder: Path, held: int | None) -> list[str]:
    if held is None and not folder.is_dir():
        return []
    return sorted(os.listdir(folder if held is None else held))  # noqa: PTH208 - a path has no descriptor


def _read_record(path: Path, held: int | None) -> ShardRecord:
    with _open(path, RECORD, held) as file:
        return ShardRecord(**unsealed(file.read()))


def _open(path: Path, name: str, held: int | None) -> BufferedReader:
    if held is None:
        return (path / name).open("rb")
    return open(os.open(f"{path.name}/{name}", os.O_RDONLY, dir_fd=held), "rb")  # noqa: PTH123 - has no path


def _refuse_version(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    raise ValueError("it is no npy file of version 1.0")
