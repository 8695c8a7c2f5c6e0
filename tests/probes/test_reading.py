import pytest

from tfcells.errors import RequestError, UnknownNameError
from tfcells.probes.catalog import PROBES, SCALERS
from tfcells.probes.gram import scaling
from tfcells.probes.reading import Reading, Space, components_of


def test_every_combination_is_a_reading_once():
    space = Space(probes=("svm", "tree"), scalers=("standard", "minmax"), reductions=("none", "pca:0.8"))
    found = [(entry.scaler, entry.reduction, entry.probe) for entry in space.readings(("late",))]
    assert len(found) == len(set(found)) == 7
    assert ("none", "none", "tree") in found  # thresholds on single features do not see a scale, so it comes once
    assert ("minmax", "pca:0.8", "tree") in found  # components do
    assert ("standard", "none", "tree") not in found


@pytest.mark.parametrize(
    ("reduction", "components", "title"),
    [("pca:0.8", 0.8, "late, PCA 80 %, svm"), ("pca:50", 50, "late, PCA 50, svm"), ("none", None, "late, svm")],
)
def test_a_reduction_says_what_is_kept(reduction, components, title):
    assert components_of(reduction) == components
    assert Reading(taps=("late",), scaler="standard", reduction=reduction, probe="svm").title == title


def test_a_scaling_that_is_not_the_usual_one_is_said():
    assert Reading(taps=("a", "b"), scaler="minmax", reduction="none", probe="svm").title == "a + b, minmax, svm"


@pytest.mark.parametrize(
    "reduction", ["pca", "pca:", "pca:0", "pca:1.0", "pca:-3", "pca:many", "80 %", "umap:2", "pca:nan.0"]
)
def test_a_reduction_of_no_known_form_is_refused(reduction):
    with pytest.raises(RequestError, match=r"Reduction '.*' came\. Expected none, pca:SHARE .* \(pca:50\)"):
        Space(reductions=(reduction,))


def test_grids_replace_the_values_of_one_parameter_and_keep_the_others():
    space = Space(probes=("svm",), grids={"svm": {"gamma": ["auto", "scale"]}})
    found = space.parameters("svm")
    assert {entry["gamma"] for entry in found} == {"auto", "scale"}
    assert {entry["C"] for entry in found} == set(PROBES["svm"].grid["C"])


def test_without_inner_folds_every_probe_has_its_default_parameters():
    for name, kind in PROBES.items():
        assert Space(probes=(name,), inner_folds=0).parameters(name) == [dict(kind.default)]


@pytest.mark.parametrize("name", PROBES)
def test_the_default_of_every_probe_names_its_parameters(name):
    assert set(PROBES[name].default) == set(PROBES[name].grid)


def test_scalers_are_those_that_inner_products_can_be_made_of():
    assert set(SCALERS) == set(scaling.SCALERS)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"probes": ("logistik",)}, UnknownNameError, "Did you mean 'logistic'"),
        ({"scalers": ("min-max",)}, UnknownNameError, "Did you mean 'minmax'"),
        ({"grids": {"svn": {}}}, UnknownNameError, "Did you mean 'svm'"),
        ({"grids": {"svm": {"gama": [1]}}}, UnknownNameError, "Did you mean 'gamma'"),
        ({"grids": {"svm": {"C": []}}}, RequestError, "Parameter C of svm has no value"),
        ({"inner_folds": 1}, RequestError, "1 inner folds were asked for. Expected 2 or more, or 0"),
        ({"scalers": ()}, RequestError, "No scaler or no reduction was named"),
    ],
)
def test_what_cannot_be_tried_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        Space(**options)
