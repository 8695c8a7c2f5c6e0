"""Folders, npz files and CSV manifests to `ImageTable`s; every picture is decoded once, to know it is one.

A data-set builder of tensorflow-datasets is read by `tfcells.images.tfds_reader`, the only reader that loads
TensorFlow.
"""

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tfcells.errors import RequestError
from tfcells.images.arrays_on_disk import open_npz_member
from tfcells.images.folders import find_pictures, read_listing
from tfcells.images.inspect import Candidate, inspect_candidates
from tfcells.images.remote import is_remote, read_remote
from tfcells.images.sources import ArraySource, FolderSource
from tfcells.images.table import NOTHING_KNOWN, ImageTable, KnownFiles, Quarantined
from tfcells.progress import Progress, silent

_MEDMNIST_SPLITS: Final = ("train", "val", "test")
_SHOWN: Final = 5  # names in a message


def read_images(
    root: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    groups: str | Path | None = None,
    known: KnownFiles = NOTHING_KNOWN,
    progress: Progress = silent,
) -> ImageTable:
    """Read whatever `root` names: a folder, an `.npz` file, a `.csv` manifest, `tfds:<name>` or a remote folder.

    Args:
        root: Where the pictures are; a remote folder is any address that fsspec knows, e.g. `s3://bucket/cells`.
        class_names: Names of the classes in the order of the numbers in an npz file's labels; for any
            other source, the classes to expect (another one is an error).
        groups: A CSV file with the columns `id` and `group`, joined to the groups the source itself knows.
        known: Files that need not be decoded again, e.g. `known_files` of a store.
        progress: Told how far the reading is.

    Raises:
        RequestError: If `root` does not exist or is of no known kind.
        EmptyDataError: If not one usable picture is found.
    """
    if str(root).startswith("tfds:"):
        from tfcells.images.tfds_reader import read_tfds

        table = read_tfds(str(root).removeprefix("tfds:"), class_names=class_names, known=known, progress=progress)
    elif is_remote(root):
        table = read_remote(str(root), class_names=class_names, known=known, progress=progress)
    else:
        path = Path(root)
        if not path.exists():
            raise RequestError(
                f"No such file or folder: {path}. Expected a folder of images, an .npz file, a .csv manifest "
                "tfds:<name> or an address such as s3://bucket/folder."
            )
        if path.is_dir():
            table = read_folder(path, class_names=class_names, known=known, progress=progress)
        elif path.suffix.lower() == ".npz":
            table = read_npz(path, class_names=class_names, progress=progress)
        elif path.suffix.lower() == ".csv":
            table = read_manifest(path, class_names=class_names, known=known, progress=progress)
        else:
            raise RequestError(
                f"{path} is neither a folder nor an .npz file nor a .csv manifest. "
                "Put pictures into one folder per class, or list them in a manifest."
            )
    return table if groups is None else table.with_groups(read_groups(Path(groups)))


def read_folder(
    root: Path,
    *,
    class_names: Sequence[str] | None = None,
    known: KnownFiles = NOTHING_KNOWN,
    progress: Progress = silent,
) -> ImageTable:
    """Read class folders (`<root>/<class>/.../<file>`), or one flat folder of unlabelled pictures.

    Candidates are files with an image suffix, in any case of letters. Other files (a README, a CSV) are no
    pictures: they are counted in the log, not quarantined. Names that begin with a dot are passed over. Links
    to folders are followed, each folder once: under its own name if that lies below `root`, whatever links to it.
    Beside class folders, a folder without any picture is a class without any, and is warned of, unless it holds a
    feature store.

    Raises:
        EmptyDataError: If there is no usable picture; the message says what was there instead.
    """
    return read_listing(
        find_pictures(root),
        FolderSource(root),
        shown=root,
        folder=root,
        class_names=class_names,
        known=known,
        progress=progress,
    )


def read_manifest(
    path: Path,
    *,
    root: Path | None = None,
    class_names: Sequence[str] | None = None,
    known: KnownFiles = NOTHING_KNOWN,
    progress: Progress = silent,
) -> ImageTable:
    """Read a CSV manifest with the columns `path`, `label` (may be empty), `group` (may be missing).

    A row's id is its `path` as written; it is looked up relative to `root`, which is the manifest's folder by
    default. Every other column is kept as metadata.

    Raises:
        RequestError: If there is no column `path`.
        EmptyDataError: If there is no usable picture.
    """
    rows, columns = _read_csv(path, needed=("path",), purpose="a manifest")
    others = [column for column in columns if column not in ("path", "label", "group")]
    candidates, left_out, seen = [], [], set()
    for number, row in enumerate(rows, 1):
        id = row["path"]
        if not id:
            left_out.append(Quarantined(f"row {number} of {path.name}", "its path is empty"))
            continue
        if id in seen:
            left_out.append(Quarantined(id, "comes more than once in the manifest; the first row counts"))
            continue
        seen.add(id)
        metadata = {column: row[column] for column in others}
        candidates.append(
            Candidate(id, label=row.get("label") or None, group=row.get("group") or None, metadata=metadata)
        )
    source = FolderSource(path.parent if root is None else root)
    return inspect_candidates(
        candidates, source, class_names=class_names, quarantine=left_out, known=known, progress=progress
    )


def read_npz(path: Path, *, class_names: Sequence[str] | None = None, progress: Progress = silent) -> ImageTable:
    """Read `images` and `labels`, or MedMNIST's `train_images`, `train_labels`, `val_...`, `test_...`.

    Images are uint8 or uint16 of shape (images, height, width) or (images, height, width, 1, 3 or 4); labels
    are integers or strings of shape (images,) or (images, 1), or absent. Ids are `images/000000` or
    `train/000000`; MedMNIST's splits become the metadata column `split`. Nothing is unpickled, and members
    are unpacked to a temporary file, so memory stays flat.

    Args:
        path: The file.
        class_names: Class names in the order of integer labels; by default the integers themselves.
        progress: Told how far the reading is.

    Raises:
        RequestError: If members are missing, do not fit one another or hold Python objects.
    """
    try:
        archive = zipfile.ZipFile(path)
    # zipfile raises more than BadZipFile on hostile bytes.
    except Exception as broken:
        raise RequestError(f"{path} is no npz file: {broken}. Write it with numpy.savez.") from broken
    with archive:
        members = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
        splits = [split for split in _MEDMNIST_SPLITS if f"{split}_images" in members]
        parts = {split: (f"{split}_images", f"{split}_labels") for split in splits}
        if "images" in members:
            parts = {"images": ("images", "labels")}
        if not parts:
            raise RequestError(
                f"{path} holds {_listed(archive.namelist())}. Expected `images` (and `labels`), "
                "or MedMNIST's `train_images`, `val_images`, `test_images`."
            )
        arrays: dict[str, np.ndarray] = {}
        candidates: list[Candidate] = []
        for part, (images_name, labels_name) in parts.items():
            arrays[part] = _checked_pictures(path, images_name, open_npz_member(archive, images_name))
            labels = open_npz_member(archive, labels_name) if labels_name in members else None
            names = _label_names(path, labels_name, labels, len(arrays[part]), class_names)
            metadata = {} if part == "images" else {"split": part}
            candidates += [
                Candidate(f"{part}/{row:06d}", label=name, metadata=metadata) for row, name in enumerate(names)
            ]
    return inspect_candidates(candidates, ArraySource(arrays, path=path), class_names=class_names, progress=progress)


def read_groups(path: Path) -> dict[str, str]:
    """Read a CSV file with the columns `id` and `group` to a group name by id; rows without a group are passed over.

    Raises:
        RequestError: If a column is missing or one id has two groups.
    """
    rows, _ = _read_csv(path, needed=("id", "group"), purpose="a groups file")
    group_of: dict[str, str] = {}
    for row in (row for row in rows if row["group"]):
        if group_of.setdefault(row["id"], row["group"]) != row["group"]:
            raise RequestError(
                f"{path} gives {row['id']} two groups, {group_of[row['id']]!r} and {row['group']!r}. "
                "Expected one row per id."
            )
    return group_of


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return (", ".join(sorted(names)[:_SHOWN]) or "nothing") + more


def _read_csv(path: Path, *, needed: Sequence[str], purpose: str) -> tuple[list[dict[str, str]], list[str]]:
    try:
        # utf-8-sig: spreadsheet programs put a byte-order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = list(reader.fieldnames or [])
            missing = [name for name in needed if name not in columns]
            if missing:
                raise RequestError(
                    f"{path} has the columns {', '.join(columns) or '(none)'}. Expected {', '.join(needed)} in "
                    f"{purpose}; {', '.join(missing)} is missing."
                )
            return [{name: row[name] for name in columns} for row in reader], columns
    except (OSError, UnicodeDecodeError, csv.Error) as broken:
        raise RequestError(f"{path} cannot be read as {purpose}: {broken}.") from broken


def _checked_pictures(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    fits = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3, 4))
    if not fits or 0 in array.shape[1:] or array.dtype not in (np.uint8, np.uint16):
        raise RequestError(
            f"`{name}` in {path} is {array.dtype} of shape {array.shape}. Expected uint8 or uint16 of shape "
            "(images, height, width) or (images, height, width, 1, 3 or 4)."
        )
    return array


def _decoded(path: Path, name: str, labels: np.ndarray) -> list[str | None]:
    """Label names; the empty one is no label, as in a manifest."""
    try:
        return [(label.decode() if isinstance(label, bytes) else label) or None for label in labels.tolist()]
    except ValueError as broken:
        raise RequestError(f"`{name}` in {path} holds text that is not UTF-8: {broken}. Write it as str.") from broken


def _label_names(
    path: Path, name: str, labels: np.ndarray | None, images: int, class_names: Sequence[str] | None
) -> list[str | None]:
    if labels is None:
        return [None] * images
    if labels.shape not in ((images,), (images, 1)):
        raise RequestError(
            f"`{name}` in {path} has shape {labels.shape}. Expected ({images},) or ({images}, 1), one label per image."
        )
    labels = labels.reshape(-1)
    if labels.dtype.kind in "US":
        return _decoded(path, name, labels)
    if labels.dtype.kind not in "iu":
        raise RequestError(f"`{name}` in {path} is {labels.dtype}. Expected integers or strings.")
    if class_names is None:
        width = len(str(labels.max(initial=0)))  # so that "02" sorts before "10"
        return [f"{label:0{width}d}" for label in labels.tolist()]
    if labels.size and not 0 <= labels.min() <= labels.max() < len(class_names):
        raise RequestError(
            f"`{name}` in {path} lies in {labels.min()} to {labels.max()}. Expected 0 to {len(class_names) - 1}, "
            f"the {len(class_names)} class names given."
        )
    return [class_names[label] for label in labels.tolist()]
