"""Which images of a finished study are explained, what of them, and by which probe."""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcells.arrays import Pixels
from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.decode import BadImageError, decode_image, pixel_digest
from tfcells.images.sources import PixelSource
from tfcells.steps.finished import FinishedRun
from tfcells.steps.masks import mask_file
from tfcells.steps.pictures import open_source

_log = logging.getLogger(__name__)


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
    checks: int = 16,
    masks: Path | None = None,
    seed: int = 0,
) -> list[Subject]:
    """The image, or the errors, and enough other images to check methods by.

    Others are of the same folds, and of all where those have too few. Of a picture from outside, which the final probe
    answers, they are images that this probe has learned from.

    Args:
        run: The study.
        image: An id of the study, or a file; a file with the very pixels of one of the study's images is that image.
        errors: The most confident wrong answers, at most so many.
        checks: Least number of images that methods are checked on; fewer where the study has no more.
        masks: Folder of masks by id; others that have one come first.
        seed: Of the choice of others.

    Raises:
        RequestError: If nothing, or both, was asked for, there is no error, or what was asked for is gone or has other
            pixels by now; others of which that is so are passed over.
        UnknownNameError: If the image is neither an id nor a file.
    """
    if checks < 1:
        raise RequestError(f"checks is {checks}. Expected 1 or more images to check methods on.")
    if (image is None) == (errors <= 0):
        raise RequestError("Expected one image to explain, by its id or file, or `--errors N`: one of the two.")
    answers = _answers(run.path / "predictions.csv")
    source = open_source(run.store)
    known: list[_Answer] = []
    if image is not None and image not in run.store.row_of and Path(image).is_file():
        outside = _stranger(Path(image))
        same = _same_picture(run, outside)
        known = [] if same is None else [_row_of(run, answers, same)]
        asked = [_subject(run, answer, outside.pixels) for answer in known] or [outside]
    else:
        known = _wrong(answers, errors) if image is None else [_row_of(run, answers, image)]
        asked = [_subject(run, answer, _pixels(run, answer.id, _present(source, run))) for answer in known]
    folds = {answer.fold for answer in known} - {-1}
    taken = {answer.id for answer in known}
    others = [answer for answer in answers if answer.id not in taken]
    ranks = [(answer.fold not in folds, masks is None or mask_file(masks, answer.id) is None) for answer in others]
    drawn = np.random.default_rng(seed).permutation(len(others)).tolist()
    ordered = [others[place] for place in sorted(drawn, key=lambda place: ranks[place])]
    return asked + _others(run, ordered, source, count=checks - len(asked), final=not folds)


def _others(
    run: FinishedRun, answers: Sequence[_Answer], source: PixelSource | None, *, count: int, final: bool
) -> list[Subject]:
    """The first so many whose pixels are still those of the study; those that are not are named in the log."""
    found: list[Subject] = []
    if source is None:
        _log.warning("no other image to check methods on: they are no longer at %s", _root(run))
        return found
    for answer in answers:
        if len(found) >= count:
            break
        try:
            found.append(_subject(run, answer, _pixels(run, answer.id, source), shown=False, final=final))
        except RequestError as reason:
            _log.warning("another image is taken to check methods on: %s", reason)
    return found


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


def _pixels(run: FinishedRun, id: str, source: PixelSource) -> Pixels:
    """Of an image of the study, if they are still those that it was tested with."""
    try:
        pixels = source.read(id)
    except BadImageError as reason:
        raise RequestError(f"{id} can no longer be read: {reason}. Expected the images of the study.") from reason
    if pixel_digest(pixels) != run.store.rows.digests[run.store.row_of[id]]:
        raise RequestError(f"{id} has other pixels than when the study was made. Expected the images of the study.")
    return pixels


def _subject(run: FinishedRun, answer: _Answer, pixels: Pixels, *, shown: bool = True, final: bool = False) -> Subject:
    return Subject(
        id=answer.id,
        pixels=pixels,
        label=answer.label or None,
        said=answer.said or None,
        fold=None if final or answer.fold < 0 else answer.fold,
        group=run.split.groups[run.split.row_of[answer.id]] if answer.id in run.split.row_of else answer.id,
        shown=shown,
    )


def _same_picture(run: FinishedRun, outside: Subject) -> str | None:
    """The image of the study that a file shows pixel by pixel: it has been tested, and a probe has learned from it."""
    digests = run.store.rows.digests
    digest = pixel_digest(outside.pixels)
    return run.store.rows.ids[digests.index(digest)] if digest in digests else None


def _stranger(path: Path) -> Subject:
    try:
        return Subject(id=str(path), pixels=decode_image(path.read_bytes()), group=str(path))
    except (BadImageError, OSError) as reason:
        raise RequestError(f"{path} cannot be read as a picture: {reason}.") from reason


def _present(source: PixelSource | None, run: FinishedRun) -> PixelSource:
    if source is None:
        raise RequestError(
            f"The images are no longer at {_root(run)}. Expected them where they were when the study was made, or the "
            "path of one image."
        )
    return source


def _root(run: FinishedRun) -> str:
    return str(run.store.facts["source"]["root"])
