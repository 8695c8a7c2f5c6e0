"""Whether out-of-fold probabilities can be used: ranking, calibration, abstention, prediction sets."""

from typing import Any, Final

import numpy as np

from tfcells.probes.crossval import OutOfFold, SweepRows
from tfcells.probes.summary import interval_json
from tfcells.stats.calibration import calibration_error, reliability_diagram
from tfcells.stats.conformal import measure_coverage
from tfcells.stats.curves import auc_interval, roc_curve, threshold_curve
from tfcells.stats.scored import top_label
from tfcells.stats.selective import coverage_curve, threshold_for_accuracy

TARGETS: Final = (0.9, 0.95, 0.99)
"""Accuracies for which the least confidence is looked for."""

ALPHA: Final = 0.1
"""Share of prediction sets that may miss the true class."""

_BINS: Final = 10
_POINTS: Final = 60  # of a curve in results.json


def probabilities_json(
    predictions: OutOfFold, rows: SweepRows, class_names: tuple[str, ...], *, seed: int
) -> dict[str, Any]:
    """What the probabilities of a sweep's best candidate are worth.

    Args:
        predictions: Out of fold; probabilities of every probe are calibrated inside the folds.
        rows: Labels, groups and folds.
        class_names: Names of the classes.
        seed: Of the resampling in the calibration test, and of the splits that measure coverage.

    Returns:
        `auc` (macro and by class, with ROC and threshold curves), `calibration` (error, test, reliability diagram),
        `abstention` (curve, and the least confidence for each of `TARGETS`), `prediction_sets` (measured coverage).
    """
    known = predictions.probabilities.sum(axis=1) > 0
    told, labels, groups = predictions.probabilities[known], rows.labels[known], rows.groups[known]
    confidence, hits = top_label(told, labels)
    error = calibration_error(confidence, hits, groups, seed=seed, bins=_BINS)
    diagram = reliability_diagram(confidence, hits, groups, bins=_BINS)
    curve = coverage_curve(confidence, hits, groups, points=_POINTS)
    return {
        "auc": {
            "macro": interval_json(auc_interval(told, labels, groups)),
            "classes": [_class_auc(told, labels, groups, index, name) for index, name in enumerate(class_names)],
        },
        "calibration": {
            "error": interval_json(error.error),
            "observed": error.observed,
            "by_chance": error.by_chance,
            "p_value": error.p_value,
            "distinguishable": bool(error.distinguishable),
            "bins": _columns(
                count=diagram.count,
                confidence=diagram.confidence,
                accuracy=diagram.accuracy,
                low=diagram.low,
                high=diagram.high,
            ),
        },
        "abstention": {
            "curve": _columns(
                threshold=curve.threshold,
                coverage=curve.coverage,
                accuracy=curve.accuracy,
                low=curve.low,
                high=curve.high,
            ),
            "targets": [_target(confidence, hits, groups, target) for target in TARGETS],
        },
        "prediction_sets": _prediction_sets(told, labels, groups, class_names, seed=seed),
    }


def _class_auc(told: np.ndarray, labels: np.ndarray, groups: np.ndarray, index: int, name: str) -> dict[str, Any]:
    if not (labels == index).any() or (labels == index).all():
        return {"class": name, "auc": None, "roc": None, "thresholds": None}
    curve, cuts = roc_curve(told, labels, of_class=index), threshold_curve(told, labels, of_class=index)
    shown = _some_of(len(curve.threshold))
    # At thresholds that are evenly spaced as numbers: most scores lie near 0.
    called = np.unique(np.searchsorted(cuts.threshold, np.linspace(0, cuts.threshold[-1], _POINTS)))
    return {
        "class": name,
        "auc": interval_json(auc_interval(told, labels, groups, of_class=index)),
        "roc": {
            "false_positive_rate": curve.false_positive_rate[shown].tolist(),
            "true_positive_rate": curve.true_positive_rate[shown].tolist(),
        },
        "thresholds": {
            "threshold": cuts.threshold[called].tolist(),
            "sensitivity": cuts.sensitivity[called].tolist(),
            "specificity": cuts.specificity[called].tolist(),
            "positive_predictive_value": cuts.positive_predictive_value[called].tolist(),
            "f1": cuts.f1[called].tolist(),
        },
    }


def _some_of(points: int) -> np.ndarray:
    return np.unique(np.linspace(0, points - 1, _POINTS).round().astype(np.int64))


def _target(confidence: np.ndarray, hits: np.ndarray, groups: np.ndarray, target: float) -> dict[str, Any]:
    found = threshold_for_accuracy(confidence, hits, groups, target=target)
    return {
        "target": target,
        "threshold": found.threshold,
        "answered": int(found.answered),
        "accuracy": None if found.accuracy is None else interval_json(found.accuracy),
        "coverage": None if found.coverage is None else interval_json(found.coverage),
        "statement": found.statement,
    }


def _prediction_sets(
    told: np.ndarray, labels: np.ndarray, groups: np.ndarray, class_names: tuple[str, ...], *, seed: int
) -> dict[str, Any]:
    measured = measure_coverage(told, labels, groups, seed=seed, alpha=ALPHA)
    return {
        "promised": 1 - ALPHA,
        "coverage": interval_json(measured.coverage),
        "mean_size": measured.mean_size,
        "singletons": measured.singletons,
        "empty": measured.empty,
        "classes": [
            {"class": name, "coverage": None if interval is None else interval_json(interval)}
            for name, interval in zip(class_names, measured.per_class, strict=True)
        ],
    }


def _columns(**columns: np.ndarray) -> list[dict[str, float | None]]:
    """Arrays side by side as rows; null where a number is not known."""
    names = list(columns)
    return [
        {name: float(value) if np.isfinite(value) else None for name, value in zip(names, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]
