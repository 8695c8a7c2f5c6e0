"""How honest are the intervals and the paired tests? Simulated coverage and size, as a table.

    python benchmarks/coverage.py                    about 20 minutes on one core
    python benchmarks/coverage.py --simulations 30   a look, in two minutes
    python benchmarks/coverage.py --only balanced    one of the parts: coverage, sizes, balanced, best

Coverage: rows of 8 classes are drawn, in groups or alone, with known recalls and known directions of misses.
The truth of each metric is the metric of the population's confusion table, and an interval covers if it holds
it. Groups are `copies` (one class, sizes differ) or `slides` (all classes, sizes differ); rows of a group and
class share a chance of being right, drawn from a beta distribution with the given correlation between rows.
A draw in which a class is without rows is drawn again, as its balanced accuracy would be another number.
The columns that end in `bca` are the bootstrap's, on the first `--bootstraps` draws only: a look, with a Monte
Carlo standard error of 3 points.

Size: two models of equal accuracy, and how often a test says p <= 0.05. In `unlike` groups only the first
model's hits are correlated, so that its differences are not symmetric around 0.

Balanced: the same for two models' balanced accuracy on classes of unequal size. Without a difference, where the
models are as good in each class (`none`) or each is better in some (`traded`), and with one (`some`), for which
the column of rejections is the power. `plain` is the size of the test of plain accuracy, misused for the question.

Best: several models against the one that scored highest, where all are equal (`none`), where one is 5 points better
(`one`), and where the lower half is 10 points worse (`half`). `false` is how many studies call a model worse that is
as good as the best one there is, `holm` the same when the picking of the best is not counted, `found` the share of
worse models that are called worse, `covered` how many studies have every interval hold its difference.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from tfcells.stats.best import against_best
from tfcells.stats.bootstrap import cluster_bootstrap
from tfcells.stats.corrections import holm
from tfcells.stats.intervals import Interval, wilson_clustered, wilson_of_metric
from tfcells.stats.metrics import accuracy, balanced_accuracy, confusion_by_group, macro_f1
from tfcells.stats.paired import corrected_resampled_t, paired_balanced_difference, paired_difference

CLASSES = 8
MIXES = {
    "even": np.full(CLASSES, 1 / CLASSES),
    "uneven": np.array([0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.06, 0.04]),
}
GROUPINGS = [  # rows, groups, kind, correlation
    (50, 50, "alone", 0.0),
    (100, 100, "alone", 0.0),
    (300, 300, "alone", 0.0),
    (1000, 1000, "alone", 0.0),
    (2000, 2000, "alone", 0.0),
    (100, 10, "slides", 0.1),
    (300, 50, "slides", 0.0),
    (300, 50, "slides", 0.1),
    (300, 50, "copies", 0.3),
    (300, 150, "copies", 0.5),
    (1000, 50, "slides", 0.1),
    (1000, 200, "copies", 0.3),
    (2000, 100, "slides", 0.2),
    (2000, 500, "copies", 0.5),
]
BALANCED_MIXES = {**MIXES, "steep": np.array([0.5, 0.25, 0.12, 0.08, 0.05]), "rare": np.array([0.9, 0.1])}
BALANCED_GROUPINGS = [  # rows, groups, kind
    (60, 60, "alone"),
    (300, 300, "alone"),
    (2000, 2000, "alone"),
    (300, 50, "alike"),
    (300, 50, "unlike"),
    (300, 50, "copies"),
    (600, 150, "copies"),
    (2000, 100, "alike"),
]
METRICS = {"accuracy": accuracy, "balanced": balanced_accuracy, "macro_f1": macro_f1}


@dataclass(frozen=True)
class Setting:
    """One row of the coverage table."""

    rows: int
    groups: int
    kind: str
    correlation: float
    mix: str
    level: float

    @property
    def recalls(self) -> np.ndarray:
        """`(classes,)`: spread around the level, in the same way for every setting."""
        spread = min(0.1, 0.8 * (1 - self.level)) * np.linspace(-1, 1, CLASSES)
        return self.level + spread[np.random.default_rng(3).permutation(CLASSES)]

    @property
    def directions(self) -> np.ndarray:
        """`(classes, classes)`: where the misses of a class go; 0 on the diagonal."""
        drawn = np.random.default_rng(5).gamma(1.0, size=(CLASSES, CLASSES))
        np.fill_diagonal(drawn, 0)
        return drawn / drawn.sum(axis=1, keepdims=True)

    @property
    def population(self) -> np.ndarray:
        """`(classes, classes)`: the confusion table of infinitely many rows, as shares."""
        table = (1 - self.recalls)[:, None] * self.directions
        np.fill_diagonal(table, self.recalls)
        return table * MIXES[self.mix][:, None]


def settings() -> Iterator[Setting]:
    """All rows of the coverage table."""
    for level in (0.8, 0.95, 0.98):
        for mix in MIXES:
            for rows, groups, kind, correlation in GROUPINGS:
                yield Setting(rows, groups, kind, correlation, mix, level)


def draw_groups(rows: int, groups: int, generator: np.random.Generator) -> np.ndarray:
    """`(rows,)` group numbers; sizes differ like a gamma variable of shape 1.5, and no group is empty."""
    weights = generator.gamma(1.5, size=groups)
    return np.repeat(np.arange(groups), 1 + generator.multinomial(rows - groups, weights / weights.sum()))


def draw_chances(
    means: np.ndarray, correlation: float, groups: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """`(rows,)` chances of being right: beta with the rows' means, one quantile per group."""
    if correlation == 0:
        return means
    quantiles = generator.uniform(size=groups.max() + 1)[groups]
    strength = (1 - correlation) / correlation
    distinct, which = np.unique(np.stack([quantiles, means]), axis=1, return_inverse=True)
    return special.betaincinv(strength * distinct[1], strength * (1 - distinct[1]), distinct[0])[which]


def draw_rows(setting: Setting, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True classes, predicted classes and groups, each `(rows,)`."""
    groups = draw_groups(setting.rows, setting.groups, generator)
    if setting.kind == "slides":
        true = generator.choice(CLASSES, p=MIXES[setting.mix], size=setting.rows)
    else:
        true = generator.choice(CLASSES, p=MIXES[setting.mix], size=setting.groups)[groups]
    if len(np.unique(true)) < CLASSES:
        return draw_rows(setting, generator)
    right = generator.uniform(size=setting.rows) < draw_chances(
        setting.recalls[true], setting.correlation, groups, generator
    )
    aims = generator.uniform(size=setting.rows)[:, None] > setting.directions.cumsum(axis=1)[true]
    return true, np.where(right, true, np.minimum(aims.sum(axis=1), CLASSES - 1)), groups


def measure_coverage(setting: Setting, *, simulations: int, bootstraps: int, seed: int) -> dict[str, Any]:
    """Percent of intervals that hold the truth, mean widths, and percent that lie wholly above it."""
    generator = np.random.default_rng(seed)
    truths = {name: float(metric(setting.population)) for name, metric in METRICS.items()}
    found: dict[str, list[tuple[bool, bool, float]]] = {}

    def note(name: str, metric: str, interval: Interval) -> None:
        truth, width = truths[metric], interval.high - interval.low
        found.setdefault(name, []).append((interval.low <= truth <= interval.high, interval.low > truth, width))

    for simulation in range(simulations):
        true, predicted, groups = draw_rows(setting, generator)
        grouped = confusion_by_group(true, predicted, groups, classes=CLASSES)
        note("accuracy", "accuracy", wilson_clustered(true == predicted, groups))
        for name in ("balanced", "macro_f1"):
            note(name, name, wilson_of_metric(grouped, METRICS[name]))
            if simulation < bootstraps:
                interval = cluster_bootstrap(grouped, METRICS[name], seed=simulation, resamples=500)
                note(f"{name}_bca", name, interval)
    means = {name: 100 * np.mean(rows, axis=0) for name, rows in found.items()}
    return {
        name: dict(zip(("coverage", "too_high", "width"), np.round(row, 2).tolist(), strict=True))
        for name, row in means.items()
    }


def measure_size(rows: int, groups: int, kind: str, level: float, *, simulations: int, seed: int) -> dict[str, float]:
    """Percent of paired tests with p <= 0.05 between equal models, and coverage of the difference 0."""
    generator = np.random.default_rng(seed)
    rejected, covered = 0, 0
    for _ in range(simulations):
        numbers = np.arange(rows) if kind == "alone" else draw_groups(rows, groups, generator)
        means = np.full(rows, level)
        hits = []
        for correlation in {"alone": (0.0, 0.0), "alike": (0.3, 0.3), "unlike": (0.3, 0.0)}[kind]:
            hits.append(generator.uniform(size=rows) < draw_chances(means, correlation, numbers, generator))
        same = generator.uniform(size=rows) < 0.5  # half of the rows are as easy for both
        test = paired_difference(hits[0], np.where(same, hits[0], hits[1]), numbers)
        rejected += test.p_value <= 0.05
        covered += test.difference.low <= 0 <= test.difference.high
    return {"rejected": 100 * rejected / simulations, "covered": 100 * covered / simulations}


@dataclass(frozen=True)
class BalancedSetting:
    """One row of the table of balanced comparisons."""

    rows: int
    groups: int
    kind: str
    mix: str
    level: float
    difference: str

    @property
    def shifts(self) -> np.ndarray:
        """`(classes,)`: how much better the first model's recall is, where the two do not share their hits."""
        classes = len(BALANCED_MIXES[self.mix])
        if self.difference == "traded":
            return np.linspace(-1, 1, classes) * 0.7 * (1 - self.level)
        return np.full(classes, 0.0 if self.difference == "none" else min(0.1, 1.3 * (1 - self.level)))

    @property
    def truth(self) -> float:
        """The difference in balanced accuracy; half of the rows are as easy for both."""
        return float(self.shifts.mean() / 2)


def balanced_settings() -> Iterator[BalancedSetting]:
    """All rows of the table of balanced comparisons."""
    for level in (0.8, 0.97):
        for mix in ("uneven", "steep", "rare"):
            for rows, groups, kind in BALANCED_GROUPINGS:
                for difference in ("none", "traded", "some"):
                    yield BalancedSetting(rows, groups, kind, mix, level, difference)


def draw_pair(setting: BalancedSetting, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Hits of both models, true classes and groups, each `(rows,)`; every class occurs."""
    rows, mix = setting.rows, BALANCED_MIXES[setting.mix]
    groups = np.arange(rows) if setting.kind == "alone" else draw_groups(rows, setting.groups, generator)
    of_groups = setting.kind == "copies"
    true = generator.choice(len(mix), p=mix, size=setting.groups if of_groups else rows)
    true = true[groups] if of_groups else true
    if len(np.unique(true)) < len(mix):
        return draw_pair(setting, generator)
    correlations = {"alone": (0.0, 0.0), "unlike": (0.3, 0.0)}.get(setting.kind, (0.3, 0.3))
    means = np.full(rows, setting.level), setting.level - setting.shifts[true]
    first, second = (
        generator.uniform(size=rows) < draw_chances(mean, correlation, groups, generator)
        for mean, correlation in zip(means, correlations, strict=True)
    )
    return first, np.where(generator.uniform(size=rows) < 0.5, first, second), true, groups


def measure_balanced(setting: BalancedSetting, *, simulations: int, seed: int) -> dict[str, float]:
    """Percent of paired tests of balanced accuracy with p <= 0.05, coverage of the true difference, mean width."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(simulations):
        first, second, true, groups = draw_pair(setting, generator)
        test = paired_balanced_difference(first, second, true, groups)
        low, high = test.difference.low, test.difference.high
        plain = paired_difference(first, second, groups).p_value
        found.append((test.p_value <= 0.05, low <= setting.truth <= high, high - low, plain <= 0.05))
    means = np.round(100 * np.mean(found, axis=0), 2).tolist()
    return dict(zip(("rejected", "covered", "width", "plain_rejected"), means, strict=True))


def measure_resampled_t(*, simulations: int, seed: int) -> dict[str, float]:
    """Size of the corrected t over 10 random splits of 150 rows; procedures are nearest means on own features."""
    generator = np.random.default_rng(seed)
    rejected, naive = 0, 0
    for _ in range(simulations):
        labels = generator.integers(2, size=150)
        features = labels[:, None] * 0.7 + generator.normal(size=(150, 2))  # one feature per procedure
        differences = np.empty(10)
        for split in range(10):
            order = generator.permutation(150)
            train, test = order[:100], order[100:]
            cuts = (features[train][labels[train] == 0].mean(0) + features[train][labels[train] == 1].mean(0)) / 2
            hits = (features[test] > cuts) == labels[test][:, None]
            differences[split] = hits[:, 0].mean() - hits[:, 1].mean()
        rejected += corrected_resampled_t(differences, n_train=100, n_test=50).p_value <= 0.05
        naive += abs(differences.mean()) > 2.262 * differences.std(ddof=1) / np.sqrt(10)
    return {"rejected": 100 * rejected / simulations, "naive_rejected": 100 * naive / simulations}


@dataclass(frozen=True)
class BestSetting:
    """One row of the table of models against the best."""

    models: int
    rows: int
    groups: int
    kind: str
    level: float
    difference: str

    @property
    def levels(self) -> np.ndarray:
        """`(models,)`: recall, the same in each class, where a model does not share the hits of the others."""
        lower = np.zeros(self.models)
        if self.difference == "one":
            lower[1:] = 0.05
        if self.difference == "half":
            lower[self.models // 2 :] = 0.1
        return self.level - 2 * lower  # half of the rows are as easy for all


def best_settings() -> Iterator[BestSetting]:
    """All rows of the table of models against the best."""
    for models in (3, 16, 40):
        for rows, groups, kind in ((300, 300, "alone"), (1200, 200, "alike"), (300, 50, "alike")):
            for level, difference in ((0.6, "none"), (0.95, "none"), (0.9, "one"), (0.9, "half")):
                yield BestSetting(models, rows, groups, kind, level, difference)


def measure_best(setting: BestSetting, *, simulations: int, seed: int) -> dict[str, float]:
    """Percent of studies with a false call (by all pairs, by Holm), of worse models found, of studies all covered."""
    generator = np.random.default_rng(seed)
    truth = setting.levels / 2
    equal = truth == truth.max()
    found = []
    for _ in range(simulations):
        hits, labels, groups = draw_models(setting, generator)
        told = against_best(hits, labels, groups, draws=1999)
        tests = [(number, test) for number, test in enumerate(told.tests) if test is not None]
        worse = np.array([p <= 0.05 for p in told.p_adjusted])
        alone = [paired_balanced_difference(hits[told.best], hits[number], labels, groups) for number, _ in tests]
        by_holm = holm(np.array([test.p_value for test in alone])) <= 0.05
        covered = all(
            test.difference.low <= truth[told.best] - truth[number] <= test.difference.high for number, test in tests
        )
        false_by_holm = any(call and equal[number] for call, (number, _) in zip(by_holm, tests, strict=True))
        power = worse[~equal].mean() if (~equal).any() else np.nan
        found.append(((worse & equal).any(), false_by_holm, power, covered))
    means = np.round(100 * np.mean(found, axis=0), 2).tolist()
    return dict(zip(("false", "holm", "found", "covered"), means, strict=True))


def draw_models(setting: BestSetting, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits `(models, rows)`, true classes and groups; half of a model's hits are those of all."""
    rows, alike = setting.rows, setting.kind == "alike"
    groups = draw_groups(rows, setting.groups, generator) if alike else np.arange(rows)
    labels = generator.choice(4, p=[0.4, 0.3, 0.2, 0.1], size=rows)
    shared = generator.uniform(size=rows) < setting.level
    own = np.stack(
        [
            generator.uniform(size=rows) < draw_chances(np.full(rows, level), 0.2 if alike else 0.0, groups, generator)
            for level in setting.levels
        ]
    )
    return np.where(generator.uniform(size=own.shape) < 0.5, shared, own), labels, groups


def main() -> None:
    """Run everything, print four tables, append one JSON line per row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=300, help="draws per setting (default 300)")
    parser.add_argument("--bootstraps", type=int, default=40, help="of them also bootstrapped (default 40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(PARTS), help="one of the four tables (default all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage.jsonl")
    arguments = parser.parse_args()
    started = time.perf_counter()
    run = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "simulations": arguments.simulations,
        "bootstraps": arguments.bootstraps,
        "seed": arguments.seed,
    }
    parts = [arguments.only] if arguments.only else list(PARTS)
    lines = [line for part in parts for line in PARTS[part](arguments)]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({**run, **line}) + "\n" for line in lines)
    print(f"{time.perf_counter() - started:.0f} s; appended {len(lines)} lines to {arguments.out}")


def report_coverage(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Print the coverage table; one value per row."""
    error = 100 * np.sqrt(0.95 * 0.05 / arguments.simulations)
    print(f"Coverage in % at nominal 95, Monte Carlo standard error {error:.1f}; (width in points)")
    print(f"{'level':>5} {'mix':>6} {'rows':>5} {'groups':>6} {'kind':>7} {'corr':>4} |", end="")
    names = ["accuracy", "balanced", "macro_f1", "balanced_bca", "macro_f1_bca"]
    print(" ".join(f"{name:>13}" for name in names))
    lines = []
    for number, setting in enumerate(settings()):
        found = measure_coverage(
            setting,
            simulations=arguments.simulations,
            bootstraps=arguments.bootstraps,
            seed=arguments.seed + 1000 * number,
        )
        cells = [
            f"{found[name]['coverage']:5.1f} ({found[name]['width']:4.1f})" if name in found else "" for name in names
        ]
        print(
            f"{setting.level:5} {setting.mix:>6} {setting.rows:5} {setting.groups:6} {setting.kind:>7} "
            f"{setting.correlation:4} |" + " ".join(f"{cell:>13}" for cell in cells),
            flush=True,
        )
        lines.append({"what": "coverage", **asdict(setting), **found})
    report_goal(lines, error)
    return lines


def report_goal(lines: list[dict[str, Any]], error: float) -> None:
    """Print how many settings of 300 rows and 50 groups or more leave 93 to 97 %, by the number of groups."""
    for few in (True, False):
        large = [
            line for line in lines if line["rows"] >= 300 and (line["groups"] == 50 if few else line["groups"] > 50)
        ]
        for level in sorted({line["level"] for line in large}):
            covers = np.array([line[name]["coverage"] for line in large if line["level"] == level for name in METRICS])
            print(
                f"level {level}, {'50 groups' if few else 'more groups'}: mean {covers.mean():.1f} of {len(covers)}; "
                f"{np.sum(covers < 93)} below 93 ({np.sum(covers < 93 - 2 * error)} by two standard errors), "
                f"{np.sum(covers > 97)} above 97 ({np.sum(covers > 97 + 2 * error)})"
            )


def report_sizes(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Print the table of test sizes; one value per row."""
    simulations = 4 * arguments.simulations
    limit = 5 + 200 * np.sqrt(0.05 * 0.95 / simulations)
    print(f"\nRejections in % at p <= 0.05 without a difference; at most {limit:.1f} within Monte Carlo error")
    lines: list[dict[str, Any]] = []
    for level in (0.8, 0.98):
        for rows, groups, kind in (
            (50, 50, "alone"),
            (300, 300, "alone"),
            (2000, 2000, "alone"),
            (100, 10, "alike"),
            (300, 50, "alike"),
            (300, 50, "unlike"),
            (1000, 50, "alike"),
            (2000, 100, "alike"),
            (2000, 100, "unlike"),
            (2000, 500, "unlike"),
        ):
            found = measure_size(rows, groups, kind, level, simulations=simulations, seed=arguments.seed)
            print(
                f"{level:5} {rows:5} {groups:6} {kind:>7} | rejected {found['rejected']:4.1f}, interval holds 0 in "
                f"{found['covered']:5.1f}",
                flush=True,
            )
            setting = {"rows": rows, "groups": groups, "kind": kind, "level": level}
            lines.append({"what": "paired size", **setting, **found})
    found = measure_resampled_t(simulations=simulations, seed=arguments.seed)
    print(f"corrected resampled t: rejected {found['rejected']:.1f}; the naive t {found['naive_rejected']:.1f}")
    return [*lines, {"what": "resampled t size", **found}]


def report_balanced(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Print the table of balanced comparisons; one value per row."""
    errors = 2 * 100 * np.sqrt(0.05 * 0.95 / arguments.simulations)
    print(f"\nBalanced accuracy on unequal classes, in %; two Monte Carlo standard errors are {errors:.1f}")
    lines: list[dict[str, Any]] = []
    for number, setting in enumerate(balanced_settings()):
        seed = arguments.seed + 1000 * number
        found = measure_balanced(setting, simulations=arguments.simulations, seed=seed)
        print(
            f"{setting.level:5} {setting.mix:>6} {setting.rows:5} {setting.groups:6} {setting.kind:>7} "
            f"{setting.difference:>6} | rejected {found['rejected']:5.1f}, covered {found['covered']:5.1f}, "
            f"width {found['width']:5.1f}; plain {found['plain_rejected']:5.1f}",
            flush=True,
        )
        lines.append({"what": "balanced size", **asdict(setting), **found})
    return lines


def report_best(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Print the table of models against the best; one value per row."""
    errors = 2 * 100 * np.sqrt(0.05 * 0.95 / arguments.simulations)
    print(f"\nModels against the best, in % of studies; two Monte Carlo standard errors are {errors:.1f}")
    lines: list[dict[str, Any]] = []
    for number, setting in enumerate(best_settings()):
        found = measure_best(setting, simulations=arguments.simulations, seed=arguments.seed + 1000 * number)
        print(
            f"{setting.models:3} models {setting.rows:5} {setting.groups:4} {setting.kind:>6} {setting.level:5} "
            f"{setting.difference:>5} | false {found['false']:5.1f}, holm {found['holm']:5.1f}, "
            f"found {found['found']:5.1f}, covered {found['covered']:5.1f}",
            flush=True,
        )
        lines.append({"what": "against the best", **asdict(setting), **found})
    return lines


PARTS: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "coverage": report_coverage,
    "sizes": report_sizes,
    "balanced": report_balanced,
    "best": report_best,
}


if __name__ == "__main__":
    main()
