"""Do the promises hold? AUC and calibration intervals, abstention, prediction sets, learning curves, by simulation.

    python benchmarks/simulations.py           about 10 minutes on one core
    python benchmarks/simulations.py --quick   a look, in under a minute

Rows of 4 classes (40, 30, 20, 10 %) are normal in 4 features, class means `signal` apart, and the model knows the
true posterior; at `temperature` 1.6 it overstates it. Groups are `copies` (one class) or `slides` (all classes);
rows of a group share a part of each feature, whose variance is the correlation. Their sizes differ like a gamma
variable. The truths are those of 400,000 rows drawn alone, for what a row is like does not depend on its group.
Every percentage of the table stands with its Monte Carlo standard error.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from tfcells.stats.bootstrap import cluster_bootstrap_rows
from tfcells.stats.calibration import calibration_error
from tfcells.stats.conformal import calibrate, measure_coverage
from tfcells.stats.curves import auc_interval
from tfcells.stats.intervals import Interval
from tfcells.stats.learning import fit_learning_curve, labels_needed
from tfcells.stats.metrics import auc, expected_calibration_error
from tfcells.stats.scored import top_label
from tfcells.stats.selective import threshold_for_accuracy

MIX = np.array([0.4, 0.3, 0.2, 0.1])
GROUPINGS = [  # rows, groups, kind, correlation
    (100, 100, "alone", 0.0),
    (300, 300, "alone", 0.0),
    (1000, 1000, "alone", 0.0),
    (100, 20, "slides", 0.3),
    (300, 50, "slides", 0.3),
    (300, 50, "copies", 0.5),
    (1000, 50, "slides", 0.2),
    (1000, 50, "copies", 0.5),
    (1000, 200, "copies", 0.3),
]
ALPHA = 0.1
RULES: dict[str, dict[str, Any]] = {
    "lac": {"score": "lac"},
    "lac_per_class": {"score": "lac", "per_class": True},
    "aps": {"score": "aps"},
    "aps_randomised": {"score": "aps", "seed": 0},
}
LAWS = [(0.05, 2.0, 0.6), (0.0, 1.0, 0.35), (0.1, 4.0, 1.0), (0.02, 0.8, 0.25), (0.2, 0.0, 0.5)]
TRAINED = np.array([50, 100, 200, 400, 800, 1600])
BOOTSTRAPS = 60

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """How rows are drawn."""

    rows: int
    groups: int
    kind: str
    correlation: float
    signal: float
    temperature: float


def draw(setting: Setting, generator: np.random.Generator) -> Rows:
    """Probabilities, true classes and groups; drawn again if a class is without rows."""
    rows, count = setting.rows, setting.groups
    weights = generator.gamma(1.5, size=count)
    sizes = 1 + generator.multinomial(rows - count, weights / weights.sum()) if rows > count else np.ones(count, int)
    groups = np.repeat(np.arange(count), sizes)
    copied = setting.kind == "copies"
    true = generator.choice(4, p=MIX, size=count)[groups] if copied else generator.choice(4, p=MIX, size=rows)
    if len(np.unique(true)) < 4:
        return draw(setting, generator)
    own, shared = generator.normal(size=(rows, 4)), generator.normal(size=(count, 4))[groups]
    features = np.sqrt(setting.correlation) * shared + np.sqrt(1 - setting.correlation) * own
    logits = setting.signal * (features + setting.signal * np.eye(4)[true]) + np.log(MIX)
    return special.softmax(setting.temperature * logits, axis=1), true, groups


@cache
def population(signal: float, temperature: float) -> Rows:
    """400,000 rows alone, to take truths from."""
    return draw(Setting(400_000, 400_000, "alone", 0.0, signal, temperature), np.random.default_rng(99))


def share_in_percent(verdicts: list[bool]) -> dict[str, float]:
    """Percent and its Monte Carlo standard error; one verdict is added on each side so that 0 and 100 have one."""
    share, count = float(np.mean(verdicts)), len(verdicts)
    shrunk = (share * count + 1) / (count + 2)
    return {"percent": round(100 * share, 2), "error": round(100 * float(np.sqrt(shrunk * (1 - shrunk) / count)), 2)}


def holds(interval: Interval, truth: float) -> bool:
    """Whether an interval holds the truth."""
    return bool(interval.low <= truth <= interval.high)


def measure_scores(setting: Setting, simulations: int) -> dict[str, Any]:
    """Coverage of the intervals of AUC and ECE, of BCa's for comparison, and size or power of the test."""
    generator = np.random.default_rng(1)
    everyone, labels, _ = population(setting.signal, setting.temperature)
    area = float(auc(everyone, labels))
    error = 0.0 if setting.temperature == 1 else float(expected_calibration_error(everyone, labels))
    found: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}

    def note(name: str, interval: Interval, truth: float) -> None:
        found.setdefault(name, []).append(holds(interval, truth))
        widths.setdefault(name, []).append(interval.high - interval.low)

    for simulation in range(simulations):
        probabilities, true, groups = draw(setting, generator)
        note("auc", auc_interval(probabilities, true, groups), area)
        calibration = calibration_error(*top_label(probabilities, true), groups, seed=simulation, resamples=300)
        note("ece", calibration.error, error)
        found.setdefault("miscalibration_found", []).append(calibration.distinguishable)
        if simulation < BOOTSTRAPS and setting.rows <= 300:
            for name, metric, truth in (("auc_bca", auc, area), ("ece_bca", expected_calibration_error, error)):
                note(name, bca(metric, (probabilities, true, groups), seed=simulation), truth)
    wide = {f"{name}_width": round(100 * float(np.mean(width)), 2) for name, width in widths.items()}
    return {name: share_in_percent(verdicts) for name, verdicts in found.items()} | wide


def bca(metric: Callable[..., np.ndarray], rows: Rows, *, seed: int) -> Interval:
    """The bootstrap's interval of a metric of row weights."""
    probabilities, true, groups = rows
    return cluster_bootstrap_rows(
        lambda weights: metric(probabilities, true, weights=weights), groups, seed=seed, resamples=300
    )


def measure_abstention(setting: Setting, simulations: int) -> dict[str, Any]:
    """How often a threshold is given, and how often its accuracy on new rows is below the target."""
    confidence, hits = top_label(*population(setting.signal, setting.temperature)[:2])
    order = np.argsort(-confidence)
    falling, right = -confidence[order], np.cumsum(hits[order])
    line: dict[str, Any] = {}
    for target in (0.9, 0.95, 0.99):
        generator = np.random.default_rng(2)
        given, broken, answered = [], [], []
        for _ in range(simulations):
            probabilities, true, groups = draw(setting, generator)
            result = threshold_for_accuracy(*top_label(probabilities, true), groups, target=target)
            given.append(result.threshold is not None)
            answered.append(result.answered / result.rows)
            kept = 0 if result.threshold is None else np.searchsorted(falling, -result.threshold, side="right")
            broken.append(bool(kept and right[kept - 1] / kept < target))
        line[f"given_{target}"], line[f"broken_{target}"] = share_in_percent(given), share_in_percent(broken)
        line[f"answered_{target}"] = round(100 * float(np.mean(answered)), 1)
    return line


def measure_sets(setting: Setting, simulations: int) -> dict[str, Any]:
    """Coverage on new rows of rules that are calibrated on one draw each, and the mean size of their sets."""
    everyone, labels, _ = population(setting.signal, setting.temperature)
    line: dict[str, Any] = {}
    for name, options in RULES.items():
        generator = np.random.default_rng(3)
        covered, sizes, rarest = [], [], []
        for simulation in range(simulations):
            options = options | ({"seed": 2 * simulation} if "seed" in options else {})
            rule = calibrate(*draw(setting, generator), alpha=ALPHA, **options)
            new = generator.integers(len(labels), size=2000)
            sets = rule.sets(everyone[new], seed=2 * simulation + 1)
            hits = sets[np.arange(len(new)), labels[new]]
            covered.append(hits.mean())
            rarest.append(hits[labels[new] == 3].mean())
            sizes.append(sets.sum(axis=1).mean())
        for what, values in ((name, covered), (f"{name}_rarest_class", rarest)):
            error = 100 * float(np.std(values)) / np.sqrt(simulations)
            line[what] = {"percent": round(100 * float(np.mean(values)), 2), "error": round(error, 2)}
        line[f"{name}_size"] = round(float(np.mean(sizes)), 3)
    return line | measure_the_measure(setting, max(2, simulations // 8))


def measure_the_measure(setting: Setting, simulations: int) -> dict[str, Any]:
    """How often the interval of measured coverage holds the mean coverage on new rows; splits of half the groups."""
    generator = np.random.default_rng(4)
    half = Setting(setting.rows // 2, setting.groups // 2, *list(asdict(setting).values())[2:])
    everyone, labels, _ = population(setting.signal, setting.temperature)
    rules = [calibrate(*draw(half, generator), alpha=ALPHA) for _ in range(200)]
    of_truth = 1 - everyone[np.arange(len(labels)), labels][:50_000]
    truth = float(np.mean([(of_truth <= rule.thresholds[0]).mean() for rule in rules]))
    found = [
        measure_coverage(*draw(setting, generator), alpha=ALPHA, seed=seed, splits=10).coverage
        for seed in range(simulations)
    ]
    return {"measured_coverage": share_in_percent([holds(interval, truth) for interval in found])}


def measure_learning(
    law: tuple[float, float, float], *, repeats: int, shared: float, simulations: int
) -> dict[str, Any]:
    """Coverage of scores extrapolated 2 and 10 times, and of the number of labels for a score 4 times away."""
    asymptote, scale, exponent = law
    generator = np.random.default_rng(5)

    def score(size: float) -> float:
        return 1 - asymptote - scale * size**-exponent

    far = 4 * int(TRAINED[-1])
    found: dict[str, list[bool]] = {"at_2x": [], "at_10x": [], "labels": []}
    for _ in range(simulations):
        noise = 0.02 * (TRAINED / 50) ** -0.4 * generator.normal(size=(repeats, len(TRAINED)))
        scores = 1 - asymptote - scale * TRAINED**-exponent + noise + shared * generator.normal(size=(repeats, 1))
        curve = fit_learning_curve(TRAINED, np.clip(scores, 0, 1))
        for name, times in (("at_2x", 2), ("at_10x", 10)):
            found[name].append(holds(curve.predict(times * TRAINED[-1]), score(times * TRAINED[-1])))
        needed = labels_needed(curve, score(far))
        # Sizes are looked for on a grid whose steps are 1.5 %.
        found["labels"].append((needed.low or np.inf) <= 1.015 * far and (needed.high or np.inf) >= far / 1.015)
    return {name: share_in_percent(verdicts) for name, verdicts in found.items()}


def settings(signals: tuple[float, ...], temperatures: tuple[float, ...]) -> Iterator[Setting]:
    """All groupings with each model."""
    for signal in signals:
        for temperature in temperatures:
            for grouping in GROUPINGS:
                yield Setting(*grouping, signal, temperature)


def run_all(simulations: int) -> Iterator[dict[str, Any]]:
    """One line of results after another."""
    for setting in settings((2.0, 3.0), (1.0, 1.6)):
        yield {"what": "scores", **asdict(setting), **measure_scores(setting, simulations)}
    for setting in settings((2.0, 3.0), (1.6,)):
        yield {"what": "abstention", **asdict(setting), **measure_abstention(setting, simulations)}
    for setting in settings((2.0,), (1.6,)):
        yield {"what": "sets", **asdict(setting), **measure_sets(setting, simulations)}
    for law in LAWS:
        for repeats, shared in ((3, 0.005), (5, 0.0), (5, 0.01), (10, 0.005)):
            found = measure_learning(law, repeats=repeats, shared=shared, simulations=simulations)
            yield {"what": "learning", "law": law, "repeats": repeats, "shared": shared, **found}


def describe(line: dict[str, Any]) -> str:
    """A line of the table: percentages with their Monte Carlo standard errors, numbers as they are."""
    cells = []
    for name, value in line.items():
        shown = f"{value['percent']:.1f}±{value['error']:.1f}" if isinstance(value, dict) else f"{value}"
        cells.append(shown if name == "what" else f"{name} {shown}")
    return ", ".join(cells)


def main() -> None:
    """Run everything, print a line per setting, append the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 simulations of each setting instead of 200")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "simulations.jsonl")
    arguments = parser.parse_args()
    simulations = 10 if arguments.quick else 200
    started = time.perf_counter()
    run = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "simulations": simulations,
    }
    lines = []
    for line in run_all(simulations):
        print(describe(line), flush=True)
        lines.append(json.dumps({**run, **line}) + "\n")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("a", encoding="utf-8") as file:
        file.writelines(lines)
    wall, computing = time.perf_counter() - started, time.process_time()
    print(f"{wall:.0f} s, {computing:.0f} s of them computing; appended {len(lines)} lines to {arguments.out}")


if __name__ == "__main__":
    main()
