"""Writes a generated collection as a folder of JPEG files, one subfolder per class."""

from collections import Counter
from pathlib import Path

import numpy as np

from tfcells.arrays import Pixels
from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.synthetic.cells import draw_cell
from tfcells.images.synthetic.copies import augmented_copy
from tfcells.images.synthetic.plant import NOTHING, Entry, Plants, Shortcut, plan_entries
from tfcells.images.synthetic.recipes import CLASSES
from tfcells.images.synthetic.shortcuts import POOR_QUALITY, QUALITY, apply_shortcut, encode
from tfcells.images.synthetic.stain import OTHER_SITE, PBC_LIKE
from tfcells.images.synthetic.truth import SampleTruth, TruthRow

_TRUNCATED = 0.4  # share of the bytes that is left of a truncated file
PLAN, _COPY = 1, 2  # keep the random streams of planning and of copying apart from those of the pictures


def write_sample_folder(
    root: Path,
    *,
    images_per_class: int,
    seed: int,
    plants: Plants = NOTHING,
    classes: tuple[str, ...] = CLASSES,
    truth: Path | None = None,
) -> SampleTruth:
    """Writes `root/<class>/<class>_00001.jpg` and so on.

    The same arguments give the same bytes, on the same kind of machine and with the same version of OpenCV.

    Args:
        root: Folder to write to; made if missing, and must be empty.
        images_per_class: Originals per true class. Copies and corrupt files come on top of them.
        seed: Number of the collection; not negative.
        plants: What to plant.
        classes: Classes to draw, some of `recipes.CLASSES`.
        truth: Where to write the truth as CSV; outside `root`, or it would lie among the pictures.

    Returns:
        The truth, one row per file in order of id.

    Raises:
        RequestError: The folder is not empty, or a number or a combination makes no sense; nothing was written.
        UnknownNameError: A class is not known.
    """
    _check_request(root, images_per_class, seed, plants, classes, truth)
    rng = np.random.default_rng([seed, PLAN])
    entries = plan_entries(plants, classes=classes, images_per_class=images_per_class, rng=rng)
    numbers: Counter[str] = Counter()
    rows = []
    for kind in classes:
        (root / kind).mkdir(parents=True, exist_ok=True)
    for entry in entries:
        numbers[entry.filed] += 1
        name = f"{entry.filed}/{entry.filed}_{numbers[entry.filed]:05d}.jpg"
        data, done = _file_of(entry, seed=seed, shortcut=plants.shortcut)
        (root / name).write_bytes(data)
        rows.append(_row(name, entry, done=done, shortcut=plants.shortcut))
    sample = SampleTruth(tuple(sorted(rows, key=lambda row: row.id)))
    if truth is not None:
        truth.parent.mkdir(parents=True, exist_ok=True)
        sample.write(truth)
    return sample


def picture_of(entry: Entry, *, seed: int) -> tuple[Pixels, str]:
    """The picture of one entry before any mark, and what was done to make it if it is a copy."""
    site = OTHER_SITE if entry.elsewhere else PBC_LIKE
    picture = draw_cell(entry.kind, seed=seed, index=entry.index, site=site)
    if entry.copy is None:
        return picture, ""
    copy = augmented_copy(picture, rng=np.random.default_rng([seed, _COPY, entry.copy]))
    return copy.pixels, copy.done


def _file_of(entry: Entry, *, seed: int, shortcut: Shortcut | None) -> tuple[bytes, str]:
    """The bytes of one file, and what was done to make it if it is a copy."""
    if entry.fault == "zero bytes":
        return b"", ""
    if entry.fault == "text in a file named .jpg":
        return b"The image that was here has been moved. Please ask the archive for it.\n", ""
    picture, done = picture_of(entry, seed=seed)
    mark = _mark_of(entry, shortcut)
    quality = POOR_QUALITY if mark == "jpeg_quality" else QUALITY
    data = encode(apply_shortcut(picture, kind=mark), quality=quality)
    return (data[: int(_TRUNCATED * len(data))] if entry.fault else data), done


def _mark_of(entry: Entry, shortcut: Shortcut | None) -> str:
    """Kind of the mark that an entry bears, or nothing."""
    return shortcut.kind if shortcut is not None and shortcut.of == entry.kind and not entry.fault else ""


def _row(name: str, entry: Entry, *, done: str, shortcut: Shortcut | None) -> TruthRow:
    return TruthRow(
        id=name,
        true_class=entry.kind,
        filed_class=entry.filed,
        group=entry.group,
        site=(OTHER_SITE if entry.elsewhere else PBC_LIKE).name,
        copy=done,
        shortcut=_mark_of(entry, shortcut),
        fault=entry.fault,
    )


def _check_request(
    root: Path, images_per_class: int, seed: int, plants: Plants, classes: tuple[str, ...], truth: Path | None
) -> None:
    for kind in classes:
        if kind not in CLASSES:
            raise UnknownNameError("class of generated cells", kind, known=CLASSES)
    if not classes or len(set(classes)) < len(classes):
        raise RequestError(f"classes is {classes}. Expected at least one class, each named once.")
    if images_per_class < 1:
        raise RequestError(f"images_per_class is {images_per_class}. Expected 1 or more.")
    if seed < 0:
        raise RequestError(f"seed is {seed}. Expected 0 or more.")
    if plants.label_noise > 0 and len(classes) < 2:
        raise RequestError(f"Label noise needs a second class to file pictures under, and only {classes[0]} is drawn.")
    if plants.shortcut is not None and plants.shortcut.of not in classes:
        raise RequestError(
            f"The shortcut is tied to {plants.shortcut.of}, which is not drawn. Expected one of: {', '.join(classes)}."
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise RequestError(f"{root} is not an empty folder. Give a new one, or empty it first.")
    if truth is not None and truth.resolve().is_relative_to(root.resolve()):
        raise RequestError(f"The truth file {truth} would lie among the pictures in {root}. Put it beside the folder.")
