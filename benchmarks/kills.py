"""Kill an extraction at random moments and let it go on: is the store at the end the one that was never killed?

    python benchmarks/kills.py --kills 50 --seed 0

The extraction is the real one: a process of its own reads generated cells, runs a small convolutional network at
32 pixels and fills a store; SIGKILL comes at a moment drawn from the time the whole takes. In half of the rounds
the store grows meanwhile (pictures and a tap are added), so that kills fall into both extra passes, into putting
them together, and into the swap. One JSON line goes to stdout.

Processes are forked after TensorFlow is loaded and before it has done anything: loading it takes longer than
everything that is tested here.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded

import keras
import numpy as np

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.features import forward  # noqa: F401 - loads what the processes need
from tfcells.features.extract import Extraction, extract
from tfcells.features.store import FeatureStore, known_files
from tfcells.images.readers import read_folder
from tfcells.images.synthetic.folder import write_sample_folder

CLASSES = ("eosinophil", "lymphocyte", "platelet")
JOBS = {"first": (3, ("early",)), "grown": (1, ("early", "late:max"))}
"""Two thirds of the pictures at one tap; all of them at two."""


def build_small(*, weights: object, include_top: bool, input_shape: tuple[int, ...]) -> keras.Model:
    """A network that builds in a blink."""
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(8, 3, strides=2, name="early")(pixels)
    return keras.Model(pixels, keras.layers.Conv2D(12, 3, strides=2, name="late")(maps), name="small")


def begin(folder: Path, store: Path, job: str) -> int:
    """Start to extract in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        step, taps = JOBS[job]
        table = read_folder(folder, known=known_files(store))
        table = table.take([row for row in range(len(table)) if step == 1 or row % step])
        request = Extraction(backbone="small", weights="none", taps=taps, batch_size=1, engine="tensorflow")
        extract(table, request, into=store)
        os._exit(0)
    except BaseException as fault:
        print(f"{job}: {fault!r}", file=sys.stderr, flush=True)
        os._exit(1)


def finish(folder: Path, store: Path, job: str) -> float:
    """Extract without a kill; returns the seconds."""
    started = time.perf_counter()
    _, status = os.waitpid(begin(folder, store, job), 0)
    if status:
        raise RuntimeError(f"an extraction that was not killed ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started


def kill_after(folder: Path, store: Path, job: str, *, seconds: float) -> bool:
    """Extract and kill; returns whether it was still at work."""
    child = begin(folder, store, job)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def content(store: Path) -> dict[str, bytes]:
    """Every file that counts."""
    files = (file for file in store.rglob("*") if file.is_file() and file.name not in ("run.json", ".lock"))
    return {str(file.relative_to(store)): file.read_bytes() for file in files}


def check(store: Path) -> None:
    """Read what a kill left: a store up to its last whole shard; there is none before the recipe is written."""
    if (store / "recipe.json").exists():
        opened = FeatureStore(store)
        opened.check_files()
        opened.close()


def run_kills(*, kills: int, seed: int, images: int, work: Path) -> dict[str, object]:
    """Kill until `kills` have hit; each store that is finished on the way is compared with one never killed."""
    BACKBONES["small"] = Backbone(
        "small", "Small", "small", Preprocessing("rgb", (1 / 127.5,) * 3, (-1.0,) * 3), 32, "early", "early", "late"
    )
    keras.applications.Small = build_small
    generator = np.random.default_rng(seed)
    folder = work / "cells"
    write_sample_folder(folder, images_per_class=images // len(CLASSES), seed=seed, classes=CLASSES)
    whole = {}
    for job in JOBS:
        finish(folder, work / f"whole-{job}", job)
        whole[job] = content(work / f"whole-{job}")
    seconds = {job: finish(folder, work / "timed", job) for job in JOBS}
    hits = dict.fromkeys(JOBS, 0)
    finished, wrong, left = 0, [], set()
    while sum(hits.values()) < kills:
        store = work / f"killed-{finished}"
        for job in JOBS:
            for _ in range(3):  # kills before it may finish
                if sum(hits.values()) < kills:
                    hit = kill_after(folder, store, job, seconds=float(generator.uniform(0, seconds[job])))
                    hits[job] += hit
                    left |= {entry.name for entry in store.glob(".*")} if hit else set()
                    check(store)
            finish(folder, store, job)
            finished += 1
            if content(store) != whole[job]:
                wrong.append(f"{store.name} {job}")
            print(f"{sum(hits.values())} kills, {finished} stores, {len(wrong)} differ", file=sys.stderr, flush=True)
    return {
        "kills": sum(hits.values()),
        "while_extracting": hits["first"],
        "while_growing": hits["grown"],
        "stores_finished": finished,
        "stores_that_differ": wrong,
        "left_by_kills": sorted(left),
        "seconds_uninterrupted": {name: round(value, 2) for name, value in seconds.items()},
    }


def main() -> int:
    """Read options, kill, print; 1 if a store came out otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=240)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = run_kills(kills=options.kills, seed=options.seed, images=options.images, work=Path(work))
    print(json.dumps(found))
    return 1 if found["stores_that_differ"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
