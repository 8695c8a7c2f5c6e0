"""How fast are features extracted, beside what people use, and what does it cost as work grows?

    python benchmarks/extraction.py compare IMAGES WEIGHTS    from JPEG files to pooled features, in paired turns
    python benchmarks/extraction.py taps WEIGHTS              VGG16: three blocks in one pass, and bfloat16
    python benchmarks/extraction.py growth FOLDER             rate and peak memory as images, taps and workers grow
    python benchmarks/extraction.py paper                     ten million images, from the rates last measured here

`compare` starts one process for each contestant and lets them take turns, so that whatever else the machine does
meets all of them; the medians of the turns count, and those of each turn's ratio to `keras.predict`. Opening a model
and its first pass are not counted. Contestants decode as their users do; tfcells' pixels are canonical, decoded and
resized at full size, and its rate includes writing the store. `reading` is what tfcells does once before: every file
hashed, decoded and named if it is no picture.

Peak memory is the largest resident size of the process alone, as Linux counts it.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

RESULTS: Final = Path(__file__).parent / "results" / "extraction.jsonl"
BACKBONE: Final = "mobilenet_v2"
SIZE: Final = 224
BATCH: Final = 32
TAP: Final = "out_relu"
BASELINE: Final = "keras.predict over image_dataset_from_directory"
IMAGES: Final = 10_000_000
PACKAGES: Final = ("tensorflow", "keras", "numpy", "pillow", "openvino", "onnxruntime", "torch", "ray")


# --------------------------------------------------------------------------------------------- contestants


def keras_model(weights: str) -> Any:
    """MobileNetV2 with its preprocessing and a global mean, as Keras' users write it."""
    import keras

    body = keras.applications.MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3))
    body.load_weights(weights)
    pixels = keras.Input((SIZE, SIZE, 3))
    return keras.Model(pixels, body(keras.applications.mobilenet_v2.preprocess_input(pixels)))


def loaded(files: list[Path]) -> Iterator[np.ndarray]:
    """Batches as a loop over files makes them: Pillow, one file after the other."""
    import keras

    for start in range(0, len(files), BATCH):
        some = files[start : start + BATCH]
        pictures = [
            keras.utils.img_to_array(keras.utils.load_img(path, target_size=(SIZE, SIZE), interpolation="bilinear"))
            for path in some
        ]
        yield np.stack(pictures)


class KerasPredict:
    """`keras.predict` over `image_dataset_from_directory`."""

    def __init__(self, files: list[Path], weights: str) -> None:
        import keras

        self.model = keras_model(weights)
        self.folder = Path(os.path.commonpath(files))
        self.batch = next(loaded(files))
        self.data = keras.utils.image_dataset_from_directory(
            self.folder, labels=None, image_size=(SIZE, SIZE), batch_size=BATCH, shuffle=False, verbose=False
        )

    def network(self, batches: int) -> None:
        """Passes over one batch."""
        self.model.predict(np.concatenate([self.batch] * batches), batch_size=BATCH, verbose=0)

    def whole(self) -> None:
        """From files to features."""
        self.model.predict(self.data, verbose=0)


class EagerLoop(KerasPredict):
    """The seed's loop: files one after the other, the model called eagerly."""

    def __init__(self, files: list[Path], weights: str) -> None:
        super().__init__(files, weights)
        self.files = files

    def network(self, batches: int) -> None:
        """Passes over one batch."""
        for _ in range(batches):
            self.model(self.batch, training=False).numpy()

    def whole(self) -> None:
        """From files to features."""
        for batch in loaded(self.files):
            self.model(batch, training=False).numpy()


class RebuiltPerBatch(EagerLoop):
    """thingsvision's way with Keras models: a model up to the layer is built anew for each batch."""

    def _features(self, batch: np.ndarray) -> None:
        import keras

        keras.Model(self.model.input, self.model.output)(batch, training=False).numpy()

    def network(self, batches: int) -> None:
        """Passes over one batch."""
        for _ in range(batches):
            self._features(self.batch)

    def whole(self) -> None:
        """From files to features."""
        for batch in loaded(self.files):
            self._features(batch)


class OnnxDirect(EagerLoop):
    """onnxruntime, used directly on Keras' own export."""

    def __init__(self, files: list[Path], weights: str) -> None:
        import onnxruntime

        super().__init__(files, weights)
        self.model(self.batch)  # Keras exports no model that was never called
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            self.model.export(str(path), format="onnx", verbose=False)
            self.session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        del self.model
        self.name = self.session.get_inputs()[0].name

    def network(self, batches: int) -> None:
        """Passes over one batch."""
        for _ in range(batches):
            self.session.run(None, {self.name: self.batch})

    def whole(self) -> None:
        """From files to features."""
        for batch in loaded(self.files):
            self.session.run(None, {self.name: batch})


class OpenVinoDirect(EagerLoop):
    """OpenVINO, used directly on Keras' own export, in whatever precision it takes by itself."""

    def __init__(self, files: list[Path], weights: str) -> None:
        import openvino

        super().__init__(files, weights)
        self.model(self.batch)  # Keras exports no model that was never called
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.xml"
            self.model.export(str(path), format="openvino", verbose=False)
            self.compiled = openvino.Core().compile_model(path, "CPU")
        del self.model

    def network(self, batches: int) -> None:
        """Passes over one batch."""
        for _ in range(batches):
            self.compiled(self.batch)

    def whole(self) -> None:
        """From files to features."""
        for batch in loaded(self.files):
            self.compiled(batch)


class Torch:
    """torchvision's network of the same architecture, with random weights; how fast it is does not depend on them."""

    def __init__(self, files: list[Path], weights: str, *, fast: bool) -> None:
        import torch
        import torchvision

        self.torch, self.fast, self.files = torch, fast, files
        model = torchvision.models.mobilenet_v2(weights=None).features.eval()
        self.model = model.to(memory_format=torch.channels_last) if fast else model
        self.batch = next(loaded(files))

    def _features(self, batch: np.ndarray) -> None:
        torch = self.torch
        pixels = torch.from_numpy(batch.transpose(0, 3, 1, 2) / 127.5 - 1)
        if self.fast:
            pixels = pixels.to(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.fast):
            self.model(pixels).mean(dim=(2, 3)).float().numpy()

    def network(self, batches: int) -> None:
        """Passes over one batch."""
        for _ in range(batches):
            self._features(self.batch)

    def whole(self) -> None:
        """From files to features."""
        for batch in loaded(self.files):
            self._features(batch)


class Tfcells:
    """`tfcells extract` by one engine."""

    def __init__(self, files: list[Path], weights: str, *, engine: str, precision: str) -> None:
        from tfcells.features.engines.machine import prefer_onednn
        from tfcells.features.request import Extraction, requested_recipe

        prefer_onednn()
        from tfcells.features.forward import prepare
        from tfcells.images.readers import read_folder

        started = time.perf_counter()
        self.table = read_folder(Path(os.path.commonpath(files)))
        self.reading = time.perf_counter() - started
        self.extraction = Extraction(
            backbone=BACKBONE, weights=weights, taps=(TAP,), batch_size=BATCH, engine=engine, precision=precision
        )
        wanted = requested_recipe(self.extraction, self.table)
        self.prepared = prepare(self.table, self.extraction, wanted=wanted, into=None)
        self.extractor: Any = self.prepared.extractor
        self.batch = next(self._pictures()).pixels

    def _pictures(self) -> Iterator[Any]:
        from tfcells.features.handcrafted import find_handcrafted, measure_all
        from tfcells.images.batches import image_batches

        return image_batches(
            self.table,
            resize=self.extractor.resize,
            size=SIZE,
            batch_size=BATCH,
            measure=measure_all(find_handcrafted(())),
        )

    def network(self, batches: int) -> None:
        """Passes over one batch."""
        for _ in range(batches):
            self.extractor.engine(self.batch)

    def decode(self) -> None:
        """Files to resized pixels and colour statistics, without the network."""
        deque(self._pictures(), maxlen=0)

    def whole(self) -> None:
        """From files to a store on the disk."""
        from tfcells.features.filling import fill_store

        with tempfile.TemporaryDirectory() as folder:
            fill_store(self.prepared, self.table, into=Path(folder) / "store")

    def facts(self) -> dict[str, Any]:
        """What only tfcells can say of itself."""
        parity = self.extractor.recipe["engine"].get("parity", {TAP: {"cosine": 1.0}})
        return {"cosine": parity[TAP]["cosine"], "reading_images_per_second": len(self.table) / self.reading}


def contestants() -> dict[str, Callable[[list[Path], str], Any]]:
    """Everyone who can take part on this machine, by name."""
    from tfcells.features.engines.machine import this_machine
    from tfcells.features.engines.table import candidates

    there = {name: importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime", "openvino")}
    found: dict[str, Callable[[list[Path], str], Any]] = {
        BASELINE: KerasPredict,
        "a loop, the model called eagerly": EagerLoop,
        "a loop, the model rebuilt per batch": RebuiltPerBatch,
    }
    if there["onnx"] and there["onnxruntime"]:
        found["a loop, onnxruntime"] = OnnxDirect
    if there["openvino"]:
        found["a loop, OpenVINO"] = OpenVinoDirect
    if all(importlib.util.find_spec(name) for name in ("torch", "torchvision")):
        found["a loop, PyTorch"] = partial(Torch, fast=False)
        found["a loop, PyTorch channels-last bfloat16"] = partial(Torch, fast=True)
    for engine, precision in sorted(candidates(this_machine(), BACKBONE)):
        found[f"tfcells {engine} {precision}"] = partial(Tfcells, engine=engine, precision=precision)
    return found


# --------------------------------------------------------------------------------------------- compare


def take_turns(name: str, files: list[Path], weights: str, pipe: Any) -> None:
    """The process of one contestant: says when it is ready, then does what it is told, and how long it took."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    contestant = contestants()[name](files, weights)
    contestant.network(2)
    pipe.send({"facts": contestant.facts() if isinstance(contestant, Tfcells) else {}})
    batches = -(-len(files) // BATCH)
    work = {"network": lambda: contestant.network(batches), "whole": lambda: contestant.whole()}
    if isinstance(contestant, Tfcells):
        work["decode"] = contestant.decode
    while (asked := pipe.recv()) is not None:
        times = {}
        for what, do in work.items():
            started = time.perf_counter()
            do()
            times[what] = time.perf_counter() - started
        pipe.send({"times": times, "peak": peak_memory(), "asked": asked})


def run_compare(args: argparse.Namespace) -> None:
    """Everybody takes `--pairs` turns over the same files."""
    with tempfile.TemporaryDirectory() as folder:
        files = some_files(Path(args.images), args.count, Path(folder))
        context = multiprocessing.get_context("spawn")
        started, asked = {}, contestants()
        for name in (name for name in asked if name == BASELINE or any(part in name for part in args.only)):
            here, there = context.Pipe()
            process = context.Process(target=take_turns, args=(name, files, args.weights, there), daemon=True)
            process.start()
            there.close()  # so that a contestant that dies is an end of file here
            started[name] = (process, here, here.recv()["facts"])
            print(f"ready: {name}", file=sys.stderr)
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in started}
        for turn in range(args.pairs):
            for name, (_, pipe, _) in started.items():
                pipe.send(turn)
                turns[name].append(pipe.recv())
        for process, pipe, _ in started.values():
            pipe.send(None)
            process.join()
    for name in turns:
        summarise(name, turns, images=len(files), facts=started[name][2])


def summarise(name: str, turns: dict[str, list[dict[str, Any]]], *, images: int, facts: dict[str, Any]) -> None:
    """One line for one contestant."""
    own, base = turns[name], turns[BASELINE]
    middle = {what: statistics.median(turn["times"][what] for turn in own) for what in own[0]["times"]}
    line: dict[str, Any] = {
        "contestant": name,
        "images": images,
        "pairs": len(own),
        "images_per_second": images / middle["whole"],
        "network_images_per_second": images / middle["network"],
        "times_baseline": statistics.median(
            one["times"]["whole"] / two["times"]["whole"] for one, two in zip(base, own, strict=True)
        ),
        "network_times_baseline": statistics.median(
            one["times"]["network"] / two["times"]["network"] for one, two in zip(base, own, strict=True)
        ),
        "peak_memory_bytes": max(turn["peak"] for turn in own),
        **facts,
    }
    if "decode" in middle:
        line["decode_images_per_second"] = images / middle["decode"]
        line["share_of_decode_plus_network"] = statistics.median(
            (turn["times"]["decode"] + turn["times"]["network"]) / turn["times"]["whole"] for turn in own
        )
    say("compare", **line)


def some_files(folder: Path, count: int, into: Path) -> list[Path]:
    """Links to evenly spaced JPEG files, in one folder per class as they were."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    picked = [found[place] for place in np.unique(np.linspace(0, len(found) - 1, count, dtype=int)).tolist()]
    made = []
    for path in picked:
        target = into / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path.resolve())
        made.append(target)
    return made


# --------------------------------------------------------------------------------------------- taps


def run_taps(args: argparse.Namespace) -> None:
    """VGG16, network alone: block 5 against blocks 3, 4 and 5, then each precision that this machine has."""
    from tfcells.features.engines.machine import prefer_onednn, this_machine
    from tfcells.features.engines.table import candidates

    prefer_onednn()
    from tfcells.backbones.open import open_backbone
    from tfcells.backbones.taps import parse_taps
    from tfcells.features.engines.choose import Workbench

    backbone = open_backbone("vgg16", weights=args.weights)
    deep, three = (("block5_pool",), ("block3_pool", "block4_pool", "block5_pool"))
    benches = {len(taps): Workbench(backbone, parse_taps(taps), batch_size=args.batch) for taps in (deep, three)}
    rows = [row for row in candidates(this_machine(), "vgg16") if row[0] in args.engines]
    batch = np.random.default_rng(0).uniform(0, 255, (args.batch, SIZE, SIZE, 3)).astype(np.float32)
    opened = {(row, taps): bench.open(*row) for row in rows for taps, bench in benches.items()}
    times: dict[Any, list[float]] = {key: [] for key in opened}
    for _ in range(args.pairs + 1):  # the first turn prepares what the others use
        for key, engine in opened.items():
            started = time.perf_counter()
            engine(batch)
            times[key].append((time.perf_counter() - started) / args.batch)
    for row in rows:
        one, many = (times[row, taps][1:] for taps in (1, 3))
        parity = benches[3].parity(opened[row, 3])
        say(
            "taps",
            engine=row[0],
            precision=row[1],
            images_per_second=1 / statistics.median(one),
            three_blocks_cost=statistics.median(after / before for before, after in zip(one, many, strict=True)),
            cosine={key: entry.cosine for key, entry in parity.items()},
        )


# --------------------------------------------------------------------------------------------- growth


def run_growth(args: argparse.Namespace) -> None:
    """Fresh processes over more and more images, taps and workers."""
    folder = Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = draw(folder, args.distinct)
    command = ["--backbone", BACKBONE, "--weights", args.weights, "--size", str(args.size), "--engine", args.engine]
    for count in args.images:
        images = linked(made, folder / f"images-{count}", count)
        store = folder / f"store-{count}"
        line = extracted(images, store, [*command, "--layers", TAP])
        again = extracted(images, store, [*command, "--layers", TAP])
        second = {"again_seconds": again["seconds"], "again_loads_tensorflow": again["tensorflow_loaded"]}
        say("images", images=count, **line, **second, same=again["digest"] == line["digest"])
        shutil.rmtree(store)
    few = linked(made, folder / "few", min(args.images))
    taps = [f"block_{block}_expand_relu" for block in (1, 3, 6, 10, 13, 14, 15)] + [TAP]
    for number in args.taps:
        line = extracted(few, folder / "taps", [*command, "--layers", ",".join(taps[-number:])])
        say("taps grow", taps=number, images=min(args.images), **line)
        shutil.rmtree(folder / "taps")
    for workers in args.workers:
        cluster = ["--cluster", "local", "--workers", str(workers)] if workers else []
        line = extracted(few, folder / "workers", [*command, "--layers", TAP, *cluster])
        say("workers", workers=workers, images=min(args.images), **line)
        shutil.rmtree(folder / "workers")


def draw(folder: Path, count: int) -> list[Path]:
    """Generated cells as JPEG files, made once."""
    from tfcells.images.synthetic.folder import write_sample_folder

    place = folder / f"drawn-{count}"
    if not place.is_dir():
        write_sample_folder(place, classes=("eosinophil", "lymphocyte"), images_per_class=-(-count // 2), seed=0)
    return sorted(place.rglob("*.jpg"))[:count]


def linked(made: list[Path], into: Path, count: int) -> Path:
    """A folder of `count` names for those files: drawing as many cells would take hours."""
    if not into.is_dir():
        for number in range(count):
            source = made[number % len(made)]
            target = into / source.parent.name / f"{number:07d}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(source)
    return into


def extracted(images: Path, store: Path, words: list[str]) -> dict[str, Any]:
    """One `tfcells extract` in a process of its own: seconds from start to end, rate, peak memory."""
    script = (
        "import sys, json\n"
        "from pathlib import Path\n"
        "from tfcells.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "status = Path('/proc/self/status').read_text().splitlines()\n"
        "peak = next(line for line in status if line.startswith('VmHWM:')).split()[1]\n"
        "loaded = 'tensorflow' in sys.modules\n"
        "print(json.dumps({'code': code, 'peak': 1024 * int(peak), 'tensorflow': loaded}))\n"
    )
    started = time.perf_counter()
    command = [sys.executable, "-c", script, "extract", str(images), *words, "--out", str(store), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    *lines, last = done.stdout.strip().splitlines()
    process, digest = json.loads(last), json.loads("\n".join(lines))["digest"]
    run = json.loads((store / "run.json").read_text())
    return {
        "seconds": seconds,
        "images_per_second": run["images_per_second"],
        "peak_memory_bytes": process["peak"],
        "tensorflow_loaded": process["tensorflow"],
        "digest": digest,
    }


# --------------------------------------------------------------------------------------------- paper


def run_paper(args: argparse.Namespace) -> None:
    """Ten million images, by arithmetic from measured rates."""
    rates = {"given": (args.rate, args.decode)} if args.rate else measured_rates()
    for name, (rate, reading) in rates.items():
        for what, width, dtype in (
            ("1,280 means", 1280, 4),
            ("1,280 means in float16", 1280, 2),
            ("25,088 numbers at this rate", 25_088, 4),
        ):
            hours = IMAGES * (1 / rate + 1 / reading) / 3600
            say(
                "paper",
                by=name,
                features=what,
                terabytes=IMAGES * (width * dtype + 250) / 1e12,
                hours_of_one_machine=hours,
                machines_for_a_day=int(np.ceil(hours / 24)),
            )


def measured_rates() -> dict[str, tuple[float, float]]:
    """The last rates of each tfcells engine in the results: images per second, and of the first reading."""
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    compared = [line for line in lines if line["what"] == "compare" and "reading_images_per_second" in line]
    if not compared:
        raise SystemExit("No rate was measured yet: run `compare` first, or give --rate and --decode.")
    return {line["contestant"]: (line["images_per_second"], line["reading_images_per_second"]) for line in compared}


# --------------------------------------------------------------------------------------------- lines


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in status if line.startswith("VmHWM:")).split()[1])


def say(what: str, **values: Any) -> None:
    """Print a line of results and keep it."""
    line = {"what": what, **values, **machine()}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(
        what, *(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items())
    )


def machine() -> dict[str, Any]:
    """Date, machine and versions."""
    from tfcells.features.engines.machine import this_machine

    flags = this_machine().flags
    found = {name: importlib.metadata.version(name) for name in PACKAGES if importlib.util.find_spec(_module(name))}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "flags": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd"}),
        "versions": found,
    }


def _module(package: str) -> str:
    return "PIL" if package == "pillow" else package


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, help="use so many of the cores (default: all)")
    modes = parser.add_subparsers(required=True)
    compare = modes.add_parser("compare")
    compare.add_argument("images")
    compare.add_argument("weights", help="a .weights.h5 of MobileNetV2 without its top")
    compare.add_argument("--count", type=int, default=512)
    compare.add_argument("--pairs", type=int, default=5)
    compare.add_argument(
        "--only", nargs="+", default=[""], help="parts of the contestants' names; the baseline always runs"
    )
    compare.set_defaults(run=run_compare)
    taps = modes.add_parser("taps")
    taps.add_argument("weights", help="weights of VGG16, or none")
    taps.add_argument("--batch", type=int, default=16)
    taps.add_argument("--pairs", type=int, default=5)
    taps.add_argument("--engines", nargs="+", default=["tensorflow", "openvino", "onnxruntime"])
    taps.set_defaults(run=run_taps)
    growth = modes.add_parser("growth")
    growth.add_argument("folder", help="for images and stores")
    growth.add_argument("--weights", default="none", help="of MobileNetV2; random ones cost the same")
    growth.add_argument("--size", type=int, default=SIZE)
    growth.add_argument("--engine", default="auto")
    growth.add_argument("--distinct", type=int, default=1000, help="cells that are drawn; beyond, files are linked")
    growth.add_argument("--images", type=int, nargs="+", default=[1000, 4000, 16_000, 64_000])
    growth.add_argument("--taps", type=int, nargs="+", default=[1, 2, 4, 8])
    growth.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="0 is without a cluster")
    growth.set_defaults(run=run_growth)
    paper = modes.add_parser("paper")
    paper.add_argument("--rate", type=float, help="images per second of the extraction, on one machine")
    paper.add_argument("--decode", type=float, default=500.0, help="images per second of the first reading")
    paper.set_defaults(run=run_paper)
    args = parser.parse_args()
    if args.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    args.run(args)


if __name__ == "__main__":
    main()
