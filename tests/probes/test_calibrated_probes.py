"""Calibration changes how sure a probe is and not what it says, and is learned from held-out rows alone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfcells.images.splits import assign_parts
from tfcells.probes import checkpoint
from tfcells.probes.calibration import HeldOut, calibrated, calibrated_probe
from tfcells.probes.catalog import PROBES, fit_probe
from tfcells.probes.checkpoint import sweep_identity
from tfcells.probes.crossval import SweepRows
from tfcells.probes.gram.columns import as_columns
from tfcells.probes.nested import answer_fold
from tfcells.probes.reading import Reading, Space
from tfcells.probes.temperature import TemperatureScaled, fit_temperature, scaled
from tfcells.stats.calibration import calibration_error
from tfcells.stats.scored import top_label

OWN = [name for name, kind in PROBES.items() if not kind.decides]


def told_of(rows, *, sharpness=1.0, classes=3, seed=0):
    scores = np.random.default_rng(seed).normal(size=(rows, classes)) * sharpness
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


@given(
    arrays(
        np.float64, (5, 3), elements=st.sampled_from([0.0, 1.0, 2.0, 1.0 + 2**-52, 1.0 - 2**-53, 0.3, 1e-12, 1e-300])
    ),
    st.sampled_from([0.01, 0.5, 1.0, 3.0, 100.0]),
)
def test_no_temperature_changes_a_predicted_class_ties_included(votes, temperature):
    votes[votes.sum(axis=1) == 0] = 1.0
    told = votes / votes.sum(axis=1, keepdims=True)
    found = scaled(told, temperature)
    np.testing.assert_array_equal(found.argmax(axis=1), told.argmax(axis=1))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found > 0).all() or temperature < 1


@pytest.mark.parametrize("temperature", [0.4, 1.0, 4.0])
def test_the_temperature_that_drew_the_labels_is_found(temperature):
    told = told_of(20_000, sharpness=2.0)
    truth = scaled(told, temperature)
    labels = (np.random.default_rng(1).random((len(told), 1)) > truth.cumsum(axis=1)).sum(axis=1)
    assert fit_temperature(told, labels) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("classes", [2, 8])
def test_probabilities_that_are_right_already_stay_as_they_are(classes):
    """Of a logistic regression; a floor that neighbours need would take two points of confidence off it."""
    told = told_of(20_000, sharpness=5.0, classes=classes)
    labels = (np.random.default_rng(1).random((len(told), 1)) > told.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    assert PROBES["logistic"].floor < 1e-9 < PROBES["knn"].floor
    found = scaled(told, fit_temperature(told, labels))
    np.testing.assert_allclose(found, told, atol=0.02)
    assert abs(found.max(axis=1).mean() - told.max(axis=1).mean()) < 0.005


def test_it_is_the_minimum_of_the_log_loss_with_one_made_up_row():
    told, labels = told_of(200), np.random.default_rng(2).integers(3, size=200)
    labels[:120] = told[:120].argmax(axis=1)

    def loss(temperature):
        surprise = -np.log(scaled(told, temperature))
        return surprise[np.arange(200), labels].sum() + surprise.mean()

    found = fit_temperature(told, labels)
    assert loss(found) < min(loss(found * 1.001), loss(found / 1.001))


@pytest.mark.parametrize("rows", [10, 1000])
def test_rows_that_are_all_answered_rightly_do_not_ask_for_certainty(rows):
    """The confidence q is where rows * log(q) + log(q) / 3 + 2 / 3 * log((1 - q) / 2) is largest."""
    labels = np.arange(rows) % 3
    told = 0.2 + 0.4 * np.eye(3)[labels]
    found = scaled(told, fit_temperature(told, labels))
    np.testing.assert_allclose(found[np.arange(rows), labels], (rows + 1 / 3) / (rows + 1), rtol=1e-9)


def test_answers_that_are_worse_than_guessing_become_nearly_uniform():
    told = told_of(300, sharpness=2.0)
    np.testing.assert_allclose(scaled(told, fit_temperature(told, told.argmin(axis=1))), 1 / 3, atol=0.02)


def of_many_features(*, images=240, width=200, classes=3, seed=0):
    """Classes that few rows in many features tell apart badly, and a logistic regression surely."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(images) % classes)
    centres = 0.08 * generator.normal(size=(classes, width))
    groups = np.arange(images)
    rows = SweepRows(
        labels=labels,
        groups=groups,
        folds=assign_parts(labels, groups, shares=[0.25] * 4, seed=0),
        classes=classes,
        seed=0,
    )
    return generator.normal(size=(images, width)) + centres[labels], rows


def test_a_logistic_regression_that_is_too_sure_of_itself_is_told_so():
    features, rows = of_many_features()
    reading = Reading(taps=("late",), scaler="standard", reduction="none", probe="logistic")
    said, plain = np.zeros((240, 3)), np.zeros((240, 3))
    for fold in range(4):
        learning, asked = rows.folds != fold, rows.folds == fold
        space = Space(probes=("logistic",), inner_folds=0)
        (found,) = answer_fold(as_columns(features), rows, space, [reading], fold=fold)
        said[asked] = found.probabilities
        fitted = fit_probe("logistic", features[learning], rows.labels[learning], rows.groups[learning])
        plain[asked] = fitted.predict_proba(features[asked])
    np.testing.assert_array_equal(said.argmax(axis=1), plain.argmax(axis=1))
    before, after = (calibration_error(*top_label(told, rows.labels), rows.groups, seed=0) for told in (plain, said))
    assert before.error.value > 0.25
    assert after.error.value < 0.1
    losses = [-np.log(told[np.arange(240), rows.labels]).mean() for told in (plain, said)]
    assert losses[1] < np.log(3) < 0.7 * losses[0]


@pytest.mark.parametrize("probe", OWN)
@pytest.mark.parametrize("inner_folds", [0, 3])
def test_neither_features_nor_labels_of_the_outer_fold_reach_the_temperature(probe, inner_folds):
    features, rows = of_many_features(images=80, width=20)
    reading = Reading(taps=("late",), scaler="none", reduction="none", probe=probe)
    space = Space(probes=(probe,), inner_folds=inner_folds)
    (before,) = answer_fold(as_columns(features), rows, space, [reading], fold=1)
    held_out = np.flatnonzero(rows.folds == 1)
    changed, labels = features.copy(), rows.labels.copy()
    changed[held_out[1:]] *= 50.0
    labels[held_out] = (labels[held_out] + 1) % 3
    (after,) = answer_fold(as_columns(changed), replace(rows, labels=labels), space, [reading], fold=1)
    np.testing.assert_allclose(after.probabilities[0], before.probabilities[0], atol=1e-12)


def test_rows_whose_class_an_inner_fold_had_not_learned_do_not_count():
    told = told_of(90)
    labels = told.argmax(axis=1)
    labels[::5] = (labels[::5] + 1) % 3
    fair = np.ones(120, dtype=bool)
    fair[90:] = False
    known = HeldOut(
        answers=np.concatenate([told, np.eye(3)[np.zeros(30, int)]]), labels=np.append(labels, [2] * 30), fair=fair
    )
    asked = told_of(7, seed=3)
    floor = PROBES["knn"].floor
    expected = scaled(asked, fit_temperature(told, labels, floor=floor), floor=floor)
    np.testing.assert_array_equal(calibrated("knn", known, asked, classes=3), expected)


def test_where_every_inner_fold_lacks_the_class_probabilities_stay_as_they_are():
    """Two classes of one group each: nothing can be held out, and no probe with probabilities of its own refuses."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    rows = SweepRows(labels=labels, groups=labels, folds=np.tile([0, 1], 20), classes=2, seed=0)
    features = generator.normal(size=(40, 5)) + labels[:, None]
    reading = Reading(taps=("late",), scaler="none", reduction="none", probe="knn")
    (found,) = answer_fold(as_columns(features), rows, Space(probes=("knn",), inner_folds=0), [reading], fold=0)
    learning = rows.folds == 1
    plain = fit_probe("knn", features[learning], labels[learning], np.arange(20), scaler="none")
    np.testing.assert_allclose(found.probabilities, plain.predict_proba(features[~learning]), atol=1e-12)
    (held,) = answer_fold(as_columns(features), rows, Space(probes=("knn",)), [reading], fold=None)
    assert not held.held_out.fair.any()
    assert calibrated_probe("knn", plain, held.held_out) is plain


def test_more_components_than_inner_folds_have_rows_are_no_reason_to_refuse():
    features, rows = of_many_features(images=40, width=60)
    reading = Reading(taps=("late",), scaler="none", reduction="pca:25", probe="knn")
    (found,) = answer_fold(as_columns(features), rows, Space(probes=("knn",), inner_folds=0), [reading], fold=1)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


def test_a_scaled_probe_predicts_what_its_estimator_predicts():
    features, rows = of_many_features(images=60, width=10)
    plain = fit_probe("tree", features, rows.labels, rows.groups)
    probe = TemperatureScaled(plain, temperature=3.0)
    np.testing.assert_array_equal(probe.predict(features), plain.predict(features))
    np.testing.assert_array_equal(probe.classes_, [0, 1, 2])


def test_answers_from_before_a_change_are_not_taken_for_those_after_it(monkeypatch):
    _, rows = of_many_features(images=12)
    ids, space = tuple("abcdefghijkl"), Space()
    before = sweep_identity("store", ids, rows, space)
    monkeypatch.setattr(checkpoint, "_ANSWERS", "otherwise")
    assert sweep_identity("store", ids, rows, space) != before
