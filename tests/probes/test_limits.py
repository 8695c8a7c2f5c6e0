import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.config import ProbesConfig
from tfcells.errors import RequestError
from tfcells.images.splits import split_rows
from tfcells.probes import memory as memory_module
from tfcells.probes.crossval import SweepRows
from tfcells.probes.gram.columns import as_columns
from tfcells.probes.gram.plan import how_to_allow
from tfcells.probes.limits import check_readings
from tfcells.probes.memory import memory_bytes, physical_memory
from tfcells.probes.nested import MEMORY, answer_fold
from tfcells.probes.reading import Space, usual_reading
from tfcells.probes.refit import Refit
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
            rf"allowed\. Put a reduction such as pca:0\.8 before it, pool the layer, leave {probe} out, or allow 0\.01 "
            r"GiB: `probes\.memory` of a config, `tfcells probe --memory`; in Python `memory`, in bytes\.$"
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
        rf"allowed\. Put a reduction .* leave {probe} out, or allow 0\.02 GiB: "
    )
    with pytest.raises(RequestError, match=words):
        check({"late": 20_000}, probes=(probe,), served=True, memory=served - 1)


def test_images_that_are_too_many_for_the_inner_products_of_a_wide_layer_are_refused():
    words = (
        r"^249,119 bytes of memory were allowed\. One Gram matrix of 90 images and a narrow block of columns take "
        r"249,120\. Use fewer images, or allow 0\.01 GiB: `probes\.memory` of a config, `tfcells probe --memory`; in "
        r"Python `memory`, in bytes\.$"
    )
    with pytest.raises(RequestError, match=words):
        check({"late": 1000}, memory=249_119)
    check({"late": 1000}, memory=249_120)
    check({"late": 80}, memory=1000)  # read as it is


@pytest.mark.parametrize("reduction", ["none", "pca:0.8"])
@pytest.mark.parametrize("probe", ["logistic", "tree"])
def test_features_that_images_outnumber_may_exceed_the_limit_but_not_the_machine_too(monkeypatch, probe, reduction):
    needed = 3 * 8 * 90 * 80
    asked = {"probes": (probe,), "reductions": (reduction,)}
    monkeypatch.setattr(memory_module, "physical_memory", lambda: needed)
    check({"late": 80}, memory=1, **asked)
    monkeypatch.setattr(memory_module, "physical_memory", lambda: needed - 1)
    check({"late": 80}, memory=needed, **asked)
    words = (
        rf"^late: 90 images of 80 features take {needed:,} bytes that a fold has to hold\. This machine has "
        rf"{needed - 1:,}, and {needed - 1:,} are allowed\. Pool the layer or leave it out, use fewer images or a "
        r"machine with more memory; or let this one swap, and allow 0\.01 GiB: `probes\.memory` of a config, `tfcells "
        r"probe --memory`; in Python `memory`, in bytes\.$"
    )
    with pytest.raises(RequestError, match=words):
        check({"late": 80}, memory=needed - 1, **asked)


def test_a_fold_of_features_that_exceed_the_machine_is_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr(memory_module, "physical_memory", lambda: 1000)
    features, rows = as_columns(np.zeros((90, 80))), rows_of()
    reading = usual_reading("logistic", ("late",))
    with pytest.raises(RequestError, match=r"90 images of 80 features take .* This machine has 1,000"):
        answer_fold(features, rows, Space(), [reading], fold=0, memory=1000)
    refit = Refit(rows=rows, reading=reading, parameters={"C": 1.0}, learning=np.arange(60), asked=np.arange(60, 90))
    with pytest.raises(RequestError, match=r"90 images of 80 features take .* This machine has 1,000"):
        refit.predict(features, memory=1000)


def test_the_machine_says_how_much_memory_it_has():
    told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert physical_memory() == 1024 * int(told["MemTotal"].split()[0])


@given(st.integers(1, 2**50))
def test_what_a_refusal_says_to_allow_is_enough(needed):
    (gib,) = re.findall(r"^allow ([0-9.]+) GiB: ", how_to_allow(needed))
    assert memory_bytes(float(gib)) >= needed


def test_the_limit_of_a_config_is_that_of_the_functions():
    assert memory_bytes(ProbesConfig().memory) == MEMORY


@pytest.mark.parametrize("gib", [0.0, -1.0, 1e-10, float("nan"), float("inf")])
def test_a_limit_that_is_no_number_above_0_is_refused(gib):
    words = rf"^A memory limit of {gib:g} GiB was given\. Expected a number above 0 as `probes\.memory` of a config or "
    with pytest.raises(RequestError, match=words + r"`tfcells probe --memory`, such as 1\.5, the default\.$"):
        memory_bytes(gib)


def test_answers_do_not_depend_on_the_limit_and_are_not_made_again_for_another(make_store, monkeypatch, tmp_path):
    store = make_store(widths=(6, 200))
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups, folds=3)
    grids = {"logistic": {"C": [0.1, 1.0]}, "knn": {"neighbors": [3, 9]}}
    space = Space(
        probes=("logistic", "knn"), scalers=("minmax",), reductions=("none", "pca:0.8"), grids=grids, inner_folds=2
    )
    # Enough for one matrix and a narrow block at a time: other passes, other blocks.
    little = 8 * 120 * (120 + 4 * 64)
    sweeps = [
        probe_layers(store, split, space=space, memory=little, checkpoints=tmp_path / "kept"),
        probe_layers(store, split, space=space, memory=MEMORY),
    ]
    for one, other in zip(*(sweep.candidates for sweep in sweeps), strict=True):
        assert (one.reading, one.parameters) == (other.reading, other.parameters)
        np.testing.assert_allclose(one.predictions.probabilities, other.predictions.probabilities, atol=1e-7)
    monkeypatch.setattr("tfcells.probes.sweep.answer_fold", lambda *_, **__: pytest.fail("it reads"))
    probe_layers(store, split, space=space, checkpoints=tmp_path / "kept")


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
