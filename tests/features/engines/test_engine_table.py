"""The table of engines: the same machine always gets the same order, and what is impossible is said."""

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.errors import MissingExtraError, RequestError, UnknownNameError
from tfcells.features.engines import machine as machine_module
from tfcells.features.engines.contract import ENGINES, PRECISIONS, REFERENCE
from tfcells.features.engines.machine import Machine, prefer_onednn, processor_flags, this_machine
from tfcells.features.engines.table import candidates, obstacles, order

ALL = frozenset({"openvino", "onnxruntime"})
NONE: frozenset[str] = frozenset()
AMX = Machine("x86_64", frozenset({"avx2", "avx512f", "amx_bf16"}), ALL)
AVX512 = Machine("x86_64", frozenset({"avx2", "avx512f"}), ALL)
AVX2 = Machine("x86_64", frozenset({"avx2"}), ALL)
ARM = Machine("aarch64", frozenset({"asimd"}), frozenset({"onnxruntime"}))
GPU = replace(AVX2, gpu=(9, 0))


@pytest.mark.parametrize(
    ("machine", "backbone", "first"),
    [
        (AMX, "mobilenet_v2", ("openvino", "bfloat16")),
        (replace(AMX, extras=NONE), "mobilenet_v2", ("tensorflow", "bfloat16")),
        (replace(AMX, extras=frozenset({"onnxruntime"})), "mobilenet_v2", ("tensorflow", "bfloat16")),
        (AVX512, "mobilenet_v2", ("onnxruntime", "float32")),
        (AVX512, "vgg16", ("tensorflow", "float32")),
        (AVX2, "mobilenet_v2", ("openvino", "float32")),
        (replace(AVX2, extras=NONE), "mobilenet_v2", REFERENCE),
        (ARM, "mobilenet_v2", ("onnxruntime", "float32")),
        (replace(ARM, extras=NONE), "mobilenet_v2", REFERENCE),
        (GPU, "mobilenet_v2", ("tensorflow", "bfloat16")),
        (replace(GPU, gpu=(7, 5)), "mobilenet_v2", ("tensorflow", "float16")),
        (replace(GPU, gpu=(6, 1)), "mobilenet_v2", REFERENCE),
    ],
)
def test_auto_takes_the_first_that_is_possible(machine, backbone, first):
    assert candidates(machine, backbone)[0] == first


machines = st.builds(
    Machine,
    architecture=st.sampled_from(["x86_64", "aarch64"]),
    flags=st.frozensets(st.sampled_from(["avx2", "avx512f", "amx_bf16", "avx512_bf16"])),
    extras=st.frozensets(st.sampled_from(sorted(ALL))),
    gpu=st.none() | st.tuples(st.integers(3, 10), st.integers(0, 9)),
)


@given(machines, st.sampled_from(["vgg16", "mobilenet_v2", "resnet50"]))
def test_tensorflow_in_float32_is_always_there_to_fall_back_on_and_everything_offered_is_possible(machine, backbone):
    found = candidates(machine, backbone)
    assert REFERENCE in found
    assert len(set(found)) == len(found)
    for row in found:
        assert not list(obstacles(machine, *row))
        assert machine.missing_package(row[0]) is None
    assert set(order(machine, backbone)) <= {(engine, precision) for engine in ENGINES for precision in PRECISIONS}


@given(machines, st.sampled_from(ENGINES), st.sampled_from(PRECISIONS))
def test_a_name_is_met_or_refused_never_replaced(machine, engine, precision):
    for request in ({"engine": engine}, {"precision": precision}, {"engine": engine, "precision": precision}):
        try:
            found = candidates(machine, "mobilenet_v2", **request)
        except RequestError:
            continue
        assert all(row[0] == request.get("engine", row[0]) for row in found)
        assert all(row[1] == request.get("precision", row[1]) for row in found)


@pytest.mark.parametrize(
    ("machine", "engine", "precision", "reason"),
    [
        (AVX2, "tensorflow", "bfloat16", "this processor has neither AMX nor AVX512_BF16"),
        (AVX2, "openvino", "float16", "float16 needs a graphics card"),
        (AMX, "onnxruntime", "bfloat16", "onnxruntime computes in float32"),
        (replace(GPU, gpu=(6, 1)), "tensorflow", "float16", "compute capability is below 7.0"),
        (replace(GPU, gpu=(7, 5)), "tensorflow", "bfloat16", "compute capability is below 8.0"),
        (ARM, "openvino", "float32", "OpenVINO has no package for aarch64"),
        (ARM, "openvino", "auto", "OpenVINO has no package for aarch64"),
        (AVX2, "auto", "bfloat16", "this processor has neither AMX nor AVX512_BF16"),
    ],
)
def test_what_is_impossible_is_refused_with_the_reason(machine, engine, precision, reason):
    with pytest.raises(RequestError, match=reason):
        candidates(machine, "mobilenet_v2", engine=engine, precision=precision)


@pytest.mark.parametrize(("engine", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx")])
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_an_engine_that_is_not_installed_names_its_extra(engine, extra, precision):
    with pytest.raises(MissingExtraError, match=rf"pip install 'tfcells\[{extra}\]'"):
        candidates(replace(AVX2, extras=NONE), "vgg16", engine=engine, precision=precision)


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match=r"Unknown engine 'tensorrt'"):
        candidates(AVX2, "vgg16", engine="tensorrt")
    with pytest.raises(UnknownNameError, match=r"Unknown precision 'int8'"):
        candidates(AVX2, "vgg16", precision="int8")


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (
            "processor\t: 0\nflags\t\t: fpu avx2 amx_bf16\n\nprocessor\t: 1\nflags\t\t: other\n",
            {"fpu", "avx2", "amx_bf16"},
        ),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", {"fp", "asimd", "bf16"}),
        ("nothing\n", set()),
    ],
)
def test_flags_are_those_of_the_first_processor(tmp_path, text, flags):
    (tmp_path / "cpuinfo").write_text(text)
    assert processor_flags(tmp_path / "cpuinfo") == flags
    assert processor_flags(tmp_path / "nowhere") == frozenset()


def test_this_machine_knows_what_is_installed(monkeypatch):
    monkeypatch.setattr(machine_module.importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else name)
    assert this_machine().extras == {"openvino"}


def test_onednn_is_preferred_only_where_nobody_has_decided(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    prefer_onednn()
    assert machine_module.os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    prefer_onednn()
    assert machine_module.os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
