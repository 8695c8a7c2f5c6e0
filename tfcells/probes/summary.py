"""What a sweep found, as the parts of `results.json` that probes are responsible for."""

from typing import Any

import numpy as np

from tfcells.arrays import Groups, Hits
from tfcells.probes.candidates import Candidate, Scores
from tfcells.probes.crossval import OutOfFold, SweepRows
from tfcells.probes.repeats import METHOD, AgainstBaseline, Repeated
from tfcells.probes.selection import Choice, Selection
from tfcells.probes.sweep import Sweep
from tfcells.stats.intervals import Interval, wilson_clustered, wilson_of_metric
from tfcells.stats.metrics import GroupedConfusion, Tables, Values, confusion_by_group, f1
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
        "scaler": candidate.reading.scaler,
        "reduction": candidate.reading.reduction,
        "probe": candidate.probe,
        "parameters": [dict(chosen) for chosen in candidate.parameters],
        "inner_best": candidate.inner_best,
        "optimism": candidate.optimism,
        **scores_json(candidate.scores),
        "tied_with_best": candidate.tied_with_best,
        "best_minus_this": against,
    }


def sweep_json(sweep: Sweep) -> dict[str, Any]:
    """`probes`, `best`, `baselines`, `space`, `selection`, `concatenation`, `confusion`, `per_class`."""
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
        "space": sweep.space.facts(),
        "selection": selection_json(sweep),
        "concatenation": concatenation,
        "confusion": confusion_json(sweep.best.scores, sweep.class_names),
        "per_class": per_class_json(sweep.best.predictions, sweep.best.scores, sweep.rows, sweep.class_names),
    }


def selection_json(sweep: Sweep) -> dict[str, Any] | None:
    """The nested choice, or None where nothing was chosen by inner folds."""
    selection = sweep.selection
    if selection is None:
        return None
    return {
        **scores_json(selection.scores),
        "inner_best": selection.inner_best,
        "optimism": selection.optimism,
        "ties": selection.ties,
        "choices": [_choice_json(choice) for choice in selection.choices],
        "winner_minus_nested": paired_json(selection.against(sweep.best, sweep.rows)),
        "repeats": [_repeat_json(entry) for entry in sweep.selections],
        "joined": None if sweep.repeated is None else _joined_json(sweep.repeated),
    }


def _choice_json(choice: Choice) -> dict[str, Any]:
    return {
        "fold": choice.fold,
        "taps": list(choice.reading.taps),
        "scaler": choice.reading.scaler,
        "reduction": choice.reading.reduction,
        "probe": choice.reading.probe,
        "parameters": dict(choice.parameters),
        "inner": choice.inner,
    }


def _repeat_json(selection: Selection) -> dict[str, float]:
    return {
        "inner_best": selection.inner_best,
        "optimism": selection.optimism,
        "accuracy": selection.scores.accuracy.value,
        "balanced_accuracy": selection.scores.balanced_accuracy.value,
        "macro_f1": selection.scores.macro_f1.value,
    }


def _joined_json(repeated: Repeated) -> dict[str, Any]:
    return {
        "dealings": repeated.dealings,
        "accuracy": interval_json(repeated.accuracy),
        "balanced_accuracy": interval_json(repeated.balanced_accuracy),
        "macro_f1": interval_json(repeated.macro_f1),
        "inner_best": repeated.inner_best,
        "optimism": repeated.optimism,
        "ties": repeated.ties,
        "method": METHOD,
        "minus_baselines": [_against_json(entry) for entry in repeated.against],
    }


def _against_json(entry: AgainstBaseline) -> dict[str, Any]:
    return {
        "taps": list(entry.reading.taps),
        "scaler": entry.reading.scaler,
        "reduction": entry.reading.reduction,
        "probe": entry.reading.probe,
        **paired_json(entry.test),
        "p_adjusted": entry.p_adjusted,
        "undecided": entry.test.undecided,
    }


def confusion_json(scores: Scores, class_names: tuple[str, ...]) -> dict[str, Any]:
    """`classes`, and `counts` with true classes as rows."""
    return {"classes": list(class_names), "counts": scores.confusion.tolist()}


def per_class_json(
    predictions: OutOfFold, scores: Scores, rows: SweepRows, class_names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Recall, precision and F1 of every class, with their intervals."""
    grouped = confusion_by_group(rows.labels, predictions.predicted, rows.groups, classes=rows.classes)
    table = []
    for index, name in enumerate(class_names):
        mine = rows.labels == index
        table.append(
            {
                "class": name,
                "images": int(mine.sum()),
                "groups": len(np.unique(rows.groups[mine])),
                "recall": _share(predictions.hits, mine, rows.groups),
                "precision": _share(predictions.hits, predictions.predicted == index, rows.groups),
                "f1": _f1(grouped, index),
            }
        )
    return table


def _share(hits: Hits, of: Hits, groups: Groups) -> dict[str, float] | None:
    """Share of hits among some rows; None where there is no such row."""
    return interval_json(wilson_clustered(hits[of], groups[of])) if of.any() else None


def _f1(grouped: GroupedConfusion, index: int) -> dict[str, float] | None:
    def of_class(tables: Tables) -> Values:
        return f1(tables)[..., index]

    return interval_json(wilson_of_metric(grouped, of_class)) if np.isfinite(f1(grouped.total)[index]) else None
