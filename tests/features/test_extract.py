"""Extraction from pictures to a complete store; most of it on a network that builds in a blink."""

import json
import shutil
import subprocess
import sys
import warnings
from collections import namedtuple
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.backbones.cut import cut_backbone
from tfcells.backbones.open import open_backbone
from tfcells.backbones.seen import SeenPictures, list_beside, read_seen, write_seen
from tfcells.backbones.weights import SEARCH_VARIABLE, file_digest
from tfcells.errors import DamageError, MissingWeightsError, RequestError, StaleStoreError, UnknownNameError
from tfcells.features import forward, plan
from tfcells.features.extract import Extraction, extract, plan_extraction, requested_recipe
from tfcells.features.handcrafted import colour_statistics
from tfcells.features.pieces import SEEN
from tfcells.features.store import FeatureStore

CAFFE = Preprocessing("bgr", (1.0,) * 3, (-103.939, -116.779, -123.68))
REFERENCE = {"engine": "tensorflow", "precision": "float32"}
"""Named, so that these tests say the same whatever else is installed; `test_engine_choice.py` has the others."""
MOBILENET = Extraction(
    backbone="mobilenet_v2", weights="none", size=96, taps=("block_6_expand_relu",), batch_size=8, **REFERENCE
)
Usage = namedtuple("Usage", "total used free")


def build_tiny(*, weights, include_top, input_shape):
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(8, 3, strides=2, name="early")(pixels)
    maps = keras.layers.BatchNormalization(name="norm")(maps)
    maps = keras.layers.Conv2D(12, 3, strides=2, activation="relu", name="late")(maps)
    return keras.Model(pixels, keras.layers.Rescaling(1e6, name="huge")(maps), name="tiny_network")


@pytest.fixture(autouse=True, scope="module")
def tiny_row():
    """A row of the catalog whose network builds in a blink."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", Backbone("tiny", "Tiny", "tiny", CAFFE, 32, "early", "late", "huge"))
        patch.setattr(keras.applications, "Tiny", build_tiny, raising=False)
        patch.delenv(SEARCH_VARIABLE, raising=False)
        yield


def tiny(**changes):
    """A request for it; `batch_size=1` makes shards of sixteen rows, so that 36 cells are three."""
    taps = ("early:flatten", "late", "late:max")
    return Extraction(**({"backbone": "tiny", "weights": "none", "taps": taps, "batch_size": 5, **REFERENCE} | changes))


class Troubled:
    """A source in which some pictures make trouble, each of its own kind."""

    def __init__(self, source, troubles):
        self.source, self.troubles = source, troubles

    def read(self, id):
        pixels = self.source.read(id)
        return self.troubles[id](pixels) if id in self.troubles else pixels

    def describe(self):
        return self.source.describe()


def raising(error):
    def read(*arguments, **options):
        raise error

    return read


@pytest.fixture(scope="module")
def mobilenet_made(cells, tmp_path_factory):
    """A store of a real network and the plan that was announced for it."""
    plans = []
    store = extract(cells, MOBILENET, into=tmp_path_factory.mktemp("mobilenet") / "store", announce=plans.append)
    return store, plans[0]


@pytest.fixture
def mobilenet_store(mobilenet_made):
    return mobilenet_made[0]


@pytest.fixture(scope="module")
def tiny_store(tiny_row, cells, tmp_path_factory):
    """Made once, like the one before: copy before changing it."""
    return extract(cells, tiny(), into=tmp_path_factory.mktemp("tiny") / "store")


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_store_is_complete_and_says_what_it_was_made_by(mobilenet_store, cells):
    assert mobilenet_store.complete
    assert mobilenet_store.rows.ids == cells.ids
    np.testing.assert_array_equal(mobilenet_store.rows.labels, cells.labels)
    assert mobilenet_store.array("block_6_expand_relu").shape == (36, 192)
    recipe = mobilenet_store.recipe
    assert recipe["backbone"]["size"] == 96
    assert (recipe["weights"]["name"], recipe["weights"]["seed"]) == ("none", 0)
    assert recipe["shapes"] == {"block_6_expand_relu": [192]}
    assert len(recipe["golden"]["block_6_expand_relu"]) == 32
    assert json.loads((mobilenet_store.path / "run.json").read_text())["images"] == 36
    mobilenet_store.check_files()


def test_a_row_holds_what_the_network_says_of_its_picture(tiny_store, cells):
    backbone = open_backbone("tiny", weights="none")
    model = cut_backbone(backbone, tiny().taps)
    for row in (0, 17, 35):
        answers = model(cells.source.read(cells.ids[row])[None])
        for key, answer in answers.items():
            np.testing.assert_allclose(tiny_store.array(key)[row], answer[0], rtol=1e-4, atol=1e-3)


def test_colour_statistics_are_those_of_the_whole_picture(tiny_store, cells):
    expected = [colour_statistics(cells.source.read(id)) for id in cells.ids]
    np.testing.assert_array_equal(tiny_store.array("colour"), expected)


def test_hand_made_features_beside_a_network_are_those_without_one(tiny_store, cells, tmp_path):
    plans = []
    both = extract(cells, tiny(handcrafted=("raw", "stain")), into=tmp_path / "both", announce=plans.append)
    alone = extract(cells, Extraction(handcrafted=("raw", "stain")), into=tmp_path / "alone")
    assert both.taps == ("raw", "stain", *tiny_store.taps)
    assert both.layers == tiny_store.taps
    assert set(plans[0].taps) == {"colour", *both.taps}
    for key in ("colour", "raw", "stain"):
        np.testing.assert_array_equal(both.array(key), alone.array(key))
    for key in tiny_store.taps:
        np.testing.assert_array_equal(both.array(key), tiny_store.array(key))


def test_taps_are_stored_under_their_keys_in_their_shapes(tiny_store):
    assert tiny_store.taps == ("early", "late:mean", "late:max")
    shapes = [tiny_store.array(key).shape for key in tiny_store.taps]
    assert shapes == [(36, 15 * 15 * 8), (36, 12), (36, 12)]


AGAIN = """
import sys
from pathlib import Path
from tfcells.features.extract import Extraction, extract
from tfcells.features.store import known_files
from tfcells.images import inspect
from tfcells.images.readers import read_folder
inspect.decode_image = None  # no file is decoded
table = read_folder(Path(sys.argv[1]), known=known_files(sys.argv[2]))
extraction = Extraction(backbone="mobilenet_v2", weights="none", size=96, taps=("block_6_expand_relu",), batch_size=8)
store = extract(table, extraction, into=Path(sys.argv[2]))
assert store.table("block_6_expand_relu").vectors.shape == (36, 192)
loaded = {"tensorflow", "keras", "pandas", "sklearn", "scipy"} & set(sys.modules)
print(store.digest, *loaded)
"""


def test_a_complete_store_is_reopened_without_tensorflow_or_decoding(mobilenet_store, cell_folder):
    command = [sys.executable, "-c", AGAIN, cell_folder, mobilenet_store.path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [mobilenet_store.digest]


def test_a_complete_store_takes_no_forward_pass(tiny_store, cells, monkeypatch):
    monkeypatch.setattr(forward, "prepare", raising(AssertionError("a forward pass")))
    assert extract(cells, tiny(), into=tiny_store.path, announce=raising(AssertionError("a plan"))).complete


def test_a_shard_that_was_lost_is_made_again_to_the_bit(cells, tmp_path):
    whole = extract(cells, tiny(batch_size=1), into=tmp_path / "store")
    assert len(list((whole.path / "shards").iterdir())) == 3
    shutil.rmtree(whole.path / "shards" / "00002")
    assert FeatureStore(whole.path).rows_done == 32
    assert extract(cells, tiny(batch_size=1), into=whole.path).digest == whole.digest


def test_features_do_not_depend_on_the_size_of_batches(tiny_store, cells, tmp_path):
    """36 rows are seven batches of five and one that is filled up, or one batch that is mostly filler."""
    for batch_size in (1, 36, 64):
        other = extract(cells, tiny(batch_size=batch_size), into=tmp_path / str(batch_size))
        for key in tiny_store.taps:
            np.testing.assert_allclose(other.array(key), tiny_store.array(key), rtol=1e-5, atol=1e-5)


def test_pictures_that_fail_on_the_way_are_named_and_the_others_are_as_without_them(tiny_store, cells, tmp_path):
    troubles = {
        cells.ids[2]: raising(RuntimeError("the disk coughed")),
        cells.ids[3]: raising(OSError(5, "Input/output error")),
        cells.ids[20]: lambda pixels: pixels + 1,
        cells.ids[30]: lambda pixels: pixels[:, :, 0],
    }
    table = replace(cells, source=Troubled(cells.source, troubles))
    store = extract(table, tiny(), into=tmp_path / "troubled")
    reasons = {entry.id: entry.reason for entry in store.quarantine}
    assert set(reasons) == set(troubles)
    assert "RuntimeError: the disk coughed" in reasons[cells.ids[2]]
    assert "Input/output error" in reasons[cells.ids[3]]
    assert reasons[cells.ids[20]] == "its pixels changed after it was first read"
    left = [row for row, id in enumerate(cells.ids) if id not in troubles]
    assert store.complete
    assert store.rows.ids == tuple(cells.ids[row] for row in left)
    for key in (*store.taps, "colour"):
        np.testing.assert_array_equal(store.array(key), tiny_store.array(key)[left])


def test_a_run_in_which_everything_fails_names_everything(cells, tmp_path):
    table = replace(cells, source=Troubled(cells.source, dict.fromkeys(cells.ids, raising(OSError("gone")))))
    store = extract(table, tiny(), into=tmp_path / "store")
    assert store.complete
    assert {entry.id for entry in store.quarantine} == set(cells.ids)
    assert store.table(["early", "late:max"]).vectors.shape == (0, 1812)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "weights.seed is 0"),
        ({"size": 48}, "backbone.size is 32"),
        ({"batch_size": 6}, "engine.batch_size is 5"),
        ({"engine": "openvino"}, "engine.name is tensorflow in the store, openvino was asked for"),
        ({"precision": "bfloat16"}, "engine.precision is float32 in the store, bfloat16 was asked for"),
        ({"dtype": "float16"}, "dtype is float32"),
        ({"backbone": "mobilenet_v2"}, "backbone.name is tiny"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_request_is_refused_and_the_difference_named(tiny_store, cells, change, named):
    with pytest.raises(StaleStoreError) as refused:
        extract(cells, tiny(**change), into=tiny_store.path)
    assert named in str(refused.value)


def test_a_network_that_answers_otherwise_does_not_go_on_with_a_store(cells, tmp_path, monkeypatch, made_by):
    store = extract(cells, tiny(batch_size=1), into=tmp_path / "store")
    shutil.rmtree(store.path / "shards" / "00002")
    monkeypatch.setitem(
        BACKBONES, "tiny", replace(BACKBONES["tiny"], preprocessing=replace(CAFFE, channel_order="rgb"))
    )
    wanted = requested_recipe(tiny(batch_size=1), cells)
    made_by(store.path, {**store.recipe, "backbone": wanted["backbone"]})
    with pytest.raises(DamageError, match=r"golden check of the weights that .* was made with failed at tap"):
        extract(cells, tiny(batch_size=1), into=store.path)


def test_other_weights_of_the_same_name_do_not_go_on_with_a_store(cells, tmp_path, monkeypatch):
    """Weights that Keras provides are known by their digest only when they are here."""

    def keras_own(*, weights, include_top, input_shape, value=0.1):
        model = build_tiny(weights=None, include_top=include_top, input_shape=input_shape)
        model.get_layer("late").bias.assign([value] * 12)
        return model

    monkeypatch.setattr(keras.applications, "Tiny", keras_own)
    request = tiny(weights="imagenet", taps=("late",), batch_size=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "image_batches", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            extract(cells, request, into=tmp_path / "store")
    monkeypatch.setattr(keras.applications, "Tiny", partial(keras_own, value=0.2))
    with pytest.raises(StaleStoreError, match=r"weights\.sha256 is \w+ in the store"):
        extract(cells, request, into=tmp_path / "store")


@pytest.mark.parametrize("size", [None, 48])
def test_weights_that_tfcells_knows_must_answer_as_it_knows_at_their_own_size(cells, tmp_path, monkeypatch, size):
    sha256 = open_backbone("tiny", weights="none").sha256
    monkeypatch.setattr(forward, "known_fingerprints", lambda: {sha256: {"late": [0.0] * 12}})
    extraction = tiny(size=size)
    if size is None:
        with pytest.raises(DamageError, match="golden check of tiny none failed at tap 'late'"):
            extract(cells, extraction, into=tmp_path / "store")
        assert not (tmp_path / "store").exists()
    else:
        assert extract(cells, extraction, into=tmp_path / "store").complete


def test_a_budget_that_is_too_small_is_refused_and_nothing_written(cells, tmp_path):
    with pytest.raises(RequestError, match=r"would take [\d,]+ bytes, the budget is 1,000\. The largest tap is early"):
        extract(cells, tiny(), into=tmp_path / "store", budget=1000)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_refused_and_nothing_written(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda path: Usage(0, 0, 1000))
    with pytest.raises(RequestError, match=r"its disk has 1\.0 KiB free"):
        extract(cells, tiny(), into=tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"taps": ("early", "layte")}, UnknownNameError),
        ({"taps": ("early", "global")}, UnknownNameError),
        ({"weights": "cells"}, MissingWeightsError),
        ({"weights": "/no/such.weights.h5"}, MissingWeightsError),
    ],
    ids=["tap", "other tap", "weights", "file"],
)
def test_a_request_that_cannot_be_met_leaves_nothing_on_disk(cells, tmp_path, change, error):
    for call in (extract, plan_extraction):
        with pytest.raises(error) as refused:
            call(cells, tiny(**change), into=tmp_path / "new" / "store")
        assert refused.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_damaged_weights_leave_nothing_on_disk(cells, tmp_path):
    model = build_tiny(weights=None, include_top=False, input_shape=(32, 32, 3))
    model.get_layer("late").bias.assign([np.nan] * 12)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
        model.save_weights(tmp_path / "tiny_bad.weights.h5")
    with pytest.raises(DamageError, match=r"Weight 'late/bias' of tiny bad is not finite: the weights are damaged"):
        extract(cells, tiny(weights=str(tmp_path)), into=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_weights_from_a_file_are_named_with_their_digest_and_those_from_a_seed_too(tiny_store, cells, tmp_path):
    backbone = open_backbone("tiny", weights="none", seed=3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
        backbone.model.save_weights(tmp_path / "tiny_mine.weights.h5")
    store = extract(cells, tiny(weights=str(tmp_path / "tiny_mine.weights.h5")), into=tmp_path / "store")
    assert store.recipe["weights"] == {"name": "mine", "sha256": file_digest(tmp_path / "tiny_mine.weights.h5")}
    seeded = open_backbone("tiny", weights="none").sha256
    assert tiny_store.recipe["weights"] == {"name": "none", "seed": 0, "sha256": seeded}


def test_a_folder_of_something_else_is_left_alone(cells, cell_folder):
    with pytest.raises(RequestError, match="exists and is no feature store"):
        extract(cells, tiny(), into=cell_folder)


def test_a_plan_writes_nothing_and_tells_what_will_be_on_disk(cells, tmp_path):
    planned = plan_extraction(cells, tiny(), into=tmp_path / "store")
    assert list(tmp_path.iterdir()) == []
    assert (planned.rows, planned.taps["late:max"].bytes) == (36, 36 * 12 * 4)
    store = extract(cells, tiny(), into=tmp_path / "store")
    assert planned.bytes_missing == pytest.approx(size_of(store.path), rel=0.1)


def test_a_plan_is_right_for_narrow_features_too(mobilenet_made):
    store, planned = mobilenet_made
    assert planned.bytes_missing == pytest.approx(size_of(store.path), rel=0.1)


def test_a_plan_counts_what_is_missing(cells, tmp_path):
    store = extract(cells, tiny(batch_size=1), into=tmp_path / "store")
    whole = plan_extraction(cells, tiny(batch_size=1), into=tmp_path / "other")
    shutil.rmtree(store.path / "shards" / "00002")
    left = plan_extraction(cells, tiny(batch_size=1), into=store.path)
    assert left.rows == 4
    assert left.bytes_missing == pytest.approx(whole.bytes_missing * 4 / 36, abs=2)


def test_the_plan_is_announced_and_progress_runs_to_the_end(cells, tmp_path):
    plans, steps = [], []
    extract(
        cells,
        tiny(),
        into=tmp_path / "store",
        announce=plans.append,
        progress=lambda stage, done, total: steps.append((stage, done, total)),
    )
    assert [entry.rows for entry in plans] == [36]
    assert steps == [("extracting", done, 36) for done in (*range(0, 36, 5), 36)]


def test_half_precision_loses_little(tiny_store, cells, tmp_path):
    half = extract(cells, tiny(dtype="float16"), into=tmp_path / "half")
    for key in tiny_store.taps:
        assert half.array(key).dtype == np.float16
        np.testing.assert_allclose(half.array(key).astype(np.float32), tiny_store.array(key), rtol=1e-3, atol=1e-6)
    assert half.array("colour").dtype == np.float32
    assert size_of(half.path) < 0.6 * size_of(tiny_store.path)


def test_features_too_large_for_half_precision_are_refused(cells, tmp_path):
    extraction = tiny(dtype="float16", taps=("huge",))
    with pytest.raises(RequestError, match=r"tap 'huge' of the fixed pictures do not fit float16: .* Store them as fl"):
        extract(cells, extraction, into=tmp_path / "store")
    assert not (tmp_path / "store").exists()
    assert extract(cells, replace(extraction, dtype="float32"), into=tmp_path / "other").complete


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size = 0 given. Expected 1 or more"),
        ({"size": 31}, "size = 31 given. Expected 32 pixels or more"),
        ({"engine": "opnvino"}, "Unknown engine 'opnvino'. Did you mean 'openvino'"),
        ({"precision": "float64"}, "Unknown precision 'float64'. Did you mean 'float16'"),
        ({"dtype": "float64"}, "dtype 'float64' given. Expected one of: float32, float16"),
        ({"backbone": "tinny"}, "Did you mean 'tiny'"),
        ({"pooling": "avg", "taps": ("early",)}, "Unknown pooling 'avg'"),
        ({"taps": ("early", "early:mean")}, "Taps come twice: early:mean"),
    ],
    ids=str,
)
def test_a_request_that_makes_no_sense_is_refused_when_it_is_made(change, message):
    with pytest.raises(RequestError) as refused:
        tiny(**change)
    assert message in str(refused.value)


def test_no_tap_named_means_those_of_the_catalog():
    assert [tap.layer for tap in Extraction(backbone="vgg16").parsed_taps()] == list(BACKBONES["vgg16"].taps)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras 3.15 under NumPy 2
def test_a_store_keeps_the_list_of_what_its_weights_have_seen(cells, tmp_path):
    weights = tmp_path / "tiny_mine.weights.h5"
    build_tiny(weights=None, include_top=False, input_shape=(32, 32, 3)).save_weights(weights)
    request = tiny(weights=str(weights), taps=("late",))
    store = extract(cells, request, into=tmp_path / "store")
    digest = store.digest
    assert not (store.path / SEEN).exists()
    list_beside(weights).write_text("no digest\n")
    with pytest.raises(DamageError, match=r"tiny_mine\.seen\.txt, line 1"):
        extract(cells, request, into=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    seen = SeenPictures.of(cells.digests[:9])
    write_seen(list_beside(weights), seen)
    for into in ("store", "other"):
        store = extract(cells, request, into=tmp_path / into)
        assert read_seen(store.path / SEEN) == seen
        assert store.digest == digest

    grown = extract(cells, tiny(weights=str(weights), taps=("late", "early")), into=tmp_path / "store")
    assert read_seen(grown.path / SEEN) == seen
