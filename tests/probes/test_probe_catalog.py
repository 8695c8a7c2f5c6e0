import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from tfcells.errors import RequestError, UnknownNameError
from tfcells.probes import catalog
from tfcells.probes.catalog import PROBES, SCALERS, ProbeKind, Training, check_probes, class_probabilities, fit_probe

KINDS = sorted(PROBES)


def drawn(seed=0, *, images=60, classes=3, features=5):
    """Features of classes that can be told apart, mostly."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(images) % classes)
    return generator.normal(size=(images, features)) + generator.normal(size=(classes, features))[labels], labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_probabilities_are_probabilities(kind, classes):
    vectors, labels = drawn(images=80, classes=classes)
    answers = class_probabilities(fit_probe(kind, vectors, labels, np.arange(80)), vectors, classes=classes)
    assert answers.min() >= 0
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_was_not_learned_gets_no_chance_and_moves_no_column(kind):
    vectors, labels = drawn(classes=2)
    learned = fit_probe(kind, vectors, labels * 2, np.arange(60))  # classes 0 and 2
    answers = class_probabilities(learned, vectors, classes=4)
    np.testing.assert_array_equal(answers[:, [1, 3]], 0)
    np.testing.assert_array_equal(answers[:, [0, 2]], learned.predict_proba(vectors))


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_is_the_same_every_time_and_does_not_know_the_store_s_precision(kind):
    vectors, labels = drawn()
    vectors = vectors.astype(np.float32)
    once, again = (
        fit_probe(kind, version, labels, np.arange(60), seed=4).predict_proba(vectors.astype(np.float64))
        for version in (vectors, vectors.astype(np.float64))
    )
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("kind", ["logistic", "ridge", "linear_svm", "svm", "knn"])
def test_the_unit_of_a_feature_does_not_matter(kind):
    vectors, labels = drawn()
    units = np.array([1e-3, 1, 10, 1e3, 1e5])
    plain = fit_probe(kind, vectors, labels, np.arange(60)).predict_proba(vectors)
    other = fit_probe(kind, vectors * units, labels, np.arange(60)).predict_proba(vectors * units)
    np.testing.assert_allclose(plain, other, atol=1e-4)


class Counting(ClassifierMixin, BaseEstimator):
    """Notes how many threads BLAS has."""

    def fit(self, vectors, labels):
        self.classes_, self.threads = np.unique(labels), [blas_threads()]
        return self

    def predict_proba(self, vectors):
        self.threads.append(blas_threads())
        return np.full((len(vectors), len(self.classes_)), 1 / len(self.classes_))


def blas_threads():
    return max(entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas")


def test_one_thread_fits_and_one_answers(monkeypatch):
    monkeypatch.setitem(PROBES, "counting", ProbeKind(build=lambda *_: Counting(), grid={}, default={}, scaled=False))
    vectors, labels = drawn()
    with threadpool_limits(2):
        probe = fit_probe("counting", vectors, labels, np.arange(60))
        class_probabilities(probe, vectors, classes=3)
        assert blas_threads() == 2
    assert probe[-1].threads == [1, 1]


def test_an_unknown_probe_is_named_with_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"Unknown probe 'logistik'. Did you mean 'logistic'\?"):
        check_probes(("knn", "logistik"))


def test_no_probe_at_all_is_refused():
    with pytest.raises(
        RequestError,
        match=r"No probe was named\. Expected one or more of: logistic, .*, forest",
    ):
        check_probes(())


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(2, 5), st.integers(1, 4))
def test_calibration_folds_part_no_group_and_calibrate_every_row_once(seed, classes, per_group):
    generator = np.random.default_rng(seed)
    groups = generator.permutation(np.arange(classes * 24) // per_group)
    labels = groups % classes
    folds = Training(labels, groups, seed).calibration_folds()
    for learning, calibrated in folds:
        assert not set(groups[learning]) & set(groups[calibrated])
        assert set(labels[learning]) == set(range(classes))
    assert sorted(np.concatenate([calibrated for _, calibrated in folds])) == list(range(len(labels)))


def test_two_groups_are_calibrated_in_two_folds():
    labels, groups = np.array([0, 1] * 6), np.repeat([0, 1], 6)
    folds = Training(labels, groups, 0).calibration_folds()
    assert len(folds) == 2
    assert fit_probe("svm", np.random.default_rng(0).normal(size=(12, 3)), labels, groups).classes_.tolist() == [0, 1]


def test_a_class_of_one_group_cannot_be_calibrated_and_says_what_to_do():
    labels = np.array([0] * 10 + [1] * 10)
    groups = np.array([*range(10), *[10] * 10])
    with pytest.raises(RequestError, match=r"Class 1 .* too few groups for svm.*choose more folds, or leave svm out"):
        fit_probe("svm", np.random.default_rng(0).normal(size=(20, 3)), labels, groups)


def test_the_sigmoids_of_the_svm_never_see_a_group_the_machine_learned_from(monkeypatch):
    seen = []

    class Spy(StandardScaler):
        def fit(self, X, y=None, **options):
            seen.append((set(X[:, 0]), []))
            return super().fit(X, y, **options)

        def transform(self, X, **options):
            seen[-1][1].append(set(X[:, 0]))
            return super().transform(X, **options)

    monkeypatch.setattr(catalog, "SCALERS", {**SCALERS, "standard": Spy})
    vectors, labels = drawn()
    groups = np.arange(60) // 4
    vectors[:, 0] = groups
    fit_probe("svm", vectors, labels, groups)
    asked = [part for learned, parts in seen for part in parts if not part <= learned]
    assert len(asked) == 3  # the calibrated parts
    assert all(not part & learned for learned, parts in seen for part in parts if not part <= learned)
    assert seen[-1][0] == set(groups.tolist())  # the machine that stays has learned from all
