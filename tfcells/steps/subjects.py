"""Which images of a finished study are explained, what of them, and by which probe."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from tfcells.arrays import Pixels
from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.decode import BadImageError, decode_image
from tfcells.images.sources import PixelSource
from tfcells.steps.finished import FinishedRun
from tfcells.steps.pictures import open_source

_BLACK: Final = 63  # a mask's grey levels up to this are no cell; nucleus and cytoplasm may have levels of their own


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """An image to be explained.

    Attributes:
        id: Its id in the study, or the path of a file that is none of the study's.
        pixels: Canonical.
        label: Its class; None where nobody has said.
        said: What the best candidate said of it when it was tested; None where it was not.
        fold: In which it was tested: the probe that is explained has not learned from it. None: the final probe, which
            holdout rows and images from outside are strangers to as well.
        group: Images of one group show the same cell.
        shown: Whether it was asked for; others are there for the checks of methods alone.
    """

    id: str
    pixels: Pixels
    label: str | None = None
    said: str | None = None
    fold: int | None = None
    group: str
    shown: bool = True


@dataclass(frozen=True)
class _Answer:
    id: str
    label: str
    said: str
    fold: int
    confidence: float


def subjects_of(
    run: FinishedRun,
    *,
    image: str | None = None,
    errors: int = 0,
    checks: int = 8,
    masks: Path | None = None,
    seed: int = 0,
) -> list[Subject]:
    """The image, or the errors, and enough other images of the same folds to check methods by.

    Args:
        run: The study.
        image: An id of the study, or a file.
        errors: The most confident wrong answers, at most so many.
        checks: Least number of images that methods are checked on.
        masks: Folder of masks by id; images that have none are no others to check by.
        seed: Of the choice of others.

    Raises:
        RequestError: If nothing, or both, was asked for, there is no error, or the pixels are gone.
        UnknownNameError: If the image is neither an id nor a file.
    """
    if (image is None) == (errors <= 0):
        raise RequestError("Expected one image to explain, by its id or file, or `--errors N`: one of the two.")
    answers = _answers(run.path / "predictions.csv")
    source = open_source(run.store)
    if image is not None and image not in run.store.row_of and Path(image).is_file():
        asked = [_stranger(Path(image))]
        known: list[_Answer] = []
    else:
        known = _wrong(answers, errors) if image is None else [_row_of(run, answers, str(image))]
        asked = [_subject(run, answer, _present(source, run)) for answer in known]
    lacking = max(0, checks - len(asked))
    folds = {answer.fold for answer in known}
    others = [answer for answer in answers if answer.fold in folds or not folds - {-1}]
    taken = {answer.id for answer in known}
    others = [answer for answer in others if answer.id not in taken]
    if masks is not None:
        others = [answer for answer in others if _mask_file(masks, answer.id) is not None]
    if source is None:
        others = []
    picked = np.random.default_rng(seed).permutation(len(others))[:lacking].tolist()
    strangers = not folds - {-1}
    return asked + [
        _subject(run, others[place], _present(source, run), shown=False, final=strangers) for place in picked
    ]


def mask_of(subject: Subject, folder: Path, *, size: int) -> np.ndarray:
    """Where the cell is, bool of shape (size, size): what is not black in the picture's mask.

    Raises:
        RequestError: If there is no mask, or it is one of another picture.
    """
    path = _mask_file(folder, subject.id)
    if path is None:
        raise RequestError(f"No mask of {subject.id} in {folder}. Expected {folder / subject.id}, or the same as .png.")
    with Image.open(path) as opened:
        mask = np.asarray(opened.convert("L")) > _BLACK
    rows, columns = subject.pixels.shape[:2]
    if mask.shape != (rows, columns):
        raise RequestError(
            f"{path} is a mask of {mask.shape[1]} x {mask.shape[0]} pixels, its picture has {columns} x {rows}. "
            "Expected the same."
        )
    return np.asarray(cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0)


def _mask_file(folder: Path, id: str) -> Path | None:
    named = Path(id)
    if named.is_absolute():  # as in a manifest: joined to a folder it would be the picture itself
        named = Path(named.parent.name, named.name)
    for path in (folder / named, (folder / named).with_suffix(".png")):
        if path.is_file():
            return path
    return None


def _answers(path: Path) -> list[_Answer]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                _Answer(row["id"], row["label"], row["prediction"], int(row["fold"]), float(row["confidence"]))
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError) as broken:
        raise RequestError(f"{path} cannot be read: {broken}. Expected that of a finished study.") from broken


def _wrong(answers: Sequence[_Answer], errors: int) -> list[_Answer]:
    wrong = [answer for answer in answers if answer.said != answer.label]
    if not wrong:
        raise RequestError("The study has no error to explain. Name an image instead.")
    return sorted(wrong, key=lambda answer: (-answer.confidence, answer.id))[:errors]


def _row_of(run: FinishedRun, answers: Sequence[_Answer], id: str) -> _Answer:
    for answer in answers:
        if answer.id == id:
            return answer
    if id not in run.store.row_of:
        raise UnknownNameError("image of the study, and no file", id, run.store.rows.ids)
    rows = run.store.rows
    label = int(rows.labels[run.store.row_of[id]])
    return _Answer(id, rows.class_names[label] if label >= 0 else "", "", -1, 0.0)


def _subject(
    run: FinishedRun, answer: _Answer, source: PixelSource, *, shown: bool = True, final: bool = False
) -> Subject:
    try:
        pixels = source.read(answer.id)
    except BadImageError as reason:
        raise RequestError(
            f"{answer.id} can no longer be read: {reason}. Expected the images of the study."
        ) from reason
    return Subject(
        id=answer.id,
        pixels=pixels,
        label=answer.label or None,
        said=answer.said or None,
        fold=None if final or answer.fold < 0 else answer.fold,
        group=run.split.groups[run.split.row_of[answer.id]] if answer.id in run.split.row_of else answer.id,
        shown=shown,
    )


def _stranger(path: Path) -> Subject:
    try:
        return Subject(id=str(path), pixels=decode_image(path.read_bytes()), group=str(path))
    except (BadImageError, OSError) as reason:
        raise RequestError(f"{path} cannot be read as a picture: {reason}.") from reason


def _present(source: PixelSource | None, run: FinishedRun) -> PixelSource:
    if source is None:
        raise RequestError(
            f"The images are no longer at {run.store.facts['source']['root']}. Expected them where they were when the "
            "study was made."
        )
    return source
