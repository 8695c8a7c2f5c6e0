import contextlib
import importlib.util
import sys

import numpy as np
import pytest
from small_networks import convolutional_network

from tfcells.errors import MissingExtraError, UnknownNameError
from tfcells.explain.baselines import baseline_of
from tfcells.explain.gradients import gradcam_maps, integrated_maps
from tfcells.explain.methods import METHODS, check_methods
from tfcells.explain.shapley import expected_gradient_maps, partition_maps, require_shap
from tfcells.explain.untouched import untouched_gradients

needs_shap = pytest.mark.skipif(importlib.util.find_spec("shap") is None, reason="shap is not installed")


def towards(explained, pictures, name):
    return np.repeat(explained.contrast(name)[None], len(pictures), axis=0)


@pytest.mark.parametrize("make", [partition_maps, expected_gradient_maps])
def test_without_shap_the_extra_is_named(make, convolutional, pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(MissingExtraError, match=r"shap is not installed.*pip install 'tfcells\[explain\]'"):
        make(convolutional, pictures, towards(convolutional, pictures, "a"))


def test_methods_are_named_and_shap_is_two_of_them():
    assert check_methods(["exact", "shap", "shap_gradient"]) == ("exact", "shap_partition", "shap_gradient")
    assert all(check_methods([name]) == (name,) for name in METHODS)
    with pytest.raises(UnknownNameError, match=r"Unknown method of explanation 'gradcm'. Did you mean 'gradcam'"):
        check_methods(["gradcm"])


def break_gradients():
    """What shap's DeepExplainer does to TensorFlow before it fails: other gradients, and another recorder."""
    from tensorflow.python.eager import execute
    from tensorflow.python.framework import ops

    table = ops.gradient_registry._registry
    for name in ("Relu", "Conv2D", "MatMul"):
        table[name]["type"] = lambda operation, *gradients: [None for _ in operation.inputs]
    del table["Mean"]
    table["shap_Relu"] = {"type": None, "location": None}
    execute.record_gradient = lambda *arguments: None
    raise RuntimeError("an explainer failed")


def test_an_explainer_that_fails_breaks_no_later_gradient(pictures):
    explained = convolutional_network(nested=True)  # traced by nobody yet
    contrasts = towards(explained, pictures, "a")
    before = [make(explained, pictures, contrasts).heat for make in (gradcam_maps, integrated_maps)]
    with pytest.raises(RuntimeError, match="an explainer failed"), untouched_gradients():
        break_gradients()
    fresh = convolutional_network(nested=True)
    after = [make(fresh, pictures, contrasts).heat for make in (gradcam_maps, integrated_maps)]
    for one, another in zip(before, after, strict=True):
        np.testing.assert_allclose(one, another, atol=1e-6)
        assert one.any()


@needs_shap
def test_partitions_add_up_to_what_the_logit_rises_by(planted, pictures):
    maps = partition_maps(planted, pictures[:2], towards(planted, pictures[:2], "dark"), evaluations=200)
    plain = baseline_of(pictures[:2], "border")
    rises = (planted.logits(pictures[:2]) - planted.logits(plain))[:, 0]
    np.testing.assert_allclose(maps.heat.sum(axis=(1, 2)), rises, atol=0.01)
    assert maps.completeness.reached.all()


@needs_shap
def test_expected_gradients_of_a_linear_classifier_are_weights_times_change(planted, pictures):
    state = np.random.get_state()[1].copy()
    maps = expected_gradient_maps(planted, pictures[:2], towards(planted, pictures[:2], "dark"), samples=8)
    change = (pictures[:2] - baseline_of(pictures[:2], "border"))[:, 8:16, 8:16, 1]
    np.testing.assert_allclose(maps.heat[:, 8:16, 8:16], -change / 10 / 64, atol=1e-4)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@needs_shap
def test_a_failing_shap_explainer_breaks_no_later_gradient(pictures, monkeypatch):
    shap = require_shap()
    explained = convolutional_network(nested=True)
    contrasts = towards(explained, pictures, "a")
    before = integrated_maps(explained, pictures, contrasts).heat

    class Failing:
        def __init__(self, *arguments, **options):
            break_gradients()

    monkeypatch.setattr(shap, "GradientExplainer", Failing)
    with pytest.raises(RuntimeError, match="an explainer failed"):
        expected_gradient_maps(explained, pictures, contrasts)
    after = integrated_maps(convolutional_network(nested=True), pictures, contrasts).heat
    np.testing.assert_allclose(before, after, atol=1e-6)


@needs_shap
def test_what_shaps_deep_explainer_does_is_undone(pictures):
    shap = require_shap()
    explained = convolutional_network(nested=True)
    contrasts = towards(explained, pictures, "a")
    before = integrated_maps(explained, pictures, contrasts).heat
    with untouched_gradients(), contextlib.suppress(Exception):
        shap.DeepExplainer(explained.model, pictures[:2]).shap_values(pictures[2:3])
    after = integrated_maps(convolutional_network(nested=True), pictures, contrasts).heat
    np.testing.assert_allclose(before, after, atol=1e-6)


def test_shaps_deep_explainer_is_never_used():
    from pathlib import Path

    import tfcells.explain

    for path in Path(tfcells.explain.__file__).parent.glob("*.py"):
        assert "shap.DeepExplainer" not in path.read_text() and "shap.explainers" not in path.read_text()
