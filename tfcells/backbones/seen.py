"""Which pictures weights have seen: known by their pixels, in a list beside the weights' file.

A probe on pictures that taught its backbone is no probe of new ones, and no split of rows can mend that. So whoever
teaches weights leaves `X.seen.txt` beside `X.weights.h5`, and whoever reads features by them looks there.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tfcells.backbones.weights import SUFFIXES, WeightsFile, file_digest, shipped_files
from tfcells.errors import DamageError

_MARK: Final = 16
"""Hexadecimal digits kept of each SHA-256: of a million pictures and a million others two agree once in 10^7 times."""

_LINE: Final = re.compile(rf"[0-9a-f]{{{_MARK}}}\n")


@dataclass(frozen=True)
class SeenPictures:
    """Pictures that taught weights or chose when their teaching ended, those of the weights they began with included.

    Attributes:
        marks: The first digits of each picture's digest, see `ImageTable.digests`.
    """

    marks: frozenset[str]

    @classmethod
    def of(cls, digests: Iterable[str]) -> "SeenPictures":
        """Pictures of these digests (SHA-256 of canonical pixels and shape, in hexadecimal)."""
        return cls(frozenset(digest[:_MARK] for digest in digests))

    def count(self, digests: Iterable[str]) -> int:
        """How many of these digests are of pictures that were seen."""
        return sum(digest[:_MARK] in self.marks for digest in digests)

    def __or__(self, others: "SeenPictures") -> "SeenPictures":
        return SeenPictures(self.marks | others.marks)


def list_beside(weights: Path) -> Path:
    """`mobilenet_v2_cells.seen.txt` for `mobilenet_v2_cells.weights.h5`."""
    ending = next((suffix for suffix in SUFFIXES if weights.name.endswith(suffix)), "")
    return weights.with_name(weights.name.removesuffix(ending) + ".seen.txt")


def write_seen(path: Path, seen: SeenPictures) -> None:
    """Write a list: the pictures sorted, a line each."""
    unfinished = path.with_name(f".unfinished-{path.name}")
    unfinished.write_text("".join(f"{mark}\n" for mark in sorted(seen.marks)), encoding="ascii", newline="\n")
    unfinished.replace(path)


def seen_by_file(found: WeightsFile) -> SeenPictures | None:
    """Which pictures weights have seen; None where no list says so, as of ImageNet's.

    Args:
        found: From `find_weights`.

    Raises:
        DamageError: As `read_seen`.
    """
    return None if found.path is None else read_seen(list_beside(found.path))


def seen_by_shipped(sha256: str) -> SeenPictures | None:
    """The same of weights that ship with tfcells, by the digest of their file; None for all others."""
    return next((read_seen(list_beside(path)) for path in shipped_files() if file_digest(path) == sha256), None)


def seen_words(counted: Mapping[str, Any] | None, *, weights: str, images: str = "images") -> str | None:
    """What a reader must know of a study whose pictures its weights have seen; None where there is nothing to say.

    Args:
        counted: `images`, how many were seen, `of`, how many there are; None where nobody knows.
        weights: What they are called.
        images: What was counted, in the plural.
    """
    if not counted or not counted["images"]:
        return None
    return (
        f"The weights {weights} have seen {counted['images']:,} of these {counted['of']:,} {images} in their own "
        "training, so the numbers here are better than those of new images. Take other images, or weights that have "
        "not seen these, such as ImageNet's."
    )


def read_seen(path: Path) -> SeenPictures | None:
    """Read a list; None where there is none.

    Raises:
        DamageError: If a line is no digest.
    """
    if not path.is_file():
        return None
    marks = set()
    with path.open(encoding="ascii", errors="replace") as file:
        # No line is longer than that, whatever the file is.
        for number, line in enumerate(iter(lambda: file.readline(_MARK + 1), ""), 1):
            if not _LINE.fullmatch(line):
                raise DamageError(
                    f"{path}, line {number}: {line.strip()!r} came, expected {_MARK} hexadecimal digits of a picture's "
                    "digest. Take the list from where its weights came from; without it nobody knows what they have "
                    "seen."
                )
            marks.add(line.strip())
    return SeenPictures(frozenset(marks))
