"""Extraction on Ray workers: the bytes of one process, whoever makes them and whoever dies."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfcells.errors import MissingExtraError, RequestError
from tfcells.features.cluster import Cluster, shards
from tfcells.features.cluster.worker import ShardWorker
from tfcells.features.extract import Extraction, extract, requested_recipe
from tfcells.images.sources import ArraySource

REQUEST = Extraction(handcrafted=("stain", "raw"), batch_size=1)
"""One row a batch is sixteen rows a shard: 36 cells are three shards."""
TWO = Cluster("local", 2)


@pytest.fixture(scope="module")
def scenes(cell_folder, tmp_path_factory):
    """Stores made on workers in a process of its own, and what was seen on the way."""
    pytest.importorskip("ray")
    folder = tmp_path_factory.mktemp("cluster")
    command = [sys.executable, Path(__file__).with_name("on_workers.py"), cell_folder, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, json.loads(done.stdout)  # and Ray has printed nothing between


def content(path):
    files = (file for file in path.rglob("*") if file.is_file() and file.name != "run.json")
    return {file.relative_to(path): file.read_bytes() for file in files}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_workers_make_the_bytes_of_one_process(scenes, workers):
    folder, seen = scenes
    assert content(folder / f"workers{workers}") == content(folder / "here")
    assert seen["many"][workers] == [0, 16, 32, 36]


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_costs_only_time(scenes):
    folder, seen = scenes
    assert content(folder / "killed") == content(folder / "here")
    assert seen["killed"]["after"] != seen["killed"]["killed"]


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_on_workers(scenes):
    folder, seen = scenes
    assert seen["stopped"] == 16
    assert content(folder / "stopped") == content(folder / "here")


@pytest.mark.slow
def test_a_network_on_workers_makes_the_bytes_of_one_process(scenes):
    folder, _ = scenes
    assert content(folder / "network_workers") == content(folder / "network_here")


@pytest.mark.slow
def test_a_fault_on_a_worker_comes_as_it_would_here(scenes):
    kind, message = scenes[1]["fault"]
    assert kind == "RequestError"
    assert message == "Hand-made features are defined otherwise here. Install the same tfcells on every machine."


@pytest.mark.slow
def test_a_sweep_on_workers_finds_what_one_process_finds(scenes):
    assert scenes[1]["sweep"] == {"workers": 2, "same": True}


@pytest.mark.slow
def test_nothing_listens_beyond_this_machine(scenes):
    seen = scenes[1]["listening"]
    assert seen["inside"] > 2  # raylet, its registry, this process
    assert seen["others"] == []


@pytest.mark.slow
def test_what_was_started_is_ended(scenes):
    assert scenes[1]["ended"]


def test_a_complete_store_starts_no_worker(cells, tmp_path, monkeypatch):
    store = extract(cells, REQUEST, into=tmp_path / "store")
    monkeypatch.setattr(shards, "connected", lambda cluster: pytest.fail("a worker"))
    assert extract(cells, REQUEST, into=store.path, cluster=TWO).digest == store.digest


def test_a_worker_makes_the_shard_of_one_process(cells, tmp_path):
    store = extract(cells, REQUEST, into=tmp_path / "store")
    shard = ShardWorker(REQUEST, store.recipe, readable=0).shard(lambda: cells, 16, 32)
    assert (shard.stop, shard.failed) == (32, {})
    np.testing.assert_array_equal(shard.arrays["raw"], store.array("raw")[16:32])


def test_a_worker_that_cannot_see_the_pictures_says_so(cells):
    table = replace(cells, source=type(cells.source)(Path("/nowhere")))
    worker = ShardWorker(REQUEST, requested_recipe(REQUEST, cells), readable=3)
    with pytest.raises(RequestError, match=r"was read by the process that asks, but on .*: cannot be read: .* Put the"):
        worker.shard(lambda: table, 0, 16)


class FakeRay:
    """Workers that never finish until they are asked."""

    def __init__(self):
        self.given = []

    @property
    def shard(self):
        return self

    def remote(self, fetch, start, stop):
        self.given.append((start, stop))
        return start, stop

    def wait(self, references, **options):
        return [], references

    def get(self, reference):
        return shards.Shard(reference[1], {}, {})


def test_no_more_than_two_shards_per_worker_wait_to_be_written(monkeypatch):
    """A slow disk holds the workers back."""
    first, second = workers = [FakeRay(), FakeRay()]
    rows = iter([(start, start + 2) for start in range(0, 36, 2)])
    written = []
    for shard in shards._in_order(first, workers, dict, rows, lambda done: None):
        assert len(first.given) + len(second.given) - len(written) <= 4
        written.append(shard.stop)
    assert written == list(range(2, 37, 2))
    assert sorted(first.given + second.given) == [(start, start + 2) for start in range(0, 36, 2)]
    assert len(first.given) == len(second.given)


def test_pictures_that_only_this_process_holds_are_refused(cells, tmp_path):
    arrays = {"images": np.zeros((36, 8, 8, 3), dtype=np.uint8)}
    table = replace(cells, source=ArraySource(arrays, path=tmp_path / "cells.npz"))
    with pytest.raises(RequestError, match=r"The images \(npz\) are held by this process, and workers are others"):
        extract(table, REQUEST, into=tmp_path / "store", cluster=TWO)
    assert not (tmp_path / "store").exists()


def test_without_ray_the_extra_is_named(cells, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"ray is not installed.*tfcells\[cluster\]"):
        extract(cells, REQUEST, into=tmp_path / "store", cluster=TWO)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "0 workers were asked for. Expected 1 or more"),
        ({"address": ""}, "The address of the cluster is empty. Expected `local` or"),
    ],
    ids=str,
)
def test_a_cluster_that_makes_no_sense_is_refused(given, message):
    with pytest.raises(RequestError) as refused:
        Cluster(**given)
    assert message in str(refused.value)
