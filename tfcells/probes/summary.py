"""What a sweep found, as the parts of `results.json` that probes are responsible for."""

from typing import Any

import numpy as np

from tfcells.arrays import Groups, Hits
from tfcells.probes.crossval import OutOfFold, SweepRows
from tfcells.probes.sweep import Candidate, Scores, Sweep
from tfcells.stats.intervals import Interval, wilson_clustered
from tfcells.stats.metrics import f1, precision
from tfcells.stats.paired import PairedTest


def interval_json(interval: Interval) -> dict[str, float]:
    """`value`, `low`, `high`."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def scores_json(scores: Scores) -> dict[str, Any]:
    """The three numbers that stand everywhere."""
    return {
        "accuracy": interval_json(scores.accuracy),
        "balanced_accuracy": interval_json(scores.balanced_accuracy),
        "macro_f1": interval_json(scores.macro_f1),
    }


def paired_json(test: PairedTest) -> dict[str, Any]:
    """`difference`, `p_value`, `method`."""
    return {"difference": interval_json(test.difference), "p_value": test.p_value, "method": test.method}


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    """One entry of `probes` or `baselines`."""
    against = None
    if candidate.against_best is not None:
        against = {**paired_json(candidate.against_best), "p_adjusted": candidate.p_adjusted}
    return {
        "taps": list(candidate.taps),
        "pooling": candidate.pooling,
        "probe": candidate.probe,
        "reduction": "none",
        **scores_json(candidate.scores),
        "tied_with_best": candidate.tied_with_best,
        "best_minus_this": against,
    }


def sweep_json(sweep: Sweep) -> dict[str, Any]:
    """`probes`, `best`, `baselines`, `concatenation`, `confusion`, `per_class`."""
    concatenation = None
    if sweep.concatenation is not None:
        together, single, test = sweep.concatenation
        concatenation = {
            "all_taps": {"taps": list(together.taps), "probe": together.probe},
            "best_single_tap": {"taps": list(single.taps), "probe": single.probe},
            **paired_json(test),
        }
    return {
        "probes": [candidate_json(candidate) for candidate in sweep.candidates],
        "best": {**candidate_json(sweep.best), "selected_by": sweep.selected_by},
        "baselines": [candidate_json(candidate) for candidate in sweep.baselines],
        "concatenation": concatenation,
        "confusion": confusion_json(sweep.best.scores, sweep.class_names),
        "per_class": per_class_json(sweep.best.predictions, sweep.best.scores, sweep.rows, sweep.class_names),
    }


def confusion_json(scores: Scores, class_names: tuple[str, ...]) -> dict[str, Any]:
    """`classes`, and `counts` with true classes as rows."""
    return {"classes": list(class_names), "counts": scores.confusion.tolist()}


def per_class_json(
    predictions: OutOfFold, scores: Scores, rows: SweepRows, class_names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Recall with its interval, precision and F1 of every class."""
    table = []
    for index, name in enumerate(class_names):
        mine = rows.labels == index
        table.append(
            {
                "class": name,
                "images": int(mine.sum()),
                "groups": len(np.unique(rows.groups[mine])),
                "recall": _recall(predictions.hits[mine], rows.groups[mine]),
                "precision": _number(precision(scores.confusion)[index]),
                "f1": _number(f1(scores.confusion)[index]),
            }
        )
    return table


def _recall(hits: Hits, groups: Groups) -> dict[str, float] | None:
    return interval_json(wilson_clustered(hits, groups)) if len(hits) else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
