"""Explanations of a finished study's images: maps, their checks, a sheet, a page and `explain.json`."""

import importlib.metadata
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.backbones.open import OpenBackbone
from tfcells.errors import DamageError, RequestError, TfcellsError
from tfcells.explain.checked import Case, Checked, check_method, image_facts, joined, middle_curves
from tfcells.explain.checked import summary_of as checks_of
from tfcells.explain.explained import Explained, explain_probe, with_probe
from tfcells.explain.methods import DEFAULT_METHODS, METHODS, check_methods
from tfcells.explain.pictures import Panel, Row, draw_sheet, outlined, overlay
from tfcells.explain.shapley import GRADIENT, PARTITION, require_shap
from tfcells.features.forward import open_checked
from tfcells.features.pieces import write_atomically
from tfcells.images.resize import RESIZERS
from tfcells.images.table import codes_of
from tfcells.progress import Progress, silent
from tfcells.report.explanations import Explanations, add_explanations, write_explanations
from tfcells.serving.probe_graph import stage_of
from tfcells.steps.extraction import extraction_of
from tfcells.steps.finished import FinishedRun, open_run
from tfcells.steps.masks import mask_of
from tfcells.steps.pictures import data_uri
from tfcells.steps.subjects import Subject, subjects_of

_log = logging.getLogger(__name__)

FACTS: Final = "explain.json"
SHEET: Final = "explain.png"
PAGE: Final = "explain.html"
REPORT: Final = "report.html"
FORMAT: Final = 2
_LETTERS: Final = 34  # of an id, beside a picture of the sheet: its end, which tells it from others


@dataclass(frozen=True, kw_only=True, eq=False)
class _Told:
    """Explained images, in the order of all arrays.

    Attributes:
        subjects: The images.
        pictures: float32 at the network's size.
        asked: What is explained of each, in words.
        predicted: What the explained probe says of each.
        masks: Or None; nowhere where the cell is not known.
        checked: By method.
        refused: Why a method was left out, by method.
        failed: Whether one of these failed, rather than said that it cannot.
    """

    subjects: list[Subject]
    pictures: np.ndarray
    asked: list[str]
    predicted: list[str]
    masks: np.ndarray | None
    checked: dict[str, Checked]
    refused: dict[str, str]
    failed: bool


def explain_run(
    run: str | Path,
    *,
    out: str | Path,
    image: str | None = None,
    errors: int = 0,
    methods: Sequence[str] = DEFAULT_METHODS,
    masks: str | Path | None = None,
    checks: int = 16,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Explain one image, or the most confident errors, of a finished study, and check every map.

    What is explained of an error is by how much the logit of the predicted class exceeds that of the true one; of
    anything else, the logit of the predicted class. The probe is the one that was tested on the image, which has not
    learned from it.

    Args:
        run: Output folder of a study.
        out: Folder for `explain.json`, `explain.png` and `explain.html`; the study's `report.html` gets the same maps,
            in the place of those of before.
        image: An id of the study, or a file.
        errors: How many errors.
        methods: Names in `METHODS`; `shap` for both of its.
        masks: Folder of masks by id; what is not black is the cell. Images without one are told without.
        checks: Least number of images that methods are checked on; others of the study are taken beside.
        seed: Of whatever is drawn.
        progress: Told how far it is.

    Returns:
        What `explain.json` holds.

    Raises:
        RequestError: If it cannot be met as asked, or no method can explain the study's best candidate.
        MissingExtraError: If shap was asked for and is not installed.
        DamageError: If other weights are found under the same name, or no method is left as some failed.
    """
    names, out = check_methods(methods), Path(out)
    if {PARTITION, GRADIENT} & set(names):
        require_shap()
    _check_out(out)
    folder = None if masks is None else Path(masks)
    study = open_run(run)
    subjects = subjects_of(study, image=image, errors=errors, checks=checks, masks=folder, seed=seed)
    told = _explained(study, subjects, names, folder, seed=seed, progress=progress)
    if not told.checked:
        kind = DamageError if told.failed else RequestError
        raise kind(f"No method can explain {study.reading.title}: {' '.join(told.refused.values())}")
    facts = _facts(study, told, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
    # First, since it says whose folder this is; a folder's name may be no text.
    write_atomically(out / FACTS, text.encode("utf-8", "backslashreplace"))
    draw_sheet(_rows(told, facts), [METHODS[name].title for name in told.checked], out / SHEET)
    pages = Explanations(facts=facts, pictures=_page_pictures(told), titles=_titles())
    write_explanations(out / PAGE, pages)
    if not add_explanations(study.path / REPORT, pages, study.results):
        _log.warning(
            "%s is missing or of another version and gets no explanations: `tfcells run` makes it anew",
            study.path / REPORT,
        )
    return facts


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise RequestError(f"{out} is a file. Expected a folder for the explanations.")
    if out.exists() and any(out.iterdir()) and not (out / FACTS).is_file():
        raise RequestError(f"{out} exists and holds no explanations of tfcells. Choose another --out, or empty it.")


def _explained(
    study: FinishedRun,
    subjects: Sequence[Subject],
    names: Sequence[str],
    folder: Path | None,
    *,
    seed: int,
    progress: Progress,
) -> _Told:
    """Everything, probe by probe: each fold has its own."""
    backbone = _backbone(study)
    mine = sorted(subjects, key=lambda subject: (subject.fold is None, subject.fold or 0))
    resize = RESIZERS[backbone.row.kernel]
    pictures = np.stack([resize(subject.pixels, height=backbone.size, width=backbone.size) for subject in mine])
    masks = None if folder is None else _masks(mine, folder, size=backbone.size)
    groups = codes_of(subject.group for subject in mine)
    folds = list(dict.fromkeys(subject.fold for subject in mine))
    methods = _Methods(names, folds=len(folds), progress=progress)
    asked: list[str] = []
    predicted: list[str] = []
    explained: Explained | None = None
    for fold in folds:
        rows = [place for place, subject in enumerate(mine) if subject.fold == fold]
        explained = _probed(study, backbone, fold, explained)
        said = explained.predicted(pictures[rows])
        words = [_question(mine[row], answer, explained) for row, answer in zip(rows, said, strict=True)]
        methods.check(
            Case(
                explained=explained,
                pictures=pictures[rows],
                contrasts=np.stack([explained.contrast(*names) for names in words]),
                groups=groups[rows],
                masks=None if masks is None else masks[rows],
                seed=seed,
            )
        )
        predicted += said
        asked += [" rather than ".join(names) for names in words]
    return _Told(
        subjects=mine,
        pictures=pictures,
        asked=asked,
        predicted=predicted,
        masks=masks,
        checked=methods.checked(),
        refused=methods.refused,
        failed=methods.failed,
    )


def _masks(subjects: Sequence[Subject], folder: Path, *, size: int) -> np.ndarray:
    """bool of shape (images, size, size), nowhere where there is no mask or an empty one."""
    found = [
        mask_of(folder, each.id, shape=(each.pixels.shape[0], each.pixels.shape[1]), size=size) for each in subjects
    ]
    asked = [each.id for each in subjects if each.shown]
    if not any(mask.any() for each, mask in zip(subjects, found, strict=True) if each.shown):
        raise RequestError(
            f"No mask in {folder} shows a cell of {', '.join(asked[:3])}{' or others' if asked[3:] else ''}. Expected "
            f"{folder / asked[0]}, or the same as .png, with what is no cell in black."
        )
    return np.stack(found)


class _Methods:
    """Maps and checks of each method, case by case; a method that refuses one, or fails at it, is left out of all.

    Args:
        names: Of the methods.
        folds: Cases to come.
        progress: Told how far it is.
    """

    def __init__(self, names: Sequence[str], *, folds: int, progress: Progress) -> None:
        self.refused: dict[str, str] = {}
        self.failed = False
        self._parts: dict[str, list[Checked]] = {name: [] for name in names}
        self._done, self._total, self._progress = 0, len(names) * folds, progress

    def check(self, case: Case) -> None:
        disc = middle_curves(case)
        for name, parts in self._parts.items():
            if name not in self.refused:
                try:
                    parts.append(check_method(case, name, disc=disc))
                except RequestError as reason:
                    self.refused[name] = str(reason)
                except TfcellsError:
                    raise
                # Of whatever kind: of shap, or memory for the gradients. What others have made must not be lost by it.
                except Exception as fault:
                    _log.warning("%s failed", name, exc_info=True)
                    self.failed = True
                    self.refused[name] = (
                        f"{METHODS[name].title} failed with {type(fault).__name__}: {fault}. Expected maps; it is "
                        f"left out. Leave {name} out of --methods, or report what failed."
                    )
            self._done += 1
            self._progress("explaining", self._done, self._total)

    def checked(self) -> dict[str, Checked]:
        return {name: joined(parts) for name, parts in self._parts.items() if name not in self.refused}


def _backbone(study: FinishedRun) -> OpenBackbone:
    backbone = open_checked(extraction_of(study.config))
    stored = study.store.recipe["weights"]["sha256"]
    if backbone.sha256 != stored:
        raise DamageError(
            f"The weights found for {backbone.row.name} have SHA-256 {backbone.sha256}, the features were made with "
            f"{stored}. Name the same weights file."
        )
    return backbone


def _probed(study: FinishedRun, backbone: OpenBackbone, fold: int | None, before: Explained | None) -> Explained:
    """The network with the probe that was tested on a fold; the network of `before` serves again where it can."""
    final = study.final_probe() if fold is None else study.fold_probe(fold)
    if before is not None and before.linear is not None:
        return with_probe(before, final.probe)
    taps = tuple(study.store.tap_of[key] for key in final.taps)
    return explain_probe(backbone, taps, final.probe, final.class_names, head=stage_of(final.probe))


def _question(subject: Subject, predicted: str, explained: Explained) -> tuple[str, ...]:
    wrong = subject.label is not None and subject.label != predicted and subject.label in explained.class_names
    return (predicted, str(subject.label)) if wrong else (predicted,)


def _facts(study: FinishedRun, told: _Told, *, seed: int) -> dict[str, Any]:
    most = int((study.split.folds >= 0).sum())
    summaries = {name: checks_of(checked, seed=seed, most=most) for name, checked in told.checked.items()}
    best = study.results["best"]
    return {
        "format": FORMAT,
        "tfcells": importlib.metadata.version("tfcells"),
        "run": str(study.path),
        "study": study.results["study"],
        "backbone": study.results["backbone"]["name"],
        "weights": study.results["backbone"]["weights"],
        "reads": {name: best[name] for name in ("taps", "scaler", "reduction", "probe")},
        "seed": seed,
        "methods": summaries,
        "refused": told.refused,
        "no_mask": _without_mask(told),
        "images": [
            {
                "id": subject.id,
                "shown": subject.shown,
                "label": subject.label,
                "fold": subject.fold,
                "tested_as": subject.said,
                "predicted": told.predicted[row],
                "explained": told.asked[row],
                "methods": {name: image_facts(checked, row) for name, checked in told.checked.items()},
            }
            for row, subject in enumerate(told.subjects)
        ],
    }


def _without_mask(told: _Told) -> list[str]:
    """Images that were asked for and have no mask, or an empty one, though masks were given."""
    if told.masks is None:
        return []
    return [each.id for each, mask in zip(told.subjects, told.masks, strict=True) if each.shown and not mask.any()]


def _titles() -> dict[str, str]:
    return {name: method.title for name, method in METHODS.items()}


def _rows(told: _Told, facts: Mapping[str, Any]) -> list[Row]:
    """What the sheet shows: images that were asked for."""
    return [
        Row(
            picture=_pixels(told, row),
            caption=_caption(subject, told.asked[row]),
            panels=[
                Panel(
                    heat=checked.maps.heat[row],
                    signed=checked.maps.signed,
                    note=_note(facts["images"][row]["methods"][name]),
                    verdict=facts["methods"][name]["verdict"],
                )
                for name, checked in told.checked.items()
            ],
            mask=None if told.masks is None else told.masks[row],
        )
        for row, subject in enumerate(told.subjects)
        if subject.shown
    ]


def _page_pictures(told: _Told) -> dict[str, dict[str, str]]:
    """Data URIs by image and method; the picture itself is `picture`."""
    found: dict[str, dict[str, str]] = {}
    for row, subject in enumerate(told.subjects):
        if not subject.shown:
            continue
        drawn = {"picture": _pixels(told, row)}
        for name, checked in told.checked.items():
            drawn[name] = overlay(_pixels(told, row), checked.maps.heat[row], signed=checked.maps.signed)
        if told.masks is not None:
            drawn = {name: outlined(picture, told.masks[row]) for name, picture in drawn.items()}
        found[subject.id] = {name: data_uri(picture) for name, picture in drawn.items()}
    return found


def _pixels(told: _Told, row: int) -> np.ndarray:
    return np.asarray(np.clip(np.round(told.pictures[row]), 0, 255), dtype=np.uint8)


def _caption(subject: Subject, asked: str) -> list[str]:
    known = f"is {subject.label}" if subject.label is not None else "class not known"
    why, rather, other = asked.partition(" rather than ")
    return [subject.id[-_LETTERS:], known, f"why {why}", *([f"rather than {other}"] if rather else [])]


def _note(facts: Mapping[str, Any]) -> str:
    if facts["flat"]:
        return "the same everywhere: says nothing"
    mass = facts["mass_inside"]
    inside = "" if mass is None else f"\n{100 * mass['map']:.0f} % inside (disc {100 * mass['centred_disc']:.0f} %)"
    return f"deletion {facts['deletion']['map']:.2f}, insertion {facts['insertion']['map']:.2f}{inside}"
