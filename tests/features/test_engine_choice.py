"""Which engine a store is made by: chosen before the first shard, kept when it is gone on with, refused by name."""

import keras
import numpy as np
import pytest

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.errors import RequestError, StaleStoreError
from tfcells.features import forward
from tfcells.features import request as request_module
from tfcells.features.engines import choose
from tfcells.features.engines.contract import Engine
from tfcells.features.engines.machine import Machine
from tfcells.features.extract import Extraction, extract, requested_recipe
from tfcells.features.store import FeatureStore
from tfcells.steps.export import why_no_export

PLAIN = Preprocessing("rgb", (1 / 255,) * 3, (0.0,) * 3)


def build_small(*, weights, include_top, input_shape):
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="early")(pixels)
    return keras.Model(pixels, keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="late")(maps), name="small")


@pytest.fixture(autouse=True)
def small_row(monkeypatch):
    monkeypatch.setitem(BACKBONES, "small", Backbone("small", "Small", "small", PLAIN, 32, "early", "late", "late"))
    monkeypatch.setattr(keras.applications, "Small", build_small, raising=False)


def request(**changes):
    return Extraction(**({"backbone": "small", "weights": "none", "taps": ("late",), "batch_size": 2} | changes))


class Crooked(Engine):
    """Answers as the true engine does, but with one number turned round where it is told to."""

    name = "openvino"

    def __init__(self, true, *, crooked):
        super().__init__(keys=true.keys, batch_size=true.batch_size, size=true.size, precision="float32")
        self.true, self.crooked = true, crooked

    def run(self, batch):
        factor = np.where(np.arange(6) % 2, -1.0, 1.0).astype(np.float32) if self.crooked else np.float32(1.001)
        return {key: answer * factor for key, answer in self.true.run(batch).items()}

    def facts(self):
        return {"version": "1", "device": "cpu"}


@pytest.fixture
def with_another_engine(monkeypatch):
    """A machine whose table begins with an engine that is good, or is not."""

    def arrange(*, crooked, opened=None):
        true_open = choose.Workbench.open

        def open_(workbench, name, precision):
            if opened is not None:
                opened.append((name, precision))
            engine = true_open(workbench, "tensorflow", "float32")
            return Crooked(engine, crooked=crooked) if name == "openvino" else engine

        machine = Machine("x86_64", frozenset({"avx2"}), frozenset({"openvino"}))
        monkeypatch.setattr(choose.Workbench, "open", open_)
        for module in (choose, request_module):
            monkeypatch.setattr(module, "this_machine", lambda gpu: machine)

    return arrange


def stop_after(rows):
    """Let an extraction be interrupted when so many rows are in the store."""

    def progress(stage, done, total):
        if done > rows:
            raise KeyboardInterrupt

    return progress


def test_auto_takes_the_first_of_the_table_and_writes_its_figures_into_the_recipe(cells, tmp_path, with_another_engine):
    with_another_engine(crooked=False)
    engine = extract(cells, request(), into=tmp_path / "store").recipe["engine"]
    assert (engine["name"], engine["precision"], engine["version"]) == ("openvino", "float32", "1")
    assert engine["parity"]["late"]["cosine"] == pytest.approx(1.0)
    assert engine["parity"]["late"]["relative_error"] == pytest.approx(1e-3, rel=0.01)


def test_auto_passes_over_an_engine_that_answers_otherwise(cells, tmp_path, with_another_engine):
    with_another_engine(crooked=True)
    engine = extract(cells, request(), into=tmp_path / "store").recipe["engine"]
    assert (engine["name"], engine["precision"]) == ("tensorflow", "float32")
    assert "parity" not in engine


def test_a_named_engine_that_answers_otherwise_is_refused_with_the_figures(cells, tmp_path, with_another_engine):
    with_another_engine(crooked=True)
    with pytest.raises(RequestError, match=r"No engine fits --engine openvino .* late cosine -?[01]\.\d+ and relative"):
        extract(cells, request(engine="openvino"), into=tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_was_begun_keeps_its_engine_and_figures(cells, tmp_path, with_another_engine, monkeypatch):
    with_another_engine(crooked=False)
    whole = extract(cells, request(), into=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        extract(cells, request(), into=tmp_path / "store", progress=stop_after(33))
    assert 0 < FeatureStore(tmp_path / "store").rows_done < len(cells)
    opened = []
    with_another_engine(crooked=False, opened=opened)
    monkeypatch.setattr(choose, "candidates", lambda *_, **__: pytest.fail("the table was asked again"))
    resumed = extract(cells, request(), into=tmp_path / "store")
    assert opened == [("openvino", "float32")]
    assert resumed.digest == whole.digest


@pytest.mark.parametrize("complete", [True, False])
def test_an_engine_that_is_named_must_be_the_one_of_the_store(
    cells, tmp_path, with_another_engine, complete, monkeypatch
):
    with_another_engine(crooked=False)
    if complete:
        extract(cells, request(), into=tmp_path / "store")
    else:
        with pytest.raises(KeyboardInterrupt):
            extract(cells, request(), into=tmp_path / "store", progress=stop_after(33))
    with pytest.raises(StaleStoreError, match=r"engine\.name is openvino in the store, tensorflow was asked for"):
        extract(cells, request(engine="tensorflow"), into=tmp_path / "store")
    if complete:
        assert extract(cells, request(engine="openvino"), into=tmp_path / "store").complete


def test_a_request_names_only_what_is_not_left_open(cells):
    assert requested_recipe(request(), cells)["engine"] == {"batch_size": 2}
    named = requested_recipe(request(engine="tensorflow", precision="float32"), cells)["engine"]
    assert named == {"name": "tensorflow", "precision": "float32", "batch_size": 2}


def test_features_of_another_engine_are_not_exported_from(cells, tmp_path, with_another_engine):
    with_another_engine(crooked=False)
    other = extract(cells, request(), into=tmp_path / "other")
    refusal = why_no_export(other)
    assert refusal is not None
    assert "were made by openvino in float32; an export computes by TensorFlow in float32" in refusal
    assert "--backbone.engine tensorflow --backbone.precision float32" in refusal
    plain = extract(cells, request(engine="tensorflow", precision="float32"), into=tmp_path / "plain")
    assert why_no_export(plain) is None


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_an_extra_engine_fills_a_store_like_tensorflows_and_finishes_it_to_the_bit(cells, tmp_path, name):
    pytest.importorskip(name)
    whole = extract(cells, request(engine=name), into=tmp_path / "whole")
    reference = extract(cells, request(engine="tensorflow"), into=tmp_path / "reference")
    np.testing.assert_allclose(whole.array("late"), reference.array("late"), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(whole.array("colour"), reference.array("colour"))
    with pytest.raises(KeyboardInterrupt):
        extract(cells, request(engine=name), into=tmp_path / "store", progress=stop_after(33))
    assert extract(cells, request(), into=tmp_path / "store").digest == whole.digest
    assert forward.shard_rows(whole.recipe) == 32
