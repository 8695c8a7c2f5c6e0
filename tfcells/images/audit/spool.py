"""Records by row number in one temporary file: memory stays flat whatever the number of pictures."""

import os
import tempfile
import threading
import weakref
from typing import IO

import numpy as np


class Spool:
    """Bytes by row number, on disk; rows may be written and read by several threads.

    The file has no name and goes with the spool; `TMPDIR` says where it lies.

    Args:
        rows: Number of rows; each is written once.
    """

    def __init__(self, rows: int) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
        weakref.finalize(self, self._file.close)  # or Python would warn of a file that nobody closed
        self._lock = threading.Lock()
        self._end = 0
        self._places = np.zeros((rows, 2), dtype=np.int64)  # start and length

    def write(self, row: int, record: bytes) -> None:
        """Keep the record of a row."""
        with self._lock:
            start, self._end = self._end, self._end + len(record)
        left, place = memoryview(record), start
        while left:  # a write may be cut short
            written = os.pwrite(self._file.fileno(), left, place)
            left, place = left[written:], place + written
        self._places[row] = start, len(record)

    def read(self, row: int) -> bytes:
        """The record of a row; empty if it was never written."""
        start, length = self._places[row].tolist()
        # `os.pread` keeps threads from moving one another's file position.
        return os.pread(self._file.fileno(), length, start) if length else b""
