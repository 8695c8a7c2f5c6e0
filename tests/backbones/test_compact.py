"""Weights in half the space: what may change in them, and what must not."""

import time

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfcells.backbones.compact import LARGEST, write_compact
from tfcells.backbones.open import open_backbone
from tfcells.backbones.weights import file_digest
from tfcells.errors import RequestError


def written(path, kernel, bias=(1.0, 2.0)):
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.attrs["name"] = "Conv1"
        group.create_dataset("0", data=np.asarray(kernel, dtype=np.float32))
        group.create_dataset("1", data=np.asarray(bias, dtype=np.float32))
    return path


def read(path, name):
    with h5py.File(path) as file:
        return file[f"layers/conv2d/vars/{name}"][()]


@given(
    kernel=arrays.arrays(np.float32, (3, 4), elements=st.floats(-60_000, 60_000, width=32)),
    bias=arrays.arrays(np.float32, (5,), elements=st.floats(width=32, allow_nan=False)),
)
def test_kernels_differ_by_the_rounding_of_float16_at_most_and_vectors_not_at_all(tmp_path_factory, kernel, bias):
    folder = tmp_path_factory.mktemp("compact")
    write_compact(written(folder / "old.h5", kernel, bias), folder / "new.h5")
    halved = read(folder / "new.h5", "0")
    assert halved.dtype == np.float16
    # Half a step: 2^-11 of a normal value, 2^-25 below the smallest of them.
    assert (np.abs(halved.astype(np.float64) - kernel) <= np.maximum(np.abs(kernel) * 2.0**-11, 2.0**-25)).all()
    np.testing.assert_array_equal(read(folder / "new.h5", "1"), bias)


def test_the_same_weights_give_the_same_bytes_at_another_time(tmp_path):
    old = written(tmp_path / "old.h5", np.eye(7))
    write_compact(old, tmp_path / "a.h5")
    time.sleep(1.1)  # HDF5 counts in seconds
    write_compact(old, tmp_path / "b.h5")
    assert file_digest(tmp_path / "a.h5") == file_digest(tmp_path / "b.h5")


def test_attributes_stay(tmp_path):
    write_compact(written(tmp_path / "old.h5", np.eye(2)), tmp_path / "new.h5")
    with h5py.File(tmp_path / "new.h5") as file:
        assert dict(file["layers/conv2d/vars"].attrs) == {"name": "Conv1"}


@pytest.mark.parametrize("value", [65_520.0, -1e9, np.inf, np.nan])
def test_a_value_that_float16_cannot_hold_is_refused_and_nothing_is_written(tmp_path, value):
    old = written(tmp_path / "old.h5", [[1.0, value], [LARGEST, -LARGEST]])
    message = (
        r"old\.h5 /layers/conv2d/vars/0: 1 of 4 values are no finite float16, which reaches from -65504 to 65504\. "
        r"Keep these weights in float32\."
    )
    with pytest.raises(RequestError, match=message):
        write_compact(old, tmp_path / "new.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["old.h5"]


def test_a_file_without_arrays_is_refused(tmp_path):
    h5py.File(tmp_path / "old.h5", "w").close()
    with pytest.raises(RequestError, match=r"holds no array\. Expected weights as Keras' save_weights writes them\."):
        write_compact(tmp_path / "old.h5", tmp_path / "new.h5")


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras 3.15 under NumPy 2
def test_a_network_opens_compact_weights_as_float32(tmp_path):
    backbone = open_backbone("mobilenet_v2", weights="none", size=32)
    backbone.model.save_weights(tmp_path / "whole.weights.h5")
    path = tmp_path / "mobilenet_v2_mine.weights.h5"
    write_compact(tmp_path / "whole.weights.h5", path)
    opened = open_backbone("mobilenet_v2", weights=path, size=32)
    assert opened.sha256 == file_digest(path)
    assert path.stat().st_size <= 5_000_000
    for variable, original in zip(opened.model.weights, backbone.model.weights, strict=True):
        value = keras.ops.convert_to_numpy(original)
        expected = value.astype(np.float16).astype(np.float32) if value.ndim > 1 else value
        assert variable.dtype == "float32"
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), expected)
