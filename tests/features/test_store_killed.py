"""A writer killed at any step it takes on disk: what it left can be read, and is finished to the same bytes."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import dataclasses, json, os, shutil, signal, sys
from pathlib import Path
import numpy as np
from tfcells.features.growth import grow
from tfcells.features.recipe import images_of
from tfcells.features.store import FeatureStore, StoreWriter, read_recipe
import tfcells.features.recipe as recipe_module
from tfcells.images.sources import FolderSource
from tfcells.images.table import ImageTable, Quarantined

root = Path(sys.argv[1])
ids = tuple(f"{row}.png" for row in range(7))
table = ImageTable(
    ids=ids, digests=ids, labels=np.zeros(7, "int64"), class_names=("cell",), groups=ids, source=FolderSource(root),
    quarantine=(Quarantined("bad.png", "empty"),),
)
recipe = {
    "taps": ["late:mean"], "handcrafted": {}, "images": {"count": 7}, "dtype": "float32", "shapes": {"late": [3]},
}
features = np.arange(21, dtype=np.float32).reshape(7, 3)
STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
steps, kill_at, opened = 0, 0, Path.open


def write(path):
    with StoreWriter.open(path, recipe=recipe, table=table) as writer:
        while writer.missing:
            start = writer.rows_done
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
# The same with a store that becomes another one: fewer rows in another order, another class, one tap of two.
wide = {
    "taps": ["late:mean", "early:mean"], "handcrafted": {}, "images": images_of(ids, ids), "dtype": "float32",
    "shapes": {"late": [3], "early": [3]}, "golden": {"late": [], "early": []}, "rounding": {}, "backbone": None,
    "engine": {"name": "none", "precision": "float32", "batch_size": 1},
}
chosen = table.take([6, 1, 3])
chosen = dataclasses.replace(chosen, class_names=("blast",))
narrow = {
    "taps": ["early:mean"], "handcrafted": {}, "dtype": "float32", "engine": {"batch_size": 1},
    "images": images_of(chosen.ids, chosen.digests),
}
recipe_module._SHARD_BATCHES = 2


def write_wide(path):
    with StoreWriter.open(path, recipe=wide, table=table) as writer:
        for start in range(writer.rows_done, 7, 3):
            stop = min(start + 3, 7)
            writer.append({"late": features[start:stop], "early": -features[start:stop]}, stop=stop, failed={})


def become_narrow(path):
    stored = read_recipe(path)
    if stored["taps"] != narrow["taps"]:
        silent = lambda *told: None
        grow(path, chosen, None, wanted=narrow, fill=None, progress=silent, announce=silent, budget=None)
    else:  # only what it left has to be put in order
        with StoreWriter.open(path, recipe=stored, table=chosen):
            shutil.rmtree(path / ".growing", ignore_errors=True)


def old_or_new(path):
    store = FeatureStore(path)
    rows = {7: range(7), 3: [6, 1, 3]}[len(store.rows.ids)]
    fine = store.rows.ids == tuple(ids[row] for row in rows) and store.rows.class_names == (
        ("cell",) if len(rows) == 7 else ("blast",)
    )
    fine = fine and np.array_equal(store.array("early"), -features[list(rows)])
    store.check_files()
    store.close()
    return bool(fine)


def kill_growth_at_every_step():
    global write, readable, whole, kill_at
    write_wide(root / "wide")
    shutil.copytree(root / "wide", root / "narrow")
    become_narrow(root / "narrow")
    whole, write = content(root / "narrow"), become_narrow
    readable = lambda path: True
    return kill_at_every_step("grown", lambda path: shutil.copytree(root / "wide", path), old_or_new)


def with_a_gap(path):
    shutil.copytree(root / "whole", path)
    shutil.rmtree(path / "shards" / "00001")


def with_a_torn_shard(path):
    shutil.copytree(root / "whole", path)
    os.truncate(path / "shards" / "00001" / "late__mean.npy", 20)


def kill_while_a_torn_shard_is_mended():
    global readable
    kept, readable = readable, lambda path: FeatureStore.salvaged(path).missing() in ((), (range(3, 6),))
    outcome = kill_at_every_step("torn", with_a_torn_shard, lambda path: True)
    readable = kept
    return outcome


made = kill_at_every_step("made", lambda path: None, lambda path: True)
opened_again = kill_at_every_step("again", lambda path: shutil.copytree(root / "whole", path), described)
filled = kill_at_every_step("filled", with_a_gap, lambda path: True)
torn = kill_while_a_torn_shard_is_mended()
grown = kill_growth_at_every_step()
outcomes = {"made": made, "opened again": opened_again, "a gap": filled, "a torn shard": torn, "grown": grown}
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    command = [sys.executable, "-c", SCRIPT, tmp_path_factory.mktemp("killed")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
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


@pytest.mark.parametrize("damage", ["a gap", "a torn shard"])
def test_a_kill_while_a_store_is_mended_costs_no_shard_but_the_one_in_flight(outcomes, damage):
    bad, steps = outcomes[damage]
    assert bad == []
    assert steps > 15


def test_a_kill_while_a_store_becomes_another_leaves_the_old_or_the_new_and_never_a_mixture(outcomes):
    bad, steps = outcomes["grown"]
    assert bad == []
    assert steps > 60
