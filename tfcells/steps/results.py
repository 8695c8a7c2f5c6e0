"""`results.json`: every number of a study in one object; its schema is `tfcells/report/results.schema.json`."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.config import StudyConfig
from tfcells.errors import RequestError
from tfcells.features.store import FeatureStore
from tfcells.images.splits import HOLDOUT, TRAIN, VALIDATION, Split
from tfcells.probes.candidates import score
from tfcells.probes.crossval import OutOfFold, SweepRows
from tfcells.probes.summary import confusion_json, interval_json, per_class_json, scores_json, sweep_json
from tfcells.probes.sweep import Sweep
from tfcells.stats.intervals import difference_of_independent
from tfcells.steps.seen import seen_json

FORMAT: Final = 1


def data_json(store: FeatureStore, split: Split) -> dict[str, Any]:
    """What was looked at: counts, groups, quarantine, classes that were left out."""
    rows = store.rows
    aligned = split.aligned_to(rows.ids)
    return {
        "source": store.facts["source"]["root"],
        "images": len(rows.ids),
        "classes": {name: int((rows.labels == index).sum()) for index, name in enumerate(rows.class_names)},
        "unlabelled": int((rows.labels < 0).sum()),
        "groups": len(set(aligned.groups)),
        "quarantined": [{"id": entry.id, "reason": entry.reason} for entry in store.quarantine],
        "left_out": dict(split.left_out),
    }


def split_json(split: Split, store: FeatureStore) -> dict[str, Any]:
    """How rows were parted."""
    aligned = split.aligned_to(store.rows.ids)
    parts = aligned.parts
    return {
        "folds": len(np.unique(split.folds[split.folds >= 0])),
        "seed": split.seed,
        "shares": split.shares,
        "unlike_asked": list(split.unlike_asked),
        "digest": split.digest,
        "train": parts.count(TRAIN),
        "train_groups": len({group for group, part in zip(aligned.groups, parts, strict=True) if part == TRAIN}),
        "holdout": parts.count(HOLDOUT),
        "validation": parts.count(VALIDATION),
    }


def backbone_json(store: FeatureStore) -> dict[str, Any] | None:
    """What it was looked at with; None where all features are hand-made."""
    recipe = store.recipe
    if recipe["backbone"] is None:
        return None
    return {
        "name": recipe["backbone"]["name"],
        "weights": recipe["weights"]["name"],
        "sha256": recipe["weights"]["sha256"],
        "seen": seen_json(store),
        "size": recipe["backbone"]["size"],
        "kernel": recipe["backbone"]["kernel"],
        "preprocessing": recipe["backbone"]["preprocessing"],
        "taps": {tap: {"pooling": store.tap_of[tap].pooling, "shape": recipe["shapes"][tap]} for tap in store.layers},
    }


def holdout_json(answers: OutOfFold, rows: SweepRows, sweep: Sweep) -> dict[str, Any]:
    """The holdout, asked once, and how far it lies from the cross-validated accuracy."""
    scores = score(answers, rows)
    return {
        "images": len(rows.labels),
        **scores_json(scores),
        "accuracy_minus_cross_validated": interval_json(
            difference_of_independent(scores.accuracy, sweep.best.scores.accuracy)
        ),
        "confusion": confusion_json(scores, sweep.class_names),
        "per_class": per_class_json(answers, scores, rows, sweep.class_names),
    }


def probe_json(store: FeatureStore, split: Split, sweep: Sweep, *, seed: int) -> dict[str, Any]:
    """What a sweep over a store found, with what it was measured on."""
    return {
        "format": FORMAT,
        "tfcells": importlib.metadata.version("tfcells"),
        "seed": seed,
        "data": data_json(store, split),
        "split": split_json(split, store),
        "backbone": backbone_json(store),
        "handcrafted": store.recipe["handcrafted"],
        **sweep_json(sweep),
        "store": {"digest": store.digest, "engine": store.recipe["engine"], "versions": store.recipe["versions"]},
    }


def study_json(
    config: StudyConfig, *, store: FeatureStore, split: Split, sweep: Sweep, holdout: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What a study found; the study adds `maps` and `export` when they are made."""
    return {
        **probe_json(store, split, sweep, seed=config.seed),
        "study": config.name,
        "holdout": holdout,
        "config": config.as_json(),
    }


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write JSON that any reader takes: no NaN, UTF-8; of what UTF-8 cannot hold, JSON's own backslash form."""
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_results(run: Path) -> dict[str, Any]:
    """Read a run's `results.json`.

    Raises:
        RequestError: If `run` holds none.
    """
    if (run / "finetune.json").is_file():
        raise RequestError(
            f"{run} holds a fine-tuned network, no study. Expected the output folder of `tfcells run`, such as of a "
            "study that reads the network's features: `tfcells run CONFIG --backbone.weights FILE` with the "
            ".weights.h5 file in it."
        )
    try:
        results: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as broken:
        raise RequestError(
            f"{run} is no finished run: {broken}. Expected the output folder of `tfcells run`."
        ) from broken
    return results


def exit_code(quarantined: Sequence[object], left_out: Mapping[str, str]) -> int:
    """1 if some input was quarantined or left out, else 0."""
    return 1 if quarantined or left_out else 0
