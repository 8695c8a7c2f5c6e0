"""What does each common mistake add? One study done rightly, then with its mistakes switched on one at a time.

    python benchmarks/mistakes.py IMAGES --work FOLDER --weights hed [--groups groups.csv]

The study is one that is often seen: VGG16's last three pooling layers, flattened (25,088, 100,352 and 200,704
features), each scaled by minimum and maximum, reduced by PCA to 80 % of the variance, and read by an RBF-SVM whose C
and gamma come from a grid; on pictures of which many are augmented copies of few originals. Done rightly, scaling,
PCA and the grid see the training rows of a fold alone, and copies of one original are in one fold.

    channels      the network's preprocessing is fed BGR where it expects RGB
    before split  scaler and PCA are fitted on all rows, then the rows are split
    siblings      folds are dealt at random, copies of one original lie on both sides (of inner folds too)
    halves        for want of memory the PCA is fitted to each half of the rows by itself, and the second half's
                  scores are stacked twice
    all           every mistake at once, halves for the last layer only

Every arm answers every row once, over 5 outer folds with 5 inner ones, so that arms differ on the same rows: the
difference in balanced accuracy and its interval come from `paired_balanced_difference`, over groups of copies.

Needs pictures in class folders and the weights; groups come from the audit where no file gives them. Features are
kept in FOLDER and taken from there next time.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from tfcells.features.extract import Extraction, extract
from tfcells.features.store import FeatureStore
from tfcells.images.readers import read_groups, read_images
from tfcells.images.splits import assign_parts, split_table
from tfcells.images.table import ImageTable
from tfcells.probes.candidates import score
from tfcells.probes.crossval import OutOfFold, SweepRows, out_of_fold
from tfcells.probes.gram import fold_pcas, select_rows
from tfcells.probes.gram.columns import ArrayColumns, ColumnSource, tap_columns
from tfcells.probes.nested import answer_fold
from tfcells.probes.reading import Space
from tfcells.probes.rows import rows_in_use
from tfcells.stats.intervals import Interval
from tfcells.stats.paired import paired_balanced_difference
from tfcells.steps.audit import audit_images, audited_groups

LAYERS: Final = ("block5_pool", "block4_pool", "block3_pool")
SHARE: Final = 0.8
FOLDS: Final = 5
GRID: Final = {"svm": {"C": (5.0, 10.0, 15.0), "gamma": ("auto", "scale")}}
RIGHT: Final = Space(probes=("svm",), scalers=("minmax",), reductions=(f"pca:{SHARE}",), grids=GRID, inner_folds=FOLDS)
REDUCED: Final = replace(RIGHT, scalers=("none",), reductions=("none",))
"""The same grid on scores that were made before: the folds have nothing left to scale or to reduce."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """What every arm starts from.

    Attributes:
        rgb: Features of the pictures.
        bgr: Features of the same pictures, red and blue swapped, rows in the same order.
        used: Row numbers in both stores.
        rows: Labels, groups and folds that respect them.
        careless: The same rows with folds dealt at random, each row its own group.
        groups: Where the groups come from.
    """

    rgb: FeatureStore
    bgr: FeatureStore
    used: np.ndarray
    rows: SweepRows
    careless: SweepRows
    groups: str

    def features(self, layer: str, *, swapped: bool = False) -> ColumnSource:
        """One layer's features of the rows in use, streamed."""
        return tap_columns(self.bgr if swapped else self.rgb, (layer,), self.used)


def main() -> None:
    """Run all arms, print them, and append them to `results/mistakes.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for features, 3 GB for 1,000 pictures")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--groups", type=Path, help="columns id and group; the audit's by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mistakes.jsonl")
    arguments = parser.parse_args()
    study = prepare(arguments)
    run = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "images": len(study.used),
        "groups": f"{len(np.unique(study.rows.groups))} by {study.groups}",
        "classes": study.rows.classes,
        "weights": arguments.weights,
        "seed": arguments.seed,
    }
    print(json.dumps(run))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("a", encoding="utf-8") as file:
        for line in measured(study, workers=arguments.workers):
            file.write(json.dumps({**run, **line}) + "\n")
            file.flush()
            print("  ".join(f"{key} {shown(value)}" for key, value in line.items()), flush=True)


def shown(value: Any) -> str:
    """A value for people; accuracies in percent."""
    if isinstance(value, dict):
        return "{value:.1%} [{low:.1%}, {high:.1%}]".format(**value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# ------------------------------------------------------------------------------------------ pictures and features


def prepare(arguments: argparse.Namespace) -> Study:
    """Groups, features of both channel orders, and both kinds of folds."""
    table = read_images(arguments.images)
    if arguments.groups:
        table, groups = table.with_groups(read_groups(arguments.groups)), "file"
    else:
        audit_images(table, out=arguments.work / "audit", workers=arguments.workers, seed=arguments.seed)
        table, groups = audited_groups(table, arguments.work / "audit"), "audit"
    request = Extraction(
        backbone="vgg16", weights=arguments.weights, taps=tuple(f"{layer}:flatten" for layer in LAYERS)
    )
    rgb = extract(table, request, into=arguments.work / "rgb")
    bgr = extract(swapped(table, arguments.work / "bgr_pictures"), request, into=arguments.work / "bgr")
    if [Path(id).with_suffix("") for id in rgb.rows.ids] != [Path(id).with_suffix("") for id in bgr.rows.ids]:
        raise SystemExit("the two stores do not hold the same pictures; remove them and start again")
    split = split_table(table, folds=FOLDS, seed=arguments.seed)
    _, _, used, rows = rows_in_use(rgb, split, seed=arguments.seed)
    alone = np.arange(len(used))
    dealt = assign_parts(rows.labels, alone, shares=[1 / FOLDS] * FOLDS, seed=arguments.seed + 1)
    return Study(
        rgb=rgb, bgr=bgr, used=used, rows=rows, careless=replace(rows, groups=alone, folds=dealt), groups=groups
    )


def swapped(table: ImageTable, folder: Path) -> ImageTable:
    """The same pictures with red and blue changed about, as files: nothing less gets them past the preprocessing."""
    for id in table.ids:
        path = folder / Path(id).with_suffix(".png")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(table.source.read(id)[..., ::-1])).save(path)
    return read_images(folder)


# ------------------------------------------------------------------------------------------ arms


def measured(study: Study, *, workers: int) -> Iterator[dict[str, Any]]:
    """Every arm of every layer, against the right one of the same layer; then the layers against one another."""
    right = {}
    for layer in LAYERS:
        started = time.perf_counter()
        source = study.features(layer)
        right[layer] = ask(source, study.rows, RIGHT, workers=workers)
        yield {"layer": layer, "mistake": "none", **described(right[layer], study.rows, time.perf_counter() - started)}
        last = layer == LAYERS[-1]
        for mistake, predictions, seconds in mistaken(study, layer, with_halves=last, workers=workers):
            yield {
                "layer": layer,
                "mistake": mistake,
                **described(predictions, study.rows, seconds),
                **difference("adds", predictions, right[layer], study.rows),
            }
    for one, other in ((LAYERS[0], LAYERS[1]), (LAYERS[0], LAYERS[2]), (LAYERS[1], LAYERS[2])):
        yield {
            "layer": f"{one} - {other}",
            "mistake": "none",
            **difference("adds", right[one], right[other], study.rows),
        }


def mistaken(study: Study, layer: str, *, with_halves: bool, workers: int) -> Iterator[tuple[str, OutOfFold, float]]:
    """Answers of each arm that makes a mistake, and its seconds."""
    source, other = study.features(layer), study.features(layer, swapped=True)
    rows, careless = study.rows, study.careless
    arms = {
        "channels": lambda: ask(other, rows, RIGHT, workers=workers),
        "before split": lambda: ask(reduced_before(source), rows, REDUCED, workers=workers),
        "siblings": lambda: ask(source, careless, RIGHT, workers=workers),
    }
    if with_halves:
        arms["halves"] = lambda: ask(reduced_by_halves(source, rows.seed), rows, REDUCED, workers=workers)
    arms["all"] = lambda: ask(
        reduced_by_halves(other, rows.seed) if with_halves else reduced_before(other),
        careless,
        REDUCED,
        workers=workers,
    )
    for mistake, answer in arms.items():
        started = time.perf_counter()
        yield mistake, answer(), time.perf_counter() - started


def ask(source: ColumnSource, rows: SweepRows, space: Space, *, workers: int) -> OutOfFold:
    """What the grid's choice of each outer fold says of that fold's rows."""
    (reading,) = space.readings(("layer",))
    found = Parallel(n_jobs=workers)(
        delayed(answer_fold)(source, rows, space, [reading], fold=fold) for fold in rows.fold_numbers
    )
    probabilities = np.zeros((len(rows.labels), rows.classes))
    for fold, (answers,) in zip(rows.fold_numbers, found, strict=True):
        probabilities[rows.folds == fold] = answers.probabilities
    return out_of_fold(probabilities, rows.labels)


def reduced_before(source: ColumnSource) -> ArrayColumns:
    """Scores on components of all rows, tested ones among them."""
    return ArrayColumns(whole_scores(source))


def reduced_by_halves(source: ColumnSource, seed: int) -> ArrayColumns:
    """The second half's scores on its own components, twice; half of the rows then have another row's features."""
    order = np.random.default_rng(seed).permutation(source.shape[0])
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    scores = whole_scores(select_rows(source, second))
    stacked = np.empty((len(order), scores.shape[1]))
    stacked[second] = scores
    stacked[first] = scores[: len(first)]
    return ArrayColumns(stacked)


def whole_scores(source: ColumnSource) -> np.ndarray:
    """Scaler and PCA fitted on every row of a source."""
    (found,) = fold_pcas(source, [np.arange(source.shape[0])], n_components=SHARE, scaler="minmax")
    return found.scores


def described(predictions: OutOfFold, rows: SweepRows, seconds: float) -> dict[str, Any]:
    """Balanced accuracy with its interval, and seconds; rows of one group count together in every arm."""
    return {
        "balanced_accuracy": as_json(score(predictions, rows).balanced_accuracy),
        "accuracy": float(predictions.hits.mean()),
        "seconds": round(seconds, 1),
    }


def difference(name: str, one: OutOfFold, other: OutOfFold, rows: SweepRows) -> dict[str, Any]:
    """First minus second in balanced accuracy, paired by rows, over groups."""
    test = paired_balanced_difference(one.hits, other.hits, rows.labels, rows.groups)
    return {name: as_json(test.difference), "p_value": test.p_value}


def as_json(interval: Interval) -> dict[str, float]:
    """Value and ends."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}


if __name__ == "__main__":
    main()
