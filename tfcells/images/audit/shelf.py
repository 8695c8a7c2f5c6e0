"""The pictures of a collection as the audit sees them: each decoded once, then read from disk as often as needed."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import lru_cache
from typing import Final, TypeVar

import cv2
import numpy as np

from tfcells.arrays import Pixels
from tfcells.images.audit.agreement import View
from tfcells.images.audit.exact import turned_signature
from tfcells.images.audit.keypoints import Grey, Keypoints, Mask, find_keypoints, own_area, working_picture
from tfcells.images.audit.marks import LEAST_PICTURES, SAMPLED, Size, find_marks, is_marked, marks_for
from tfcells.images.audit.quality import Measures, measure
from tfcells.images.audit.spool import Spool
from tfcells.images.decode import BadImageError
from tfcells.images.sources import PixelSource
from tfcells.progress import Progress

Result = TypeVar("Result")

_QUALITY: Final = 95  # JPEG quality of working pictures: a fifth of the bytes, and what is lost is softened away anyway
_KEPT_VIEWS: Final = 64  # pictures of 500 x 500 pixels: 30 MB
_WINDOW: Final = 512  # pictures in flight: a million of them must not become a million futures


class Shelf:
    """Working pictures and keypoints by row number.

    Args:
        ids: Row identities; row numbers are places in this sequence.
        source: Gives their pixels.
        pool: Where the work is done.
        progress: Told how far it is.

    Attributes:
        measures: Sizes, brightness and so on, by row; rows that could not be read are missing.
        signatures: `turned_signature` by row.
        unreadable: The reason by row, for rows that could not be read.
        marks: Marks in the same place of most pictures, at working size, by the pictures' size; None where there are
            none, and no entry for sizes of too few pictures.
    """

    def __init__(self, ids: Sequence[str], source: PixelSource, *, pool: Executor, progress: Progress) -> None:
        self._ids, self._source, self._pool, self._progress = ids, source, pool, progress
        self._pictures, self._keypoints = Spool(len(ids)), Spool(len(ids))
        self.measures: dict[int, Measures] = {}
        self.signatures: dict[int, str] = {}
        self.unreadable: dict[int, str] = {}
        self.marks: dict[Size, Mask | None] = {}
        self.view = lru_cache(_KEPT_VIEWS)(self._view)

    def read_all(self) -> None:
        """Decode and measure every picture, and keep it at its working size."""
        for row, looked in self._each("reading", range(len(self._ids)), self._look):
            if isinstance(looked, str):
                self.unreadable[row] = looked
            else:
                self.measures[row], self.signatures[row] = looked

    def find_marks(self, rows: Sequence[int], *, seed: int) -> None:
        """Look for marks among these rows, size by size; they should be no copies of one another."""
        of_size: dict[Size, list[int]] = defaultdict(list)
        for row in rows:
            of_size[self.measures[row].height, self.measures[row].width].append(row)
        rng = np.random.default_rng(seed)
        for size, members in sorted(of_size.items()):
            sample = np.sort(rng.permutation(members)[:SAMPLED]).tolist()
            if len(sample) >= LEAST_PICTURES:
                self.marks[size] = find_marks([self.picture(row) for row in sample])

    def find_keypoints(self, rows: Sequence[int]) -> None:
        """Find the keypoints of these rows, outside filler and marks."""

        def find(row: int) -> None:
            view = self._view(row)
            self._keypoints.write(row, find_keypoints(view.picture, view.own).to_bytes())

        for _ in self._each("looking for keypoints", rows, find):
            pass

    def pixels(self, row: int) -> Pixels:
        """The pixels of a row, read again.

        Raises:
            BadImageError: If they cannot be read, or not any more.
        """
        try:
            return self._source.read(self._ids[row])
        except OSError as fault:
            raise BadImageError(f"cannot be read: {fault.strerror or fault}") from fault

    def picture(self, row: int) -> Grey:
        """The working picture of a row."""
        return unpacked(self._pictures.read(row))

    def keypoints(self, row: int) -> Keypoints:
        """The keypoints of a row."""
        return Keypoints.from_bytes(self._keypoints.read(row))

    def own(self, picture: Grey, size: Size) -> Mask:
        """Where a working picture shows something of its own, neither filler nor mark; `size` is the original's."""
        own = own_area(picture)
        marks = marks_for(size, self.marks, (picture.shape[0], picture.shape[1]))
        return own if marks is None else own & ~marks

    def is_marked(self, row: int) -> bool:
        """Whether most pictures of this one's size, or of one like it, carry a mark in the same place."""
        return is_marked((self.measures[row].height, self.measures[row].width), self.marks)

    def _view(self, row: int) -> View:
        picture = self.picture(row)
        return View(picture, self.own(picture, (self.measures[row].height, self.measures[row].width)))

    def _look(self, row: int) -> tuple[Measures, str] | str:
        try:
            pixels = self.pixels(row)
        except BadImageError as reason:
            return str(reason)
        self._pictures.write(row, packed(working_picture(pixels)))
        return measure(pixels), turned_signature(pixels)

    def _each(self, stage: str, rows: Sequence[int], work: Callable[[int], Result]) -> Iterator[tuple[int, Result]]:
        self._progress(stage, 0, len(rows))
        for start in range(0, len(rows), _WINDOW):
            window = rows[start : start + _WINDOW]
            yield from zip(window, self._pool.map(work, window), strict=True)
            self._progress(stage, start + len(window), len(rows))


def packed(picture: Grey) -> bytes:
    """A working picture as it is kept."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data.tobytes()


def unpacked(record: bytes) -> Grey:
    """Read what `packed` wrote."""
    return np.asarray(cv2.imdecode(np.frombuffer(record, np.uint8), cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
