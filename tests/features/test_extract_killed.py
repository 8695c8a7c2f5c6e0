"""Extraction killed in the middle, again and again: the store is finished to the same bytes."""

import subprocess
import sys
import time

import numpy as np
import pytest

from tfcells.features.extract import Extraction, extract
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
import sys
from pathlib import Path
from tfcells.features.extract import Extraction, extract
from tfcells.images.readers import read_folder
table = read_folder(Path(sys.argv[1]))
tell = lambda stage, done, total: print(done, flush=True)
extract(table, Extraction(**{REQUEST!r}), into=Path(sys.argv[2]), progress=tell)
"""


def extract_and_kill(cell_folder, path, *, row, wait):
    """Extract in another process until it tells that `row` is done, and a little further."""
    command = [sys.executable, "-c", SCRIPT, cell_folder, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        while (line := process.stdout.readline()) and int(line) < row:
            pass
        time.sleep(wait)
        process.kill()
    return process.returncode


def content(path):
    files = (file for file in path.rglob("*") if file.is_file() and file.name != "run.json")
    return {file.relative_to(path): file.read_bytes() for file in files}


def test_a_store_that_was_killed_three_times_is_the_store_that_was_not(cells, cell_folder, tmp_path):
    generator = np.random.default_rng(0)
    whole = extract(cells, Extraction(**REQUEST), into=tmp_path / "whole")
    for done in range(3):
        row, wait = int(generator.integers(8 * done, 31)), float(generator.uniform(0, 0.01))
        assert extract_and_kill(cell_folder, tmp_path / "killed", row=row, wait=wait) == -9
        FeatureStore(tmp_path / "killed").check_files()
    resumed = extract(cells, Extraction(**REQUEST), into=tmp_path / "killed")
    assert resumed.digest == whole.digest
    assert content(resumed.path) == content(whole.path)
