import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tfcells.errors import RequestError, UnknownNameError
from tfcells.explain.attribution import spread
from tfcells.explain.exact import REFERENCES, exact_maps
from tfcells.explain.explained import explain_probe, probability_of, with_probe
from tfcells.explain.fold import fold_probe
from tfcells.probes.catalog import fit_probe
from tfcells.probes.temperature import TemperatureScaled


def drawn(classes=3, features=9, images=80):
    generator = np.random.default_rng(4)
    labels = np.arange(images) % classes
    vectors = generator.normal(size=(images, features)) + 2 * generator.normal(size=(classes, features))[labels]
    return (vectors * 10 ** generator.uniform(-2, 2, features)).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize(
    "options",
    [{}, {"components": 4}, {"scaler": "minmax", "components": 0.9}, {"scaler": "none", "parameters": {"C": 1e-4}}],
)
def test_the_softmax_of_folded_logits_is_what_a_logistic_regression_says(classes, options):
    vectors, labels = drawn(classes)
    probe = fit_probe("logistic", vectors, labels, np.arange(len(labels)), **options)
    powers = np.exp(fold_probe(probe).logits(vectors))
    told = probe.predict_proba(vectors.astype(np.float64))
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), told, atol=1e-9)


def test_a_temperature_is_folded_in():
    vectors, labels = drawn()
    probe = TemperatureScaled(fit_probe("logistic", vectors, labels, np.arange(len(labels))), temperature=2.5)
    powers = np.exp(fold_probe(probe).logits(vectors))
    told = probe.predict_proba(vectors.astype(np.float64))
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), told, atol=1e-9)


@pytest.mark.parametrize(("kind", "classes"), [("ridge", 2), ("ridge", 4), ("linear_svm", 2)])
def test_the_sigmoids_of_folded_logits_are_what_a_calibrated_probe_says(kind, classes):
    vectors, labels = drawn(classes)
    probe = fit_probe(kind, vectors, labels, np.arange(len(labels)))
    logits = fold_probe(probe).logits(vectors)
    if classes == 2:  # one decision value for both
        told = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        np.testing.assert_allclose(told, probe.predict_proba(vectors.astype(np.float64))[:, 1], atol=1e-9)
        return
    chances = 1 / (1 + np.exp(-logits))
    told = probe.predict_proba(vectors.astype(np.float64))
    np.testing.assert_allclose(chances / chances.sum(axis=1, keepdims=True), told, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("taps", [("late",), ("early", "late"), ("early:flatten", "late"), ("early", "early:flatten")])
def test_cells_and_bias_add_up_to_the_logit(taps, classes, reference, probed, pictures):
    explained, *_ = probed(*taps, classes=classes, components=4)
    for contrast in (explained.contrast("class 0"), explained.contrast("class 1", "class 0")):
        contrasts = np.repeat(contrast[None], len(pictures), axis=0)
        maps = exact_maps(explained, pictures, contrasts, reference=reference, batch_size=4)
        total = sum(found.sum(axis=(1, 2)) for found in maps.parts.values()) + maps.rest
        np.testing.assert_allclose(total, explained.values(pictures, contrasts), atol=1e-4)
        np.testing.assert_allclose(maps.heat.sum(axis=(1, 2)) + maps.rest, total, atol=1e-9)
        assert maps.completeness.reached.all()
        assert len(maps.parts) == len(taps)


def test_a_map_is_that_of_the_formula_cell_by_cell(probed, pictures):
    explained, *_ = probed("late")
    folded = explained.linear.folded
    maps = exact_maps(explained, pictures, np.eye(3)[[0] * len(pictures)], reference="zero")
    activations = explained.linear.maps(pictures)["late"].numpy()
    by_hand = activations[2, 3, 4].astype(np.float64) @ folded.weights[0] / activations[2, :, :, 0].size
    assert maps.heat[2, 3, 4] == pytest.approx(by_hand, rel=1e-9)


def test_the_rest_is_what_the_average_training_picture_is_answered_with(probed, pictures):
    explained, probe, vectors = probed("late")
    mean = fold_probe(probe).logits(vectors.mean(axis=0, keepdims=True, dtype=np.float64))[0]
    found = exact_maps(explained, pictures[:3], np.eye(3), reference="mean").rest
    np.testing.assert_allclose(found, mean, atol=1e-6)


def test_references_differ_by_one_number_in_every_cell(probed, pictures):
    explained, *_ = probed("late")
    contrasts = np.eye(3)[[1] * len(pictures)]
    maps = [exact_maps(explained, pictures, contrasts, reference=name).heat for name in REFERENCES]
    assert np.ptp(maps[0] - maps[1], axis=(1, 2)).max() < 1e-9
    assert np.ptp(maps[0] - maps[2], axis=(1, 2)).max() < 1e-9


@pytest.mark.parametrize("tap", ["late", "late:flatten"])
def test_a_place_that_holds_what_the_border_holds_adds_nothing(tap, probed, pictures):
    explained, *_ = probed(tap)
    plain = np.full_like(pictures[:1], 120.0)
    heat = exact_maps(explained, plain, np.eye(3)[[0]], reference="border").heat
    np.testing.assert_allclose(heat, 0, atol=1e-6)


@pytest.mark.parametrize(("rows", "size"), [(7, 224), (7, 32), (5, 32), (40, 32)])
def test_what_is_spread_over_pixels_keeps_its_sum_and_a_plain_stays_plain(rows, size):
    heat = np.random.default_rng(0).normal(size=(2, rows, rows))
    np.testing.assert_allclose(spread(heat, size=size).sum(axis=(1, 2)), heat.sum(axis=(1, 2)), atol=1e-9)
    assert np.ptp(spread(np.ones((1, rows, rows)), size=size)) < 1e-9


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("knn", "KNeighborsClassifier has no exact map: it compares whole vectors"),
        ("svm", "SVC has no exact map: its kernel 'rbf' bends the features"),
        ("tree", "DecisionTreeClassifier has no exact map: it compares features with thresholds"),
        ("forest", "RandomForestClassifier has no exact map"),
        ("linear_svm", "counts the votes of one hyperplane for each pair of classes"),
    ],
)
def test_a_probe_that_is_not_affine_is_refused_with_the_reason_and_the_way_out(kind, reason):
    vectors, labels = drawn()
    probe = fit_probe(kind, vectors, labels, np.arange(len(labels)))
    with pytest.raises(RequestError, match=reason) as refused:
        fold_probe(probe)
    assert "Explain it by occlusion or shap" in str(refused.value)


def test_whitened_components_are_refused():
    from sklearn.decomposition import PCA

    vectors, labels = drawn()
    probe = make_pipeline(StandardScaler(), PCA(3, whiten=True), LogisticRegression()).fit(vectors, labels)
    with pytest.raises(RequestError, match="PCA, as it was fitted, is no affine step that can be folded"):
        fold_probe(probe)


def test_another_probe_answers_in_the_same_network(probed, pictures):
    first, *_ = probed("late", fresh=True)
    other, probe, _ = probed("late", parameters={"C": 0.001})
    contrasts = np.eye(3)[[0] * len(pictures)]
    replaced = with_probe(first, probe)
    np.testing.assert_allclose(replaced.logits(pictures), other.logits(pictures), atol=1e-9)
    np.testing.assert_allclose(
        exact_maps(replaced, pictures, contrasts).heat, exact_maps(other, pictures, contrasts).heat, atol=1e-12
    )
    _, narrow, _ = probed("early")
    with pytest.raises(RequestError, match=r"A probe of \(3, 8\) classes and features came for one of \(3, 12\)"):
        with_probe(first, narrow)


@pytest.mark.parametrize("pooling", ["max", "gem"])
def test_a_pooling_that_does_not_add_up_is_refused_and_says_what_to_use(pooling, probed, pictures):
    explained, *_ = probed(f"late:{pooling}")
    with pytest.raises(RequestError, match=rf"Tap late:{pooling} has no exact map.*integrated gradients"):
        exact_maps(explained, pictures, np.eye(3)[[0] * len(pictures)])


def test_a_probe_on_other_taps_is_refused(opened, probed):
    from tfcells.backbones.taps import Tap

    _, probe, _ = probed("late")
    with pytest.raises(RequestError, match="The probe reads 12 features, taps early:mean give 8"):
        explain_probe(opened, (Tap("early"),), probe, ("a", "b", "c"))


def test_an_unknown_reference_is_named(probed, pictures):
    explained, *_ = probed("late")
    with pytest.raises(UnknownNameError, match=r"Unknown reference of an exact map 'men'. Did you mean 'mean'"):
        exact_maps(explained, pictures, np.eye(3)[[0] * len(pictures)], reference="men")


@pytest.mark.parametrize(("kind", "classes"), [("ridge", 2), ("ridge", 4), ("logistic", 4), ("linear_svm", 2)])
@pytest.mark.parametrize("tap", ["late", "late:max"])
def test_the_probability_of_what_is_explained_is_the_one_that_the_probe_gives(kind, classes, tap, probed):
    explained, probe, vectors = probed(tap, kind=kind, classes=classes)
    logits = fold_probe(probe).logits(vectors)
    told = probe.predict_proba(vectors.astype(np.float64))
    for row, name in enumerate(explained.class_names):
        mine = probability_of(logits, explained.contrast(name), sigmoids=explained.sigmoids)
        np.testing.assert_allclose(mine, told[:, row], atol=1e-9)
    difference = probability_of(logits, explained.contrast("class 1", "class 0"), sigmoids=explained.sigmoids)
    np.testing.assert_allclose(difference, told[:, 1] / (told[:, 0] + told[:, 1]), atol=1e-9)


def test_shares_of_sigmoids_that_are_next_to_nothing_are_still_shares():
    told = probability_of(np.array([[-2000.0, -1999.0, -2001.0]]), np.array([0.0, 1.0, 0.0]), sigmoids=True)
    np.testing.assert_allclose(told, np.exp(1) / (np.exp(0) + np.exp(1) + np.exp(-1)), atol=1e-12)
