"""Decode every candidate once: what is a picture becomes a row with a digest, what is not is quarantined.

Files whose bytes are known from an earlier time are not decoded again. Bytes are compared, by their SHA-256, and
neither sizes nor times of files: those stay the same when a file is restored, copied or patched.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tfcells.errors import EmptyDataError, RequestError, UnknownNameError
from tfcells.images.decode import BadImageError, decode_image, pixel_digest
from tfcells.images.sources import FileSource, PixelSource
from tfcells.images.table import (
    NOTHING_KNOWN,
    FileFacts,
    ImageTable,
    KnownFile,
    KnownFiles,
    Quarantined,
    joined_groups,
)
from tfcells.progress import Progress, silent

_WINDOW: Final = 512  # candidates in flight: a million of them must not become a million futures
_TASK: Final = 16  # candidates per task of a thread: a file that is only hashed takes less than a task costs
_SHOWN: Final = 5


@dataclass(frozen=True)
class Candidate:
    """What a reader believes to be a picture."""

    id: str
    label: str | None = None
    group: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    digest: str
    file: FileFacts


def classed_candidates(ids: Sequence[str]) -> tuple[list[Candidate], list[Quarantined]]:
    """Candidates from paths below a root: the first folder is the class, unless all lie in one flat folder.

    Returns:
        The candidates, and files beside class folders, which have no class.
    """
    in_classes = any("/" in id for id in ids)
    beside = [id for id in ids if in_classes and "/" not in id]
    kept = (id for id in ids if not in_classes or "/" in id)
    return (
        [Candidate(id, label=id.split("/")[0] if in_classes else None) for id in kept],
        [Quarantined(id, "lies beside the class folders; move it into one") for id in beside],
    )


def inspect_candidates(
    candidates: Sequence[Candidate],
    source: PixelSource,
    *,
    class_names: Sequence[str] | None = None,
    without_pictures: Sequence[str] = (),
    quarantine: Sequence[Quarantined] = (),
    known: KnownFiles = NOTHING_KNOWN,
    progress: Progress = silent,
) -> ImageTable:
    """Make a table of the candidates that decode; name the others in its quarantine.

    Pictures with the same pixels become one group, since a split must never part them. `width` and `height` in
    pixels become metadata columns, unless the source has columns of that name.

    Args:
        candidates: What the reader found, in row order.
        source: Gives their pixels.
        class_names: The classes and their order; by default the labels of all candidates, sorted: a class whose
            pictures are all refused is a class without rows, which whoever needs rows can then name.
        without_pictures: Classes that no candidate has; not looked at where classes are given.
        quarantine: What the reader itself has left out.
        known: Files that need not be decoded; by this decoder or one that gives the same pixels.
        progress: Told how far the decoding is.

    Raises:
        EmptyDataError: If not one candidate decodes.
        UnknownNameError: If a label is not in `class_names`.
        RequestError: If a class is named twice.
    """
    rows: list[Candidate] = []
    seen: list[_Seen] = []
    refused = [Quarantined(_printable(entry.id), entry.reason) for entry in quarantine]
    for candidate, outcome in zip(candidates, _look_at_all(candidates, source, known, progress), strict=True):
        if isinstance(outcome, _Seen):
            rows.append(candidate)
            seen.append(outcome)
        else:
            refused.append(Quarantined(_printable(candidate.id), outcome))
    if not rows:
        raise EmptyDataError(_why_none(refused, len(candidates)))
    if class_names is None:
        occurring = {candidate.label for candidate in candidates if candidate.label is not None}
        class_names = sorted({_printable(label) for label in (*occurring, *without_pictures)})
    labels, names = _numbered(rows, class_names)
    ids = tuple(row.id for row in rows)
    by_pixels = [look.digest for look in seen]
    by_name = [f"named {row.group}" if row.group is not None else f"alone {row.id}" for row in rows]
    columns = {name: tuple(row.metadata[name] for row in rows) for name in rows[0].metadata}
    return ImageTable(
        ids=ids,
        digests=tuple(by_pixels),
        labels=labels,
        class_names=names,
        groups=joined_groups(ids, [by_pixels, by_name]),
        source=source,
        metadata={
            "width": tuple(str(look.file.width) for look in seen),
            "height": tuple(str(look.file.height) for look in seen),
        }
        | columns,
        quarantine=tuple(sorted(refused)),
        files=tuple(look.file for look in seen),
    )


def look_at(id: str, source: PixelSource, *, known: KnownFiles = NOTHING_KNOWN) -> tuple[str, FileFacts]:
    """The digest of one row's pixels, and what there is to know of its file; known bytes are not decoded.

    Raises:
        BadImageError: If it is no usable picture.
    """
    if not isinstance(source, FileSource):
        pixels = source.read(id)
        return pixel_digest(pixels), FileFacts("", pixels.shape[1], pixels.shape[0])
    data = source.read_bytes(id)
    sha256 = hashlib.sha256(data).hexdigest()
    found = known.get(sha256)
    if found is None:
        pixels = decode_image(data)
        found = KnownFile(pixel_digest(pixels), pixels.shape[1], pixels.shape[0])
    return found.pixels, FileFacts(sha256, found.width, found.height)


def _look_at_all(
    candidates: Sequence[Candidate], source: PixelSource, known: KnownFiles, progress: Progress
) -> Iterator[_Seen | str]:
    """What there is to know of each candidate, or the reason why it is no picture, in order."""

    def look(candidate: Candidate) -> _Seen | str:
        try:
            candidate.id.encode()
            return _Seen(*look_at(candidate.id, source, known=known))
        except UnicodeEncodeError:
            return "its name is not valid UTF-8; rename it"
        except BadImageError as reason:
            return str(reason)

    def look_at_some(some: Sequence[Candidate]) -> list[_Seen | str]:
        return [look(candidate) for candidate in some]

    done = 0
    progress("reading", 0, len(candidates))
    with ThreadPoolExecutor() as pool:
        for window in _parts(candidates, _WINDOW):
            for looks in pool.map(look_at_some, _parts(window, _TASK)):
                yield from looks
            done += len(window)
            progress("reading", done, len(candidates))


def _printable(id: str) -> str:
    """Names that are not valid UTF-8 come with lone surrogates, which neither JSON nor CSV files can hold."""
    return id.encode("utf-8", "backslashreplace").decode()


def _parts(candidates: Sequence[Candidate], length: int) -> Iterator[Sequence[Candidate]]:
    for start in range(0, len(candidates), length):
        yield candidates[start : start + length]


def _numbered(rows: Sequence[Candidate], class_names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    occurring = sorted({row.label for row in rows if row.label is not None})
    names = tuple(class_names)
    number = {name: index for index, name in enumerate(names)}
    if len(number) < len(names):
        raise RequestError(f"Class names {', '.join(names)} given. Expected each of them once.")
    for label in occurring:
        if label not in number:
            raise UnknownNameError("class", label, names)
    labels = [-1 if row.label is None else number[row.label] for row in rows]
    return np.array(labels, dtype=np.int64), names


def _why_none(refused: Sequence[Quarantined], candidates: int) -> str:
    if not refused:
        return "There is no picture: the file or data set lists none. Expected one or more."
    shown = "; ".join(f"{entry.id}: {entry.reason}" for entry in refused[:_SHOWN])
    more = f"; and {len(refused) - _SHOWN:,} more" if len(refused) > _SHOWN else ""
    return (
        f"Not one of {candidates:,} files is a usable picture: {shown}{more}. "
        "Expected JPEG, PNG, BMP, GIF, WebP or TIFF."
    )
