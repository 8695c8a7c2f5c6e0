"""Was it worth it? A probe on the frozen backbone, on the same rows, against the network that was fine-tuned."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.arrays import Labels, Probabilities
from tfcells.errors import RequestError
from tfcells.features.store import FeatureStore
from tfcells.finetune.families import family_mask, within_families
from tfcells.images.splits import assign_parts
from tfcells.probes.candidates import score
from tfcells.probes.catalog import PROBES, class_probabilities, fit_probe
from tfcells.probes.crossval import OutOfFold, SweepRows, out_of_fold
from tfcells.probes.summary import paired_json, scores_json
from tfcells.progress import Progress, silent
from tfcells.stats.paired import paired_balanced_difference, paired_difference
from tfcells.steps.seen import seen_by_store, seen_count
from tfcells.steps.taught import Rows, Taught, TaughtFold

PROBE: Final = "logistic"
CHOOSING: Final = 0.1
"""Share of the rows that are not asked by which the layer is chosen, where a study sets none aside to choose by."""


def frozen_features(path: Path) -> FeatureStore:
    """Open a store, or the one of a study.

    Raises:
        RequestError: If there is none, it lacks rows of its own plan, or holds features of no backbone.
    """
    store = FeatureStore(path / "features" if (path / "features").is_dir() else path)
    if not store.complete:
        raise RequestError(
            f"{store.path} holds {store.rows_done:,} of {store.recipe['images']['count']:,} rows. Finish it first."
        )
    if not store.layers:  # or hours of training would come before the comparison that cannot be
        raise RequestError(
            f"{store.path} holds {', '.join(store.recipe['handcrafted'])}, and no features of a backbone to compare "
            "with. Expected a store that was extracted with --backbone, or a study."
        )
    return store


def compare_frozen(
    store: FeatureStore,
    taught: Taught,
    tuned: OutOfFold,
    rows: SweepRows,
    *,
    minutes: float,
    families: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fit a logistic probe on the frozen taps, ask it what the network was asked, and compare the two, paired.

    In each fold the tap and the penalty are chosen by balanced accuracy on the rows that chose the network's epoch
    (or on a tenth dealt from those that teach, where none were kept for that), then the probe is fitted anew on all
    rows that are not asked. So it has seen what the network has seen.

    Args:
        store: Frozen features of all rows, and of more perhaps.
        taught: The rows and folds.
        tuned: The network's answers on the asked rows, in the order of `taught.asked`.
        rows: Labels and groups of the asked rows.
        minutes: What the fine-tuning took.
        families: Whether the network was told the family of each picture; then the probe is told too, where it is
            chosen and where it is asked.
        progress: Told how far it is.

    Returns:
        `frozen` (scores, the tap and penalty of each fold, whether it was told families, and as `seen` how many of the
        asked rows the weights of the store have seen), `gain` (`accuracy` and
        `balanced_accuracy`, fine-tuned minus frozen, each with interval, p-value and test), `minutes` of both.

    Raises:
        RequestError: If the store lacks a row, or has another picture under its name.
    """
    place = places_in(store, taught)
    started, chosen = time.perf_counter(), []
    probabilities = np.zeros((len(taught.labels), len(taught.class_names)))
    for done, fold in enumerate(taught.folds):
        progress("frozen probe", done, len(taught.folds))
        choice, answers = _one_fold(store, place, taught, fold, families=families, seed=rows.seed)
        probabilities[fold.asked] = answers
        chosen.append({"fold": fold.number, **choice})
    progress("frozen probe", len(taught.folds), len(taught.folds))
    frozen = out_of_fold(probabilities[taught.asked], rows.labels)
    tests = {
        "accuracy": paired_difference(tuned.hits, frozen.hits, rows.groups),
        "balanced_accuracy": paired_balanced_difference(tuned.hits, frozen.hits, rows.labels, rows.groups),
    }
    extraction = _extraction_seconds(store)
    return {
        "frozen": {
            "probe": PROBE,
            "store": {"digest": store.digest, "backbone": store.recipe["backbone"], "weights": store.recipe["weights"]},
            "chosen": chosen,
            "told_family": families,
            "seen": seen_count(seen_by_store(store), taught.digests_of(taught.asked)),
            **scores_json(score(frozen, rows)),
        },
        "gain": {name: {**paired_json(test), "undecided": test.undecided} for name, test in tests.items()},
        "minutes": {
            "fine_tuned": minutes,
            "frozen_extraction": None if extraction is None else extraction / 60,
            "frozen_probe": (time.perf_counter() - started) / 60,
        },
    }


def _one_fold(
    store: FeatureStore, place: Rows, taught: Taught, fold: TaughtFold, *, families: bool, seed: int
) -> tuple[dict[str, Any], Probabilities]:
    """The tap and the penalty that do best on the choosing rows, and the answers of that probe to the asked rows."""
    teaching, choosing = _choosing(taught, fold, seed=seed)
    labels = taught.labels
    best: tuple[float, str, dict[str, Any]] = (-1.0, "", {})
    for tap in store.layers:
        vectors = _vectors(store, tap, place)
        for penalty in PROBES[PROBE].grid["C"]:
            found = _answers(vectors, taught, teaching, choosing, {"C": penalty}, seed=seed)
            if families:
                found = _told(found, taught, choosing)
            right = _balanced(found.argmax(axis=1), labels[choosing])
            if right > best[0]:
                best = (right, tap, {"C": penalty})
    value, tap, parameters = best
    answers = _answers(_vectors(store, tap, place), taught, fold.learning, fold.asked, parameters, seed=seed)
    if families:
        answers = _told(answers, taught, fold.asked)
    choice = {"tap": tap, "parameters": parameters, "chosen_on": len(choosing), "balanced_accuracy_of_choice": value}
    return choice, answers


def _choosing(taught: Taught, fold: TaughtFold, *, seed: int) -> tuple[Rows, Rows]:
    if len(fold.validation):
        return fold.training, fold.validation
    rows = fold.training
    side = assign_parts(taught.labels[rows], taught.groups[rows], shares=[1 - CHOOSING, CHOOSING], seed=seed)
    return rows[side == 0], rows[side == 1]


def _answers(
    vectors: np.ndarray, taught: Taught, learning: Rows, asked: Rows, parameters: Mapping[str, Any], *, seed: int
) -> Probabilities:
    probe = fit_probe(
        PROBE, vectors[learning], taught.labels[learning], taught.groups[learning], parameters=parameters, seed=seed
    )
    return class_probabilities(probe, vectors[asked], classes=len(taught.class_names))


def _told(answers: Probabilities, taught: Taught, rows: Rows) -> Probabilities:
    """Answers to rows whose families are told, as the network's are."""
    return within_families(answers, competing=family_mask(taught.class_names)[taught.labels[rows]])


def _balanced(predicted: Labels, labels: Labels) -> float:
    return float(np.mean([(predicted[labels == index] == index).mean() for index in np.unique(labels)]))


def _vectors(store: FeatureStore, tap: str, place: Rows) -> np.ndarray:
    vectors = store.take(tap, place)
    return vectors.reshape(len(vectors), -1).astype(np.float32)


def places_in(store: FeatureStore, taught: Taught) -> Rows:
    """Where a store keeps each row of a fine-tuning, by id, and only if it is of the same picture.

    Classes and groups are those of the fine-tuning: what a store calls its rows does not count.

    Raises:
        RequestError: If it lacks one, or the picture of that name was another one.
    """
    known = store.row_of
    missing = [id for id in taught.ids if id not in known]
    if missing:
        raise RequestError(
            f"{store.path} has no features of {len(missing):,} of {len(taught.ids):,} rows, the first is {missing[0]}. "
            "Expected a store of the same images; leave `against` out to have them extracted."
        )
    places = [known[id] for id in taught.ids]
    kept = store.rows.digests
    other = [
        id for id, place, pixels in zip(taught.ids, places, taught.table.digests, strict=True) if kept[place] != pixels
    ]
    if other:
        raise RequestError(
            f"{store.path} has features of other pictures under the names of {len(other):,} of {len(taught.ids):,} "
            f"rows, the first is {other[0]}: their pixels have other digests. Expected a store of the same images; "
            "extract them again, or leave `against` out to have that done."
        )
    return np.array(places, dtype=np.int64)


def _extraction_seconds(store: FeatureStore) -> float | None:
    """What the last extraction into a store took, if all of it was extracted then."""
    try:
        facts = json.loads((store.path / "run.json").read_text(encoding="utf-8"))
        return float(facts["seconds"]) if facts["images"] == len(store.planned.ids) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
