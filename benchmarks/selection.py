"""Does the nested choice tell the truth? On noise, with one better layer among ten, and on layers of unequal worth.

    python benchmarks/selection.py                 about 25 minutes on two cores
    python benchmarks/selection.py --quick         a look, in two minutes
    python benchmarks/selection.py --only honest   one of the parts: noise, planted, honest

Every draw is what a sweep does on five outer folds and three inner ones: every alternative is fitted in every fold, and
`select` takes one in each outer fold. `naive` is the alternative that is best on the outer folds, with its interval on
the rows it was picked by; `fixed` is one that was named beforehand, to tell what choosing does to an interval from what
cross-validation does: folds learn from one another's rows, so that their hits hang together (Bengio & Grandvalet 2004,
No unbiased estimator of the variance of k-fold cross-validation, JMLR 5; Bates, Hastie & Tibshirani 2023,
Cross-validation: what does it estimate and how well does it do it?, JASA).

Scores are balanced accuracies; numbers are percent and points, with Monte Carlo standard errors. Groups are `alone`,
`copies` (one class) or `slides` (all classes); rows of a group share a part of every feature, whose variance is the
correlation, and their sizes differ like a gamma variable. Layers are drawn independently of each other.

    noise      Labels are drawn without a look at the features, so that 1 / classes is the true score of every model.
               There are exactly 200 alternatives: 40 layers of four features, each read by nearest neighbours of three
               numbers and by trees of two sizes of leaf. The nested choice takes numbers and sizes as parameters; in
               the naive contest each of the 200 is a candidate of its own. A draw makes 4,000 fits and there are half
               as many draws as in the other parts.
    planted    Ten layers, read by nearest neighbours; the classes of one layer lie further apart. `margin` is by how
               much the best rule there is (Bayes) is better on this layer than on the others, which reach 70 %;
               `fitted_margin` is that of what was fitted, on new rows. How often is this layer taken in three outer
               folds or more, in all five, and how often is it the naive choice?
    honest     Twenty alternatives: ten layers on which the best rule reaches 62 to 71 %, each read by two `smooth`
               probes (logistic regression, ridge) or by two `local` ones, which follow single rows more closely
               (neighbours, trees; their numbers and sizes are chosen too). The truth of a choice is the score on 25,000
               new rows of the very models that were fitted in the outer folds, every model weighted as the folds weight
               it: by its fold's share of the rows of each class. `flattery` is the score minus this truth.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
from scipy import optimize, special
from threadpoolctl import threadpool_limits

from tfcells.images.splits import assign_parts
from tfcells.probes.candidates import Scores, score
from tfcells.probes.crossval import SweepRows, joined_folds, out_of_fold
from tfcells.probes.gram.columns import ArrayColumns
from tfcells.probes.nested import MEMORY, FoldAnswers, answer_fold
from tfcells.probes.paths import answer_path
from tfcells.probes.reading import Reading, Space
from tfcells.probes.selection import Selection, select
from tfcells.probes.views import Family, views
from tfcells.stats.intervals import Interval
from tfcells.stats.metrics import balanced_accuracy, confusion

OUTER_FOLDS, INNER_FOLDS = 5, 3
NEW_ROWS = 5000  # for the model of each outer fold
Line = dict[str, Any]
Answers = Mapping[int, Sequence[FoldAnswers]]

NOISE_LAYERS = 40
NOISE_SPACE = Space(
    probes=("knn", "tree"),
    scalers=("none",),
    grids={"knn": {"neighbors": (61, 21, 5)}, "tree": {"min_samples_leaf": (30, 10)}},
    inner_folds=INNER_FOLDS,
)
PLANTED_LAYERS, PLANTED_BASE = 10, 0.7
PLANTED_SPACE = Space(probes=("knn",), scalers=("none",), grids={"knn": {"neighbors": (31,)}}, inner_folds=INNER_FOLDS)
HONEST_WORTH = np.linspace(0.62, 0.71, 10)
HONEST_SPACES = {
    "smooth": Space(
        probes=("logistic", "ridge"),
        scalers=("none",),
        grids={"logistic": {"C": (1.0,)}, "ridge": {"alpha": (10.0,)}},
        inner_folds=INNER_FOLDS,
    ),
    "local": Space(
        probes=("knn", "tree"),
        scalers=("none",),
        grids={"knn": {"neighbors": (41, 11)}, "tree": {"min_samples_leaf": (15, 5)}},
        inner_folds=INNER_FOLDS,
    ),
}


@dataclass(frozen=True)
class Setting:
    """How rows are drawn."""

    rows: int
    groups: int
    kind: str
    correlation: float
    classes: int = 4


@dataclass(frozen=True)
class Draw:
    """Rows of one setting, and their features layer by layer.

    Attributes:
        setting: How they were drawn.
        rows: Labels, groups, outer folds.
        signals: How far the mean of a class lies from the origin, along the axis of the class; by layer.
        seed: Of the features.
    """

    setting: Setting
    rows: SweepRows
    signals: np.ndarray
    seed: tuple[int, ...]

    def layer(self, number: int) -> np.ndarray:
        """`(rows, 4)`: features of a layer; the same at every call."""
        generator = np.random.default_rng([*self.seed, 1 + number])  # a last zero would be the seed of the rows
        groups = self.rows.groups
        own, shared = generator.normal(size=(len(groups), 4)), generator.normal(size=(groups.max() + 1, 4))[groups]
        part = self.setting.correlation
        return np.sqrt(part) * shared + np.sqrt(1 - part) * own + self.signals[number] * np.eye(4)[self.rows.labels]

    def new_rows(self, number: int, labels: np.ndarray, fold: int) -> np.ndarray:
        """`(new rows, 4)`: a layer of rows alone, others for each fold; a group does not change what a row is like."""
        generator = np.random.default_rng([*self.seed, 1 + number, 1 + fold])
        return generator.normal(size=(len(labels), 4)) + self.signals[number] * np.eye(4)[labels]


def draw_rows(setting: Setting, signals: np.ndarray, *seed: int) -> Draw:
    """Labels, groups and outer folds as `tfcells split` deals them."""
    generator = np.random.default_rng(seed)
    rows, count = setting.rows, setting.groups
    weights = generator.gamma(1.5, size=count)
    sizes = 1 + generator.multinomial(rows - count, weights / weights.sum()) if rows > count else np.ones(count, int)
    groups = np.repeat(np.arange(count), sizes)
    by_group = generator.integers(setting.classes, size=count)[groups]
    labels = generator.integers(setting.classes, size=rows) if setting.kind == "slides" else by_group
    folds = assign_parts(labels, groups, shares=[1 / OUTER_FOLDS] * OUTER_FOLDS, seed=seed[-1])
    return Draw(
        setting=setting,
        rows=SweepRows(labels=labels, groups=groups, folds=folds, classes=setting.classes, seed=seed[-1]),
        signals=signals,
        seed=seed,
    )


def answer_all(draw: Draw, space: Space, layers: Iterable[int]) -> Answers:
    """By outer fold, what every reading of some layers chose and said there."""
    answers: dict[int, list[FoldAnswers]] = {fold: [] for fold in draw.rows.fold_numbers}
    for number in layers:
        source, readings = ArrayColumns(draw.layer(number)), space.readings((str(number),))
        for fold, found in answers.items():
            found += answer_fold(source, draw.rows, space, readings, fold=fold)
    return answers


def judge(answers: Answers, rows: SweepRows, number: int) -> tuple[Reading, Scores]:
    """A reading by its number, and its score on the outer folds."""
    said = {fold: found[number].probabilities for fold, found in answers.items()}
    return answers[0][number].reading, score(joined_folds(said, rows), rows)


def best_candidate(answers: Answers, rows: SweepRows) -> tuple[Reading, Scores]:
    """The reading with the highest score on the outer folds, as the table of a sweep has it first."""
    judged = [judge(answers, rows, number) for number in range(len(answers[0]))]
    return max(judged, key=lambda entry: entry[1].balanced_accuracy.value)


def best_alternative(draw: Draw, space: Space) -> Scores:
    """The naive choice where every combination of parameters is a candidate of its own."""
    rows, found = draw.rows, []
    for number in range(len(draw.signals)):
        source = ArrayColumns(draw.layer(number))
        for reading in space.readings((str(number),)):
            parameters = space.parameters(reading.probe)
            probabilities = np.zeros((len(parameters), len(rows.labels), rows.classes))
            for fold in rows.fold_numbers:
                learning, asked = np.flatnonzero(rows.folds != fold), np.flatnonzero(rows.folds == fold)
                family = Family(learning=learning, asked=asked, inner=[])
                (view,) = views(source, family, scaler="none", reductions=["none"], turn=False, memory=MEMORY)
                training = rows.training(learning)
                said = answer_path(reading.probe, view["none"], training, parameters, classes=rows.classes)
                probabilities[:, asked] = said
            found += list(probabilities)
    tables = [confusion(rows.labels, said.argmax(axis=1), classes=rows.classes) for said in found]
    taken = found[int(np.argmax(balanced_accuracy(np.stack(tables))))]
    return score(out_of_fold(taken, rows.labels), rows)


def new_recalls(draw: Draw, space: Space, reading: Reading, answers: Answers, *, fold: int) -> np.ndarray:
    """`(classes,)`: recalls on new rows of what a reading fitted in an outer fold."""
    rows, labels, number = draw.rows, np.arange(NEW_ROWS) % draw.setting.classes, int(reading.taps[0])
    # New rows are asked together with those of the fold, so that the model is the one that answered for the fold.
    more = replace(
        rows,
        labels=np.concatenate([rows.labels, labels]),
        groups=np.concatenate([rows.groups, rows.groups.max() + 1 + np.arange(NEW_ROWS)]),
        folds=np.concatenate([rows.folds, np.full(NEW_ROWS, fold)]),
    )
    features = np.concatenate([draw.layer(number), draw.new_rows(number, labels, fold)])
    (found,) = answer_fold(ArrayColumns(features), more, space, [reading], fold=fold)
    before = next(entry for entry in answers[fold] if entry.reading == reading)
    said_before, said_of_new = np.split(found.probabilities, [len(before.probabilities)])
    np.testing.assert_allclose(said_before, before.probabilities, atol=1e-9)
    hits = said_of_new.argmax(axis=1) == labels
    return np.array([hits[labels == label].mean() for label in range(draw.setting.classes)])


def truth_of(draw: Draw, space: Space, readings: Mapping[int, Reading], answers: Answers) -> float:
    """Balanced accuracy on new rows of the models of the outer folds, weighted as the folds' rows weight them."""
    rows, total = draw.rows, np.zeros(draw.setting.classes)
    for fold, reading in readings.items():
        recalls = new_recalls(draw, space, reading, answers, fold=fold)
        total += recalls * np.bincount(rows.labels[rows.folds == fold], minlength=rows.classes)
    return float(np.mean(total / np.bincount(rows.labels, minlength=rows.classes)))


def best_rule(signal: float) -> float:
    """Accuracy of the best rule on four classes whose means lie `signal` from the origin on an axis each."""
    places, weights = np.polynomial.hermite_e.hermegauss(80)
    return float(weights @ special.ndtr(places + signal) ** 3 / weights.sum())


def signal_for(accuracy: float) -> float:
    """The signal at which the best rule has an accuracy."""
    return float(optimize.brentq(lambda signal: best_rule(signal) - accuracy, 0, 8))


def holds(interval: Interval, truth: float) -> bool:
    """Whether an interval holds the truth."""
    return bool(interval.low <= truth <= interval.high)


def compare(selection: Selection, judged: Mapping[str, tuple[Scores, float]]) -> Line:
    """What was chosen in several ways, each against its truth."""
    scores = {name: (found.balanced_accuracy, truth) for name, (found, truth) in judged.items()}
    return {
        **{f"{name}_covers": holds(interval, truth) for name, (interval, truth) in scores.items()},
        **{name: interval.value for name, (interval, _) in scores.items()},
        **{f"{name}_flattery": interval.value - truth for name, (interval, truth) in scores.items()},
        "optimism": selection.optimism,
        "nested_width": scores["nested"][0].high - scores["nested"][0].low,
    }


def noise(setting: Setting, seed: int) -> list[Line]:
    """One draw without any truth to be found."""
    draw, chance = draw_rows(setting, np.zeros(NOISE_LAYERS), 1, seed), 1 / setting.classes
    answers = answer_all(draw, NOISE_SPACE, range(NOISE_LAYERS))
    selection = select(answers, draw.rows, NOISE_SPACE)
    naive, (_, fixed) = best_alternative(draw, NOISE_SPACE), judge(answers, draw.rows, 0)
    return [
        compare(selection, {"nested": (selection.scores, chance), "naive": (naive, chance), "fixed": (fixed, chance)})
    ]


def planted(setting: Setting, margins: Sequence[int], seed: int) -> list[Line]:
    """One draw at every margin; only the better layer differs, which lies anywhere among the ten."""
    better, found = seed % PLANTED_LAYERS, []
    signals = np.full(PLANTED_LAYERS, signal_for(PLANTED_BASE))
    draw = draw_rows(setting, signals, 2, seed)
    others = answer_all(draw, PLANTED_SPACE, [number for number in range(PLANTED_LAYERS) if number != better])
    for margin in margins:
        moved = signals.copy()
        moved[better] = signal_for(PLANTED_BASE + margin / 100)
        draw = replace(draw, signals=moved)
        own = answer_all(draw, PLANTED_SPACE, [better])
        answers = {fold: [*said[:better], *own[fold], *said[better:]] for fold, said in others.items()}
        selection = select(answers, draw.rows, PLANTED_SPACE)
        taken = [choice.reading.taps == (str(better),) for choice in selection.choices]
        worth = [
            new_recalls(draw, PLANTED_SPACE, answers[0][number].reading, answers, fold=0).mean()
            for number in (better, better - 1)
        ]
        found.append(
            {
                "in_most_folds": sum(taken) > len(taken) / 2,
                "in_all_folds": all(taken),
                "naive": best_candidate(answers, draw.rows)[0].taps == (str(better),),
                "fitted_margin": worth[0] - worth[1],
            }
        )
    return found


def honest(setting: Setting, family: str, seed: int) -> list[Line]:
    """One draw with layers of unequal worth."""
    space, layers = HONEST_SPACES[family], len(HONEST_WORTH)
    draw = draw_rows(setting, np.array([signal_for(worth) for worth in HONEST_WORTH]), 3, seed)
    answers = answer_all(draw, space, range(layers))
    selection = select(answers, draw.rows, space)
    chosen = {choice.fold: choice.reading for choice in selection.choices}
    judged = {"nested": (selection.scores, truth_of(draw, space, chosen, answers))}
    fixed = judge(answers, draw.rows, layers)  # half of the readings lie before it: the first of a middle layer
    for name, (reading, found) in {"naive": best_candidate(answers, draw.rows), "fixed": fixed}.items():
        judged[name] = found, truth_of(draw, space, dict.fromkeys(answers, reading), answers)
    return [compare(selection, judged)]


def one_draw(make: Callable[..., list[Line]], *setting: Any, seed: int) -> list[Line]:
    """A draw, without what takes time and changes nothing: threads that wait, looks for numbers that are not finite."""
    with threadpool_limits(1), sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        return make(*setting, seed)


def run_part(name: str, *, draws: int, workers: int) -> Iterator[Line]:
    """Print the table of a part; one value per row of it."""
    kept: list[tuple[Line, Line]] = []
    every: list[Line] = []
    print(f"{name}, {draws} draws a setting")
    for make, settings, given in PARTS[name]:
        jobs = (joblib.delayed(one_draw)(make, *given, seed=seed) for seed in range(draws))
        for setting, found in zip(settings, zip(*joblib.Parallel(n_jobs=workers)(jobs), strict=True), strict=True):
            kept.append((setting, summarise(found)))
            every += found
            line = setting | kept[-1][1]
            if len(kept) == 1:
                print(" ".join(f"{key:>{wide(key)}}" for key in line))
            print(" ".join(f"{shown(value):>{wide(key)}}" for key, value in line.items()), flush=True)
            yield {"what": name, "draws": draws, **line}
    if name == "planted":
        print_recovery(kept)
    else:
        print("all settings: " + ", ".join(f"{key} {shown(value)}" for key, value in summarise(every).items()))


def summarise(draws: Sequence[Line]) -> Line:
    """Percent or mean points over draws, each with its Monte Carlo standard error."""
    found: Line = {}
    for name, value in draws[0].items():
        values = 100 * np.array([draw[name] for draw in draws], dtype=float)
        # One verdict is added on each side, so that shares of 0 and 100 have an error too.
        spread = np.std([*values, 0, 100] if isinstance(value, bool) else values)
        error = float(spread / np.sqrt(len(values)))
        found[name] = {"percent": round(float(values.mean()), 2), "error": round(error, 2)}
    return found


def print_recovery(found: Sequence[tuple[Line, Line]]) -> None:
    """Print from which margin on the better layer is found."""
    for rows in dict.fromkeys(setting["rows"] for setting, _ in found):
        for name in ("in_most_folds", "in_all_folds", "naive"):
            enough = [
                setting["margin"]
                for setting, shares in found
                if setting["rows"] == rows and shares[name]["percent"] >= 95
            ]
            print(f"{rows} rows: {name} is 95 % or more from a margin of {min(enough, default='none of these')}")


def shown(value: Any) -> str:
    """A cell of the table."""
    return f"{value['percent']:.1f}±{value['error']:.1f}" if isinstance(value, dict) else f"{value}"


def wide(name: str) -> int:
    """Letters of a column."""
    return max(len(name), 10)


HONEST_SETTINGS = (
    Setting(300, 300, "alone", 0.0),
    Setting(300, 60, "copies", 0.5),
    Setting(1000, 100, "slides", 0.3),
)
NOISE_SETTINGS = tuple(
    Setting(300, groups, kind, correlation, classes)
    for classes in (2, 4)
    for groups, kind, correlation in ((300, "alone", 0.0), (60, "copies", 0.95))
)
MARGINS = (2, 5, 10, 15)
# By part: what makes a draw, the lines that it makes, and what it is given.
PARTS: dict[str, list[tuple[Callable[..., list[Line]], list[Line], tuple[Any, ...]]]] = {
    "noise": [(noise, [asdict(setting)], (setting,)) for setting in NOISE_SETTINGS],
    "planted": [
        (
            planted,
            [{"rows": rows, "margin": margin} for margin in MARGINS],
            (Setting(rows, rows, "alone", 0.0), MARGINS),
        )
        for rows in (300, 1000)
    ],
    "honest": [
        (honest, [{"probes": family, **asdict(setting)}], (setting, family))
        for family in HONEST_SPACES
        for setting in HONEST_SETTINGS
    ],
}


def main() -> None:
    """Run the parts, print a table each, append one JSON line per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100, help="draws per setting; of noise half (default 100)")
    parser.add_argument("--quick", action="store_true", help="6 draws per setting")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="one of the parts (default all)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "selection.jsonl")
    arguments = parser.parse_args()
    arguments.draws = 6 if arguments.quick else arguments.draws
    run = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "numpy": np.__version__,
        "sklearn": sklearn.__version__,
        "machine": platform.machine(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or PARTS:
        draws, started = max(2, arguments.draws // 2 if name == "noise" else arguments.draws), time.perf_counter()
        with arguments.out.open("a", encoding="utf-8") as file:
            for line in run_part(name, draws=draws, workers=arguments.workers):
                file.write(json.dumps({**run, **line}) + "\n")
        print(f"{name}: {time.perf_counter() - started:.0f} s\n")


if __name__ == "__main__":
    main()
