"""What does mixed precision give in training: images a second, memory, and accuracy?

    python benchmarks/precision.py speed [--backbone mobilenet_v2] [--size 224] [--batch 64] [--weights none] [--jit]
    python benchmarks/precision.py accuracy IMAGES [--network mobilenet_v2] [--weights imagenet] [--epochs 3]

`speed` needs nothing but this repository: pictures are drawn. Networks in float32, mixed_float16 and mixed_bfloat16
take turns in one process, each a few steps of Keras' `fit` on batches that wait in memory, with the optimiser, loss and
batch-norm policy of a fine-tuning; medians of the turns, and of each turn's ratio to float32. On a GPU float32 is
TensorFlow's own, by TF32 where the card has it (`--strict` switches TF32 off), and memory is the most that the
allocator gave out in a turn, less what the other networks hold. On a processor a process of its own says how much
memory each precision takes; float16 is left out, which no processor here multiplies, and bfloat16 on one without AMX
and AVX512_BF16 is emulated: its line says so, and a ratio above 1 is no speed-up of the hardware. On a GPU a last line
is the training's own input, augmented pictures from files, by the precision that `auto` takes: what feeds the card.

`accuracy` teaches the same network on the same rows of one grouped holdout twice, in float32 and in the mixed precision
of this machine (`--precision`, else what `auto` takes, else mixed_bfloat16), from the same seed, and compares the
answers on the holdout: difference of accuracy, mixed minus float32, with the interval of the paired test over groups.
One seed: how much another one would change is not in the interval. IMAGES is a folder of class folders, or a manifest
with groups; `--groups FILE` names them too, else every picture is its own group.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

RESULTS: Final = Path(__file__).parent / "results" / "precision.jsonl"
PACKAGES: Final = ("keras", "numpy", "tensorflow")
PRECISIONS: Final = ("float32", "mixed_float16", "mixed_bfloat16")
CLASSES: Final = 8
DRAWN: Final = 24  # different pictures in a batch; a network's speed does not depend on them
FED: Final = 64  # pictures of each class in the folder that the last line reads


# --------------------------------------------------------------------------------------------- the machine


def device() -> dict[str, Any]:
    """What computes: the graphics card with its software, or the processor with what it multiplies bfloat16 by."""
    import tensorflow as tf

    from tfcells.features.engines.machine import this_machine

    cards = tf.config.list_physical_devices("GPU")
    if not cards:
        flags = this_machine().flags
        by = [name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512_BF16")) if flag in flags]
        return {
            "kind": "cpu",
            "name": processor_name(),
            "cores": len(os.sched_getaffinity(0)),
            "bfloat16": by[0] if by else "none: emulated",
        }
    details, built = tf.config.experimental.get_device_details(cards[0]), tf.sysconfig.get_build_info()
    return {
        "kind": "gpu",
        "name": details.get("device_name", "unknown"),
        "cards": len(cards),
        "compute_capability": ".".join(map(str, details.get("compute_capability", ()))),
        "driver": driver_version(),
        "cuda": built.get("cuda_version"),
        "cudnn": built.get("cudnn_version"),
        "tf32": bool(tf.config.experimental.tensor_float_32_execution_enabled()),
        "cores": len(os.sched_getaffinity(0)),
    }


def processor_name() -> str:
    """As Linux has it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def driver_version() -> str | None:
    """Of NVIDIA's kernel module."""
    path = Path("/proc/driver/nvidia/version")
    if path.is_file():
        return path.read_text(encoding="utf-8").splitlines()[0].partition("Module")[2].split()[0]
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def say(benchmark: str, **values: Any) -> None:
    """Print a line of results and keep it."""
    line = {
        "benchmark": benchmark,
        **values,
        "device": device(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps({"benchmark": benchmark, **values}), flush=True)


# --------------------------------------------------------------------------------------------- speed


@dataclass
class Contestant:
    """A network in one precision, ready to train.

    Attributes:
        precision: Name of the dtype policy.
        trainee: With its optimiser.
        holds: Bytes of weights and optimiser on the graphics card; 0 elsewhere.
        rates: Images a second, turn by turn.
        per_cpu: Images a second of processor time, turn by turn.
        peaks: Bytes at the most in each turn, its own; on a graphics card.
    """

    precision: str
    trainee: Any
    holds: int
    rates: list[float] = field(default_factory=list)
    per_cpu: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)


def on_card() -> dict[str, int] | None:
    """Bytes that TensorFlow's allocator gives out now and gave out at the most; None without a card."""
    import tensorflow as tf

    cards = tf.config.list_logical_devices("GPU")
    return dict(tf.config.experimental.get_memory_info("GPU:0")) if cards else None


def settings_of(options: argparse.Namespace) -> Any:
    """A fine-tuning of all layers."""
    from tfcells.finetune.settings import FinetuneSettings, NetworkSettings, PhaseSettings, TrainingSettings

    network = NetworkSettings(name=options.backbone, weights=options.weights, size=options.size)
    training = TrainingSettings(batch_size=options.batch, batch_norm=options.batch_norm)
    return FinetuneSettings(network=network, phases=(PhaseSettings(epochs=1),), training=training)


def contestant(options: argparse.Namespace, precision: str) -> Contestant:
    """Build a network and begin a phase that trains all of it."""
    from tfcells.finetune.trainee import build_trainee

    before = on_card()
    settings = settings_of(options)
    names = tuple(f"class {number}" for number in range(CLASSES))
    build = build_trainee(settings, class_names=names, seed=0, batches=1000, plain=lambda: None)
    trainee = build(precision)
    trainee.begin(settings.phases[0], first=True)
    if options.jit:
        model = trainee.model
        with model.distribute_strategy.scope():
            model.compile(model.optimizer, model.loss, jit_compile=True, auto_scale_loss=False)
    after = on_card()
    return Contestant(precision, trainee, after["current"] - before["current"] if before and after else 0)


def drawn_batch(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Drawn cells, resized, as float32 (count, size, size, 3) and int64 (count,)."""
    from tfcells.images.resize import resize_image
    from tfcells.images.synthetic.cells import draw_cell
    from tfcells.images.synthetic.recipes import CLASSES as KINDS

    kinds = [KINDS[number % len(KINDS)] for number in range(min(DRAWN, count))]
    pictures = [draw_cell(kind, seed=0, index=number) for number, kind in enumerate(kinds)]
    small = np.stack([resize_image(picture, height=size, width=size) for picture in pictures]).astype(np.float32)
    places = np.arange(count) % len(small)
    return small[places], np.array([KINDS.index(kinds[place]) % CLASSES for place in places.tolist()], dtype=np.int64)


def several_steps(model: Any, batch: tuple[np.ndarray, np.ndarray], steps: int) -> None:
    """Train on one batch again and again, as an epoch of a fine-tuning does; waits for the device at the end."""
    import tensorflow as tf

    pixels, labels = batch
    one = (pixels, labels, np.ones(len(labels), np.float32))
    known = tf.data.Dataset.from_tensors(one).repeat(steps)
    options = tf.data.Options()
    options.autotune.enabled = False  # as in a fine-tuning: an iterator that is given up waits for the tuner
    model.fit(known.prefetch(1).with_options(options), epochs=1, shuffle=False, verbose=0)
    np.asarray(model.trainable_variables[0])


def turn(who: Contestant, batch: tuple[np.ndarray, np.ndarray], steps: int) -> None:
    """One contestant's turn."""
    import tensorflow as tf

    held = on_card()
    if held:
        tf.config.experimental.reset_memory_stats("GPU:0")
    started, cpu = time.perf_counter(), time.process_time()
    several_steps(who.trainee.model, batch, steps)
    images = steps * len(batch[1])
    who.rates.append(images / (time.perf_counter() - started))
    who.per_cpu.append(images / (time.process_time() - cpu))
    most = on_card()
    if held and most:
        who.peaks.append(most["peak"] - held["current"] + who.holds)


def memory_alone(options: argparse.Namespace, precision: str) -> int:
    """Bytes at the most of a process that trains in one precision alone; on a processor."""
    asked = [
        sys.executable, __file__, "memory", "--backbone", options.backbone, "--size", str(options.size),
        "--batch", str(options.batch), "--weights", options.weights, "--batch-norm", options.batch_norm, precision,
    ]  # fmt: skip
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def memory(options: argparse.Namespace) -> None:
    """Two steps in one precision; prints the most bytes that the process took."""
    from tfcells.features.peak_memory import peak_memory

    options.jit = False
    several_steps(contestant(options, options.precision).trainee.model, drawn_batch(options.size, options.batch), 2)
    print(peak_memory())


def speed(options: argparse.Namespace) -> None:
    """Images a second and memory, by precision."""
    import tensorflow as tf

    if options.strict:
        tf.config.experimental.enable_tensor_float_32_execution(False)
    here = device()
    print(json.dumps(here), flush=True)
    gpu = here["kind"] == "gpu"
    if options.jit and not gpu:
        sys.exit("--jit is for a graphics card: XLA on a processor is many times slower than slow. Leave it out.")
    asked = [name for name in options.precisions.split(",") if gpu or name != "mixed_float16"]
    unknown = sorted(set(asked) - set(PRECISIONS))
    if unknown or "float32" not in asked:
        sys.exit(f"--precisions is {options.precisions}. Expected float32 and others of: {', '.join(PRECISIONS)}.")
    batch = drawn_batch(options.size, options.batch)
    everybody = [contestant(options, precision) for precision in asked]
    for who in everybody:  # traces, finds algorithms
        several_steps(who.trainee.model, batch, 2)
    for number in range(options.turns):
        for who in everybody if number % 2 == 0 else reversed(everybody):
            turn(who, batch, options.steps)
    for who in everybody:
        say_speed(options, here, who, everybody[asked.index("float32")])
    if gpu and options.fed:
        fed(options)


def say_speed(options: argparse.Namespace, here: dict[str, Any], who: Contestant, float32: Contestant) -> None:
    """A contestant's line."""
    gpu = here["kind"] == "gpu"
    emulated = not gpu and who.precision == "mixed_bfloat16" and here["bfloat16"].startswith("none")
    ratios = [ours / theirs for ours, theirs in zip(who.rates, float32.rates, strict=True)]
    say(
        "speed",
        backbone=options.backbone,
        weights=options.weights,
        size=options.size,
        batch=options.batch,
        batch_norm=options.batch_norm,
        jit=options.jit,
        precision=who.precision,
        emulated=emulated,
        turns=options.turns,
        steps=options.steps,
        images_per_second=statistics.median(who.rates),
        slowest_and_fastest=[min(who.rates), max(who.rates)],
        times_float32=statistics.median(ratios),
        verdict=verdict(who.precision, ratios, emulated=emulated),
        images_per_cpu_second=None if gpu else statistics.median(who.per_cpu),
        peak_memory_bytes=max(who.peaks) if gpu else memory_alone(options, who.precision),
        memory_of="the card" if gpu else "a process of its own",
        finite=all(np.isfinite(np.asarray(weight)).all() for weight in who.trainee.model.trainable_variables),
    )


def verdict(precision: str, ratios: list[float], *, emulated: bool) -> str:
    """What a reader may say of a precision's speed."""
    if precision == "float32":
        return "reference"
    if emulated:
        return "emulated: says nothing of hardware that computes in it"
    if min(ratios) > 1:
        return "faster than float32 in every turn"
    return "slower than float32 in every turn" if max(ratios) < 1 else "not told from float32"


def fed(options: argparse.Namespace) -> None:
    """An epoch as a fine-tuning has it: augmented pictures from files, kept in memory after the first epoch."""
    from tfcells.finetune.precision import resolve_precision
    from tfcells.finetune.table_examples import TableExamples
    from tfcells.images.readers import read_folder
    from tfcells.images.synthetic.folder import write_sample_folder

    precision = resolve_precision("auto")
    who = contestant(options, precision)
    with tempfile.TemporaryDirectory() as folder:
        write_sample_folder(Path(folder) / "cells", images_per_class=FED, seed=0)
        table = read_folder(Path(folder) / "cells")
        rows = np.arange(len(table))
        examples = TableExamples(
            table=table,
            all_labels=table.labels,
            teaching=rows,
            looked_at=rows[:1],
            settings=settings_of(options),
            size=options.size,
            kernel="bilinear",
            seed=0,
        )
        network, alone = [], []
        for epoch in range(4):
            network.append(timed(len(rows), partial(who.trainee.model.fit, examples.training(epoch), verbose=0)))
            alone.append(timed(len(rows), partial(deque, examples.training(epoch), maxlen=0)))
    say(
        "fed",
        backbone=options.backbone,
        size=options.size,
        batch=options.batch,
        precision=precision,
        images=len(rows),
        epochs=len(network) - 1,
        images_per_second=statistics.median(network[1:]),
        input_alone_images_per_second=statistics.median(alone[1:]),
    )


def timed(images: int, work: Callable[[], Any]) -> float:
    """Images a second."""
    started = time.perf_counter()
    work()
    return images / (time.perf_counter() - started)


# --------------------------------------------------------------------------------------------- accuracy


def accuracy(options: argparse.Namespace) -> None:
    """The same fine-tuning in two precisions, compared on the same rows."""
    from tfcells.config import TaughtImagesConfig
    from tfcells.finetune.precision import precision_parity, resolve_precision
    from tfcells.images.readers import read_images
    from tfcells.stats.paired import paired_difference
    from tfcells.steps.taught import deal_rows

    here = device()
    mixed = options.precision or resolve_precision("auto")
    mixed = "mixed_bfloat16" if mixed == "float32" else mixed
    table = read_images(str(options.images), groups=options.groups)
    if options.most:
        kept = np.random.default_rng(options.seed).permutation(len(table))[: options.most]
        table = table.take(np.sort(kept))
    images = TaughtImagesConfig(root=str(options.images), holdout=options.holdout, validation=0.0)
    taught = deal_rows(table, images, seed=options.seed)
    fold = taught.folds[0]
    labels, groups = taught.labels[fold.asked], taught.groups[fold.asked]
    hits, rates, parity = {}, {}, None
    for precision in ("float32", mixed):
        trainee, examples, rates[precision], ended = taught_in(precision, options, taught)
        logits, _ = trainee.look(examples.in_order(fold.asked))
        hits[precision] = logits.argmax(axis=1) == labels
        if precision == mixed:
            some = np.concatenate([batch.numpy() for batch in examples.in_order(fold.asked[:64])])
            parity = precision_parity(trainee.network, some)
    found = paired_difference(hits[mixed], hits["float32"], groups)
    emulated = here["kind"] == "cpu" and mixed == "mixed_bfloat16" and here["bfloat16"].startswith("none")
    say(
        "accuracy",
        images=len(taught.labels),
        training=len(fold.training),
        asked=len(fold.asked),
        groups=len(np.unique(groups)),
        classes=len(taught.class_names),
        network=options.network,
        weights=options.weights,
        size=options.size,
        head_epochs=1,
        epochs=options.epochs,
        batch=options.batch,
        seed=options.seed,
        precision=mixed,
        ended_in=ended,
        emulated=emulated,
        accuracy={precision: float(right.mean()) for precision, right in hits.items()},
        difference={"value": found.difference.value, "low": found.difference.low, "high": found.difference.high},
        p_value=found.p_value,
        test=found.method,
        images_per_second=rates,
        parity=vars(parity) if parity else None,
    )


def taught_in(precision: str, options: argparse.Namespace, taught: Any) -> tuple[Any, Any, float, str]:
    """A trained network, its pictures, training images a second (looking at the holdout left out), how it ended."""
    from tfcells.finetune.settings import FinetuneSettings, NetworkSettings, PhaseSettings, TrainingSettings
    from tfcells.finetune.table_examples import TableExamples
    from tfcells.finetune.train import train
    from tfcells.finetune.trainee import build_trainee

    phases = (PhaseSettings(epochs=1, train="head"), PhaseSettings(epochs=options.epochs))
    settings = FinetuneSettings(
        network=NetworkSettings(name=options.network, weights=options.weights, size=options.size),
        phases=phases,
        training=TrainingSettings(batch_size=options.batch, patience=0),
    )
    fold = taught.folds[0]
    build = build_trainee(
        settings,
        class_names=taught.class_names,
        seed=options.seed,
        batches=-(-len(fold.training) // options.batch),
        plain=lambda: None,
    )
    network = build(precision).network
    examples = TableExamples(
        table=taught.table,
        all_labels=taught.labels,
        teaching=fold.training,
        looked_at=fold.asked[:1],
        settings=settings,
        size=network.size,
        kernel=network.kernel,
        seed=options.seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            build,
            examples,
            settings,
            precision=precision,
            folder=Path(folder),
            recipe={"precision": precision},
            choose=False,
            progress=lambda stage, done, total: print(
                f"\r{precision}: {stage} {done}/{total}", end="", file=sys.stderr
            ),
        )
    print(file=sys.stderr)
    last = [row["seconds"] for row in trained.curve if row["phase"] == 2][1:] or [trained.curve[-1]["seconds"]]
    return trained.trainee, examples, len(fold.training) / statistics.median(last), trained.precision


def network_arguments(parser: argparse.ArgumentParser) -> None:
    """What is trained, for `speed` and `memory`."""
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--weights", default="none", help="for the backbone; speed does not depend on them")
    parser.add_argument("--batch-norm", default="frozen", choices=("frozen", "trained"))


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)
    fast = modes.add_parser("speed")
    network_arguments(fast)
    fast.add_argument("--precisions", default=",".join(PRECISIONS))
    fast.add_argument("--turns", type=int, default=5)
    fast.add_argument("--steps", type=int, default=20, help="steps of a turn")
    fast.add_argument("--jit", action="store_true", help="compile by XLA; on a graphics card")
    fast.add_argument("--strict", action="store_true", help="float32 without TF32")
    fast.add_argument("--no-fed", dest="fed", action="store_false", help="leave the line of augmented pictures out")
    fast.set_defaults(run=speed)
    alone = modes.add_parser("memory")
    network_arguments(alone)
    alone.add_argument("precision", choices=PRECISIONS)
    alone.set_defaults(run=memory)
    right = modes.add_parser("accuracy")
    right.add_argument("images", type=Path)
    right.add_argument("--groups", type=Path, help="CSV of `id,group`")
    right.add_argument("--network", default="mobilenet_v2")
    right.add_argument("--weights", default="imagenet")
    right.add_argument("--size", type=int, default=160)
    right.add_argument("--batch", type=int, default=32)
    right.add_argument("--epochs", type=int, default=3, help="of the whole network, after one of the head")
    right.add_argument("--most", type=int, default=0, help="images at the most, drawn; 0 for all")
    right.add_argument("--holdout", type=float, default=0.2)
    right.add_argument("--precision", choices=PRECISIONS[1:], help="instead of this machine's")
    right.add_argument("--seed", type=int, default=0)
    right.set_defaults(run=accuracy)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
