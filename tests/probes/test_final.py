from dataclasses import replace

import numpy as np
import pytest

from tfcells.errors import EmptyDataError, RequestError
from tfcells.images.splits import split_rows
from tfcells.probes import final as final_module
from tfcells.probes.catalog import fit_probe, usual_scaler
from tfcells.probes.final import ask_holdout, fit_final
from tfcells.probes.reading import Reading, Space

PLAIN = Space(inner_folds=0)


def reading(kind, *taps):
    return Reading(taps=taps, scaler=usual_scaler(kind), reduction="none", probe=kind)


@pytest.fixture
def store(make_store):
    return make_store(images=150, groups=[f"patient {row // 2}" for row in range(150)], signal=2.0)


@pytest.fixture
def split(store):
    rows = store.rows
    return split_rows(rows.ids, rows.labels, rows.class_names, rows.groups, holdout=0.3)


def rows_marked(split, part):
    return np.flatnonzero(np.array(split.parts) == part)


def test_the_final_probe_learns_from_training_rows_and_from_all_of_them(store, split, monkeypatch):
    learned = []
    monkeypatch.setattr(final_module, "fit_probe", lambda kind, *data, **options: learned.append(data))
    fit_final(store, split, reading("knn", *["late", "early"]), space=PLAIN)
    ((vectors, labels, groups),) = learned
    rows = rows_marked(split, "train")
    np.testing.assert_array_equal(vectors, store.table(["late", "early"]).vectors[rows])
    np.testing.assert_array_equal(labels, store.rows.labels[rows])
    assert len(np.unique(groups)) == len({split.groups[row] for row in rows})


@pytest.mark.parametrize("kind", ["logistic", "knn", "svm", "tree"])
def test_a_final_probe_answers_for_any_rows_of_the_store(store, split, kind):
    final = fit_final(store, split, reading(kind, *["late"]), space=PLAIN, seed=2)
    rows = np.array([5, 0, 149])
    said = final.probabilities(store, rows)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    np.testing.assert_array_equal(said, final.probe.predict_proba(store.table("late").vectors[rows].astype(float)))
    assert (final.taps, final.reading.probe, final.class_names) == (("late",), kind, store.rows.class_names)


def test_the_holdout_is_disjoint_from_what_was_learned_by_row_and_by_group(store, split):
    held, learned = rows_marked(split, "holdout"), rows_marked(split, "train")
    assert not {split.groups[row] for row in held} & {split.groups[row] for row in learned}
    answers, rows = ask_holdout(fit_final(store, split, reading("logistic", *["late"]), space=PLAIN), store, split)
    assert len(answers.hits) == len(held)
    np.testing.assert_array_equal(rows.labels, store.rows.labels[held])
    assert answers.hits.mean() > 0.8


def test_the_holdout_is_asked_once(store, split, monkeypatch):
    final = fit_final(store, split, reading("logistic", *["late"]), space=PLAIN)
    asked = []
    plain = final.probe.predict_proba
    monkeypatch.setattr(final.probe, "predict_proba", lambda vectors: asked.append(len(vectors)) or plain(vectors))
    ask_holdout(final, store, split)
    assert asked == [len(rows_marked(split, "holdout"))]


def test_labels_of_the_holdout_change_no_answer(store, split, monkeypatch):
    final = fit_final(store, split, reading("svm", *["late"]), space=PLAIN)
    before, _ = ask_holdout(final, store, split)
    held = rows_marked(split, "holdout")
    labels = store.rows.labels.copy()
    labels[held] = np.random.default_rng(0).permutation(labels[held])
    monkeypatch.setitem(store.__dict__, "rows", replace(store.rows, labels=labels))
    after, _ = ask_holdout(fit_final(store, split, reading("svm", *["late"]), space=PLAIN), store, split)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)


def test_without_a_holdout_there_is_nothing_to_ask(store):
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups)
    with pytest.raises(EmptyDataError, match="is marked 'holdout'"):
        ask_holdout(fit_final(store, split, reading("tree", *["late"]), space=PLAIN), store, split)


def test_a_class_that_only_the_holdout_holds_is_refused_by_name(store, split):
    parts = tuple("holdout" if label == 1 else part for label, part in zip(store.rows.labels, split.parts, strict=True))
    with pytest.raises(RequestError, match="Class 'class 1' is in the holdout, but none of its rows is marked 'train'"):
        fit_final(store, replace(split, parts=parts), reading("logistic", *["late"]), space=PLAIN)


def test_the_final_probe_is_the_probe_of_the_catalog(store, split):
    rows = rows_marked(split, "train")
    _, groups = np.unique([split.groups[row] for row in rows], return_inverse=True)
    plain = fit_probe("tree", store.table("early").vectors[rows], store.rows.labels[rows], groups, seed=3)
    final = fit_final(store, split, reading("tree", *["early"]), space=PLAIN, seed=3)
    vectors = store.table("early").vectors
    np.testing.assert_array_equal(final.probabilities(store, np.arange(150)), plain.predict_proba(vectors))
