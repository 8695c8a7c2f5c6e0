"""What `tfcells bench` measures, on a network that builds in a blink."""

import keras
import pytest

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.errors import RequestError
from tfcells.features import bench as module
from tfcells.features.bench import bench
from tfcells.features.engines.machine import Machine
from tfcells.features.extract import Extraction
from tfcells.images.sources import SpooledSource

PLAIN = Preprocessing("rgb", (1 / 255,) * 3, (0.0,) * 3)
REQUEST = {"backbone": "small", "weights": "none", "taps": ("late",), "batch_size": 8}


def build_small(*, weights, include_top, input_shape):
    pixels = keras.Input(input_shape)
    return keras.Model(pixels, keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="late")(pixels))


@pytest.fixture(autouse=True)
def small_row(monkeypatch):
    """In this process: another one would not know the small network."""
    monkeypatch.setitem(BACKBONES, "small", Backbone("small", "Small", "small", PLAIN, 32, "late", "late", "late"))
    monkeypatch.setattr(keras.applications, "Small", build_small, raising=False)
    monkeypatch.setattr(module, "_in_own_process", lambda function, *arguments: function(*arguments))


@pytest.fixture
def measured(monkeypatch):
    """Made-up figures for three engines, by name and precision."""

    def arrange(figures, *, extras=("openvino", "onnxruntime")):
        machine = Machine("x86_64", frozenset({"avx2"}), frozenset(extras))

        def measure(table, extraction, name, precision, repeats):
            rate, accepted = figures[name]
            return {
                "engine": name,
                "precision": precision,
                "images_per_second": rate,
                "accepted": accepted,
                "decode_images_per_second": 100.0,
            }

        monkeypatch.setattr(module, "_rows_here", lambda name: (module.candidates(machine, name), machine))
        monkeypatch.setattr(module, "measure_engine", measure)

    return arrange


def test_the_engines_of_this_machine_are_measured_with_their_parity(cells, monkeypatch):
    alone = Machine("x86_64", frozenset({"avx2"}), frozenset())
    monkeypatch.setattr(module, "this_machine", lambda gpu: alone)
    steps = []
    found = bench(
        cells, Extraction(**REQUEST), images=20, repeats=1, progress=lambda stage, done, total: steps.append(done)
    )
    (row,) = found["engines"]
    assert (row["engine"], row["precision"]) == ("tensorflow", "float32")
    assert row["accepted"]
    assert row["parity"]["late"]["cosine"] > 0.99999
    assert min(row[key] for key in ("decode_images_per_second", "network_images_per_second", "images_per_second")) > 0
    together = 1 / row["decode_images_per_second"] + 1 / row["network_images_per_second"]
    assert row["overlap"] == pytest.approx(row["images_per_second"] * together, abs=2e-3)
    assert row["peak_memory_bytes"] > 2**20
    assert found["images"] == 20
    assert found["table_is_right"]
    assert steps == [0, 1]


def test_what_auto_would_take_is_held_against_the_fastest(cells, measured):
    measured({"openvino": (50.0, True), "onnxruntime": (80.0, True), "tensorflow": (40.0, True)})
    found = bench(cells, Extraction(**REQUEST))
    assert found["chosen"] == {"engine": "openvino", "precision": "float32"}
    assert found["fastest"] == {"engine": "onnxruntime", "precision": "float32"}
    assert not found["table_is_right"]


def test_engines_about_as_fast_as_one_another_leave_the_table_right(cells, measured):
    measured({"openvino": (78.0, True), "onnxruntime": (80.0, True), "tensorflow": (40.0, True)})
    assert bench(cells, Extraction(**REQUEST))["table_is_right"]


def test_an_engine_that_answers_otherwise_is_neither_chosen_nor_the_fastest(cells, measured):
    measured({"openvino": (500.0, False), "onnxruntime": (80.0, True), "tensorflow": (40.0, True)})
    found = bench(cells, Extraction(**REQUEST))
    assert found["chosen"] == found["fastest"] == {"engine": "onnxruntime", "precision": "float32"}


def test_what_cannot_be_measured_is_named_with_the_reason(cells, measured):
    measured({"tensorflow": (40.0, True)}, extras=())
    reasons = {
        (row["engine"], row["precision"]): row["reason"] for row in bench(cells, Extraction(**REQUEST))["impossible"]
    }
    assert reasons["openvino", "float32"] == "it is not installed"
    assert "neither AMX nor AVX512_BF16" in reasons["tensorflow", "bfloat16"]
    assert ("tensorflow", "float32") not in reasons


@pytest.mark.parametrize("change", [{"images": 0}, {"repeats": 0}])
def test_nothing_to_measure_is_refused(cells, change):
    with pytest.raises(RequestError, match="Expected 1 or more of both"):
        bench(cells, Extraction(**REQUEST), **change)


def test_a_source_that_other_processes_cannot_read_is_refused(cells):
    from dataclasses import replace

    spooled = replace(cells, source=SpooledSource({"kind": "tfds", "root": "x"}))
    with pytest.raises(RequestError, match="tfds came"):
        bench(spooled, Extraction(**REQUEST))
