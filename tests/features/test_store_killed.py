"""A writer killed at any step it takes on disk: what it left can be read, and is finished to the same bytes."""

import json
import subprocess
import sys

SCRIPT = """
import json, os, signal, sys
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
recipe = {"taps": ["late:mean"], "handcrafted": [], "images": {"count": 7}}
features = np.arange(21, dtype=np.float32).reshape(7, 3)
STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
steps = 0


def write(path):
    with StoreWriter.open(path, recipe=recipe, table=table) as writer:
        for start in range(writer.rows_done, 7, 3):
            stop = min(start + 3, 7)
            writer.append({"late": features[start:stop]}, stop=stop, failed={})
        writer.finish({"seconds": 1})


def in_a_child(path, *, kill_at):
    child = os.fork()
    if not child:
        count_steps(path, kill_at)
        write(path)
        os.write(2, str(steps).encode()) if kill_at < 0 else None
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def count_steps(path, kill_at):
    def hook(event, arguments):
        global steps
        if event in STEPS and str(arguments[0]).startswith(str(path)):
            steps += 1
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def content(path):
    files = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def readable(path):
    if not (path / "recipe.json").exists():
        return True
    store = FeatureStore(path)
    store.check_files()
    return np.array_equal(store.array("late").reshape(-1, 3), features[: store.rows_done])


write(root / "whole")
whole, step, bad = content(root / "whole"), 0, []
while True:
    step += 1
    path = root / f"killed-{step}"
    code = in_a_child(path, kill_at=step)
    if code == 0:
        break
    fine = code == -signal.SIGKILL and readable(path)
    write(path)
    if not fine or content(path) != whole:
        bad.append(step)
print(json.dumps({"kills": step - 1, "bad": bad}))
"""


def test_a_kill_at_any_step_loses_no_more_than_the_shard_in_flight(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["bad"] == []
    assert outcome["kills"] > 30
