"""Writing that cannot keep up, or cannot go on: memory stays bounded, whole shards stay, the same call finishes."""

import errno
import threading
import time

import keras
import numpy as np
import pytest

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.cli.main import main
from tfcells.errors import DamageError
from tfcells.features import shards
from tfcells.features.extract import Extraction, extract
from tfcells.features.filling import ShardQueue
from tfcells.features.store import FeatureStore

REQUEST = {"backbone": "small", "weights": "none", "taps": ("late",), "batch_size": 1, "engine": "tensorflow"}
PLAIN = Preprocessing("rgb", (1 / 255,) * 3, (0.0,) * 3)


def build_small(*, weights, include_top, input_shape):
    pixels = keras.Input(input_shape)
    return keras.Model(pixels, keras.layers.Conv2D(6, 3, strides=2, name="late")(pixels), name="small")


@pytest.fixture(autouse=True)
def small_row(monkeypatch):
    monkeypatch.setitem(BACKBONES, "small", Backbone("small", "Small", "small", PLAIN, 32, "late", "late", "late"))
    monkeypatch.setattr(keras.applications, "Small", build_small, raising=False)


def full_after(shards_written, monkeypatch, *, number=errno.ENOSPC):
    """A disk that takes so many shards and then no more."""
    write, written = shards.write_file, []

    def limited(path, data):
        if len(written) >= 3 * shards_written:  # two arrays and a record each
            path.write_bytes(data[: len(data) // 2])
            raise OSError(number, "No space left on device", str(path))
        written.append(path)
        write(path, data)

    monkeypatch.setattr(shards, "write_file", limited)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_full_disk_keeps_whole_shards_and_the_same_call_goes_on(cells, tmp_path, monkeypatch, kept, number):
    whole = extract(cells, Extraction(**REQUEST), into=tmp_path / "whole")
    with monkeypatch.context() as patch:
        full_after(kept, patch, number=number)
        with pytest.raises(DamageError, match=r"took no more \(No space left on device\)\. Whole shards are kept"):
            extract(cells, Extraction(**REQUEST), into=tmp_path / "store")
    left = FeatureStore(tmp_path / "store")
    assert left.rows_done == 16 * kept
    left.check_files()
    assert extract(cells, Extraction(**REQUEST), into=tmp_path / "store").digest == whole.digest


def test_on_the_command_line_a_full_disk_is_exit_code_3_and_says_what_to_do(cell_folder, tmp_path, monkeypatch, capsys):
    words = ["extract", str(cell_folder), "--backbone", "small", "--weights", "none", "--layers", "late"]
    words += ["--batch-size", "1", "--engine", "tensorflow", "--out", str(tmp_path / "store")]
    with monkeypatch.context() as patch:
        full_after(1, patch)
        assert main(words) == 3
    assert "make room, and the same command goes on from there" in capsys.readouterr().err
    assert main(words) == 0


def test_another_fault_of_the_disk_is_not_called_full(cells, tmp_path, monkeypatch):
    full_after(1, monkeypatch, number=errno.EIO)
    with pytest.raises(OSError, match="No space left") as fault:
        extract(cells, Extraction(**REQUEST), into=tmp_path / "store")
    assert fault.value.errno == errno.EIO


def test_a_slow_disk_makes_the_network_wait_and_two_shards_are_the_most_that_is_held():
    held, most, release = [], [], threading.Event()

    def slow(arrays, *, stop, failed):
        release.wait(5)
        held.remove(stop)

    queue = ShardQueue(slow)
    handed = threading.Event()

    def fill():
        for stop in (1, 2, 3):
            held.append(stop)
            most.append(len(held))
            queue.put({"tap": np.zeros(1)}, stop=stop, failed={})
        handed.set()

    filling = threading.Thread(target=fill)
    filling.start()
    time.sleep(0.2)
    assert not handed.is_set()
    release.set()
    filling.join(5)
    queue.wait()
    queue.close()
    assert held == []
    assert max(most) == 2


def test_what_goes_wrong_while_a_shard_is_written_is_raised_with_the_next():
    def broken(arrays, *, stop, failed):
        raise OSError(errno.EIO, "gone")

    queue = ShardQueue(broken)
    queue.put({}, stop=1, failed={})
    with pytest.raises(OSError, match="gone"):
        queue.put({}, stop=2, failed={})
    queue.wait()
    queue.close()
