"""What a test of Ray workers does in a process of its own: Ray's own processes outlive its Python objects, which
pytest, for which warnings are errors, takes ill.

    python on_workers.py CELLS FOLDER

writes stores to FOLDER and prints one JSON object with what was seen on the way.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from tfcells.errors import TfcellsError
from tfcells.features.cluster import Cluster, shards
from tfcells.features.cluster.session import connected
from tfcells.features.cluster.shards import shards_on
from tfcells.features.cluster.tasks import joblib_on
from tfcells.features.extract import Extraction, extract, requested_recipe
from tfcells.features.measured import prepare
from tfcells.features.store import FeatureStore
from tfcells.images.readers import read_folder
from tfcells.images.splits import split_table
from tfcells.probes.reading import Space
from tfcells.probes.sweep import probe_layers

REQUEST = Extraction(handcrafted=("stain", "raw"), batch_size=1)
"""One row a batch is sixteen rows a shard: 36 cells are three shards."""
NETWORK = Extraction(
    backbone="mobilenet_v2",
    weights="none",
    size=32,
    taps=("block_1_expand_relu",),
    batch_size=2,
    handcrafted=("raw",),
    engine="tensorflow",
)
TWO = Cluster("local", 2)


def many(cells, folder, ray):
    steps = {}
    for workers in (1, 2):
        done = steps[str(workers)] = []
        cluster = Cluster("local", workers)
        tell = lambda stage, rows, total, done=done: done.append(rows)  # noqa: E731
        extract(cells, REQUEST, into=folder / f"workers{workers}", cluster=cluster, progress=tell)
    return steps


def killed(cells, folder, ray):
    """Kill the first worker's process when the first shard is written."""
    started, ended = [], []
    start = shards._start_workers

    def start_and_note(*given):
        started.extend(start(*given))
        return list(started)

    def kill(stage, done, total):
        if done == 16 and not ended:
            ended.append(ray.get(started[0].process.remote()))
            os.kill(ended[0], signal.SIGKILL)
            after.append(ray.get(started[0].process.remote()))

    after = []
    shards._start_workers = start_and_note
    extract(cells, REQUEST, into=folder / "killed", cluster=TWO, progress=kill)
    shards._start_workers = start
    return {"killed": ended, "after": after}


def listening(cells, folder, ray):
    """On how many addresses of the loopback interface Ray's processes listen, and on which others."""
    mine = {os.getpid(), *descendants(os.getpid())}
    sockets = {
        link.removeprefix("socket:[").rstrip("]")
        for pid in mine
        for link in links(Path(f"/proc/{pid}/fd"))
        if link.startswith("socket:[")
    }
    inside, open_to = 0, set()
    for table, loopback in (("tcp", "0100007F"), ("tcp6", "00000000000000000000000001000000")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, _, state, *_, inode = line.split()[1:10]
            if state != "0A" or inode not in sockets:  # not one that listens, or not ours
                continue
            if local.split(":")[0] in (loopback, V4_IN_V6):
                inside += 1
            else:
                open_to.add(local)
    return {"inside": inside, "others": sorted(open_to)}


V4_IN_V6 = "0000000000000000FFFF00000100007F"


def links(folder):
    found = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        try:
            found.append(str(entry.readlink()))
        except OSError:  # closed meanwhile
            continue
    return found


def descendants(pid):
    children = Path(f"/proc/{pid}/task").glob("*/children")
    below = [int(child) for path in children for child in path.read_text().split()]
    return below + [deeper for child in below for deeper in descendants(child)]


def stopped(cells, folder, ray):
    def stop(stage, done, total):
        if done == 16:
            raise KeyboardInterrupt

    try:
        extract(cells, REQUEST, into=folder / "stopped", cluster=TWO, progress=stop)
    except KeyboardInterrupt:
        rows = FeatureStore(folder / "stopped").rows_done
    extract(cells, REQUEST, into=folder / "stopped", cluster=TWO)
    return rows


def fault(cells, folder, ray):
    """A recipe that the worker does not find here."""
    recipe = requested_recipe(REQUEST, cells)
    extractor = prepare(cells, REQUEST, wanted=recipe, into=None).extractor
    extractor = replace(extractor, recipe={**recipe, "handcrafted": {}})
    try:
        with shards_on(Cluster("local", 1), cells, REQUEST) as made:
            list(made(extractor, [range(36)], lambda done: None))
    except TfcellsError as refused:
        return [type(refused).__name__, str(refused)]


def sweep(cells, folder, ray):
    split, space = split_table(cells, folds=3, seed=0), Space(probes=("logistic",), inner_folds=0)
    store = FeatureStore(folder / "workers1")
    expected = probe_layers(store, split, taps=("stain",), space=space)
    with joblib_on(TWO) as workers:
        found = probe_layers(store, split, taps=("stain",), space=space, workers=workers)
    same = (found.best.predictions.probabilities == expected.best.predictions.probabilities).all()
    return {"workers": workers, "same": bool(same)}


def network(cells, folder, ray):
    few = cells.take(range(8))
    extract(few, NETWORK, into=folder / "network_workers", cluster=Cluster("local", 1))
    extract(few, NETWORK, into=folder / "network_here")


if __name__ == "__main__":
    table, target, seen = read_folder(Path(sys.argv[1])), Path(sys.argv[2]), {}
    extract(table, REQUEST, into=target / "here")
    with connected(TWO) as module:
        for scene in (many, killed, listening, stopped, fault, sweep, network):
            seen[scene.__name__] = scene(table, target, module)
    seen["ended"] = not module.is_initialized()
    sys.stdout.write(f"{json.dumps(seen)}\n")
