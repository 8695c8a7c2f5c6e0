"""Folders of pictures: what lies below them, and the table that is made of it, on this machine or at an address."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tfcells.errors import EmptyDataError
from tfcells.images.decode import SUFFIXES
from tfcells.images.inspect import classed_candidates, inspect_candidates
from tfcells.images.sources import PixelSource
from tfcells.images.table import NOTHING_KNOWN, ImageTable, KnownFiles, Quarantined
from tfcells.names import visible
from tfcells.progress import Progress, silent

_log = logging.getLogger(__name__)
_SHOWN: Final = 5  # names in a message
STORE_MARK: Final = "recipe.json"
"""A folder that holds a file of this name is a feature store."""

Listing = tuple[list[str], Counter[str], list[Quarantined]]
"""Paths of pictures relative to their root, sorted; how many other files there are, by suffix; what cannot be looked
into, and why."""


def find_pictures(root: Path) -> Listing:
    """Find files with an image suffix below a folder; links to folders are followed, each folder once."""
    found: list[str] = []
    others: Counter[str] = Counter()
    closed: list[Quarantined] = []
    visited: set[str] = set()

    def note(fault: OSError) -> None:
        closed.append(Quarantined(os.path.relpath(fault.filename, root), f"cannot be listed: {fault.strerror}"))

    starts = [Path(root)]
    for start in starts:  # links come after all folders: a link to a class folder must not take its pictures
        for folder, folders, files in os.walk(start, onerror=note):
            real = os.path.realpath(folder)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            below = [Path(folder) / name for name in sorted(folders) if not name.startswith(".")]
            starts += [path for path in below if path.is_symlink()]
            folders[:] = [path.name for path in below if not path.is_symlink()]
            for path in (Path(folder) / name for name in files if not name.startswith(".")):
                if path.suffix.lower() in SUFFIXES:
                    found.append(path.relative_to(root).as_posix())
                else:
                    others[path.suffix.lower() or "no suffix"] += 1
    return sorted(found), others, closed


def read_listing(
    listing: Listing,
    source: PixelSource,
    *,
    shown: object,
    folder: Path | None = None,
    class_names: Sequence[str] | None = None,
    known: KnownFiles = NOTHING_KNOWN,
    progress: Progress = silent,
) -> ImageTable:
    """Make a table of what was found below a root: the first folder is the class, unless all lie in one flat folder.

    Args:
        listing: What was found.
        source: Gives the pixels.
        shown: The root, as messages name it.
        folder: The root on this machine, where folders without a picture are looked for.
        class_names: The classes to expect.
        known: Files that need not be decoded again.
        progress: Told how far the reading is.

    Raises:
        EmptyDataError: If there is no usable picture; the message says what was there instead.
    """
    found, others, closed = listing
    if not found:
        raise EmptyDataError(_why_empty(shown, others, closed))
    if others:
        _log.info("passed over in %s, no image suffix: %s", shown, _counted(others))
    candidates, beside = classed_candidates(found)
    in_classes = any("/" in id for id in found)
    empty = _empty_classes(folder, found, closed) if folder is not None and in_classes else []
    for name in empty:
        _log.warning("class folder %s holds no image", visible(name))
    return inspect_candidates(
        candidates,
        source,
        class_names=class_names,
        without_pictures=empty,
        quarantine=[*closed, *beside],
        known=known,
        progress=progress,
    )


def _empty_classes(root: Path, found: Sequence[str], closed: Sequence[Quarantined]) -> list[str]:
    """Folders in `root` without a picture in them; a link is another name of a folder, and a closed one is named."""
    known = {id.split("/")[0] for id in found} | {entry.id.split("/")[0] for entry in closed}
    with os.scandir(root) as entries:
        folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    empty = (name for name in folders if not name.startswith(".") and name not in known)
    return sorted(name for name in empty if not _holds_a_store(root / name))


def _holds_a_store(folder: Path) -> bool:
    """Whether features were stored in a folder or below it: no class, though it lies among the classes."""
    return any(STORE_MARK in files for _, _, files in os.walk(folder))


def _counted(others: Counter[str]) -> str:
    return ", ".join(f"{count} x {suffix}" for suffix, count in others.most_common(_SHOWN)) or "nothing"


def _why_empty(shown: object, others: Counter[str], closed: Sequence[Quarantined]) -> str:
    folders = "".join(f"; {entry.id} {entry.reason}" for entry in closed[:_SHOWN])
    return (
        f"No image in {shown}; it holds {_counted(others)}{folders}. Expected {', '.join(sorted(SUFFIXES))} files in "
        "one folder per class, or in one flat folder."
    )
