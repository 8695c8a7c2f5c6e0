"""One shard: a folder of `.npy` files and a record, committed by a single rename.

A shard is written under a temporary name and renamed when all its files are on disk, so that a kill at any
moment leaves either the whole shard or none of it.
"""

import hashlib
import io
import logging
import math
import os
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
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
_ASIDE: Final = f"{_TEMPORARY}instead-of-"
_LOOKS: Final = 5  # at a shard that is away, which may be made again at this moment
_PAUSE: Final = 0.005  # seconds
_log = logging.getLogger(__name__)

Columns = Mapping[str, tuple[tuple[int, ...], np.dtype]]
"""What each file of a shard holds, by its name: shape of one picture's features, and what they are stored as."""


@dataclass(frozen=True)
class ShardRecord:
    """What a shard holds.

    Attributes:
        start: First row of the table it covers.
        stop: Row after the last.
        failed: Reason by id, for rows that could not be used; they have no features.
        files: SHA-256 by file name.
        recipe: Digest of the recipe it was made by; empty in what was written before records held it.
    """

    start: int
    stop: int
    failed: Mapping[str, str]
    files: Mapping[str, str]
    recipe: str = ""

    @property
    def rows(self) -> int:
        """Rows that have features."""
        return self.stop - self.start - len(self.failed)


def shard_name(number: int) -> str:
    """Name of a shard's folder, counted from 0."""
    return f"{number:05d}"


def write_shard(
    folder: Path,
    *,
    start: int,
    stop: int,
    arrays: Mapping[str, np.ndarray],
    failed: Mapping[str, str],
    recipe: str = "",
) -> ShardRecord:
    """Write arrays (file name without suffix: rows first) and their record as one unit, in place of what is there."""
    temporary = folder.with_name(f"{_TEMPORARY}{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        files = {}
        for name, array in arrays.items():
            data = _npy_bytes(array)
            write_file(temporary / f"{name}.npy", data)
            files[f"{name}.npy"] = _sha256(data)
        record = ShardRecord(start, stop, dict(failed), files, recipe)
        write_file(temporary / RECORD, sealed(record.__dict__))
        flush_folder(temporary)
        aside = _set_aside(folder)
        temporary.rename(folder)
        flush_folder(folder.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return record


def read_shards(folder: Path, *, held: int | None = None, recipe: str = "") -> Iterator[tuple[Path, ShardRecord]]:
    """Whole shards in row order, up to the first that is missing; what a killed writer left behind is passed over.

    Args:
        folder: Where the shards are.
        held: File descriptor of that folder, where the name may belong to another one by now.
        recipe: Digest of the recipe they were made by; empty for any.

    Raises:
        DamageError: If a record cannot be read, or a shard does not belong where it stands.
    """
    row = number = 0
    for path in _folders(folder, held):
        record = _record_of(path, recipe, held)
        _require_place(path, record, row, number)
        if record.start > row:
            return
        row, number = record.stop, number + 1
        yield path, record


def whole_shards(
    folder: Path, columns: Callable[[], Columns], *, held: int | None = None, recipe: str = "", digests: bool = False
) -> Iterator[tuple[Path, ShardRecord]]:
    """Every whole shard in row order, whatever is missing or torn between them.

    A shard is whole if its record can be read and each file is there, in the size, type and shape that it says.

    Args:
        folder: Where the shards are.
        columns: Tells what each file holds; called where there are shards.
        held: As in `read_shards`.
        recipe: As in `read_shards`.
        digests: Whether every file is compared with its digest too, for which it is read.

    Raises:
        DamageError: If a file is there and the system does not let it be read, which may pass.
    """
    row = number = 0
    for path in _folders(folder, held):
        try:
            record = _record_of(path, recipe, held)
            _require_place(path, record, row, number)
            for name, (shape, dtype) in columns().items():
                load_array(path, name, shape=(record.rows, *shape), dtype=dtype, held=held)
            if digests:
                check_shard(path, record, held=held)
        except DamageError as torn:
            if isinstance(torn.__cause__, OSError) and not isinstance(torn.__cause__, FileNotFoundError):
                raise
            _log.debug("features: left out: %s", torn)
            continue
        row, number = record.stop, int(path.name) + 1
        yield path, record


def shard_faults(path: Path, record: ShardRecord, *, held: int | None = None) -> Iterator[DamageError]:
    """Compare every file with its digest; each error names a file that is missing or altered."""
    for name, digest in record.files.items():
        try:
            with _open(path, name, held) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as missing:
            fault = DamageError(f"{path / name} cannot be read: {missing}. Delete {path}; it is made again.")
            fault.__cause__ = missing
            yield fault
            continue
        if found != digest:
            try:
                require_record(path, record, held=held)
            except DamageError as again:
                yield again
                return
            yield DamageError(
                f"{path / name} was altered: its SHA-256 is not the recorded one. Delete {path}; it is made again."
            )


def check_shard(path: Path, record: ShardRecord, *, held: int | None = None) -> None:
    """Compare every file with its digest.

    Raises:
        DamageError: If a file is missing or altered; names the first.
    """
    for fault in shard_faults(path, record, held=held):
        raise fault


def load_array(
    path: Path, name: str, *, shape: tuple[int, ...], dtype: np.dtype, held: int | None = None
) -> np.ndarray:
    """Map one array of a shard into memory, read-only; `held` as in `read_shards`.

    Raises:
        DamageError: If the file is missing, or does not hold an array of this shape and type and nothing else.
    """
    try:
        with _open(path, name, held) as file:
            # Not numpy.load, which maps files by their name alone.
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else _refuse_version
            found, fortran, kind = read_header(file)
            _require_array(file, (found, kind), (shape, dtype))
            order: Literal["F", "C"] = "F" if fortran else "C"
            array: np.ndarray = np.memmap(file, dtype=dtype, mode="r", offset=file.tell(), shape=shape, order=order)
            return array
    except Exception as broken:  # NumPy reads a header as Python source: a damaged one raises nearly anything
        raise DamageError(f"{path / name} cannot be read: {broken}. Delete {path}; it is made again.") from broken


def _require_array(
    file: BinaryIO, found: tuple[tuple[int, ...], np.dtype], expected: tuple[tuple[int, ...], np.dtype]
) -> None:
    if found[1].hasobject:
        raise ValueError("it holds Python objects")
    for what, came, wanted in zip(("shape", "type"), found, expected, strict=True):
        if came != wanted:
            raise ValueError(f"it is of {what} {came}, {wanted} was expected")
    size = file.tell() + expected[1].itemsize * math.prod(expected[0])
    if os.fstat(file.fileno()).st_size != size:
        raise ValueError(f"it is of {os.fstat(file.fileno()).st_size:,} bytes, {size:,} were expected")


def remove_shards(folder: Path, *, but: Collection[str]) -> None:
    """Remove the shards of other names than these; only for the one who holds the store's lock."""
    for path in _folders(folder, None):
        if path.name not in but:
            _log.warning("features: %s is torn or does not belong here, and is removed", path)
            shutil.rmtree(_set_aside(path), ignore_errors=True)


def shards_beside(folder: Path, *, but: Collection[str]) -> bool:
    """Whether there are shards of other names than these, or what killed writers left behind."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    return any(name.startswith(_TEMPORARY) or (_is_number(name) and name not in but) for name in names)


def recipes_named(folder: Path, *, held: int | None = None) -> set[str]:
    """Digests of the recipes that the readable records of shards name."""
    named = set()
    for path in _folders(folder, held):
        with suppress(DamageError):
            named.add(_record_of(path, "", held).recipe)
    return named - {""}


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left behind; only for the one who holds the store's lock."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    """Take a shard away at once, so that nobody meets a part of it; returns where it is now, if there was one."""
    aside = folder.with_name(f"{_ASIDE}{folder.name}")
    if folder.exists():
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    return aside


def _npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _folders(folder: Path, held: int | None) -> Iterator[Path]:
    """Folders of shards by their numbers, which from 100,000 on have six digits."""
    if held is None and not folder.is_dir():
        return
    numbered = sorted((int(name), name) for name in _names(folder if held is None else held) if _is_number(name))
    for _, name in numbered:
        with suppress(FileNotFoundError):  # taken away since
            if stat.S_ISDIR(os.stat(folder / name if held is None else name, dir_fd=held).st_mode):
                yield folder / name


def _names(folder: Path | int) -> list[str]:
    """Names in a folder, at a moment when no shard is away: one that is made again is, for less than a millisecond."""
    names: list[str] = []
    for _ in range(_LOOKS):
        names = os.listdir(folder)  # noqa: PTH208 - a descriptor has no path
        if all(name.removeprefix(_ASIDE) in names for name in names if name.startswith(_ASIDE)):
            break
        time.sleep(_PAUSE)
    return names


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _record_of(path: Path, recipe: str, held: int | None) -> ShardRecord:
    """The record of a shard that was made by a recipe.

    Raises:
        DamageError: If it cannot be read, or names another recipe.
    """
    try:
        with _open(path, RECORD, held) as file:
            record = ShardRecord(**unsealed(file.read()))
    except (OSError, ValueError, TypeError) as broken:
        raise DamageError(f"Shard {path} has no readable record: {broken}. Delete it; it is made again.") from broken
    if record.recipe and recipe and record.recipe != recipe:
        raise DamageError(
            f"Shard {path} was made by another recipe than that of the store. Delete it; it is made again."
        )
    return record


def require_record(path: Path, record: ShardRecord, *, held: int | None = None) -> None:
    """Raise `DamageError` if a shard is no longer the one whose record was read; `held` as in `read_shards`."""
    if _record_of(path, record.recipe, held) != record:
        raise DamageError(f"Shard {path} was made again since the store was opened. Open it again.")


def _require_place(path: Path, record: ShardRecord, row: int, number: int) -> None:
    """Raise `DamageError` unless a shard can follow `row` rows in `number` shards, next to them or after a gap."""
    if record.start < row or (record.start > row) != (int(path.name) > number):
        raise DamageError(
            f"Shard {path} begins at row {record.start}, where shard {shard_name(number)} begins at row {row}: it "
            "does not belong here. Delete it; if it is missing anywhere, it is made again."
        )


def _open(path: Path, name: str, held: int | None) -> BufferedReader:
    """Open a file of a shard; one that is away is waited for, since shards are made again under their own names."""
    for _ in range(_LOOKS - 1):
        with suppress(FileNotFoundError):
            return _opened(path, name, held)
        time.sleep(_PAUSE)
    return _opened(path, name, held)


def _opened(path: Path, name: str, held: int | None) -> BufferedReader:
    if held is None:
        return (path / name).open("rb")
    return open(os.open(f"{path.name}/{name}", os.O_RDONLY, dir_fd=held), "rb")  # noqa: PTH123 - has no path


def _refuse_version(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    raise ValueError("it is no npy file of version 1.0")
