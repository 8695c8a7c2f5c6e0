import json

import numpy as np
import pytest

from tfcells.images.splits import split_rows
from tfcells.probes.candidates import score
from tfcells.probes.crossval import SweepRows, out_of_fold
from tfcells.probes.reading import Space
from tfcells.probes.summary import per_class_json, sweep_json
from tfcells.probes.sweep import probe_layers

SCORES = {"accuracy", "balanced_accuracy", "macro_f1"}
ENTRY = {"taps", "pooling", "scaler", "reduction", "probe", "parameters", "inner_best", "optimism", "tied_with_best"}


@pytest.fixture
def sweep(make_store):
    store = make_store()
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups)
    return probe_layers(store, split, space=Space(probes=("tree",)))


def kinds_in(value):
    if isinstance(value, dict):
        return {type(key) for key in value} | {kind for inner in value.values() for kind in kinds_in(inner)}
    if isinstance(value, list):
        return {kind for inner in value for kind in kinds_in(inner)}
    return {type(value)}


def test_a_summary_is_plain_json_and_survives_the_way_there_and_back(sweep):
    summary = sweep_json(sweep)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert kinds_in(summary) <= {str, int, float, bool, type(None)}  # no NumPy number


def test_the_parts_of_a_summary_are_those_of_the_sweep(sweep):
    summary = sweep_json(sweep)
    assert set(summary) == {
        *("probes", "best", "baselines", "space", "selection", "concatenation", "confusion", "per_class")
    }
    assert len(summary["probes"]) == len(sweep.candidates)
    assert len(summary["baselines"]) == len(sweep.baselines)
    for entry in summary["probes"] + summary["baselines"]:
        assert set(entry) == ENTRY | SCORES | {"best_minus_this"}
        for name in ("accuracy", "balanced_accuracy", "macro_f1"):
            assert entry[name]["low"] <= entry[name]["value"] <= entry[name]["high"]


def test_the_best_is_a_copy_of_the_first_entry_and_says_how_it_was_chosen(sweep):
    summary = sweep_json(sweep)
    assert summary["best"] == {**summary["probes"][0], "selected_by": sweep.selected_by}
    assert summary["best"]["tied_with_best"] is True
    assert summary["best"]["best_minus_this"] is None


def test_every_other_entry_is_compared_with_the_best(sweep):
    summary = sweep_json(sweep)
    best = summary["best"]["balanced_accuracy"]["value"]
    for entry in summary["probes"][1:] + summary["baselines"]:
        against = entry["best_minus_this"]
        assert against["difference"]["value"] == pytest.approx(best - entry["balanced_accuracy"]["value"])
        assert against["p_adjusted"] >= against["p_value"]
        assert entry["tied_with_best"] == (against["p_adjusted"] >= 0.05)


def test_confusion_and_classes_add_up(sweep):
    summary = sweep_json(sweep)
    counts = np.array(summary["confusion"]["counts"])
    assert counts.sum() == len(sweep.ids)
    assert summary["confusion"]["classes"] == [row["class"] for row in summary["per_class"]]
    for index, row in enumerate(summary["per_class"]):
        assert row["images"] == counts[index].sum()
        assert row["recall"]["value"] == pytest.approx(counts[index, index] / counts[index].sum())
        assert row["precision"]["value"] == pytest.approx(counts[index, index] / counts[:, index].sum())


def test_a_class_that_was_never_predicted_has_no_precision_rather_than_a_nan():
    labels = np.array([0, 0, 1])
    rows = SweepRows(labels=labels, groups=np.arange(3), folds=np.arange(3), classes=3, seed=0)
    answers = out_of_fold(np.eye(3)[[0, 0, 0]], labels)
    table = per_class_json(answers, score(answers, rows), rows, ("a", "b", "c"))
    assert table[1]["precision"] is None
    assert (table[2]["images"], table[2]["recall"], table[2]["f1"]) == (0, None, None)
    json.dumps(table, allow_nan=False)
