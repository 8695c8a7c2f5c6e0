"""Extraction killed in the middle, again and again: the store is finished to the same bytes."""

import subprocess
import sys

import numpy as np
import pytest

from tfcells.features.store import FeatureStore

pytestmark = pytest.mark.slow
REQUEST = {
    "backbone": "mobilenet_v2",
    "weights": "none",
    "size": 96,
    "taps": ("block_6_expand_relu",),
    "batch_size": 1,
    "engine": "tensorflow",
}
"""One row a batch is sixteen rows a shard: 36 cells are three shards."""
SCRIPT = f"""
import os, signal, sys, threading
from pathlib import Path
import keras
from tfcells.features.extract import Extraction, extract
from tfcells.images.readers import read_folder

table = read_folder(Path(sys.argv[1]))


def extract_and_die(name, row, wait):
    dying = []

    def tell(stage, done, total):
        if done >= row and not dying:  # extraction goes on until the signal comes
            dying.append(threading.Timer(wait, os.kill, (os.getpid(), signal.SIGKILL)))
            dying[0].start()

    extract(table, Extraction(**{REQUEST!r}), into=Path(sys.argv[2]) / name, progress=tell)


# A process for each line, forked once Keras is imported, before TensorFlow has started a thread.
for line in sys.stdin:
    name, row, wait = line.split()
    child = os.fork()
    if not child:
        extract_and_die(name, int(row), float(wait))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def extract_and_kill(cell_folder, tmp_path):
    """Extracts in other processes, each killed soon after it tells that so many rows are done; how each ended.

    All are equal but for that: in a process that has run other networks before, TensorFlow may add up in another order.
    """
    command = [sys.executable, "-c", SCRIPT, cell_folder, tmp_path]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **options) as processes:

        def ended(name, row, wait):
            processes.stdin.write(f"{name} {row} {wait}\n")
            processes.stdin.flush()
            return int(processes.stdout.readline())

        yield ended
        processes.stdin.close()


def content(path):
    files = (file for file in path.rglob("*") if file.is_file() and file.name != "run.json")
    return {file.relative_to(path): file.read_bytes() for file in files}


def test_a_store_that_was_killed_three_times_is_the_store_that_was_not(cells, extract_and_kill, tmp_path):
    generator, never = np.random.default_rng(0), len(cells) + 1
    assert extract_and_kill("whole", never, 0) == 0
    for done in range(3):
        row, wait = int(generator.integers(8 * done, 31)), float(generator.uniform(0, 0.01))
        assert extract_and_kill("killed", row, wait) == -9
        FeatureStore(tmp_path / "killed").check_files()
    assert extract_and_kill("killed", never, 0) == 0
    whole, resumed = (FeatureStore(tmp_path / name) for name in ("whole", "killed"))
    assert resumed.complete
    assert resumed.digest == whole.digest
    assert content(resumed.path) == content(whole.path)
