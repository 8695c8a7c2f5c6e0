"""Where pixels come from: one picture by its id, canonical, or a `BadImageError` that says why not."""

import os
import stat
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final, Protocol, runtime_checkable

import numpy as np

from tfcells.arrays import Pixels
from tfcells.images.decode import MAX_PIXELS, BadImageError, decode_image

MAX_BYTES: Final = 6 * MAX_PIXELS + 2**20  # uncompressed 16-bit RGB of the largest picture, and its header
"""A larger file is refused unread."""


@runtime_checkable
class PixelSource(Protocol):
    """Gives the canonical pixels of a row. Safe to call from several threads."""

    def read(self, id: str) -> Pixels:
        """Return uint8 pixels of shape (height, width, 3), or raise `BadImageError` with the reason."""
        ...

    def describe(self) -> dict[str, str]:
        """Say in JSON terms where the pixels lie, so that a store can find them again."""
        ...


@runtime_checkable
class FileSource(PixelSource, Protocol):
    """A source whose rows are files of encoded pictures: what was decoded once is known again by its bytes."""

    def read_bytes(self, id: str) -> bytes:
        """Return the bytes of a row's file, or raise `BadImageError` with the reason."""
        ...


class FolderSource:
    """Files below a root; an id is the path relative to it, with forward slashes."""

    ids_are_paths = True

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def read_bytes(self, id: str) -> bytes:
        """Return the bytes of a file that is a regular one of sane size, or raise `BadImageError`."""
        if "\0" in id:
            raise BadImageError("its name holds a zero character, which no file's name can")
        path = self.root / id
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise BadImageError("not a regular file")
            if status.st_size > MAX_BYTES:
                raise BadImageError(f"{status.st_size:,} bytes, larger than the limit of {MAX_BYTES:,} bytes")
            return path.read_bytes()
        except OSError as fault:
            raise BadImageError(f"cannot be read: {fault.strerror or fault}") from fault

    def read(self, id: str) -> Pixels:
        """Read and decode one file."""
        return decode_image(self.read_bytes(id))

    def describe(self) -> dict[str, str]:
        """Name the folder, absolute."""
        return {"kind": "folder", "root": str(self.root.resolve())}


class ArraySource:
    """Arrays of pictures; an id is `<array>/<index>`.

    Args:
        arrays: By name, arrays of shape (images, height, width), (images, height, width, 1 or 3 or 4);
            uint8, or uint16 of which the high byte is kept. Memory-maps stay on disk.
        path: The file they came from.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], *, path: Path) -> None:
        self.arrays = dict(arrays)
        self.path = path

    def read(self, id: str) -> Pixels:
        """Return one row of the array."""
        name, _, index = id.rpartition("/")
        picture = np.asarray(self.arrays[name][int(index)])
        if picture.dtype == np.uint16:
            picture = (picture >> 8).astype(np.uint8)
        if picture.ndim == 2:
            picture = picture[:, :, None]
        if picture.shape[2] == 1:
            picture = np.repeat(picture, 3, axis=2)
        return np.ascontiguousarray(picture[:, :, :3])

    def describe(self) -> dict[str, str]:
        """Name the file, absolute."""
        return {"kind": "npz", "root": str(self.path.resolve())}


class SpooledSource:
    """Encoded pictures in one temporary file, for sources that can only be read from front to back.

    The file has no name and goes with the source: memory stays flat whatever the size of the data set.
    """

    ids_are_paths = False

    def __init__(self, description: Mapping[str, str]) -> None:
        self._description = dict(description)
        self._spool: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the source
        weakref.finalize(self, self._spool.close)  # or Python would warn of a file that nobody closed
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0

    def add(self, id: str, data: bytes) -> None:
        """Append one encoded picture."""
        self._spool.write(data)
        self._places[id] = (self._end, len(data))
        self._end += len(data)

    def finish(self) -> None:
        """Flush, after the last `add` and before the first `read`."""
        self._spool.flush()

    def read_bytes(self, id: str) -> bytes:
        """Return one encoded picture; `os.pread` keeps threads from moving one another's file position."""
        start, length = self._places[id]
        return os.pread(self._spool.fileno(), length, start)

    def read(self, id: str) -> Pixels:
        """Decode one picture."""
        return decode_image(self.read_bytes(id))

    def describe(self) -> dict[str, str]:
        """Name the data set."""
        return dict(self._description)
