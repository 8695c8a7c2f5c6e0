"""Fold-exact reduction from Gram matrices: is it scikit-learn's answer, how much faster, in how much memory?

    python benchmarks/gram.py equal STORE      real features of a store against scikit-learn's pipeline, fold by fold
    python benchmarks/gram.py speed            made-up features, 3,600 x 25,088: seconds per fold, beside scikit-learn
    python benchmarks/gram.py scale FOLDER     3,600 x 200,704 on disk in FOLDER (2.9 GB): a 5 x 5 nested design

Each measurement is a JSON line; a table follows. Everything is compared in float64, in which scikit-learn's
`MinMaxScaler`, `PCA(svd_solver="full")` and `SVC` are the reference.

Made-up features stand for those of a deep layer: products of a few hundred factors of falling weight and eight
classes, with noise, cut at zero, which leaves about half of them zero.

Memory is read from `/proc/self/smaps_rollup` five times a second: `private` is anonymous memory (the program's
own), `mapped` is what lies in pages of files, which the kernel takes back when it wants them.
"""

import argparse
import json
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import sklearn
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_info

from tfcells.features.store import FeatureStore
from tfcells.probes.gram import (
    FoldPCA,
    GramPCA,
    fold_pca,
    fold_pcas,
    gram_matrices,
    linear_kernel,
    plan_grams,
    resolve_gamma,
    select_rows,
    stored_columns,
)

CLASSES = 8
PENALTIES = (5.0, 10.0, 15.0)
GAMMAS = ("scale", "auto")
SHARE = 0.8
FACTORS = 256
CHUNK = 4096  # columns made at once
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
    """Largest memory seen, in bytes."""

    private: int = 0
    mapped: int = 0


@contextmanager
def watched() -> Iterator[Peak]:
    """Watch this process's memory until the block ends."""
    peak, done = Peak(), threading.Event()

    def look() -> None:
        while True:
            lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
            known = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
            peak.private = max(peak.private, known["Anonymous"])
            peak.mapped = max(peak.mapped, known["Rss"] - known["Anonymous"])
            if done.wait(0.2):
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


@dataclass
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, stage: str, work: Callable[[], Any]) -> Any:
        """Do it, and count its seconds."""
        start = time.perf_counter()
        answer = work()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
        return answer


def run_scale(args: argparse.Namespace, record: Record) -> None:
    """Gram matrices, reductions and SVM grids of a nested design, features mapped from a file."""
    made = MadeUp(args.images, args.seed)
    path = Path(args.folder) / f"made-up-{args.images}x{args.columns}-{args.seed}.npy"
    if not path.exists():
        start = time.perf_counter()
        path.parent.mkdir(parents=True, exist_ok=True)
        filling = path.with_suffix(".part")
        array = np.lib.format.open_memmap(filling, "w+", np.float32, (args.images, args.columns))
        made.fill(array)
        array.flush()
        del array
        filling.rename(path)
        record.add("features made", seconds=time.perf_counter() - start, gib=path.stat().st_size / 2**30)
    features = np.load(path, mmap_mode="r")
    clock, start = Clock(), time.perf_counter()
    with watched() as peak:
        matrices = nested(features, made.labels, args, clock, record)
    record.add(
        "nested design",
        images=args.images,
        columns=args.columns,
        matrices=matrices,
        minutes=(time.perf_counter() - start) / 60,
        **{f"minutes_{stage}": seconds / 60 for stage, seconds in clock.seconds.items()},
        private_gib=peak.private / 2**30,
        mapped_gib=peak.mapped / 2**30,
        allowed_gib=args.memory / 2**30,
    )


def nested(features: np.ndarray, labels: np.ndarray, args: argparse.Namespace, clock: Clock, record: Record) -> int:
    """Every outer fold chooses C and gamma on its inner folds; returns how many matrices there were."""
    outer_sets = stratified(labels, args.folds, args.seed)
    # Half of the memory for the outer matrices, which wait for their turn, half for the inner ones beside them.
    half = args.memory // 2
    matrices = 0
    outer = gram_matrices(features, outer_sets, scaler="minmax", memory=half)
    for number in range(args.outer_folds_run or args.folds):
        gram = clock.timed("outer_grams", lambda: next(outer))
        rows = gram.training
        inner = gram_matrices(
            select_rows(features, rows),
            stratified(labels[rows], args.inner, args.seed),
            scaler="minmax",
            memory=half,
            base=gram.only(rows),
        )
        grids = []
        for _ in range(args.inner):
            one = clock.timed("inner_grams", lambda inner=inner: next(inner))
            grids.append(grid(one, labels[rows], clock))
        scores = {key: float(np.mean([one[key] for one in grids])) for key in grids[0]}
        best = max(scores, key=scores.__getitem__)
        tested = grid(gram, labels, clock)[best]
        matrices += 1 + args.inner
        record.add(f"outer fold {number}", best=str(best), inner_accuracy=scores[best], outer_accuracy=tested)
    return matrices


def grid(gram: Any, labels: np.ndarray, clock: Clock) -> dict[tuple[float, str], float]:
    """Accuracy on the held-out rows, by C and gamma, of an RBF-SVM on the scores."""
    found = clock.timed("pca", lambda: fold_pca(gram, n_components=SHARE))
    return clock.timed("svm", lambda: machines(found, labels))


def machines(found: FoldPCA, labels: np.ndarray) -> dict[tuple[float, str], float]:
    """The grid itself; distances serve every machine, kernels every C."""
    learn, test = found.training_scores, found.held_out_scores
    near, far = euclidean_distances(learn, squared=True), euclidean_distances(test, learn, squared=True)
    answers = {}
    for name in GAMMAS:
        gamma = resolve_gamma(name, width=found.n_components, variance=float(learn.var()))
        kernel, cross = np.exp(-gamma * near), np.exp(-gamma * far)
        for penalty in PENALTIES:
            machine = SVC(C=penalty, kernel="precomputed").fit(kernel, labels[found.training])
            answers[penalty, name] = float((machine.predict(cross) == labels[found.held_out]).mean())
    return answers


# --------------------------------------------------------------------------------------------- command line


def main() -> None:
    """Run one of the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--memory", type=float, default=4.0, help="GiB for matrices and blocks")
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
    scale.add_argument("folder")
    scale.add_argument("--columns", type=int, default=200_704)
    scale.add_argument("--inner", type=int, default=5)
    scale.add_argument("--outer-folds-run", type=int, help="stop after so many outer folds; all by default")
    scale.set_defaults(run=run_scale)
    for each in (speed, scale):
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
