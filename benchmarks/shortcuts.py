"""Are planted shortcuts found, sound collections left alone, wrong labels listed and leaks measured?

    python benchmarks/shortcuts.py                            half an hour or more on two cores
    python benchmarks/shortcuts.py --data DIR                 real sets too: DIR/kaggle_wbc4_train and DIR/pbc
    python benchmarks/shortcuts.py --clean 4 --simulations 20 a look, in two minutes

The `deep` features are cheap ones here: colour statistics of the whole picture and of its middle, and a histogram of
gradients, read by logistic regression. What a network's features would say takes a network.

    level      rejections at 5 % of one cue that has nothing to do with the classes: rows alone, in groups, in groups
               whose size goes with the class, in slides of several classes
    readers    balanced accuracy of what is planted in drawn cues, and of real cues, beside additive bins, logistic
               regression, a support vector machine and a forest on the same columns and folds
    planted    drawn collections of 3 classes with one mark tied to a class, and without
    clean      drawn collections without a mark: how many warn of anything
    review     labels of drawn cells exchanged: wrong ones among the first, and what confident learning counts
    tax        drawn augmented copies; and the interval's coverage on normal features in groups of copies
    real       Kaggle's augmented blood cells with groups that were established by hand
"""

import argparse
import csv
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from joblib import Parallel, delayed
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler
from sklearn.svm import SVC

from tfcells.features.handcrafted import colour_statistics
from tfcells.images.cues import BLIND, Cues, read_cues
from tfcells.images.readers import read_folder
from tfcells.images.splits import assign_parts, split_table
from tfcells.images.synthetic.folder import write_sample_folder
from tfcells.images.synthetic.plant import NOTHING, SHORTCUTS, Plants, Shortcut
from tfcells.images.table import ImageTable, codes_of
from tfcells.probes.crossval import OutOfFold, SweepRows, cross_validate
from tfcells.probes.cue_reader import CueReader
from tfcells.probes.leak import leak_tax, leak_tax_json
from tfcells.probes.reading import usual_reading
from tfcells.probes.review import confidently_other, pairwise_doubt, review_list
from tfcells.probes.shortcuts import probe_shortcuts, shortcuts_json

CLASSES = ("eosinophil", "lymphocyte", "monocyte")
SIDE = 64  # pixels to which the middle of a picture is made small before gradients are taken
Line = dict[str, Any]
DRAWN = (
    "tint",
    "xor",
    "xor among 4 more",
    "ring",
    "middle of 3 scanners",
    "1 sd among 12",
    "runs of file numbers",
    "copies",
    "noise",
    "noise in copies",
)


def main() -> None:
    """Run everything, print what is found, append one JSON line per finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=int, default=40, help="sound collections to draw (default 40)")
    parser.add_argument("--simulations", type=int, default=400, help="draws per setting of the level (default 400)")
    parser.add_argument("--images", type=int, default=30, help="images per class of a drawn collection (default 30)")
    parser.add_argument("--data", type=Path, help="folder with kaggle_wbc4_train and groups.csv")
    parser.add_argument(
        "--only", choices=("level", "readers", "planted", "clean", "review", "tax", "real"), action="append"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "shortcuts.jsonl")
    arguments = parser.parse_args()
    run = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "numpy": np.__version__,
        "machine": platform.machine(),
        **{name: getattr(arguments, name) for name in ("clean", "simulations", "images", "seed")},
    }
    parts = {
        "level": level,
        "readers": readers,
        "planted": planted,
        "clean": clean,
        "review": review,
        "tax": tax,
        "real": real,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        if arguments.only and name not in arguments.only:
            continue
        started = time.perf_counter()
        with arguments.out.open("a", encoding="utf-8") as file:
            for line in part(arguments):
                file.write(json.dumps({**run, "what": name, **line}) + "\n")
                print(f"{name:>8} | " + "  ".join(f"{key} {shown(value)}" for key, value in line.items()), flush=True)
        print(f"{name:>8} | {time.perf_counter() - started:.0f} s")


def shown(value: Any) -> str:
    """A value in few letters; intervals as value [low, high]."""
    if isinstance(value, dict) and set(value) == {"value", "low", "high"}:
        return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(entry)}" for key, entry in value.items()) + "}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def level(arguments: argparse.Namespace) -> Iterator[Line]:
    """Rejections at 5 % of cues that know nothing, by how rows are grouped and how the cue is spread."""
    for kind, rows, groups, classes in (
        ("alone", 120, 120, 2),
        ("alone", 240, 240, 8),
        ("rare", 200, 200, 3),
        ("copies", 240, 40, 3),
        ("unlike", 300, 60, 3),
        ("unlike", 600, 150, 4),
        ("slides", 300, 20, 3),
    ):
        for cue in ("scanner of a group", "numbers of a row", "numbers of a group"):
            found = Parallel(n_jobs=arguments.workers)(
                delayed(_rejects)(kind, rows, groups, classes, cue, [arguments.seed, seed])
                for seed in range(arguments.simulations)
            )
            setting = {"kind": kind, "rows": rows, "groups": groups, "classes": classes, "cue": cue}
            error = float(np.sqrt(0.05 * 0.95 / len(found)))
            yield {**setting, "rejected": float(np.mean(found)), "standard_error": error}


def _rejects(kind: str, images: int, groups: int, classes: int, cue: str, seed: list[int]) -> bool:
    generator = np.random.default_rng(seed)
    labels, codes = _grouped_labels(kind, images, groups, classes, generator)
    if cue == "scanner of a group":
        values = generator.choice(3, codes.max() + 1)[codes][:, None].astype(float)
    elif cue == "numbers of a row":
        values = generator.normal(size=(images, 6))
    else:
        values = generator.normal(size=(codes.max() + 1, 6))[codes] + 0.3 * generator.normal(size=(images, 6))
    ids = tuple(map(str, range(images)))
    cues = Cues(ids=ids, values={"size": values}, columns={"size": tuple(map(str, range(values.shape[1])))}, absent={})
    folds = assign_parts(labels, codes, shares=[0.2] * 5, seed=seed[-1])
    rows = SweepRows(labels=labels, groups=codes, folds=folds, classes=classes, seed=seed[-1])
    guesses = generator.random(images) < 1 / classes  # no features: shares are not asked for here
    return bool(probe_shortcuts(cues, ids, rows, deep=guesses, permutations=199).warnings)


def _grouped_labels(
    kind: str, images: int, groups: int, classes: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and group numbers; every class has a row."""
    while True:
        of_group = generator.choice(classes, groups)
        if kind in ("alone", "rare"):
            share = np.array([0.7, 0.25, 0.05]) if kind == "rare" else np.full(classes, 1 / classes)
            codes, labels = np.arange(images), generator.choice(classes, images, p=share)
        elif kind == "slides":
            codes = np.sort(generator.choice(groups, images))
            mixes = generator.dirichlet(np.ones(classes), groups)
            labels = np.array([generator.choice(classes, p=mixes[group]) for group in codes])
        else:
            weights = generator.gamma(2, 1, groups) * np.where((of_group == 0) & (kind == "unlike"), 8, 1)
            codes = np.sort(generator.choice(groups, images, p=weights / weights.sum()))
            labels = of_group[codes]
        if len(np.unique(labels)) == classes:
            return labels.astype(np.int64), np.unique(codes, return_inverse=True)[1].astype(np.int64)


def readers(arguments: argparse.Namespace) -> Iterator[Line]:
    """What the reader reads beside other readers of the same columns, over draws; then of real cues."""
    draws = max(arguments.simulations // 40, 2)
    for kind in DRAWN:
        found = Parallel(n_jobs=arguments.workers)(
            delayed(_read_drawn)(kind, [arguments.seed, seed]) for seed in range(draws)
        )
        yield {
            "drawn": kind,
            "draws": draws,
            **{name: float(np.mean([line[name] for line in found])) for name in found[0]},
        }
    for name in ("kaggle_wbc4_train", "pbc") if arguments.data else ():
        table = _table_of(arguments.data, name)
        rows = _rows_of(table, seed=arguments.seed)
        for cue, values in read_cues(table).values.items():
            if len(np.unique(values, axis=0)) > 1:
                yield {"set": name, "cue": cue, "rows": len(values), **_read(values, rows, arguments.workers)}


def _read_drawn(kind: str, seed: list[int]) -> dict[str, float]:
    """One draw of a planted cue, by each reader, and whether the test finds it."""
    values, labels, groups = _drawn_cue(kind, 400, np.random.default_rng(seed))
    folds = assign_parts(labels, groups, shares=[0.2] * 5, seed=seed[-1])
    rows = SweepRows(labels=labels, groups=groups, folds=folds, classes=int(labels.max()) + 1, seed=seed[-1])
    ids = tuple(map(str, range(len(labels))))
    cues = Cues(ids=ids, values={"border": values}, columns={"border": tuple(map(str, values[0]))}, absent={})
    found = probe_shortcuts(cues, ids, rows, deep=np.ones(len(ids), dtype=bool), permutations=199)
    return _read(values, rows, 1) | {"found": float(found.findings[0].above_chance)}


def _drawn_cue(kind: str, rows: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns, labels and groups of one planted cue."""
    groups, normal = np.arange(rows), generator.normal
    labels = generator.permutation(groups % 2)
    if kind == "tint":  # a faint direction among six columns that stain and light move together
        values = normal(size=(rows, 3)) @ normal(size=(3, 6)) * 20 + normal(size=(rows, 6))
        values += 8 * labels[:, None] * _direction(generator, 6)
    elif kind in ("xor", "xor among 4 more"):
        values = normal(size=(rows, 2 if kind == "xor" else 6))
        labels = (values[:, 0] * values[:, 1] > 0).astype(int)
    elif kind == "ring":
        values = normal(size=(rows, 2))
        radius = np.hypot(*values.T)
        labels = (radius > np.median(radius)).astype(int)
    elif kind == "middle of 3 scanners":  # the outer two sizes are of either other class: 2 / 3 is all there is
        labels = generator.permutation(groups % 3)
        outer = generator.choice([-50, 50], rows)
        values = np.where(labels == 1, 0, outer)[:, None] + normal(size=(rows, 2)) * [[12, 0]] + normal(size=(rows, 2))
    elif kind == "1 sd among 12":
        values = normal(size=(rows, 12))
        values[:, 3] += labels
    elif kind == "runs of file numbers":  # ten runs, three classes in turn
        values = generator.random((rows, 1))
        labels = (values[:, 0] * 10).astype(int) % 3
    elif kind == "noise":
        values = normal(size=(rows, 6))
    else:  # groups of 4 copies, which differ by 1 sd in a column of their class, or in none
        groups = groups // 4
        of_group = generator.permutation(np.arange(groups.max() + 1) % 3)
        labels = of_group[groups]
        shift = float(kind == "copies") * np.eye(3, 6)[of_group]
        values = (shift + normal(size=(len(of_group), 6)))[groups] + 0.3 * normal(size=(rows, 6))
    return values, labels.astype(np.int64), groups.astype(np.int64)


def _direction(generator: np.random.Generator, columns: int) -> np.ndarray:
    direction = generator.normal(size=columns)
    return direction / np.linalg.norm(direction)


def _read(values: np.ndarray, rows: SweepRows, workers: int) -> dict[str, float]:
    """Balanced accuracy of this reader and of others, over the same folds."""
    bins = KBinsDiscretizer(10, quantile_method="linear")
    others = {
        "additive bins": make_pipeline(bins, RidgeClassifier(5.0, class_weight="balanced")),
        "logistic": LogisticRegression(max_iter=3000, class_weight="balanced"),
        "svm": SVC(class_weight="balanced"),
        "svm C=10": SVC(C=10, class_weight="balanced"),
        "forest": RandomForestClassifier(200, class_weight="balanced", random_state=rows.seed),
    }
    said = {"reader": CueReader(values, rows).predict(rows.labels[None])[0]}
    folds = PredefinedSplit(rows.folds)
    for name, other in others.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bins of equal edges, solvers that stop early: as they come
            model = make_pipeline(StandardScaler(), other)
            said[name] = cross_val_predict(model, values, rows.labels, cv=folds, n_jobs=workers)
    return {name: float(balanced_accuracy_score(rows.labels, answers)) for name, answers in said.items()}


def planted(arguments: argparse.Namespace) -> Iterator[Line]:
    """Each kind of mark on one class of three."""
    for kind in (*SHORTCUTS, "none"):
        plants = NOTHING if kind == "none" else Plants(shortcut=Shortcut(kind=kind, of=CLASSES[1]))
        yield {"planted": kind, **_look(plants, seed=arguments.seed, images=arguments.images)}


def clean(arguments: argparse.Namespace) -> Iterator[Line]:
    """Sound collections, how many of which warn; and what of the cues that know the cell."""
    seeds = range(arguments.seed + 100, arguments.seed + 100 + arguments.clean)
    looks = Parallel(n_jobs=arguments.workers)(
        delayed(_look)(NOTHING, seed=seed, images=arguments.images) for seed in seeds
    )
    warned = [look["warnings"] for look in looks]
    yield {
        "collections": len(looks),
        "that_warn": sum(map(bool, warned)),
        "warnings": {cue: sum(cue in names for names in warned) for cue in sorted(BLIND)},
        "above_chance": {
            cue: sum(look["p_adjusted"][cue] <= 0.05 for look in looks) for cue in ("bytes", "colour statistics")
        },
        "smallest_p_of_blind": {
            cue: min(look["p_value"][cue] for look in looks) for cue in sorted(BLIND & set(looks[0]["p_value"]))
        },
    }


def _look(plants: Plants, *, seed: int, images: int) -> Line:
    """Draw a collection, read its cues, probe them beside cheap features."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cells"
        write_sample_folder(root, images_per_class=images, seed=seed, plants=plants, classes=CLASSES)
        table = read_folder(root)
        cues, vectors = read_cues(table, workers=1), cheap_features(table)
    rows = _rows_of(table, seed=seed)
    deep = _answers(vectors, rows)
    found = shortcuts_json(probe_shortcuts(cues, table.ids, rows, deep=deep))
    return {
        "warnings": [cue["cue"] for cue in found["cues"] if cue["warns"]],
        "deep": found["deep"],
        **{name: {cue["cue"]: cue[name] for cue in found["cues"]} for name in ("p_value", "p_adjusted")},
        "balanced_accuracy": {cue["cue"]: cue["balanced_accuracy"]["value"] for cue in found["cues"]},
        "share": {cue["cue"]: cue["share"] for cue in found["cues"]},
        "absent": found["absent"],
    }


def review(arguments: argparse.Namespace) -> Iterator[Line]:
    """Wrong labels among the first rows of the list, for three ways to rank, over exchanged labels of one drawing."""
    with tempfile.TemporaryDirectory() as folder:
        write_sample_folder(Path(folder) / "cells", images_per_class=2 * arguments.images, seed=arguments.seed)
        table = read_folder(Path(folder) / "cells")
        vectors = cheap_features(table)
    sound = _rows_of(table, seed=arguments.seed)
    for noise in (0.0, 0.02, 0.05, 0.1):
        yield {"noise": noise, **_review_of(vectors, sound, noise, repeats=10 if noise else 1)}


def _review_of(vectors: np.ndarray, sound: SweepRows, noise: float, *, repeats: int) -> Line:
    """Means over draws of wrong labels; ranks compared on the same draws."""
    sums: list[dict[str, float]] = []
    for seed in range(repeats):
        generator = np.random.default_rng([7, seed])
        wrong = generator.permutation(len(sound.labels)) < round(noise * len(sound.labels))
        moved = (sound.labels + generator.integers(1, sound.classes, len(wrong))) % sound.classes
        rows = replace(sound, labels=np.where(wrong, moved, sound.labels))
        answers = _answers(vectors, rows)
        confident = confidently_other(answers.probabilities, rows.labels)
        doubt = pairwise_doubt(answers.probabilities, rows.labels)
        own = answers.probabilities[np.arange(len(wrong)), rows.labels]
        margin = answers.probabilities.max(axis=1) - own
        ids = tuple(map(str, range(len(wrong))))
        listed = review_list(ids, rows, answers, [str(k) for k in range(rows.classes)], limit=len(ids))
        found = {"accuracy": float(answers.hits.mean()), "counted_by_confident_learning": float(confident.sum())}
        found |= {"wrong": float(wrong.sum()), "listed": float(len(listed.rows))}
        if wrong.any():
            places = [int(row.id) for row in listed.rows]
            found["recall_of_list"] = float(wrong[places].sum() / wrong.sum())
            for name, rank in (("doubt", doubt), ("margin", margin), ("self_confidence", -own)):
                first = np.argsort(-rank, kind="stable")
                found[f"precision_{name}"] = float(wrong[first[: wrong.sum()]].mean())
                found[f"recall_{name}_at_twice"] = float(wrong[first[: 2 * wrong.sum()]].sum() / wrong.sum())
        sums.append(found)
    return {name: float(np.mean([entry[name] for entry in sums])) for name in sums[0]}


def tax(arguments: argparse.Namespace) -> Iterator[Line]:
    """Leak of augmented copies, and how often the interval holds the mean tax over many data sets."""
    plants = Plants(copies=6 * arguments.images)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cells"
        truth = write_sample_folder(
            root, images_per_class=arguments.images, seed=arguments.seed, plants=plants, classes=CLASSES
        )
        table = read_folder(root).with_groups({row.id: str(row.group) for row in truth})
        vectors = cheap_features(table)
    for probe in ("logistic", "knn"):
        yield leak_tax_json(
            leak_tax(vectors, table.labels, table.group_codes, reading=usual_reading(probe), workers=arguments.workers)
        )
    draws = max(arguments.simulations // 2, 10)
    for groups, size, probe in ((40, 3, "knn"), (100, 2, "knn"), (60, 4, "tree"), (60, 1.5, "logistic")):
        taxes = Parallel(n_jobs=arguments.workers)(
            delayed(_drawn_tax)(groups, size, probe, [arguments.seed, seed]) for seed in range(draws)
        )
        values, low, high = np.array(taxes).T
        held = float(np.mean((low <= values.mean()) & (values.mean() <= high)))
        width = float(np.mean(high - low))
        setting = {"groups": groups, "rows_per_group": size, "probe": probe, "draws": draws}
        yield {**setting, "mean_tax": float(values.mean()), "coverage": held, "mean_width": width}


def _drawn_tax(groups: int, size: float, probe: str, seed: list[int]) -> tuple[float, float, float]:
    generator = np.random.default_rng(seed)
    sizes = 1 + generator.poisson(size - 1, groups)
    sizes[0] = max(sizes[0], 2)
    codes = np.repeat(np.arange(groups), sizes)
    of_group = np.arange(groups) % 3
    centres = generator.normal(size=(groups, 8)) + 1.2 * np.eye(3, 8)[of_group]
    vectors = centres[codes] + 0.4 * generator.normal(size=(len(codes), 8))
    found = leak_tax(vectors, of_group[codes], codes, reading=usual_reading(probe), repeats=4, seed=seed[-1]).tax
    if found is None:
        raise RuntimeError("a drawn data set has no group of two rows")
    return found.value, found.low, found.high


def real(arguments: argparse.Namespace) -> Iterator[Line]:
    """Cues, tax and review of a real collection of augmented copies."""
    if arguments.data is None:
        return
    table = _table_of(arguments.data, "kaggle_wbc4_train")
    vectors, rows = cheap_features(table), _rows_of(table, seed=arguments.seed)
    answers = _answers(vectors, rows)
    found = shortcuts_json(probe_shortcuts(read_cues(table), table.ids, rows, deep=answers))
    yield {"images": len(table), "deep": found["deep"], "chance": found["chance"], "absent": found["absent"]}
    for cue in found["cues"]:
        yield {name: cue[name] for name in ("cue", "balanced_accuracy", "p_adjusted", "warns", "share")}
    for probe in ("logistic", "knn"):
        yield leak_tax_json(
            leak_tax(vectors, rows.labels, rows.groups, reading=usual_reading(probe), workers=arguments.workers)
        )
    listed = review_list(table.ids, rows, answers, table.class_names, limit=len(table))
    torn = [row for row in listed.rows if row.relatives_of_other_label]
    yield {
        "contradicted": listed.contradicted,
        "confident": listed.confident,
        "with_relatives_of_other_label": len(torn),
        "first_of_them": torn[0].id if torn else None,
    }


def _table_of(data: Path, name: str) -> ImageTable:
    """A real set with the groups of `groups.csv`."""
    with (data / "groups.csv").open(newline="", encoding="utf-8") as file:
        group_of = {f"{row['class']}/{row['file']}": row["group"] for row in csv.DictReader(file) if row["set"] == name}
    return read_folder(data / name).with_groups(group_of)


def cheap_features(table: ImageTable) -> np.ndarray:
    """Colour statistics of the whole picture and of its middle, gradients: float64 of shape (images, 42 + 128)."""
    vectors = []
    for id in table.ids:
        pixels = table.source.read(id)
        height, width = pixels.shape[:2]
        middle = np.ascontiguousarray(pixels[height // 4 : -(height // 4), width // 4 : -(width // 4)])
        grey = cv2.cvtColor(cv2.resize(middle, (SIDE, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        vectors.append(np.concatenate([colour_statistics(pixels), colour_statistics(middle), _gradients(grey)]))
    return np.array(vectors, dtype=np.float64)


def _gradients(grey: np.ndarray) -> np.ndarray:
    """Strength of gradients by 8 directions in 4 x 4 cells, as shares of all."""
    down, across = np.gradient(grey.astype(np.float64))
    direction = (np.arctan2(down, across) % np.pi * 8 / np.pi).astype(int) % 8
    cell = np.arange(SIDE) * 4 // SIDE
    place = (cell[:, None] * 4 + cell[None, :]) * 8 + direction
    strength = np.bincount(place.ravel(), weights=np.hypot(down, across).ravel(), minlength=128)
    return strength / max(strength.sum(), 1e-9)


def _rows_of(table: ImageTable, *, seed: int) -> SweepRows:
    """All rows of a table in five grouped folds; no class may be too small."""
    split = split_table(table, seed=seed)
    return SweepRows(
        labels=table.labels,
        groups=codes_of(table.groups),
        folds=split.folds,
        classes=len(table.class_names),
        seed=seed,
    )


def _answers(vectors: np.ndarray, rows: SweepRows) -> OutOfFold:
    return cross_validate(vectors, "logistic", rows)


if __name__ == "__main__":
    main()
