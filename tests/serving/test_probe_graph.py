import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

from tfcells.errors import RequestError
from tfcells.probes.catalog import PROBES, fit_probe
from tfcells.probes.linear import PairedHyperplanes
from tfcells.probes.temperature import TemperatureScaled
from tfcells.serving.probe_graph import Stage, stage_of

KINDS = sorted(PROBES)


def drawn(seed, *, classes, images=90, features=7):
    """Features as a network gives them (float32, not negative, of any size), labels, and rows nobody has seen."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(images) % classes)
    centres = generator.normal(size=(classes, features)) * generator.uniform(0.2, 3)
    scale = 10 ** generator.uniform(-3, 3, features)
    rows = np.maximum(generator.normal(size=(images + 40, features)), -0.5)
    rows[:images] += centres[labels]
    rows[images:] += centres[generator.integers(classes, size=40)]
    return (rows[:images] * scale).astype(np.float32), labels, (rows[images:] * scale).astype(np.float32)


def fitted(kind, seed, classes):
    vectors, labels, unseen = drawn(seed, classes=classes)
    return fit_probe(kind, vectors, labels, np.arange(len(labels)), seed=seed), vectors, unseen.astype(np.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3, 8])
@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 10_000))
def test_the_graph_gives_the_probabilities_of_scikit_learn(kind, classes, seed):
    probe, _, unseen = fitted(kind, seed, classes)
    np.testing.assert_allclose(stage_of(probe)(unseen).numpy(), probe.predict_proba(unseen), atol=1e-9)


@pytest.mark.parametrize("kind", ["logistic", "knn", "tree", "forest"])
@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_a_temperature_is_in_the_graph(kind, classes, temperature):
    probe, _, unseen = fitted(kind, 5, classes)
    scaled = TemperatureScaled(probe, temperature=temperature)
    np.testing.assert_allclose(stage_of(scaled)(unseen).numpy(), scaled.predict_proba(unseen), atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_machines_that_are_kept_as_hyperplanes_are_in_the_graph(classes):
    vectors, labels, unseen = drawn(2, classes=classes)
    machine = SVC(kernel="linear", C=0.1).fit(StandardScaler().fit_transform(vectors), labels)
    planes = PairedHyperplanes(machine.coef_, machine.intercept_, machine.classes_)
    unseen = StandardScaler().fit(vectors).transform(unseen.astype(np.float64))
    said = planes.decision_function(unseen)
    np.testing.assert_allclose(said, machine.decision_function(unseen), atol=1e-9)
    np.testing.assert_array_equal(planes.predict(unseen), machine.predict(unseen))
    np.testing.assert_allclose(stage_of(planes)(unseen).numpy().reshape(said.shape), said, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_the_probe_learned_from_get_the_same_answer_too(kind):
    probe, vectors, _ = fitted(kind, 3, 3)
    vectors = vectors.astype(np.float64)
    np.testing.assert_allclose(stage_of(probe)(vectors).numpy(), probe.predict_proba(vectors), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_and_one_row_are_answered(kind):
    probe, _, unseen = fitted(kind, 1, 3)
    stage = stage_of(probe)
    assert stage(unseen[:0]).shape == (0, 3)
    np.testing.assert_allclose(stage(unseen[:1]), stage(unseen)[:1], atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_fewer_images_than_neighbours_are_all_asked(classes):
    vectors, labels, unseen = drawn(0, classes=classes, images=6)
    probe = fit_probe("knn", vectors, labels, np.arange(6))
    np.testing.assert_allclose(
        stage_of(probe)(unseen.astype(float)).numpy(), probe.predict_proba(unseen.astype(float)), atol=1e-9
    )


def test_a_tree_that_learned_nothing_is_one_leaf():
    probe = fit_probe("tree", np.zeros((12, 2)), np.arange(12) % 3, np.arange(12))
    np.testing.assert_allclose(stage_of(probe)(np.ones((4, 2))), np.full((4, 3), 1 / 3))


def test_a_tree_compares_in_single_precision_as_scikit_learn_does():
    vectors = np.repeat([[0.1], [0.3]], 6, axis=0)
    probe = fit_probe("tree", vectors, np.repeat([0, 1], 6), np.arange(12))
    edge = np.nextafter(np.float64(probe[-1].tree_.threshold[0]), [-1, 1])[:, None]
    np.testing.assert_array_equal(stage_of(probe)(edge).numpy(), probe.predict_proba(edge))


def test_the_numbers_of_a_probe_are_variables_and_none_is_a_constant_of_the_graph():
    stage = stage_of(fitted("knn", 0, 3)[0])
    assert {variable.name.split(":")[0] for variable in stage.variables} == {"mean", "scale", "images", "members"}
    assert not any(variable.trainable for variable in stage.variables)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LinearSVC(), "LinearSVC cannot be exported: its decision values are not the votes of its 3 hyperplanes"),
        (GaussianNB(), r"GaussianNB cannot be exported\. Expected one of: Calibrated"),
        (make_pipeline(MinMaxScaler(), GaussianNB()), "GaussianNB cannot be exported"),
        (MinMaxScaler(clip=True), "MinMaxScaler with clip=True cannot be exported"),
        (PCA(2, whiten=True), "PCA cannot be exported: its scores are not .*without whitening"),
        (SVC(kernel="poly"), "SVC with kernel 'poly'.*Expected kernel 'rbf' or 'linear'"),
        (SVC(decision_function_shape="ovo"), "shape 'ovo' cannot be exported.*Expected .* shape 'ovr'"),
        (KNeighborsClassifier(3), "weights 'uniform' cannot be exported.*Dudani"),
        (KNeighborsClassifier(3, weights=lambda distances: 1 / distances), "weights .* cannot be exported"),
        (KNeighborsClassifier(3, metric="manhattan"), "metric 'manhattan'.*Expected Euclidean"),
        (StandardScaler(with_mean=False), "with_mean=False .* cannot be exported"),
        (StandardScaler(with_std=False), "with_std=False cannot be exported"),
        (CalibratedClassifierCV(SVC(), method="isotonic", ensemble=False, cv=2), "method 'isotonic'"),
        (CalibratedClassifierCV(SVC(), cv=2), "2 estimators cannot be exported.*ensemble=False"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(estimator, message):
    vectors, labels, _ = drawn(0, classes=3)
    with pytest.raises(RequestError, match=message):
        stage_of(estimator.fit(vectors, labels))


@pytest.mark.parametrize("scaler", ["none", "minmax", "standard"])
@pytest.mark.parametrize("components", [0.8, 3])
@pytest.mark.parametrize("kind", ["logistic", "svm", "knn"])
def test_scalings_and_reductions_are_in_the_graph(kind, components, scaler):
    vectors, labels, unseen = drawn(4, classes=3)
    unseen = unseen.astype(np.float64)
    probe = fit_probe(kind, vectors, labels, np.arange(len(labels)), scaler=scaler, components=components)
    np.testing.assert_allclose(stage_of(probe)(unseen).numpy(), probe.predict_proba(unseen), atol=1e-8)


def test_a_stage_without_an_operation_says_so():
    with pytest.raises(TypeError, match="Stage defines no operation"):
        Stage()(np.zeros((1, 1)))
