import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from tfcells.images.splits import assign_parts
from tfcells.probes.candidates import score
from tfcells.probes.catalog import PROBES, ProbeKind
from tfcells.probes.crossval import SweepRows, cross_validate, out_of_fold

KINDS = sorted(PROBES)


def drawn(seed=0, *, images=90, classes=3, groups=None, folds=5, signal=1.0):
    """Features, and rows in stratified folds that part no group."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(images) % classes)
    vectors = generator.normal(size=(images, 6)) + signal * generator.normal(size=(classes, 6))[labels]
    groups = np.arange(images) if groups is None else groups
    part = assign_parts(labels, groups, shares=[1 / folds] * folds, seed=seed)
    return vectors, SweepRows(labels=labels, groups=groups, folds=part, classes=classes, seed=seed)


def answers_of(vectors, rows, kind, workers=1):
    return cross_validate(vectors, kind, rows, workers=workers)


class Spy(ClassifierMixin, BaseEstimator):
    """Remembers which rows it learned from; the first feature of a row is its number."""

    def __init__(self, log):
        self.log = log

    def fit(self, vectors, labels):
        self.classes_, self.learned = np.unique(labels), vectors.copy()
        return self

    def predict_proba(self, vectors):
        self.log.append((self.learned, vectors[:, 0].astype(int)))
        return np.full((len(vectors), len(self.classes_)), 1 / len(self.classes_))


@pytest.fixture
def spied(monkeypatch):
    log = []
    monkeypatch.setitem(PROBES, "spy", ProbeKind(build=lambda *_: Spy(log), grid={}, default={}, scaled=False))
    return log


def test_every_row_is_answered_once_by_a_probe_that_saw_neither_it_nor_its_group(spied):
    vectors, rows = drawn(groups=np.arange(90) // 3)
    vectors[:, 0] = np.arange(90)
    answers_of(vectors, rows, "spy")
    assert sorted(np.concatenate([tested for _, tested in spied])) == list(range(90))
    for learned, tested in spied:
        assert not set(rows.groups[learned[:, 0].astype(int)]) & set(rows.groups[tested])
        assert len(learned) + len(tested) == 90


def test_exchanging_what_is_tested_changes_nothing_that_is_learned(spied):
    vectors, rows = drawn()
    vectors[:, 0] = np.arange(90)
    answers_of(vectors, rows, "spy")
    learned = [rows_learned for rows_learned, _ in spied]
    for fold in rows.fold_numbers:
        spied.clear()
        changed = vectors.copy()
        changed[rows.folds == fold] = 1e6
        answers_of(changed, rows, "spy")
        np.testing.assert_array_equal(spied[fold][0], learned[fold])


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_does_not_depend_on_other_held_out_rows_nor_on_any_held_out_label(kind):
    vectors, rows = drawn()
    before = answers_of(vectors, rows, kind).probabilities
    held_out = np.flatnonzero(rows.folds == 2)
    changed, labels = vectors.copy(), rows.labels.copy()
    changed[held_out[1:]] = 1e6 * np.random.default_rng(1).normal(size=(len(held_out) - 1, 6))
    labels[held_out] = (labels[held_out] + 1) % 3
    after = answers_of(
        changed, SweepRows(labels=labels, groups=rows.groups, folds=rows.folds, classes=3, seed=0), kind
    ).probabilities
    np.testing.assert_allclose(after[held_out[0]], before[held_out[0]], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_name_the_fold_teach_nothing(kind):
    # Every class is the fold's own: whoever had seen the held-out fold would know all about it.
    folds = np.arange(100) % 5
    rows = SweepRows(labels=folds.copy(), groups=np.arange(100), folds=folds, classes=5, seed=0)
    answers = answers_of(np.eye(5)[folds], rows, kind)
    assert not answers.hits.any()
    np.testing.assert_array_equal(answers.probabilities[np.arange(100), folds], 0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "forest"])  # which resamples rows by their places
def test_the_order_of_rows_does_not_matter(kind):
    vectors, rows = drawn(groups=np.arange(90) // 2, signal=2.0)
    order = np.random.default_rng(7).permutation(90)
    shuffled = SweepRows(
        labels=rows.labels[order], groups=rows.groups[order], folds=rows.folds[order], classes=3, seed=0
    )
    before, after = answers_of(vectors, rows, kind), answers_of(vectors[order], shuffled, kind)
    np.testing.assert_allclose(after.probabilities, before.probabilities[order], atol=1e-3)
    np.testing.assert_array_equal(after.predicted, before.predicted[order])


@pytest.mark.parametrize("kind", ["logistic", "tree", "knn"])
def test_an_answer_does_not_depend_on_the_number_of_processes(kind):
    vectors, rows = drawn()
    alone, together = (answers_of(vectors, rows, kind, workers=workers) for workers in (1, 2))
    np.testing.assert_array_equal(alone.probabilities, together.probabilities)


def test_a_class_missing_from_a_training_fold_keeps_its_column():
    vectors, rows = drawn(images=30)
    folds = np.where(rows.labels == 1, 0, rows.folds)  # class 1 lies in fold 0 alone
    alone = SweepRows(labels=rows.labels, groups=rows.groups, folds=folds, classes=3, seed=0)
    answers = answers_of(vectors, alone, "logistic")
    np.testing.assert_array_equal(answers.probabilities[folds == 0, 1], 0)
    assert (answers.probabilities[folds == 1] > 0).all()
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)


def test_the_most_probable_class_is_predicted_and_ties_go_to_the_first():
    answers = out_of_fold(np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]), np.array([1, 1, 0]))
    assert answers.predicted.tolist() == [1, 0, 0]
    assert answers.hits.tolist() == [True, False, True]


@pytest.mark.usefixtures("unchecked_shapes")
def test_intervals_of_random_labels_cover_chance():
    covered = []
    for seed in range(40):
        vectors, rows = drawn(seed, images=60, signal=0.0, groups=np.arange(60) // (1 + seed % 2))
        found = score(answers_of(vectors, rows, "tree"), rows)
        covered.append([number.low <= 1 / 3 <= number.high for number in (found.accuracy, found.balanced_accuracy)])
    assert np.mean(covered, axis=0).min() >= 0.875  # of 0.95; fewer than 35 of 40 has a chance of 1 %
