"""Stores of hand-made features: alone without TensorFlow, or beside those of a network."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tfcells.errors import RequestError, StaleStoreError
from tfcells.features import measured
from tfcells.features.extract import Extraction, extract, plan_extraction
from tfcells.features.handcrafted import HANDCRAFTED, Handcrafted
from tfcells.features.store import FeatureStore
from tfcells.images.decode import BadImageError
from tfcells.images.splits import split_table
from tfcells.probes.reading import Space
from tfcells.probes.sweep import probe_layers

REQUEST = Extraction(handcrafted=("stain", "raw"), batch_size=1)
"""One row a batch is sixteen rows a shard: 36 cells are three shards."""


class Troubled:
    """A source in which some pictures cannot be read, each for its own reason."""

    def __init__(self, source, errors):
        self.source, self.errors = source, errors

    def read(self, id):
        if id in self.errors:
            raise self.errors[id]
        return self.source.read(id)

    def describe(self):
        return self.source.describe()


@pytest.fixture(scope="module")
def store(cells, tmp_path_factory):
    return extract(cells, REQUEST, into=tmp_path_factory.mktemp("measured") / "store")


def test_a_store_of_hand_made_features_holds_what_the_functions_say(store, cells):
    assert store.complete
    assert (store.taps, store.layers) == (("raw", "stain"), ())
    for key in ("colour", "raw", "stain"):
        expected = [HANDCRAFTED[key].measure(cells.source.read(id)) for id in cells.ids]
        np.testing.assert_array_equal(store.array(key), expected)
    assert store.table(("stain", "raw")).vectors.shape == (36, 58 + 3072)
    assert store.table("stain").pooling == "none"


def test_its_recipe_says_that_there_is_no_network(store):
    recipe = store.recipe
    assert (recipe["backbone"], recipe["weights"], recipe["taps"]) == (None, None, [])
    assert recipe["handcrafted"]["stain"] == {"definition": HANDCRAFTED["stain"].definition, "shape": [58]}
    assert set(recipe["versions"]) == {"numpy", "pillow"}


def test_a_lost_shard_is_made_again_and_another_request_refused(cells, tmp_path, store):
    copy = shutil.copytree(store.path, tmp_path / "copy")
    shutil.rmtree(copy / "shards" / "00002")
    assert FeatureStore(copy).rows_done == 32
    assert extract(cells, REQUEST, into=copy).digest == store.digest
    with pytest.raises(StaleStoreError, match=r"dtype is float32 in the store, float16 was asked for"):
        extract(cells, replace(REQUEST, dtype="float16"), into=copy)


def test_a_complete_store_measures_nothing(cells, store, monkeypatch):
    monkeypatch.delattr(measured, "prepare")
    assert extract(cells, REQUEST, into=store.path).digest == store.digest


def test_pictures_that_fail_are_named_and_the_others_are_as_without_them(cells, store, tmp_path):
    errors = {cells.ids[3]: BadImageError("torn"), cells.ids[30]: RuntimeError("the disk coughed")}
    table = replace(cells, source=Troubled(cells.source, errors))
    found = extract(table, REQUEST, into=tmp_path / "store")
    assert {entry.id: entry.reason for entry in found.quarantine} == {
        cells.ids[3]: "torn",
        cells.ids[30]: "cannot be read: RuntimeError: the disk coughed",
    }
    left = [row for row in range(36) if row not in (3, 30)]
    np.testing.assert_array_equal(found.array("raw"), store.array("raw")[left])


def test_half_precision_spares_the_colour_statistics(cells, store, tmp_path):
    half = extract(cells, replace(REQUEST, dtype="float16"), into=tmp_path / "store")
    assert (half.array("raw").dtype, half.array("colour").dtype) == (np.float16, np.float32)
    np.testing.assert_allclose(half.array("raw"), store.array("raw"), rtol=1e-3)
    assert store.recipe["rounding"] == {}
    assert set(half.recipe["rounding"]) == {"raw", "stain"}


def test_what_half_precision_costs_is_said_before_it_is_paid(cells, tmp_path):
    planned = plan_extraction(cells, replace(REQUEST, dtype="float16"), into=tmp_path / "store")
    assert planned.taps["colour"].rounding == 0
    for key in ("raw", "stain"):
        assert 1e-6 < planned.taps[key].rounding <= 2**-11  # half of the last place of the largest number
    assert plan_extraction(cells, REQUEST, into=tmp_path / "store").taps["raw"].rounding == 0


def test_features_that_half_precision_cannot_hold_are_refused_before_anything_is_written(cells, tmp_path, monkeypatch):
    wide = Handcrafted("raw", lambda pixels: np.full(2, 1e6, np.float32), 2, "too large")
    monkeypatch.setitem(HANDCRAFTED, "raw", wide)
    with pytest.raises(RequestError, match=r"at tap 'raw' of the fixed pictures do not fit float16: .* 1e\+06\. Store"):
        extract(cells, replace(REQUEST, dtype="float16"), into=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_plan_counts_them(cells, tmp_path):
    planned = plan_extraction(cells, Extraction(handcrafted=("hog",)), into=tmp_path / "store")
    assert {key: tap.bytes for key, tap in planned.taps.items()} == {"colour": 36 * 21 * 4, "hog": 36 * 44_100 * 4}
    assert planned.bytes_missing > sum(tap.bytes for tap in planned.taps.values())
    assert planned.images_per_second > 0
    assert not (tmp_path / "store").exists()


ALONE = """
import sys
from tfcells.cli.main import main
code = main(["extract", sys.argv[1], "--features", "lbp,raw", "--out", sys.argv[2], "--json", "--quiet"])
sys.exit(code or len({"tensorflow", "keras"} & set(sys.modules)))
"""


def test_the_command_line_makes_one_without_tensorflow(cell_folder, tmp_path):
    command = [sys.executable, "-c", ALONE, cell_folder, tmp_path / "store"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["taps"] == {"lbp": [54], "raw": [3072]}


def test_a_sweep_compares_them_like_layers_and_sets_the_rest_beside_them(store, cells):
    split = split_table(cells, folds=3, seed=0)
    space = Space(probes=("logistic",), inner_folds=0)
    sweep = probe_layers(store, split, space=space)
    assert {entry.taps for entry in sweep.candidates} == {("raw",), ("stain",), ("raw", "stain")}
    assert [entry.taps for entry in sweep.baselines] == [(), ("colour",)]
    sweep = probe_layers(store, split, taps=("stain",), space=space)
    assert [entry.taps for entry in sweep.candidates] == [("stain",)]
    assert [entry.taps for entry in sweep.baselines] == [(), ("colour",), ("raw",)]


def test_colour_by_itself_can_be_asked_for(cells, tmp_path):
    found = extract(cells, Extraction(handcrafted=("colour",)), into=tmp_path / "store")
    assert found.taps == ("colour",)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "Neither a backbone nor hand-made features were named. Expected a backbone, or one or more of: colour"),
        ({"handcrafted": ("hog",), "taps": ("late",)}, "taps given without a backbone. Name the backbone"),
        ({"handcrafted": ("hog",), "size": 64}, "size given without a backbone"),
        ({"handcrafted": ("hog",), "pooling": "max"}, "pooling given without a backbone. Name the backbone, or leave"),
        ({"handcrafted": ("hog",), "pooling": "nonsense"}, "Unknown pooling 'nonsense'. Did you mean 'none'?"),
        ({"handcrafted": ("hog",), "seed": 7}, "seed given without a backbone"),
        ({"handcrafted": ("hog",), "weights": "cells"}, "weights given without a backbone"),
        ({"handcrafted": ("hog",), "engine": "openvino"}, "engine given without a backbone"),
        ({"handcrafted": ("hog",), "precision": "bfloat16"}, "precision given without a backbone"),
        ({"handcrafted": ("pixels",)}, "Unknown hand-made features 'pixels'"),
        ({"backbone": "vgg16", "taps": ("hog",), "handcrafted": ("hog",)}, "'hog' is a layer of vgg16 and the name of"),
    ],
    ids=str,
)
def test_requests_that_make_no_sense_are_refused_when_they_are_made(request_, message):
    with pytest.raises(RequestError) as refused:
        Extraction(**request_)
    assert message in str(refused.value)
