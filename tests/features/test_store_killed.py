"""A writer killed at any step it takes on disk: what it left can be read, and is finished to the same bytes."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, shutil, signal, sys
from pathlib import Path
import numpy as np
from tfcells.features.store import FeatureStore, StoreWriter
from tfcells.images.sources import FolderSource
from tfcells.images.table import ImageTable, Quarantined

root = Path(sys.argv[1])
ids = tuple(f"{row}.png" for row in range(7))
table = ImageTable(
    ids=ids, digests=ids, labels=np.zeros(7, "int64"), class_names=("cell",), groups=ids, source=FolderSource(root),
    quarantine=(Quarantined("bad.png", "empty"),),
)
recipe = {"taps": ["late:mean"], "handcrafted": {}, "images": {"count": 7}}
features = np.arange(21, dtype=np.float32).reshape(7, 3)
STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
steps, kill_at, opened = 0, 0, Path.open


def write(path):
    with StoreWriter.open(path, recipe=recipe, table=table) as writer:
        for start in range(writer.rows_done, 7, 3):
            stop = min(start + 3, 7)
            writer.append({"late": features[start:stop]}, stop=stop, failed={})
        writer.finish({"seconds": 1})


def step(path):
    global steps
    steps += str(path).startswith(str(root))
    if steps == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)


def open_and_count(path, *arguments, **options):
    file = opened(path, *arguments, **options)
    step(path)  # killed here, a file that was opened for writing is empty
    return file


def write_in_a_child(path):
    child = os.fork()
    if not child:
        sys.addaudithook(lambda event, arguments: step(arguments[0]) if event in STEPS else None)
        Path.open = open_and_count
        write(path)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def content(path):
    files = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def readable(path):
    if not (path / "recipe.json").exists():
        return True
    store = FeatureStore(path)
    store.check_files()
    return np.array_equal(store.array("late").reshape(-1, 3), features[: store.rows_done])


def described(path):
    store = FeatureStore(path)
    return store.complete and store.rows.ids == ids and store.quarantine == table.quarantine


def kill_at_every_step(name, prepare, check):
    # Returns the steps at which a kill does harm, and how many steps there are.
    global kill_at
    kill_at, code, bad = 0, -signal.SIGKILL, []
    while code == -signal.SIGKILL:
        kill_at += 1
        path = root / f"{name}-{kill_at}"
        prepare(path)
        code = write_in_a_child(path)
        fine = readable(path) and check(path)
        write(path)
        if not fine or code not in (0, -signal.SIGKILL) or content(path) != whole:
            bad.append(kill_at)
    return bad, kill_at - 1


write(root / "whole")
whole = content(root / "whole")
made = kill_at_every_step("made", lambda path: None, lambda path: True)
opened_again = kill_at_every_step("again", lambda path: shutil.copytree(root / "whole", path), described)
print(json.dumps({"made": made, "opened again": opened_again}))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    command = [sys.executable, "-c", SCRIPT, tmp_path_factory.mktemp("killed")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_kill_at_any_step_loses_no_more_than_the_shard_in_flight(outcomes):
    bad, steps = outcomes["made"]
    assert bad == []
    assert steps > 30


def test_a_kill_while_a_complete_store_is_opened_again_loses_nothing(outcomes):
    bad, steps = outcomes["opened again"]
    assert bad == []
    assert steps > 10
