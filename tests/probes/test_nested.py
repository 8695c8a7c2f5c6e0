"""The nested answer is the answer of the probe that would be fitted, and nothing of a fold leaks into its choice."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from tfcells.errors import RequestError
from tfcells.images.splits import assign_parts
from tfcells.probes import paths
from tfcells.probes.calibration import HeldOut, calibrated
from tfcells.probes.catalog import PROBES, Training, class_probabilities, fit_probe, pipeline_of
from tfcells.probes.crossval import SweepRows
from tfcells.probes.gram.columns import as_columns
from tfcells.probes.linear import ridge
from tfcells.probes.nested import answer_fold
from tfcells.probes.reading import Reading, Space, components_of
from tfcells.probes.temperature import TemperatureScaled, fit_temperature

WIDE, TALL = 150, 8  # columns: more than the rows, and fewer


def drawn(width, *, images=90, classes=3, per_group=1, signal=1.0, seed=0):
    """Features, and rows in stratified folds that part no group."""
    generator = np.random.default_rng(seed)
    groups = np.arange(images) // per_group
    labels = generator.permutation(np.arange(images // per_group) % classes)[groups]
    centres = signal * generator.normal(size=(classes, width))
    features = (generator.normal(size=(images, width)) + centres[labels]) * 10.0 ** generator.uniform(-1, 1, width)
    folds = assign_parts(labels, groups, shares=[0.25] * 4, seed=seed)
    return features, SweepRows(labels=labels, groups=groups, folds=folds, classes=classes, seed=seed)


def reading(probe, scaler="standard", reduction="none"):
    return Reading(taps=("late",), scaler=scaler, reduction=reduction, probe=probe)


def answered(features, rows, space, *readings, fold=1, **options):
    return answer_fold(as_columns(features), rows, space, list(readings), fold=fold, **options)


def fitted_on(features, training, how, space, found):
    """The reading as scikit-learn fits it on the matrix, calibrated by probes that are fitted on parts of it."""
    options = {
        "scaler": how.scaler,
        "components": components_of(how.reduction),
        "parameters": space.parameters(how.probe)[found.chosen],
    }
    if PROBES[how.probe].decides:
        return fit_probe(
            how.probe, features, training.labels, training.groups, inner_folds=3, seed=training.seed, **options
        )
    told = np.zeros((len(features), training.labels.max() + 1))
    for learns, tested in training.folds(3):
        part = pipeline_of(
            how.probe, Training(training.labels[learns], training.groups[learns], training.seed), **options
        )
        told[tested] = part.fit(features[learns], training.labels[learns]).predict_proba(features[tested])
    whole = pipeline_of(how.probe, training, **options).fit(features, training.labels)
    return TemperatureScaled(whole, temperature=fit_temperature(told, training.labels))


@pytest.mark.parametrize("width", [TALL, WIDE])
@pytest.mark.parametrize("reduction", ["none", "pca:0.8", "pca:5"])
@pytest.mark.parametrize(
    ("probe", "scaler"),
    [
        ("logistic", "standard"),
        ("svm", "standard"),
        ("svm", "minmax"),
        ("svm", "none"),
        ("linear_svm", "minmax"),
        ("ridge", "standard"),
        ("knn", "standard"),
        ("tree", "none"),
    ],
)
def test_a_fold_is_answered_as_by_the_probe_that_is_exported(probe, scaler, reduction, width):
    features, rows = drawn(width, per_group=2)
    space = Space(probes=(probe,), inner_folds=3)
    (found,) = answered(features, rows, space, reading(probe, scaler, reduction))
    learning, asked = np.flatnonzero(rows.folds != 1), rows.folds == 1
    fitted = fitted_on(features[learning], rows.training(learning), reading(probe, scaler, reduction), space, found)
    expected = class_probabilities(fitted, features[asked], classes=3)
    if probe == "tree" and reduction != "none":  # the sign of a component decides between equal splits
        assert (found.probabilities.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.8
    else:
        tolerance = 1e-3 if probe == "logistic" else 1e-4  # iterations stop where they are close
        np.testing.assert_allclose(found.probabilities, expected, atol=tolerance)


def test_forests_are_read_from_the_features_themselves():
    features, rows = drawn(WIDE, images=60)
    (found,) = answered(features, rows, Space(probes=("forest",), inner_folds=0), reading("forest", "none"))
    learning, asked = rows.folds != 1, rows.folds == 1
    how, space = reading("forest", "none"), Space(probes=("forest",), inner_folds=0)
    fitted = fitted_on(features[learning], rows.training(learning), how, space, found)
    np.testing.assert_allclose(found.probabilities, fitted.predict_proba(features[asked]))


@pytest.mark.parametrize("width", [TALL, WIDE])
def test_the_inner_score_is_that_of_a_cross_validation_within_the_training_rows(width):
    features, rows = drawn(width, per_group=3, signal=0.3)
    space = Space(probes=("knn",), inner_folds=4)
    (found,) = answered(features, rows, space, reading("knn"))
    learning = np.flatnonzero(rows.folds != 1)
    for parameters, score in zip(space.parameters("knn"), found.inner, strict=True):
        said = np.zeros(len(learning), dtype=np.int64)
        for learns, tested in rows.training(learning).folds(4):
            own = learning[learns]
            assert not set(rows.groups[own]) & set(rows.groups[learning[tested]])
            fitted = fit_probe("knn", features[own], rows.labels[own], rows.groups[own], parameters=parameters)
            said[tested] = fitted.predict(features[learning[tested]])
        hits = said == rows.labels[learning]
        recalls = [hits[rows.labels[learning] == label].mean() for label in range(3)]
        assert score == pytest.approx(np.mean(recalls))
    assert found.inner_best == found.inner.max()


def test_neither_features_nor_labels_of_the_outer_fold_change_what_is_chosen():
    features, rows = drawn(WIDE, signal=0.3)
    how = [reading("svm"), reading("svm", "minmax", "pca:0.8"), reading("knn")]
    space = Space(probes=("svm", "knn"), grids={"svm": {"gamma": ["scale", "auto"]}})
    before = answered(features, rows, space, *how)
    held_out = rows.folds == 1
    changed, labels = features.copy(), rows.labels.copy()
    changed[held_out] = 1e3 * np.random.default_rng(1).normal(size=changed[held_out].shape)
    labels[held_out] = (labels[held_out] + 1) % 3
    after = answered(changed, replace(rows, labels=labels), space, *how)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one.inner, other.inner)
        assert one.chosen == other.chosen


def test_of_equal_parameters_the_more_cautious_is_taken():
    features, rows = drawn(TALL, signal=20.0)  # everything is told apart by any number of neighbours
    (found,) = answered(features, rows, Space(probes=("knn",)), reading("knn"))
    np.testing.assert_array_equal(found.inner, 1.0)
    assert Space().parameters("knn")[found.chosen] == {"neighbors": 21}


def test_without_inner_folds_nothing_is_scored():
    features, rows = drawn(TALL)
    (found,) = answered(features, rows, Space(probes=("knn",), inner_folds=0), reading("knn"))
    assert np.isnan(found.inner_best)
    assert found.probabilities.shape == ((rows.folds == 1).sum(), 3)


def test_all_rows_can_learn_and_nobody_be_asked():
    features, rows = drawn(WIDE)
    (found,) = answered(features, rows, Space(probes=("svm",)), reading("svm"), fold=None)
    assert found.probabilities.shape == (0, 3)
    assert 0 <= found.chosen < 2


@pytest.mark.parametrize("probe", [name for name, kind in PROBES.items() if kind.decides])
def test_two_classes_are_decided_by_one_column(probe):
    features, rows = drawn(TALL, classes=2, signal=2.0)
    (found,) = answered(features, rows, Space(probes=(probe,)), reading(probe))
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert (found.probabilities.argmax(axis=1) == rows.labels[rows.folds == 1]).mean() > 0.9


@pytest.mark.parametrize("probe", ["svm", "logistic", "knn"])
def test_a_class_that_only_the_fold_holds_gets_no_chance(probe):
    features, rows = drawn(TALL)
    lonely = replace(rows, folds=np.where(rows.labels == 2, 1, rows.folds % 2 * 2))
    (found,) = answered(features, lonely, Space(probes=(probe,)), reading(probe))
    np.testing.assert_array_equal(found.probabilities[:, 2], 0)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("width", [TALL, WIDE])
@pytest.mark.parametrize("probe", ["svm", "linear_svm"])
def test_kernels_too_large_to_be_held_are_left_to_the_solver(probe, width, monkeypatch):
    features, rows = drawn(width)
    (whole,) = answered(features, rows, Space(probes=(probe,)), reading(probe))
    monkeypatch.setattr(paths, "LARGEST_KERNEL", 10)
    (parts,) = answered(features, rows, Space(probes=(probe,)), reading(probe))
    np.testing.assert_allclose(parts.probabilities, whole.probabilities, atol=1e-4)
    assert parts.chosen == whole.chosen


@pytest.mark.parametrize("probe", ["logistic", "knn", "tree"])
def test_inner_folds_that_know_one_class_say_it(probe):
    """Two groups of each class in two outer folds: every inner fold lacks a class."""
    features, rows = drawn(TALL, images=8, classes=2, per_group=2)
    apart = replace(rows, labels=np.repeat([0, 1, 0, 1], 2), folds=np.repeat([0, 0, 1, 1], 2))
    (found,) = answered(features, apart, Space(probes=(probe,), inner_folds=2), reading(probe))
    assert found.probabilities.shape == (4, 2)
    assert np.isfinite(found.inner).all()


def test_features_that_do_not_fit_are_refused_for_a_probe_that_wants_them_and_turned_for_the_others():
    features, rows = drawn(3 * WIDE)
    words = r"90 images of 450 features take .* bytes .* Put a reduction such as pca:0\.8"
    with pytest.raises(RequestError, match=words):
        answered(features, rows, Space(probes=("tree",)), reading("tree", "none"), memory=600_000)
    (found,) = answered(features, rows, Space(probes=("svm",)), reading("svm"), memory=600_000)
    assert np.isfinite(found.probabilities).all()


def test_the_inner_score_of_a_probe_that_decides_is_of_what_it_predicts():
    """By decision values alone it would be of other predictions than those that the outer folds judge."""
    features, rows = drawn(TALL, signal=0.2)
    space = Space(probes=("ridge",), grids={"ridge": {"alpha": [10.0]}})
    (found,) = answered(features, rows, space, reading("ridge"))
    learning = np.flatnonzero(rows.folds != 1)
    decided = np.zeros((len(learning), 3))
    for learns, tested in rows.training(learning).calibration_folds("ridge", space.inner_folds):
        own = learning[learns]
        scaler = StandardScaler().fit(features[own])
        model = ridge(alpha=10.0).fit(scaler.transform(features[own]), rows.labels[own])
        decided[tested] = model.decision_function(scaler.transform(features[learning[tested]]))
    labels = rows.labels[learning]
    known = HeldOut(answers=decided, labels=labels, fair=np.ones(len(labels), dtype=bool))
    said = calibrated("ridge", known, decided, classes=3).argmax(axis=1)
    recalls = [(said == labels)[labels == label].mean() for label in range(3)]
    assert found.inner_best == pytest.approx(np.mean(recalls))
