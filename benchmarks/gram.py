"""Fold-exact reduction from Gram matrices: is it scikit-learn's answer, how much faster, in how much memory?

    python benchmarks/gram.py equal STORE      real features of a store against scikit-learn's pipeline, fold by fold
    python benchmarks/gram.py speed            made-up features, 3,600 x 25,088: seconds per fold, beside scikit-learn
    python benchmarks/gram.py scale FOLDER     the layer sweep on 3,600 x 200,704 in FOLDER (2.9 GB), 5 x 5 nested
    python benchmarks/gram.py both FOLDER      speed, then scale

Each measurement is a JSON line; a table follows. Everything is compared in float64, in which scikit-learn's
`MinMaxScaler`, `PCA(svd_solver="full")` and `SVC` are the reference.

Made-up features stand for those of a deep layer: products of a few hundred factors of falling weight and eight
classes, with noise, cut at zero, which leaves about half of them zero.

Memory of all processes is read from `/proc` five times a second: `private` is anonymous memory (the program's own),
`mapped` is what lies in pages of files, which the kernel takes back when it wants them.
"""

import argparse
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import sklearn
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_info

from tfcells.features.store import FeatureStore, StoreWriter
from tfcells.images.sources import FolderSource
from tfcells.images.splits import Split, split_rows
from tfcells.images.table import ImageTable
from tfcells.probes.gram import (
    FoldPCA,
    GramPCA,
    fold_pcas,
    gram_matrices,
    linear_kernel,
    plan_grams,
    stored_columns,
)
from tfcells.probes.reading import Space
from tfcells.probes.sweep import probe_layers

CLASSES = 8
PENALTIES = (5.0, 10.0, 15.0)
GAMMAS = ("scale", "auto")
SHARE = 0.8
FACTORS = 256
CHUNK = 4096  # columns made at once
SHARD = 500
MIB = 2**20


@dataclass
class Record:
    """Measurements of one run, printed as they come."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, what: str, **values: Any) -> None:
        """Print a measurement as JSON."""
        self.lines.append({"what": what, **values})
        print(json.dumps(self.lines[-1]), flush=True)

    def table(self) -> None:
        """Print all measurements, one a line."""
        print()
        for line in self.lines:
            shown = "  ".join(f"{key} {_short(value)}" for key, value in line.items() if key != "what")
            print(f"{line['what']:<24}{shown}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def stratified(labels: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """Training rows of each fold."""
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [rows for rows, _ in split.split(np.zeros(len(labels)), labels)]


def now() -> np.ndarray:
    """Seconds by the clock, and of this process on all cores, which others on the machine disturb less."""
    return np.array([time.perf_counter(), time.process_time()])


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest value expected."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# --------------------------------------------------------------------------------------------- equal


def run_equal(args: argparse.Namespace, record: Record) -> None:
    """Component counts, held-out scores and SVM decision values of every fold, against scikit-learn's."""
    store = FeatureStore(args.store)
    features = stored_columns(store, args.layer or store.taps[0])
    labels = store.rows.labels
    sets = stratified(labels, args.folds, args.seed)
    record.add("features", images=features.shape[0], columns=features.shape[1], shards=len(features.parts))
    whole = np.concatenate([np.asarray(part, dtype=np.float64) for part in features.parts])
    start = time.perf_counter()
    reductions = list(fold_pcas(features, sets, n_components=SHARE, scaler="minmax", memory=args.memory))
    record.add("ours", seconds=time.perf_counter() - start, folds=len(sets))
    worst: dict[str, float] = {}
    for number, (rows, found) in enumerate(zip(sets, reductions, strict=True)):
        start = time.perf_counter()
        reference = make_pipeline(MinMaxScaler(), PCA(SHARE, svd_solver="full")).fit(whole[rows])
        line = {"seconds_sklearn": time.perf_counter() - start}
        line |= compare_fold(found, reference, whole, labels, args.tolerance)
        record.add(f"fold {number}", **line)
        for key, value in line.items():
            worst[key] = max(value, worst.get(key, 0))
    record.add("worst", **worst)
    record.add("passed", passed=all(value <= 1e-6 for key, value in worst.items() if key.endswith("difference")))


def machine(penalty: float, gamma: str, tolerance: float) -> SVC:
    """A machine that says one value for each pair of classes: scikit-learn's others are votes, rounded."""
    return SVC(C=penalty, gamma=gamma, tol=tolerance, decision_function_shape="ovo")


def compare_fold(
    found: FoldPCA, reference: Any, features: np.ndarray, labels: np.ndarray, tolerance: float
) -> dict[str, Any]:
    """Differences of one fold from a fitted scaler and PCA."""
    training, held_out = found.training, found.held_out
    theirs = reference.transform(features[training]), reference.transform(features[held_out])
    signs = np.sign((theirs[0] * found.training_scores).sum(axis=0))
    ours = found.training_scores * signs, found.held_out_scores * signs
    worst = 0.0
    for gamma in GAMMAS:
        for penalty in PENALTIES:
            said = [
                machine(penalty, gamma, tolerance).fit(learn, labels[training]).decision_function(test)
                for learn, test in (ours, theirs)
            ]
            worst = max(worst, relative(*said))
    return {
        "components": found.n_components,
        "components_sklearn": theirs[0].shape[1],
        "components_difference": abs(found.n_components - theirs[0].shape[1]),
        "scores_difference": relative(ours[1], theirs[1]),
        "decisions_difference": worst,
    }


# --------------------------------------------------------------------------------------------- made-up features


@dataclass(frozen=True)
class MadeUp:
    """Features that can be made block by block, always the same."""

    images: int
    seed: int

    @property
    def labels(self) -> np.ndarray:
        """Class indices."""
        return np.random.default_rng(self.seed).permutation(np.arange(self.images) % CLASSES)

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Columns, float32 of shape (images, stop - start); `start` is a multiple of `CHUNK`."""
        rows = np.random.default_rng([self.seed, 1])
        weights = (np.arange(1, FACTORS + 1) ** -0.7).astype(np.float32)
        centres = rows.standard_normal((CLASSES, FACTORS), dtype=np.float32)
        factors = (
            rows.standard_normal((self.images, FACTORS), dtype=np.float32) + 0.7 * centres[self.labels]
        ) * weights
        drawn = np.random.default_rng([self.seed, 2, start])
        values = factors @ drawn.standard_normal((FACTORS, stop - start), dtype=np.float32)
        values += 0.5 * drawn.standard_normal((self.images, stop - start), dtype=np.float32)
        values *= drawn.lognormal(sigma=1.0, size=stop - start).astype(np.float32)
        return np.maximum(values, 0.0, out=values)

    def fill(self, array: np.ndarray) -> None:
        """Write the features into an array or a map."""
        for start in range(0, array.shape[1], CHUNK):
            array[:, start : start + CHUNK] = self.columns(start, min(start + CHUNK, array.shape[1]))


# --------------------------------------------------------------------------------------------- speed


def run_speed(args: argparse.Namespace, record: Record) -> None:
    """Seconds of min-max scaling and PCA per fold; scikit-learn is timed on the first `--sklearn-folds`."""
    made = MadeUp(args.images, args.seed)
    features = np.empty((args.images, args.columns), dtype=np.float32)
    made.fill(features)
    sets = stratified(made.labels, args.folds, args.seed)
    plan = plan_grams(*features.shape, sets, scaler="minmax", memory=args.memory)
    record.add("plan", method=plan.method, passes=plan.passes, width=plan.width, mib=plan.bytes / MIB)
    record.add("matrices", **by_differences(features, sets, args.memory))
    start = now()
    reductions = list(fold_pcas(features, sets, n_components=SHARE, scaler="minmax", memory=args.memory))
    ours = (now() - start) / len(sets)
    record.add(
        "ours", seconds_per_fold=ours[0], cpu_per_fold=ours[1], folds=len(sets), components=reductions[0].n_components
    )
    theirs = []
    for number in range(args.sklearn_folds):
        learn = features[sets[number]].astype(np.float64)
        start = now()
        reference = make_pipeline(MinMaxScaler(), PCA(SHARE, svd_solver="full"))
        scores = reference.fit_transform(learn)
        held_out = reference.transform(features[reductions[number].held_out].astype(np.float64))
        theirs.append(now() - start)
        signs = np.sign((scores * reductions[number].training_scores).sum(axis=0))
        difference = relative(reductions[number].held_out_scores * signs, held_out)
        seconds, cpu = theirs[-1].tolist()
        record.add(
            "scikit-learn", fold=number, seconds=seconds, cpu=cpu, components=scores.shape[1], difference=difference
        )
        del learn, scores
    if theirs:
        times = np.mean(theirs, axis=0) / ours
        record.add("times faster", times=times[0], times_cpu=times[1], sklearn_folds=len(theirs))
    start = now()
    one = make_pipeline(MinMaxScaler(), GramPCA(SHARE, memory=args.memory)).fit(features[sets[0]])
    seconds, cpu = (now() - start).tolist()
    record.add("GramPCA, one fold", seconds=seconds, cpu=cpu, components=int(one[-1].n_components_))


# --------------------------------------------------------------------------------------------- scale


def by_differences(features: np.ndarray, sets: list[np.ndarray], memory: int) -> dict[str, float]:
    """Processor seconds of all matrices together, from a base, and one by one, from all columns."""
    start = now()
    together = list(gram_matrices(features, sets, scaler="minmax", memory=memory))
    seconds, worst = {"cpu_together": float((now() - start)[1]), "cpu_one_by_one": 0.0}, 0.0
    for rows, gram in zip(sets, together, strict=True):
        start = now()
        alone = next(gram_matrices(features, [rows], scaler="minmax", memory=memory))
        seconds["cpu_one_by_one"] += float((now() - start)[1])
        every = np.arange(len(features))
        worst = max(worst, relative(linear_kernel(gram, every, every), linear_kernel(alone, every, every)))
    return seconds | {"difference": worst}


@dataclass
class Peak:
    """Largest memory seen, in bytes, over this process and all it started."""

    private: int = 0
    mapped: int = 0


@contextmanager
def watched() -> Iterator[Peak]:
    """Watch memory until the block ends."""
    peak, done = Peak(), threading.Event()

    def look() -> None:
        while True:
            known = [memory_of(process) for process in family_of(os.getpid())]
            peak.private = max(peak.private, sum(private for private, _ in known))
            peak.mapped = max(peak.mapped, sum(mapped for _, mapped in known))
            if done.wait(0.2):
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def family_of(process: int) -> list[int]:
    """A process and all that it started, and those started in turn."""
    found = [process]
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):  # it ended while we looked
            for child in path.read_text().split():
                found += family_of(int(child))
    return found


def memory_of(process: int) -> tuple[int, int]:
    """Anonymous bytes, and bytes in pages of files; pages that two processes map count twice."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0
    known = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return known["Anonymous"], known["Rss"] - known["Anonymous"]


def run_scale(args: argparse.Namespace, record: Record) -> None:
    """The layer sweep itself, nested, on a store of made-up features; memory of all its processes."""
    store, split = made_store(args, record)
    space = Space(
        probes=("svm",),
        scalers=("minmax",),
        reductions=(f"pca:{SHARE}",),
        grids={"svm": {"C": PENALTIES, "gamma": GAMMAS}},
        inner_folds=args.inner,
    )
    start = time.perf_counter()
    with watched() as peak:
        sweep = probe_layers(store, split, space=space, workers=args.workers, memory=args.memory)
    best, selection = sweep.best, sweep.selection
    record.add(
        "nested sweep",
        images=args.images,
        columns=args.columns,
        folds=f"{args.folds} x {args.inner}",
        processes=args.workers,
        minutes=(time.perf_counter() - start) / 60,
        private_gib=peak.private / 2**30,
        mapped_gib=peak.mapped / 2**30,
        allowed_gib_each=args.memory / 2**30,
        outer=best.scores.balanced_accuracy.value,
        inner_best=selection.inner_best if selection else None,
        chosen=[dict(parameters) for parameters in best.parameters],
    )


def run_both(args: argparse.Namespace, record: Record) -> None:
    """Speed at an eighth of the columns, then scale, one after the other on the same machine."""
    run_speed(argparse.Namespace(**vars(args) | {"columns": args.columns // 8}), record)
    run_scale(args, record)


def made_store(args: argparse.Namespace, record: Record) -> tuple[FeatureStore, Split]:
    """A store whose one layer holds made-up features, and grouped folds; the store is kept for the next run."""
    made = MadeUp(args.images, args.seed)
    ids = tuple(f"{row:05d}.png" for row in range(args.images))
    table = ImageTable(
        ids=ids,
        digests=tuple(f"{row:064x}" for row in range(args.images)),
        labels=made.labels.astype(np.int64),
        class_names=tuple(f"class {number}" for number in range(CLASSES)),
        groups=tuple(f"group {row // 2}" for row in range(args.images)),
        source=FolderSource(Path("nowhere")),
        metadata={},
    )
    recipe = {
        "taps": ["layer:flatten"],
        "handcrafted": {"colour": {"definition": "made up", "shape": [21]}},
        "shapes": {"layer": [args.columns]},
        "dtype": "float32",
        "images": {"count": args.images, "columns": args.columns, "seed": args.seed},
    }
    path = Path(args.folder) / f"made-up-{args.images}x{args.columns}-{args.seed}"
    start = time.perf_counter()
    with StoreWriter.open(path, recipe=recipe, table=table) as writer:
        if writer.rows_done < args.images:
            whole = np.lib.format.open_memmap(path / "made.npy", "w+", np.float32, (args.images, args.columns))
            made.fill(whole)
            colour = np.random.default_rng([args.seed, 3]).random((args.images, 21), dtype=np.float32)
            for first in range(writer.rows_done, args.images, SHARD):
                rows = slice(first, min(first + SHARD, args.images))
                writer.append({"layer": whole[rows], "colour": colour[rows]}, stop=rows.stop, failed={})
            del whole
            (path / "made.npy").unlink()
            record.add("features made", seconds=time.perf_counter() - start)
    split = split_rows(table.ids, table.labels, table.class_names, table.groups, folds=args.folds, seed=args.seed)
    return FeatureStore(path), split


# --------------------------------------------------------------------------------------------- command line


def main() -> None:
    """Run one of the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--memory", type=float, default=1.5, help="GiB for matrices and blocks, in each process")
    commands = parser.add_subparsers(required=True)
    equal = commands.add_parser("equal")
    equal.add_argument("store")
    equal.add_argument("--layer", help="tap of the store; its first by default")
    equal.add_argument("--tolerance", type=float, default=1e-3, help="at which the SVM's solver stops")
    equal.set_defaults(run=run_equal)
    speed = commands.add_parser("speed")
    speed.add_argument("--columns", type=int, default=25_088)
    speed.add_argument("--sklearn-folds", type=int, default=1)
    speed.set_defaults(run=run_speed)
    scale = commands.add_parser("scale")
    scale.set_defaults(run=run_scale)
    both = commands.add_parser("both")
    both.set_defaults(run=run_both)
    both.add_argument("--sklearn-folds", type=int, default=1)
    for each in (scale, both):
        each.add_argument("folder")
        each.add_argument("--columns", type=int, default=200_704)
        each.add_argument("--inner", type=int, default=5)
        each.add_argument("--workers", type=int, default=2)
    for each in (speed, scale, both):
        each.add_argument("--images", type=int, default=3_600)
    args = parser.parse_args()
    args.memory = int(args.memory * 2**30)
    record = Record()
    blas = sorted({f"{entry['internal_api']} {entry['version']}" for entry in threadpool_info()})
    record.add(
        "machine",
        processor=platform.machine(),
        threads=max((entry["num_threads"] for entry in threadpool_info()), default=1),
        blas=", ".join(blas),
        numpy=np.__version__,
        scipy=scipy.__version__,
        sklearn=sklearn.__version__,
    )
    args.run(args, record)
    record.table()


if __name__ == "__main__":
    main()
