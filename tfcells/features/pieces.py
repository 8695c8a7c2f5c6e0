"""The pieces of a store's folder: opened together, replaced together.

A store is five small files and the folder of its shards. A new set of some of them is made in a folder beside
them and takes effect by one rename, to `.next`; then its pieces are moved to their places, one after the other.
Whoever opens a piece looks into `.next` first. So no moment shows a mixture of old and new, and what a kill left
between two moves is whole, and put in place by the next writer.

A reader holds open what it found. A replaced folder of shards is removed only when no reader holds it: readers
share a lock on it, which the kernel frees when they end.
"""

import errno
import fcntl
import os
import shutil
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tfcells.errors import DamageError, RequestError

RECIPE: Final = "recipe.json"
DIGESTS: Final = "digests.json"
ROWS: Final = "rows.csv"
CLASSES: Final = "classes.json"
QUARANTINE: Final = "quarantine.csv"
SHARDS: Final = "shards"
RUN: Final = "run.json"
SEEN: Final = "seen.txt"
DESCRIBED: Final = (CLASSES, QUARANTINE, ROWS)
MAKING: Final = ".making"
GROWING: Final = ".growing"

_FILES: Final = (*DESCRIBED, DIGESTS, RECIPE)
_NEXT: Final = ".next"
_OLD: Final = ".old-"
LOCK: Final = ".lock"
_TRIES: Final = 100  # a swap takes milliseconds; a reader that meets this many is told to come again
_TAKEN: Final = (errno.EWOULDBLOCK, errno.EACCES)  # by another process; EAGAIN is the first of them
_LEFT_AT_A_START: Final = {LOCK, _NEXT, MAKING, SHARDS, f"{RECIPE}.new", *DESCRIBED, DIGESTS}


class Pieces:
    """What a store's folder held at one moment, kept open.

    Args:
        path: The store.

    Raises:
        RequestError: If it has no recipe, so is no store.
        DamageError: If it has shards and no recipe, or is replaced again and again while it is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for _ in range(_TRIES):
            held = _open_all(path)
            if _still_there(path, held):
                break
            _close(held)
        else:
            raise DamageError(f"{path} was replaced while it was opened, {_TRIES} times. Open it again.")
        self._held = held
        self._closed = weakref.finalize(self, _close, held)
        if RECIPE not in held:
            self.close()
            require_no_shards(path)
            raise RequestError(f"{path} is no feature store: it has no {RECIPE}. Make one with `tfcells extract`.")

    @property
    def shards(self) -> int | None:
        """File descriptor of the folder of shards; None where there is none."""
        return self._held.get(SHARDS)

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            DamageError: If it is missing or cannot be read.
        """
        if name not in self._held:
            raise DamageError(f"{self.path / name} cannot be read: it is missing. {way_out(self.path / name)}")
        try:
            return _read(self._held[name])
        except OSError as fault:
            raise DamageError(
                f"{self.path / name} cannot be read: {fault.strerror}. {way_out(self.path / name)}"
            ) from fault

    def close(self) -> None:
        """Let go of everything; arrays that were read stay."""
        self._closed()


def is_store(path: Path) -> bool:
    """Whether a folder holds a store, be it just begun."""
    return any((folder / RECIPE).is_file() for folder in (path / _NEXT, path))


def way_out(file: Path) -> str:
    """What to do when a file of a store is damaged: all but the recipe are written anew by the same request."""
    if file.name != RECIPE:
        return f"Extract the store again by the request that made it, or remove {file.parent} first."
    return f"Put a sound copy in its place, or remove {file.parent} and extract the store again."


def require_no_shards(path: Path) -> None:
    """Raise `DamageError` if a folder without a recipe holds shards: it was a store."""
    if is_store(path) or not holds_shards(path):
        return
    raise DamageError(
        f"{path} looks like a feature store, but {path / RECIPE}, which says what its features are, is missing. "
        f"{way_out(path / RECIPE)}"
    )


def is_free(path: Path) -> bool:
    """Whether a store may be begun here: nothing is here, or only what a writer killed at its start left."""
    if not path.exists():
        return True
    if not path.is_dir():
        return False
    names = {entry.name for entry in path.iterdir()}
    return not names or (LOCK in names and names <= _LEFT_AT_A_START and not holds_shards(path))


def holds_shards(path: Path) -> bool:
    """Whether a folder holds shards of features, whatever else is missing."""
    return (path / SHARDS).is_dir() and any(entry.name.isdecimal() for entry in (path / SHARDS).iterdir())


def something_begun(path: Path) -> bool:
    """Whether a store's folder holds what a writer began or left behind."""
    left = (MAKING, GROWING, _NEXT)
    return any(entry.name in left or entry.name.startswith(_OLD) for entry in path.iterdir())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only writer of a store, and put in order what a killed one left.

    Raises:
        RequestError: If another process writes to it, or its file system locks no files.
    """
    path.mkdir(parents=True, exist_ok=True)
    # The kernel frees the lock when its holder dies, so a dead writer never blocks the next one.
    with (path / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as refused:
            raise RequestError(_why_not_locked(path, refused)) from refused
        _settle(path)
        shutil.rmtree(path / MAKING, ignore_errors=True)
        yield


def _why_not_locked(path: Path, refused: OSError) -> str:
    if refused.errno in _TAKEN:
        return f"Another process is writing to {path}. Wait for it, or choose another folder."
    return (
        f"{path} cannot be locked against other writers: its file system says {refused.strerror!r}. Choose a folder on "
        "another disk, or let whoever looks after this one allow locks."
    )


def replace_files(path: Path, contents: Mapping[str, bytes]) -> None:
    """Replace some files of a store as one; for the holder of its lock."""
    (path / MAKING).mkdir()
    for name, data in contents.items():
        write_file(path / MAKING / name, data)
    replace_pieces(path, path / MAKING)


def replace_pieces(path: Path, made: Path) -> None:
    """Put the pieces that a folder inside the store holds in place of the store's; for the holder of its lock."""
    flush_folder(made)
    made.rename(path / _NEXT)  # from here on this is what the store holds
    flush_folder(path)
    _settle(path)


def write_file(path: Path, data: bytes) -> None:
    """Write a file to the disk, not only to the system's memory."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    temporary = path.with_name(f"{path.name}.new")
    write_file(temporary, data)
    temporary.replace(path)
    flush_folder(path.parent)


def flush_folder(path: Path) -> None:
    """Write a folder's list of names to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_all(path: Path) -> dict[str, int]:
    held: dict[str, int] = {}
    for name in (*_FILES, SHARDS):
        descriptor = _open(path, name)
        if descriptor is not None:
            held[name] = descriptor
    if SHARDS in held:
        with suppress(OSError):  # refused while a writer removes the folder, which the next look notices
            fcntl.flock(held[SHARDS], fcntl.LOCK_SH | fcntl.LOCK_NB)
    return held


def _open(path: Path, name: str) -> int | None:
    for place in (path / _NEXT / name, path / name):
        with suppress(FileNotFoundError, NotADirectoryError):
            return os.open(place, os.O_RDONLY)
    return None


def _still_there(path: Path, held: Mapping[str, int]) -> bool:
    for name in (*_FILES, SHARDS):
        now = _identity_of(path, name)
        if now != (_identity(os.fstat(held[name])) if name in held else None):
            return False
    return True


def _identity_of(path: Path, name: str) -> tuple[int, int] | None:
    for place in (path / _NEXT / name, path / name):
        with suppress(FileNotFoundError, NotADirectoryError):
            return _identity(place.stat())
    return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _close(held: dict[str, int]) -> None:
    while held:
        os.close(held.popitem()[1])


def _read(descriptor: int) -> bytes:
    # With positions of their own, since threads may read through one store.
    parts, place = [], 0
    while part := os.pread(descriptor, 2**24, place):
        parts.append(part)
        place += len(part)
    return b"".join(parts)


def _settle(path: Path) -> None:
    """Move what is in `.next` to its place, and remove what nobody holds any more."""
    ready = path / _NEXT
    if ready.exists():
        if (ready / SHARDS).exists():
            if (path / SHARDS).exists():
                (path / SHARDS).rename(_unused(path))
            (ready / SHARDS).rename(path / SHARDS)
        for name in (RUN, *_FILES):
            with suppress(FileNotFoundError):
                (ready / name).replace(path / name)
        shutil.rmtree(ready)
        flush_folder(path)
    for old in path.glob(f"{_OLD}*"):
        _remove_unless_held(old)


def _unused(path: Path) -> Path:
    number = 0
    while (path / f"{_OLD}{number}").exists():
        number += 1
    return path / f"{_OLD}{number}"


def _remove_unless_held(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as refused:
        # Some network file systems lock no folders: there a reader that is still at work has to open again.
        if refused.errno in _TAKEN:
            return
    finally:
        os.close(descriptor)
    shutil.rmtree(folder, ignore_errors=True)
