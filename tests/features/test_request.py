"""What is asked for: taken as it is meant, or refused in words before anything is opened."""

import importlib
import json
import subprocess
import sys
from functools import partial

import pytest

from tfcells.backbones.taps import Tap
from tfcells.errors import MissingExtraError, RequestError, UnknownNameError
from tfcells.features import request
from tfcells.features.engines.machine import Machine
from tfcells.features.request import Extraction, feature_maker

NETWORK = partial(Extraction, backbone="mobilenet_v2")


UNCHECKED = """
import json, sys
from tfcells.features.request import Extraction

def said(options):
    try:
        Extraction(**options)
    except Exception as refused:
        return f"{type(refused).__name__}: {refused}"

json.dump([said(options) for options in json.load(sys.stdin)], sys.stdout)
"""
"""In a process of its own, since here types are checked before a request is made."""

OF_ANOTHER_KIND = (
    ({"handcrafted": ["raw"], "batch_size": 2.5}, "batch_size = 2.5 given. Expected a whole number."),
    ({"handcrafted": ["raw"], "batch_size": True}, "batch_size = True given. Expected a whole number."),
    ({"handcrafted": ["raw"], "batch_size": None}, "batch_size = None given. Expected a whole number."),
    ({"backbone": "vgg16", "size": 96.5}, "size = 96.5 given. Expected a whole number."),
    ({"backbone": "vgg16", "size": "96"}, "size = '96' given. Expected a whole number."),
    ({"backbone": "vgg16", "seed": 1.0}, "seed = 1.0 given. Expected a whole number."),
    ({"backbone": "vgg16", "taps": "a"}, "taps = 'a' given. Expected names in a tuple: taps=('a',)."),
    ({"handcrafted": "raw"}, "handcrafted = 'raw' given. Expected names in a tuple: handcrafted=('raw',)."),
    ({"backbone": "vgg16", "taps": [None]}, "taps = [None] given. Expected names in a tuple, e.g. taps=('name',)."),
    ({"backbone": "vgg16", "taps": 7}, "taps = 7 given. Expected names in a tuple, e.g. taps=('name',)."),
)


def test_values_of_another_kind_are_refused_and_not_guessed_at():
    asked = json.dumps([options for options, _ in OF_ANOTHER_KIND])
    command = [sys.executable, "-c", UNCHECKED]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [f"RequestError: {message}" for _, message in OF_ANOTHER_KIND]


def test_a_pooling_is_looked_at_even_where_every_tap_names_its_own():
    with pytest.raises(
        UnknownNameError, match=r"^Unknown pooling 'nonsense'\. Did you mean 'none'\? Expected one of: mean"
    ):
        NETWORK(taps=("a:max",), pooling="nonsense")


def test_values_of_the_right_kind_are_taken():
    assert NETWORK(size=96, batch_size=1, seed=3).parsed_taps() == NETWORK().parsed_taps()
    assert NETWORK(taps=("a", "b:max"), pooling="gem").parsed_taps() == (Tap("a", "gem"), Tap("b", "max"))


@pytest.fixture
def nothing_loads(monkeypatch):
    """A machine with nothing but TensorFlow, on which TensorFlow must not be loaded."""
    plain = Machine("x86_64", frozenset({"avx2"}), frozenset())
    monkeypatch.setattr(
        request, "this_machine", lambda *, gpu: Machine(plain.architecture, plain.flags, plain.extras, gpu)
    )
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"{name} was loaded"))


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        (
            ("onnxruntime", "bfloat16"),
            RequestError,
            "onnxruntime in bfloat16 was asked for, but onnxruntime computes in",
        ),
        (("openvino", "float16"), RequestError, "openvino in float16 was asked for, but float16 needs a graphics card"),
        (("openvino", "bfloat16"), RequestError, "this processor has neither AMX nor AVX512_BF16"),
        (("openvino", "auto"), MissingExtraError, "openvino is not installed. It comes with an extra"),
        (("onnxruntime", "float32"), MissingExtraError, "onnxruntime is not installed. It comes with an extra"),
    ],
)
def test_what_no_graphics_card_makes_possible_is_refused_before_tensorflow_is_loaded(
    nothing_loads, asked, kind, message
):
    engine, precision = asked
    with pytest.raises(kind) as refused:
        feature_maker(NETWORK(engine=engine, precision=precision))
    assert message in str(refused.value)


@pytest.mark.parametrize("asked", [("auto", "auto"), ("auto", "float16"), ("tensorflow", "bfloat16")], ids="-".join)
def test_what_a_graphics_card_could_make_possible_is_left_to_tensorflow(monkeypatch, asked):
    monkeypatch.setattr(importlib, "import_module", lambda name: name)
    monkeypatch.setattr(request, "prefer_onednn", lambda: None)
    assert feature_maker(NETWORK(engine=asked[0], precision=asked[1])) == "tfcells.features.forward"
