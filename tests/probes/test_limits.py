from dataclasses import replace

import numpy as np
import pytest

from tfcells.errors import RequestError
from tfcells.images.splits import split_rows
from tfcells.probes.crossval import SweepRows
from tfcells.probes.limits import check_readings
from tfcells.probes.nested import MEMORY
from tfcells.probes.reading import Space
from tfcells.probes.sweep import deal_outer_folds, probe_layers


def rows_of(images=90, folds=3):
    order = np.arange(images)
    return SweepRows(labels=order % 3, groups=order, folds=order // 3 % folds, classes=3, seed=0)


def check(widths, *, rows=None, repeats=1, memory=MEMORY, served=False, **space):
    names = ("a", "b", "c")
    space = Space(**{"probes": ("logistic",)} | space)
    dealings = deal_outer_folds(rows or rows_of(), names, space=space, repeats=repeats)
    check_readings(widths, dealings, space, served=served, memory=memory)


@pytest.mark.parametrize("reductions", [("none",), ("pca:0.8",), ("pca:6",), ("none", "pca:6")])
def test_what_can_be_read_is_let_through(reductions):
    check({"early": 6, "late": 5000}, reductions=reductions, probes=("logistic", "svm", "knn", "tree"), served=True)


def test_more_components_than_a_layer_has_features_are_refused_by_its_name():
    words = (
        r"^pca:7 asks for 7 components\. early has 6 features, and the smallest training set 40 images: there are no "
        r"more than 6\. Ask for fewer, or for a share of the variance such as pca:0\.8\.$"
    )
    with pytest.raises(RequestError, match=words):
        check({"early": 6, "late": 50}, reductions=("none", "pca:7"))


def test_more_components_than_the_smallest_inner_training_set_has_images_are_refused():
    check({"late": 500}, reductions=("pca:40",))
    with pytest.raises(
        RequestError, match=r"^pca:41 .* the smallest training set 40 images: there are no more than 40"
    ):
        check({"late": 500}, reductions=("pca:41",))
    check({"late": 500}, reductions=("pca:60",), inner_folds=0)
    with pytest.raises(RequestError, match="the smallest training set 60 images"):
        check({"late": 500}, reductions=("pca:61",), inner_folds=0)
    with pytest.raises(RequestError, match="the smallest training set 40 images"):  # of those that calibrate
        check({"late": 500}, reductions=("pca:60",), inner_folds=0, probes=("svm",))


def test_the_folds_of_every_dealing_count():
    rows, space = rows_of(), Space(probes=("tree",), reductions=("pca:20",), inner_folds=2)
    uneven = replace(rows, folds=np.where(np.arange(90) < 60, 0, 1))
    check_readings({"late": 500}, [rows], space, memory=MEMORY)
    with pytest.raises(RequestError, match="the smallest training set 15 images"):
        check_readings({"late": 500}, [rows, uneven], space, memory=MEMORY)


def test_a_layer_that_is_too_wide_for_single_features_is_refused_unless_it_is_reduced():
    held = 3 * 8 * 90 * 1000
    for probe in ("tree", "forest"):
        check({"late": 1000}, probes=(probe,), memory=held)
        words = (
            rf"^late: 90 images of 1,000 features take {held:,} bytes that {probe} has to hold; {held - 1:,} are "
            rf"allowed\. Put a reduction such as pca:0\.8 before it, pool the layer, or leave {probe} out\.$"
        )
        with pytest.raises(RequestError, match=words):
            check({"late": 1000}, probes=(probe,), memory=held - 1)
        check({"late": 1000}, probes=(probe,), reductions=("pca:0.8",), memory=held - 1)
        check({"late": 90}, probes=(probe,), memory=8 * 90)  # no wider than long: nothing smaller could replace it


def test_layers_side_by_side_count_as_one():
    widths, held = {"early": 600, "late": 400}, 3 * 8 * 90 * 1000
    with pytest.raises(
        RequestError, match=r"^early \+ late: 90 images of 1,000 features take .* that tree has to hold"
    ):
        check(widths, probes=("tree",), memory=held - 1)


@pytest.mark.parametrize("probe", ["svm", "knn"])
def test_an_export_that_would_hold_its_rows_is_refused_if_they_are_too_many(probe):
    served = 8 * 90 * 20_000
    check({"late": 20_000}, probes=(probe,), served=True, memory=served)
    check({"late": 20_000}, probes=(probe,), memory=served - 1)
    check({"late": 20_000}, probes=(probe,), reductions=("pca:0.8",), served=True, memory=served - 1)
    check({"late": 20_000}, probes=("logistic", "linear_svm", "ridge"), served=True, memory=served - 1)
    words = (
        rf"^late: 90 images of 20,000 features take {served:,} bytes that {probe} has to hold; {served - 1:,} are "
        rf"allowed\. Put a reduction .* or leave {probe} out\.$"
    )
    with pytest.raises(RequestError, match=words):
        check({"late": 20_000}, probes=(probe,), served=True, memory=served - 1)


def test_images_that_are_too_many_for_the_inner_products_of_a_wide_layer_are_refused():
    with pytest.raises(RequestError, match=r"One Gram matrix of 90 images and a narrow block of columns take 249,120"):
        check({"late": 1000}, memory=249_119)
    check({"late": 1000}, memory=249_120)
    check({"late": 80}, memory=1000)  # read as it is


def test_a_sweep_is_refused_before_any_feature_is_read(make_store, monkeypatch):
    monkeypatch.setattr("tfcells.probes.sweep.answer_fold", lambda *_, **__: pytest.fail("it reads"))
    store = make_store()
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups)
    with pytest.raises(RequestError, match=r"pca:9 asks for 9 components\. early has 6 features"):
        probe_layers(store, split, space=Space(probes=("tree",), reductions=("pca:9",)))


def test_colour_is_not_reduced_to_more_than_it_has(make_store):
    store = make_store(widths=(60,))
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups, folds=3)
    space = Space(probes=("tree",), reductions=("none", "pca:30", "pca:5"), inner_folds=0)
    sweep = probe_layers(store, split, space=space)
    assert [entry.reading.reduction for entry in sweep.baselines[1:]] == ["none", "pca:5"]
    assert {entry.reading.reduction for entry in sweep.candidates} == {"none", "pca:30", "pca:5"}
