"""The loss against known answers: Keras, scikit-learn and sums by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from tfcells.errors import RequestError
from tfcells.finetune.families import family_mask, family_names, lone_classes, probabilities, within_families
from tfcells.finetune.losses import ClassLoss, balanced_weights, build_loss
from tfcells.finetune.settings import LossSettings

CLASSES = ("eosinophil", "lymphocyte", "monocyte", "platelet")
FAMILIES = ("pbc/lymphocyte", "chula/lymphocyte", "pbc/monocyte", "chula/platelet", "pbc/platelet")

logit_arrays = arrays(np.float32, (6, 4), elements=st.floats(-15, 15, width=32))
label_arrays = arrays(np.int64, (6,), elements=st.integers(0, 3))


def loss_of(labels, logits, names=CLASSES, **asked):
    return float(ClassLoss(names, **asked)(labels, logits))


@given(label_arrays, logit_arrays)
def test_without_extras_it_is_cross_entropy(labels, logits):
    expected = log_loss(labels, softmax(logits.astype(np.float64), axis=1), labels=range(4))
    # log_loss clips probabilities; logits 30 apart are within
    assert loss_of(labels, logits) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(label_arrays, logit_arrays, st.floats(0, 0.9))
def test_smoothing_is_that_of_keras(labels, logits, smoothing):
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    expected = float(theirs(np.eye(4, dtype=np.float32)[labels], logits))
    assert loss_of(labels, logits, label_smoothing=smoothing) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(label_arrays, logit_arrays)
def test_focal_with_gamma_zero_is_cross_entropy(labels, logits):
    plain = build_loss(LossSettings(), CLASSES)
    focal = build_loss(LossSettings(kind="focal", focal_gamma=0.0), CLASSES)
    assert float(focal(labels, logits)) == float(plain(labels, logits))


@given(label_arrays, logit_arrays, st.floats(0.1, 5), st.sampled_from([0.0, 0.1]))
def test_focal_is_the_sum_by_hand(labels, logits, gamma, smoothing):
    logs = log_softmax(logits.astype(np.float64), axis=1)
    targets = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    expected = -(targets * (1 - np.exp(logs)) ** gamma * logs).sum(axis=1).mean()
    assert loss_of(labels, logits, gamma=gamma, label_smoothing=smoothing) == pytest.approx(
        expected, rel=1e-3, abs=1e-4
    )


def test_gamma_is_that_of_the_settings():
    labels, logits = np.array([0]), np.array([[1.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    p = np.e / (np.e + 3)
    for kind, expected in (("focal", -((1 - p) ** 3) * np.log(p)), ("cross_entropy", -np.log(p))):
        made = build_loss(LossSettings(kind=kind, focal_gamma=3.0), CLASSES)
        assert float(made(labels, logits)) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=10)
@given(arrays(np.float32, (8, 5), elements=st.floats(-15, 15, width=32)), st.sampled_from([0.0, 2.0]))
def test_families_are_separate_softmaxes(logits, gamma):
    labels = np.arange(8) % 5
    expected = []
    for label, row in zip(labels, logits, strict=True):
        family = FAMILIES[label].split("/")[0]
        inside = [index for index, name in enumerate(FAMILIES) if name.startswith(family)]
        alone = ClassLoss([FAMILIES[index] for index in inside], gamma=gamma, label_smoothing=0.1)
        expected.append(float(alone(np.array([inside.index(label)]), row[None, inside])))
    ours = loss_of(labels, logits, FAMILIES, gamma=gamma, label_smoothing=0.1, families=True)
    assert ours == pytest.approx(np.mean(expected), rel=1e-4, abs=1e-5)


def gradient(labels, logits, names=CLASSES, **asked):
    given_logits = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = ClassLoss(names, **asked)(labels, given_logits)
    return tape.gradient(value, given_logits).numpy()


def test_other_families_get_no_gradient_and_a_family_of_one_nothing_at_all():
    logits = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    found = gradient(np.array([0, 1]), logits, FAMILIES, families=True)
    mask = family_mask(FAMILIES)[[0, 1]]
    assert not found[~mask].any()
    assert found[mask].all()
    alone = gradient(np.array([1]), logits[:1], ("a/x", "b/x", "a/y", "a/z", "a/u"), families=True)
    assert not alone.any()


@pytest.mark.parametrize("asked", [{}, {"gamma": 0.5}, {"gamma": 2.0, "label_smoothing": 0.1}, {"families": True}])
def test_gradients_are_finite_where_the_network_is_quite_sure(asked):
    names = FAMILIES if "families" in asked else (*CLASSES, "other")
    for sign in (1, -1):
        logits = np.array([[sign * 500, 0, 0, 0, 0]], dtype=np.float32)
        assert np.isfinite(gradient(np.array([0]), logits, names, **asked)).all()
        assert np.isfinite(loss_of(np.array([0]), logits, names, **asked))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_it_is_float32_whatever_the_logits_are(dtype):
    logits = tf.cast([[1.0, 2.0, 3.0, 4.0]], dtype)
    value = ClassLoss(CLASSES)(np.array([1]), logits)
    assert value.dtype == tf.float32
    assert float(value) == pytest.approx(loss_of(np.array([1]), np.array([[1, 2, 3, 4]], dtype=np.float32)))


def test_labels_may_come_as_a_column_and_weights_are_those_of_keras():
    labels, logits = np.array([0, 3, 1]), np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    made, theirs = ClassLoss(CLASSES), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = np.array([0.5, 2.0, 0.0], dtype=np.float32)
    for ours in (made(labels, logits, weights), made(labels[:, None], logits, weights)):
        assert float(ours) == pytest.approx(float(theirs(labels, logits, weights)), rel=1e-5)


def test_a_loss_comes_back_from_its_config():
    made = ClassLoss(FAMILIES, gamma=1.5, label_smoothing=0.2, families=True)
    again = ClassLoss.from_config(made.get_config())
    logits = np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
    assert float(again(np.array([0, 1, 2]), logits)) == float(made(np.array([0, 1, 2]), logits))


@given(arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 5)))
def test_balanced_weights_are_those_of_scikit_learn_with_mean_one_over_rows(labels):
    weights = balanced_weights(labels, classes=6)
    np.testing.assert_allclose(weights[labels], compute_sample_weight("balanced", labels), rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1, rel=1e-5)
    assert not weights[np.setdiff1d(np.arange(6), labels)].any()


@pytest.mark.parametrize(("labels", "came"), [([], "none"), ([0, -1], "-1 to 0"), ([1, 4], "1 to 4")])
def test_labels_that_cannot_be_balanced_are_refused(labels, came):
    with pytest.raises(RequestError, match=rf"Labels to balance: {came}\. Expected one or more, each from 0 to 3"):
        balanced_weights(np.array(labels, dtype=np.int64), classes=4)


def test_probabilities_are_the_softmax_of_the_loss():
    logits = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 4, 0])
    np.testing.assert_allclose(probabilities(logits), softmax(logits.astype(np.float64), axis=1))
    inside = probabilities(logits, competing=family_mask(FAMILIES)[labels])
    np.testing.assert_allclose(inside.sum(axis=1), 1)
    assert not inside[~family_mask(FAMILIES)[labels]].any()
    loss = -np.log(inside[np.arange(6), labels]).mean()
    assert loss_of(labels, logits, FAMILIES, families=True) == pytest.approx(loss, rel=1e-5)


def test_families_are_what_stands_before_the_first_slash():
    assert family_names(("a/b/c", "a/d", "e/d")) == ("a", "a", "e")
    np.testing.assert_array_equal(family_mask(("a/b", "c/b", "a/d")), [[1, 0, 1], [0, 1, 0], [1, 0, 1]])


def test_a_class_without_a_family_is_refused():
    message = r"Class 'basophil' names no family \(1 of 3 classes do not\)\. Expected `family/class` for every class"
    with pytest.raises(RequestError, match=message):
        build_loss(LossSettings(families=True), ("a/b", "basophil", "a/c"))


@given(
    arrays(np.float32, (7, 5), elements=st.floats(-30, 30, width=32)),
    arrays(np.int64, (7,), elements=st.integers(0, 4)),
)
def test_who_is_told_the_family_answers_alike_from_logits_and_from_probabilities(logits, labels):
    competing = family_mask(FAMILIES)[labels]
    told = within_families(probabilities(logits), competing=competing)
    np.testing.assert_allclose(told, probabilities(logits, competing=competing), atol=1e-12)
    assert not told[~competing].any()


def test_a_family_that_got_no_probability_at_all_is_told_nothing_by_it():
    competing = family_mask(FAMILIES)[[0]]
    told = within_families(np.array([[0.0, 0.5, 0.0, 0.5, 0.0]]), competing=competing)
    np.testing.assert_allclose(told, [[1 / 3, 0, 1 / 3, 0, 1 / 3]])


def test_classes_that_are_alone_in_their_family_are_named():
    assert lone_classes(("pbc/a", "pbc/b", "chula/c", "x/y/z")) == {"chula": "chula/c", "x": "x/y/z"}
    assert lone_classes(FAMILIES) == {}
