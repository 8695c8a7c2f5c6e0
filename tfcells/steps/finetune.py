"""Fine-tune a network on a collection, with its numbers on rows that neither taught it nor chose its epoch."""

import csv
import importlib.metadata
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.backbones.catalog import BACKBONES
from tfcells.backbones.weights import NONE
from tfcells.config import FinetuneConfig
from tfcells.errors import RequestError, StaleStoreError
from tfcells.features.extract import Extraction, extract
from tfcells.features.pieces import write_atomically
from tfcells.features.recipe import differences
from tfcells.features.store import FeatureStore, known_files
from tfcells.finetune.families import family_names, lone_classes
from tfcells.images.readers import read_images
from tfcells.images.table import ImageTable
from tfcells.probes.candidates import score
from tfcells.probes.crossval import OutOfFold, SweepRows, out_of_fold
from tfcells.probes.summary import confusion_json, per_class_json, scores_json
from tfcells.progress import Progress, silent
from tfcells.report.training_page import warnings, write_training_report
from tfcells.steps.audit import audit_images, audited_groups
from tfcells.steps.frozen import compare_frozen, frozen_features, places_in
from tfcells.steps.pictures import surest_misses
from tfcells.steps.results import exit_code
from tfcells.steps.split import write_split_files
from tfcells.steps.taught import Taught, deal_rows
from tfcells.steps.training import CHECKPOINTS, CONTACT_SHEET, PACKAGES, TaughtNetwork, teach

_log = logging.getLogger(__name__)

FORMAT: Final = 1
RESULTS: Final = "finetune.json"
REPORT: Final = "report.html"
CONFIG: Final = "config.json"
"""Says that a folder is that of a fine-tuning, from its first moment."""


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """A finished fine-tuning.

    Attributes:
        out: Its folder: `report.html`, `finetune.json`, `predictions.csv`, `curve.csv`, `curve.png`, `split.csv`, the
            weights, `checkpoints/`, `tensorboard/`, `projector/`; with several folds what is of one training lies in
            `fold-0/` and so on.
        results: What `finetune.json` holds.
    """

    out: Path
    results: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """What the command line returns: 1 if some input was quarantined or left out by name."""
        return exit_code(self.results["data"]["quarantined"], self.results["data"]["left_out"])


def run_finetune(config: FinetuneConfig, *, out: str | Path, progress: Progress = silent) -> Finetuned:
    """Fine-tune; what is done already is kept, and what was stopped goes on.

    Args:
        config: What to train, and on what.
        out: Folder for everything; made if it does not exist, gone on with if it holds the same fine-tuning.
        progress: Told how far each stage is.

    Raises:
        RequestError: If it cannot be done as asked.
        StaleStoreError: If `out` holds another training; the message names the differences.
        DamageError: If training met a loss that is no number.
    """
    out = Path(out)
    check_finetune_out(config, out)
    check_comparison(config)
    frozen = frozen_features(config.against) if config.against is not None else None
    table = read_rows(config, out=out, progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    if not _begun(out):
        _write_config(config, out)
    table, audited = audited_rows(config, table, out=out, progress=progress)
    taught = deal_rows(table, config.images, seed=config.seed)
    if frozen is not None:
        places_in(frozen, taught)  # rows that it lacks must not be missed after hours
    for difference in taught.split.unlike_asked:
        _log.warning("%s", difference)
    folders = _folders(taught, out)
    trained = [
        teach(config, taught, fold, folder=folder, progress=progress)
        for fold, folder in zip(taught.folds, folders, strict=True)
    ]
    _write_config(config, out)  # it is this training: what comes after it may be asked otherwise than before
    answers, rows = _answers(taught, trained, seed=config.seed)
    results = {
        **_results(config, table, taught, trained, out=out),
        "audit": audited,
        "asked": {"images": len(rows.labels), "groups": len(np.unique(rows.groups))},
        **_scores_json(answers, rows, taught.class_names),
        "families": _families_json(config, taught, rows),
        "chance": _chance(config, taught, rows),
        "comparison": None,
    }
    if config.compare or frozen is not None:
        results["comparison"] = compare_frozen(
            frozen or _extracted(config, table, out, trained[0].size, progress),
            taught,
            answers,
            rows,
            minutes=results["minutes"],
            families=config.loss.families,
            progress=progress,
        )
    results["warnings"] = warnings(results)
    _write(out, results, taught, answers, folders)
    return Finetuned(out=out, results=results)


def _write_config(config: FinetuneConfig, out: Path) -> None:
    write_atomically(out / CONFIG, json.dumps(config.as_json(), indent=1).encode())


def read_rows(config: FinetuneConfig, *, out: Path, progress: Progress) -> ImageTable:
    """Read the pictures, and see that they can be split as asked: what cannot be must not cost an audit first.

    Raises:
        RequestError: If they cannot.
    """
    table = read_images(
        config.images.root,
        class_names=config.images.class_names,
        groups=config.images.groups,
        known=known_files(out / "frozen"),
        progress=progress,
    )
    deal_rows(table, config.images, seed=config.seed)
    return table


def audited_rows(
    config: FinetuneConfig, table: ImageTable, *, out: Path, progress: Progress
) -> tuple[ImageTable, dict[str, Any] | None]:
    """The table with the groups that an audit finds, and what it found; as it is where none is asked for."""
    if not config.images.audit:
        return table, None
    audited = audit_images(table, out=out / "audit", progress=progress)
    return audited_groups(table, out / "audit"), audited


def _folders(taught: Taught, out: Path) -> list[Path]:
    """Of each training: the fine-tuning's own where there is one alone."""
    return [out] if len(taught.folds) == 1 else [out / f"fold-{fold.number}" for fold in taught.folds]


def _results(
    config: FinetuneConfig, table: ImageTable, taught: Taught, trained: Sequence[TaughtNetwork], *, out: Path
) -> dict[str, Any]:
    """What `finetune.json` says of how it came to its numbers; writes the split."""
    return {
        "format": FORMAT,
        "tfcells": importlib.metadata.version("tfcells"),
        "name": config.name,
        "config": config.as_json(),
        "seed": config.seed,
        "data": _data_json(table, taught),
        "split": {**write_split_files(taught.split, out), "unlike_asked": list(taught.split.unlike_asked)},
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "folds": [network.facts for network in trained],
        "minutes": sum(network.minutes for network in trained),
        "chosen_by": config.training.monitor if config.images.validation else "nothing: the last epoch counts",
    }


def _write(out: Path, results: dict[str, Any], taught: Taught, answers: OutOfFold, folders: Sequence[Path]) -> None:
    _write_predictions(taught, answers, out / "predictions.csv")
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
    # A folder's name may be no text.
    write_atomically(out / RESULTS, text.encode("utf-8", "backslashreplace"))
    asked = taught.asked
    misses = surest_misses(
        answers,
        taught.table.source,
        ids=tuple(taught.ids[row] for row in asked.tolist()),
        labels=taught.labels[asked],
        class_names=taught.class_names,
    )
    sheets = [folder / CONTACT_SHEET for folder in folders if (folder / CONTACT_SHEET).is_file()]
    write_training_report(out / REPORT, results, misses=misses, sheets=sheets)


def check_finetune_out(config: FinetuneConfig, out: Path) -> None:
    """Refuse a folder that holds something other than this fine-tuning.

    Where the pictures lie, and what the network is compared with, may change: the pictures themselves may not, which
    the checkpoints know.

    Raises:
        RequestError: If it holds something else.
        StaleStoreError: If it holds another fine-tuning; names every difference.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        there = json.loads((out / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as none:
        raise RequestError(
            f"{out} exists and is no fine-tuning of tfcells. Choose another --out, or empty it."
        ) from none
    if not _is_config(there):
        raise RequestError(
            f"{out / CONFIG} holds {json.dumps(there)[:60]}, which is no configuration of a fine-tuning. Expected an "
            "object with images, network and phases. Choose another --out, or empty it."
        )
    found = differences(_of_training(there), _of_training(config.as_json()))
    if found and _begun(out):
        raise StaleStoreError(f"{out} holds another fine-tuning: {'; '.join(found)}. Choose another --out.")


def _is_config(there: Any) -> bool:
    """Whether JSON is of the form of a configuration, whatever it asks for."""
    return (
        isinstance(there, dict)
        and isinstance(there.get("images"), dict)
        and isinstance(there.get("phases"), list)
        and all(isinstance(phase, dict) for phase in there["phases"])
    )


def _begun(out: Path) -> bool:
    """Whether anything was trained: before, a configuration that was refused may be mended in the same folder."""
    return any(folder.exists() for folder in (out / CHECKPOINTS, *out.glob(f"fold-*/{CHECKPOINTS}")))


def _of_training(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that a training cannot go on without, phases by their numbers."""
    images = {name: value for name, value in config.get("images", {}).items() if name not in ("root", "groups")}
    phases = {str(number): phase for number, phase in enumerate(config.get("phases", ()), 1)}
    sections = {name: config.get(name) for name in ("name", "seed", "network", "loss", "training")}
    return {**sections, "images": images, "phases": phases}


def check_comparison(config: FinetuneConfig) -> None:
    """Refuse a comparison with features that nobody could extract, before hours of training.

    Raises:
        RequestError: If so.
    """
    if config.compare and config.against is None and not _frozen_backbone(config):
        raise RequestError(
            f"compare was asked for, but {config.network.name} with weights {config.network.weights!r} has no frozen "
            "features to compare with. Expected a backbone of the catalog with weights, or `against`: a store or study."
        )


def _frozen_backbone(config: FinetuneConfig) -> bool:
    return config.network.name in BACKBONES and config.network.weights != NONE


def _extracted(config: FinetuneConfig, table: ImageTable, out: Path, size: int, progress: Progress) -> FeatureStore:
    """Features of the backbone as it was before, at the size that it was trained at."""
    request = Extraction(
        backbone=config.network.name,
        weights=config.network.weights,
        size=size,
        seed=config.seed,
        engine="tensorflow",
        precision="float32",
    )
    return extract(table, request, into=out / "frozen", progress=progress)


def _answers(taught: Taught, trained: Sequence[TaughtNetwork], *, seed: int) -> tuple[OutOfFold, SweepRows]:
    """What the networks said of the rows that each was asked, in the order of `taught.asked`."""
    probabilities = np.zeros((len(taught.labels), len(taught.class_names)))
    fold_of = np.full(len(taught.labels), -1, dtype=np.int64)
    for fold, network in zip(taught.folds, trained, strict=True):
        probabilities[fold.asked], fold_of[fold.asked] = network.probabilities, fold.number
    asked = taught.asked
    rows = SweepRows(
        labels=taught.labels[asked],
        groups=taught.groups[asked],
        folds=fold_of[asked],
        classes=len(taught.class_names),
        seed=seed,
    )
    return out_of_fold(probabilities[asked], rows.labels), rows


def _scores_json(answers: OutOfFold, rows: SweepRows, class_names: tuple[str, ...]) -> dict[str, Any]:
    scores = score(answers, rows)
    return {
        **scores_json(scores),
        "confusion": confusion_json(scores, class_names),
        "per_class": per_class_json(answers, scores, rows, class_names),
    }


def _families_json(config: FinetuneConfig, taught: Taught, rows: SweepRows) -> dict[str, Any] | None:
    """Families that were told with every picture that was asked; None where classes all compete.

    Of a family with one class alone every answer is right by construction.
    """
    if not config.loss.families:
        return None
    names = taught.class_names
    asked = dict(zip(names, np.bincount(rows.labels, minlength=len(names)).tolist(), strict=True))
    return {
        "names": sorted(set(family_names(names))),
        "of_one_class": [
            {"family": family, "class": name, "asked": asked[name]} for family, name in lone_classes(names).items()
        ],
    }


def _chance(config: FinetuneConfig, taught: Taught, rows: SweepRows) -> float:
    """The balanced accuracy of one who looks at no picture: the same answer always, or always for a family told."""
    asked = [taught.class_names[label] for label in np.unique(rows.labels).tolist()]
    return (len(set(family_names(tuple(asked)))) if config.loss.families else 1) / len(asked)


def _data_json(table: ImageTable, taught: Taught) -> dict[str, Any]:
    return {
        "source": str(table.source.describe()["root"]),
        "images": len(table),
        "classes": table.class_counts(),
        "groups": len(set(table.groups)),
        "quarantined": [entry._asdict() for entry in table.quarantine],
        "left_out": dict(taught.split.left_out),
    }


def _write_predictions(taught: Taught, answers: OutOfFold, path: Path) -> None:
    """`id,label,fold,prediction,confidence,p_<class>...` of the rows that were asked."""
    names, fold_of = taught.class_names, {row: fold.number for fold in taught.folds for row in fold.asked.tolist()}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)  # "\r\n", or a name that holds a lone "\r" would not be quoted
        writer.writerow(["id", "label", "fold", "prediction", "confidence", *(f"p_{name}" for name in names)])
        for place, row in enumerate(taught.asked.tolist()):
            chances = answers.probabilities[place]
            label, guess = names[taught.labels[row]], names[answers.predicted[place]]
            shares = (f"{chance:.8f}" for chance in chances)
            writer.writerow([taught.ids[row], label, fold_of[row], guess, f"{chances.max():.8f}", *shares])
