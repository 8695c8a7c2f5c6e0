"""Probe a store by itself: a split, a sweep, `results.json` without what only a whole study has."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.config import StudyConfig
from tfcells.errors import RequestError, UnknownNameError
from tfcells.features.cluster import Cluster
from tfcells.features.store import FeatureStore
from tfcells.images.readers import read_groups
from tfcells.images.splits import LEFT_OUT, Split, read_split, split_rows
from tfcells.images.table import joined_groups
from tfcells.probes.nested import MEMORY
from tfcells.probes.predictions import write_predictions
from tfcells.probes.reading import Space
from tfcells.probes.review import review_json, write_review
from tfcells.probes.sweep import probe_layers
from tfcells.progress import Progress, silent
from tfcells.steps.results import probe_json, read_results, write_results
from tfcells.steps.seen import warn_of_seen
from tfcells.steps.split import write_split_files
from tfcells.steps.trust import review_of, trust_json

CHECKPOINTS: Final = "sweep"
"""Folder of finished folds within a run."""

FOLDS: Final = 5
"""Of a split that is made where no number is asked for."""


def probe_store(
    store: FeatureStore,
    *,
    out: str | Path,
    split_file: str | Path | None = None,
    groups_file: str | Path | None = None,
    space: Space | None = None,
    folds: int | None = None,
    repeats: int = 1,
    seed: int = 0,
    workers: int = -1,
    cluster: Cluster | None = None,
    memory: int = MEMORY,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Cross-validate every tap of a store.

    Writes `results.json`, `predictions.csv`, `review.csv`, `split.csv` and `split.json` to `out`.

    Args:
        store: Features.
        out: Folder to write to.
        split_file: A split to use, which says groups and folds; one is made where there is none.
        groups_file: Groups to join to those of the store, for a split that is made.
        space: What is tried; see `probe_layers`.
        folds: Of a split that is made; 5 by default.
        repeats: How often the nested choice is made; other dealings ignore what the folds of the file mean.
        seed: Of a split that is made, and of whatever probes draw.
        workers: Processes; -1 for one per core.
        cluster: Ray workers for the sweep instead of processes of this machine; the answer is the same.
        memory: Bytes for features or matrices in each process; no number depends on it.
        progress: Told how far it is.

    Returns:
        What `results.json` holds.

    Raises:
        RequestError: If a split file comes with groups or a number of folds, or the sweep cannot be made as asked.
    """
    _check_split_options(split_file, groups_file, folds)
    check_probe_out(Path(out))
    if split_file is not None:
        split = read_split(Path(split_file)).aligned_to(store.rows.ids)
        # Copies of a picture share a group in the store, whoever made the split.
        split = with_reasons(split.with_groups(store.rows.groups, whose=str(split_file)), store)
    else:
        split = _make_split(store, groups_file, folds=FOLDS if folds is None else folds, seed=seed)
    out = Path(out)
    with _workers(workers, cluster) as count:
        sweep = probe_layers(
            store,
            split,
            space=space,
            repeats=repeats,
            seed=seed,
            workers=count,
            memory=memory,
            checkpoints=out.absolute() / CHECKPOINTS,
            progress=progress,
        )
    reviews = review_of(sweep)
    results = {
        **probe_json(store, split, sweep, seed=seed),
        **trust_json(store, split, sweep, seed=seed, workers=worker_count(workers), memory=memory, progress=progress),
        "review": review_json(reviews),
    }
    if results["backbone"] is not None:
        warn_of_seen(results["backbone"]["seen"], weights=results["backbone"]["weights"])
    write_split_files(split, out)
    write_predictions(sweep, out / "predictions.csv")
    write_review(reviews, out / "review.csv")
    write_results(out / "results.json", results)
    return results


def _workers(asked: int, cluster: Cluster | None) -> AbstractContextManager[int]:
    """Where the tasks of a sweep run, and how many at a time."""
    if cluster is None:
        return nullcontext(worker_count(asked))
    from tfcells.features.cluster.tasks import joblib_on

    return joblib_on(cluster)


def _check_split_options(split_file: object, groups_file: object, folds: int | None) -> None:
    for option, given in (("--folds", folds), ("--groups", groups_file)):
        if split_file is not None and given is not None:
            raise RequestError(
                f"{option} {given} and --split {split_file} were given, which says groups and folds too. Give "
                "one of them."
            )


def check_probe_out(out: Path) -> None:
    """Refuse a folder that cannot be written to, or that holds a whole study, before a long sweep.

    Raises:
        RequestError: If so.
    """
    if (out / "results.json").is_file() and "config" in read_results(out):
        raise RequestError(f"{out} holds a study, whose results would be lost. Choose another --out.")
    above = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise RequestError(f"{out} cannot be written: {above} is no folder that this user may write to.")


def with_reasons(split: Split, store: FeatureStore) -> Split:
    """A split that was read from a file, with the classes that it leaves out as a whole named."""
    rows, parts = store.rows, np.array(split.parts, dtype=object)
    labels = rows.labels
    without = {
        name: "every image is marked 'left_out' in the split file"
        if (labels == index).any()
        else "it has no usable image"
        for index, name in enumerate(rows.class_names)
        if (parts[labels == index] == LEFT_OUT).all()
    }
    return replace(split, left_out={**split.left_out, **without})


def space_of(config: StudyConfig) -> Space:
    """What a configuration asks a sweep to try.

    Raises:
        UnknownNameError: If it names a probe, scaler or parameter that does not exist.
        RequestError: If a reduction or a number of folds cannot be.
    """
    asked = config.probes
    return Space(
        probes=asked.kinds,
        scalers=asked.scalers,
        reductions=asked.reductions,
        grids=asked.grids,
        inner_folds=asked.inner_folds,
    )


def worker_count(asked: int) -> int:
    """Number of processes: -1 stands for one per core this process may use."""
    return len(os.sched_getaffinity(0)) if asked < 1 else asked


def _make_split(store: FeatureStore, groups_file: str | Path | None, *, folds: int, seed: int) -> Split:
    rows = store.rows
    groups: tuple[str, ...] = rows.groups
    if groups_file is not None:
        listed = read_groups(Path(groups_file))
        known = {*rows.ids, *(entry.id for entry in store.quarantine)}
        strange = next((id for id in listed if id not in known), None)
        if strange is not None:
            raise UnknownNameError(f"id in {groups_file}", strange, rows.ids)
        named = [f"listed {listed[id]}" if id in listed else f"alone {id}" for id in rows.ids]
        groups = joined_groups(rows.ids, [rows.groups, named])
    return split_rows(rows.ids, rows.labels, rows.class_names, groups, folds=folds, seed=seed)
