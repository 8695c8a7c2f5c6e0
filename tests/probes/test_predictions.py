import csv
from dataclasses import replace

import numpy as np
import pytest

from tfcells.images.splits import split_rows
from tfcells.probes.predictions import prediction_columns, write_predictions
from tfcells.probes.reading import Space
from tfcells.probes.sweep import probe_layers


@pytest.fixture
def store(make_store):
    return make_store(labels=np.array([-1, 0, 1, 2] * 30))


@pytest.fixture
def sweep(store):
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups)
    return probe_layers(store, split, space=Space(probes=("logistic",)))


def test_the_file_holds_every_answer_and_can_be_read_back(sweep, tmp_path):
    write_predictions(sweep, tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    answers, names = sweep.best.predictions, sweep.class_names
    assert list(rows[0]) == ["id", "label", "fold", "prediction", "confidence", *(f"p_{name}" for name in names)]
    assert tuple(row["id"] for row in rows) == sweep.ids
    assert [row["label"] for row in rows] == [names[label] for label in sweep.rows.labels]
    assert [int(row["fold"]) for row in rows] == sweep.rows.folds.tolist()
    assert [row["prediction"] for row in rows] == [names[index] for index in answers.predicted]
    read = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    np.testing.assert_allclose(read, answers.probabilities, atol=5.1e-9)
    np.testing.assert_allclose([float(row["confidence"]) for row in rows], read.max(axis=1), atol=1e-12)


def test_names_of_any_kind_are_read_back(sweep, tmp_path):
    strange = ("a,b", 'say "x"', "line\nbreak", "lone\rreturn", "β 🔬", " ")
    ids = (*strange, *sweep.ids[len(strange) :])
    write_predictions(replace(sweep, ids=ids), tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        assert tuple(row["id"] for row in csv.DictReader(file)) == ids


def test_the_hits_in_the_file_are_the_accuracy_that_is_reported(sweep, tmp_path):
    write_predictions(sweep, tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        hits = [row["label"] == row["prediction"] for row in csv.DictReader(file)]
    assert np.mean(hits) == pytest.approx(sweep.best.scores.accuracy.value)


def test_columns_follow_the_rows_they_are_asked_for_and_say_where_nothing_was_asked(store, sweep):
    ids = store.rows.ids[::-1]
    columns = prediction_columns(sweep, ids)
    assert list(columns) == ["prediction", "outcome", "confidence"]
    for place, id in enumerate(ids):
        values = tuple(column[place] for column in columns.values())
        if id not in sweep.ids:
            assert values == ("-", "-", "-")
            continue
        row = sweep.ids.index(id)
        assert values[0] == sweep.class_names[sweep.best.predictions.predicted[row]]
        assert values[1] == ("hit" if sweep.best.predictions.hits[row] else "miss")
        assert float(values[2]) == pytest.approx(sweep.best.predictions.probabilities[row].max(), abs=5e-4)
    assert columns["outcome"].count("-") == 30
