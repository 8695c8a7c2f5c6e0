import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from tfcells.probes.catalog import PROBES
from tfcells.probes.crossval import SweepRows
from tfcells.probes.gram.columns import as_columns, tap_columns
from tfcells.probes.labels_needed import learning_json
from tfcells.probes.leak import leak_tax
from tfcells.probes.nested import answer_fold
from tfcells.probes.reading import Reading, Space, usual_reading
from tfcells.probes.refit import Refit, predict_each


def cells(width, *, images=96, classes=3, seed=0):
    """Rows in pairs; classes half a standard deviation apart on the first columns."""
    generator = np.random.default_rng(seed)
    groups = np.arange(images) // 2
    labels = groups % classes
    vectors = generator.normal(size=(images, width)) + 1.5 * np.eye(classes, width)[labels]
    return vectors, SweepRows(labels=labels, groups=groups, folds=groups // classes % 4, classes=classes, seed=seed)


@dataclass
class Watched:
    """Columns that note how many of them were asked for at once."""

    array: np.ndarray
    asked: list[int] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        return self.array.shape

    def columns(self, start: int, stop: int) -> np.ndarray:
        self.asked.append(min(stop, self.array.shape[1]) - start)
        return self.array[:, start:stop]


def refit_of(rows, reading, parameters=None, fold=0):
    return Refit(
        rows=rows,
        reading=reading,
        parameters={**PROBES[reading.probe].default, **(parameters or {})},
        learning=np.flatnonzero(rows.folds != fold),
        asked=np.flatnonzero(rows.folds == fold),
    )


@pytest.mark.parametrize("probe", list(PROBES))
@pytest.mark.parametrize("reduction", ["none", "pca:0.8"])
@pytest.mark.parametrize("width", [6, 200])
def test_it_predicts_what_the_nested_sweep_predicts_at_the_same_parameters(probe, reduction, width):
    vectors, rows = cells(width)
    scaler = usual_reading(probe).scaler if reduction == "none" else "minmax"
    reading = Reading(taps=("a",), scaler=scaler, reduction=reduction, probe=probe)
    space = Space(probes=(probe,), inner_folds=3)
    (swept,) = answer_fold(as_columns(vectors), rows, space, [reading], fold=1)
    chosen = space.parameters(probe)[swept.chosen]
    said = refit_of(rows, reading, chosen, fold=1).predict(as_columns(vectors), inner_folds=3)
    assert said.tolist() == swept.probabilities.argmax(axis=1).tolist()


def test_a_layer_wider_than_memory_is_read_block_by_block():
    vectors, rows = cells(5000, images=60)
    reading = Reading(taps=("a",), scaler="minmax", reduction="pca:0.8", probe="svm")
    watched = Watched(vectors)
    said = refit_of(rows, reading).predict(watched, memory=8 * 60 * 600)
    assert max(watched.asked) < 1000
    assert said.tolist() == refit_of(rows, reading).predict(as_columns(vectors)).tolist()


def test_answers_come_in_order_whatever_the_number_of_processes():
    vectors, rows = cells(8)
    refits = [refit_of(rows, usual_reading("logistic"), fold=fold) for fold in rows.fold_numbers]
    one, two = ([said.tolist() for said in predict_each(as_columns(vectors), refits, workers=n)] for n in (1, 2))
    assert one == two
    assert [len(said) for said in one] == [len(refit.asked) for refit in refits]


def test_layers_of_a_store_are_read_by_other_processes_too(make_store):
    store = make_store(images=60)
    rows = SweepRows(labels=store.rows.labels, groups=np.arange(60), folds=np.arange(60) % 3, classes=3, seed=0)
    source = tap_columns(store, store.taps, np.arange(60)[::-1].copy())
    rows = replace(rows, labels=rows.labels[::-1].copy())
    assert source.columns(0, 2).shape == (60, 2)  # its maps are open when it is sent
    refits = [refit_of(rows, usual_reading("logistic"), fold=fold) for fold in rows.fold_numbers]
    one, two = ([said.tolist() for said in predict_each(source, refits, workers=n)] for n in (1, 2))
    assert one == two


def test_the_learning_curve_ends_where_the_sweep_is():
    vectors, rows = cells(8, images=192)
    reading, space = usual_reading("ridge", ("a",)), Space(probes=("ridge",), inner_folds=3)
    answers = [answer_fold(as_columns(vectors), rows, space, [reading], fold=fold)[0] for fold in rows.fold_numbers]
    parameters = [space.parameters("ridge")[answer.chosen] for answer in answers]
    found = learning_json(vectors, rows, reading, parameters, inner_folds=3)
    hits = [
        np.mean(answer.probabilities.argmax(axis=1) == rows.labels[rows.folds == fold])
        for fold, answer in zip(rows.fold_numbers, answers, strict=True)
    ]
    assert found["points"][-1] == {"rows": 144, "accuracy": pytest.approx(np.mean(hits))}
    assert learning_json(vectors, rows, reading, parameters, inner_folds=3, workers=2) == found
    json.dumps(found)


def test_the_curve_starts_where_every_class_can_be_learned_and_calibrated():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(48), 10)
    labels = (np.arange(48) % 4)[groups]
    rows = SweepRows(labels=labels, groups=groups, folds=groups // 4 % 4, classes=4, seed=0)
    vectors = generator.normal(size=(480, 6)) + np.eye(4, 6)[labels]
    starts = {}
    for probe in ("logistic", "svm"):
        parameters = [PROBES[probe].default] * 4
        starts[probe] = [
            entry["rows"] for entry in learning_json(vectors, rows, usual_reading(probe), parameters)["points"]
        ]
    assert starts["logistic"][0] == 50  # 15 % of 360 hold a group of each class, 10 % do not
    assert starts["svm"][0] == 110  # 30 % hold two of each: one is held out to calibrate
    assert {sizes[-1] for sizes in starts.values()} == {360}
    assert all(len(sizes) == 5 for sizes in starts.values())


def test_the_leak_tax_is_of_the_reading_that_is_asked_for():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 3)
    labels = generator.permutation(np.arange(40) % 2)[groups]
    noise = 100 * generator.normal(size=(120, 30))
    centres = generator.normal(size=(40, 4))
    vectors = np.concatenate([centres[groups] + 0.01 * generator.normal(size=(120, 4)), noise], axis=1)
    found = {
        scaler: leak_tax(
            vectors,
            labels,
            groups,
            reading=Reading(taps=(), scaler=scaler, reduction="none", probe="knn"),
            parameters={"neighbors": 5},
            repeats=2,
        )
        for scaler in ("none", "standard")
    }
    assert found["none"].random < 0.65  # the copies are alike in columns that the unscaled distance does not see
    assert found["standard"].random > found["none"].random
    assert found["standard"].parameters == {"neighbors": 5}
