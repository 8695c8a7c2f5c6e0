"""Probe a store by itself: a split, a sweep, `results.json` without what only a whole study has."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfcells.features.store import FeatureStore
from tfcells.images.readers import read_groups
from tfcells.images.splits import Split, read_split, split_rows, write_split
from tfcells.images.table import joined_groups
from tfcells.probes.predictions import write_predictions
from tfcells.probes.sweep import probe_layers
from tfcells.progress import Progress, silent
from tfcells.steps.results import probe_json, write_results


def probe_store(
    store: FeatureStore,
    *,
    out: str | Path,
    split_file: str | Path | None = None,
    groups_file: str | Path | None = None,
    probes: Sequence[str] = ("logistic", "knn", "svm", "tree"),
    folds: int = 5,
    seed: int = 0,
    workers: int = -1,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Cross-validate every tap of a store; writes `results.json`, `predictions.csv` and `split.csv` to `out`.

    Args:
        store: Features.
        out: Folder to write to.
        split_file: A split to use; one is made where there is none.
        groups_file: Groups to join to those of the store, for a split that is made.
        probes: Names of probes.
        folds: Of a split that is made.
        seed: Of a split that is made, and of whatever probes draw.
        workers: Processes; -1 for one per core.
        progress: Told how far it is.

    Returns:
        What `results.json` holds.
    """
    if split_file is not None:
        split = read_split(Path(split_file)).aligned_to(store.rows.ids)
    else:
        split = _make_split(store, groups_file, folds=folds, seed=seed)
    sweep = probe_layers(store, split, probes=probes, seed=seed, workers=worker_count(workers), progress=progress)
    results = probe_json(store, split, sweep, seed=seed)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_split(split, out / "split.csv")
    write_predictions(sweep, out / "predictions.csv")
    write_results(out / "results.json", results)
    return results


def worker_count(asked: int) -> int:
    """Number of processes: -1 stands for one per core this process may use."""
    return len(os.sched_getaffinity(0)) if asked < 1 else asked


def _make_split(store: FeatureStore, groups_file: str | Path | None, *, folds: int, seed: int) -> Split:
    rows = store.rows
    groups: tuple[str, ...] = rows.groups
    if groups_file is not None:
        listed = read_groups(Path(groups_file))
        named = [f"listed {listed[id]}" if id in listed else f"alone {id}" for id in rows.ids]
        groups = joined_groups(rows.ids, [rows.groups, named])
    return split_rows(rows.ids, rows.labels, rows.class_names, groups, folds=folds, seed=seed)
