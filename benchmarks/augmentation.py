"""How many pictures a second are augmented, beside `tf.image` and Keras' own layers, and by which path?

    python benchmarks/augmentation.py IMAGES [--size 224] [--count 192] [--turns 5]

Contestants take turns in one process on the same pictures, already decoded and resized, as float32 batches in the end;
the medians of the turns count, by the clock, and by processor time, which other work on the machine hardly changes.
What `tf.image` and Keras lack of the preset is left out, in their favour: `tf.image` turns by its own operation on a
uniform angle and has no blur, Keras has no stain, no unsharp mask and no JPEG.

Then what an epoch costs: with every picture in the cache, and read, decoded and resized anew; and what augmenting at
full size, before resizing, would cost. `sharpness` is the median ratio of the Laplacian's spread, augmented over as
it was, by the interpolation that turns: why the preset takes the slower one.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

RESULTS: Final = Path(__file__).parent / "results" / "augmentation.jsonl"
PACKAGES: Final = ("albumentations", "keras", "numpy", "opencv-python-headless", "tensorflow")
BATCH: Final = 32
HOPELESS: Final = 10.0  # pictures a second of processor time: one turn says enough

Pictures = list[np.ndarray]


def timed(pass_over: Callable[[], int]) -> tuple[float, float]:
    """Pictures of one pass per second, and per second of processor time, all threads together."""
    started, cpu = time.perf_counter(), time.process_time()
    count = pass_over()
    return count / (time.perf_counter() - started), count / (time.process_time() - cpu)


def read_all(dataset: Any) -> int:
    """Take every batch of a dataset; the number of pictures in it."""
    return sum(len(batch[0] if isinstance(batch, tuple) else batch) for batch in dataset.as_numpy_iterator())


# --------------------------------------------------------------------------------------------- contestants


def one_thread(pictures: Pictures) -> Callable[[], int]:
    """The preset in a loop."""
    from tfcells.finetune.augment import augment

    def run() -> int:
        for seed, picture in enumerate(pictures):
            augment(picture, seed=seed)
        return len(pictures)

    return run


def numpy_function(pictures: Pictures) -> Callable[[], int]:
    """The preset in `tf.numpy_function`, by TensorFlow's threads."""
    import tensorflow as tf

    from tfcells.finetune.augment import augment

    def one(picture: np.ndarray, seed: np.ndarray) -> np.ndarray:
        return augment(picture, seed=int(seed)).astype(np.float32)

    dataset = tf.data.Dataset.from_tensor_slices((np.stack(pictures), np.arange(len(pictures))))
    dataset = dataset.map(lambda *given: tf.numpy_function(one, given, tf.float32), num_parallel_calls=tf.data.AUTOTUNE)
    return lambda: read_all(dataset.batch(BATCH).prefetch(1))


def tf_image(pictures: Pictures) -> Callable[[], int]:
    """The same changes by `tf.image` and TensorFlow's operations, as far as there are any."""
    import tensorflow as tf

    from tfcells.finetune.cell_transforms import STAINS

    size = pictures[0].shape[0]
    unmix, mix = tf.constant(np.linalg.inv(STAINS), tf.float32), tf.constant(STAINS, tf.float32)

    def one(picture: Any) -> Any:
        picture = tf.image.random_flip_up_down(tf.image.random_flip_left_right(picture))
        angle, scale = tf.random.uniform([], 0, 2 * np.pi), tf.random.uniform([], 0.95, 1.05)
        shift = tf.random.uniform([2], -0.04 * size, 0.04 * size)
        cosine, sine, middle = tf.cos(angle) / scale, tf.sin(angle) / scale, (size - 1) / 2
        x = middle - cosine * middle + sine * middle + shift[0]
        y = middle - sine * middle - cosine * middle + shift[1]
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.cast(picture, tf.float32)[None],
            transforms=tf.stack([cosine, -sine, x, sine, cosine, y, 0.0, 0.0])[None],
            output_shape=[size, size],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )[0]
        amounts = tf.tensordot(-tf.math.log((moved + 1) / 256), unmix, 1)
        amounts = amounts * tf.random.uniform([3], 0.88, 1.12) + tf.random.uniform([3], -0.012, 0.012)
        stained = tf.exp(-tf.tensordot(amounts, mix, 1)) - 1 / 256
        changed = tf.image.random_contrast(tf.image.random_brightness(stained, 0.03), 0.94, 1.06)
        packed = tf.image.convert_image_dtype(tf.clip_by_value(changed, 0.0, 1.0), tf.uint8)
        squeezed = tf.cond(
            tf.random.uniform([]) < 0.3, lambda: tf.image.random_jpeg_quality(packed, 75, 95), lambda: packed
        )
        return tf.cast(squeezed, tf.float32)

    dataset = tf.data.Dataset.from_tensor_slices(np.stack(pictures)).map(one, num_parallel_calls=tf.data.AUTOTUNE)
    return lambda: read_all(dataset.batch(BATCH).prefetch(1))


def keras_layers(pictures: Pictures) -> Callable[[], int]:
    """Keras' preprocessing layers on batches, inside tf.data, as its guides have it."""
    import keras
    import tensorflow as tf

    layers = [
        keras.layers.RandomFlip(),
        keras.layers.RandomRotation(0.5, fill_mode="reflect"),
        keras.layers.RandomZoom(0.05, fill_mode="reflect"),
        keras.layers.RandomTranslation(0.04, 0.04, fill_mode="reflect"),
        keras.layers.RandomBrightness(0.03),
        keras.layers.RandomContrast(0.06, value_range=(0, 255)),
        keras.layers.RandomGaussianBlur(factor=0.4, kernel_size=3, sigma=0.8, value_range=(0, 255)),
    ]

    def several(batch: Any) -> Any:
        batch = tf.cast(batch, tf.float32)
        for layer in layers:
            batch = layer(batch, training=True)
        return batch

    dataset = tf.data.Dataset.from_tensor_slices(np.stack(pictures)).batch(BATCH)
    return lambda: read_all(dataset.map(several, num_parallel_calls=tf.data.AUTOTUNE).prefetch(1))


CONTESTANTS: Final[dict[str, Callable[[Pictures], Callable[[], int]]]] = {
    "tfcells, one thread": one_thread,
    "tfcells in tf.numpy_function": numpy_function,
    "tf.image": tf_image,
    "Keras layers": keras_layers,
}


# --------------------------------------------------------------------------------------------- epochs


def epochs(folder: Path, size: int, count: int) -> dict[str, Callable[[], int]]:
    """Passes over `training_batches`, from the cache and from files."""
    from tfcells.finetune.examples import training_batches
    from tfcells.finetune.pictures import PictureCache
    from tfcells.images.readers import read_folder

    table = read_folder(folder)
    rows = np.unique(np.linspace(0, len(table) - 1, count, dtype=int))
    cache = PictureCache()

    def over(kept: PictureCache | None, augmentation: str) -> Callable[[], int]:
        return lambda: read_all(
            training_batches(
                table, rows, table.labels, size=size, batch_size=BATCH, epoch=0, seed=0, cache=kept,
                augmentation=augmentation,
            )
        )  # fmt: skip

    return {
        "tfcells, training_batches from the cache": over(cache, "cells"),
        "tfcells, training_batches from files": over(None, "cells"),
        "tfcells, training_batches from files, not augmented": over(None, "none"),
    }


def full_size(whole: Pictures, size: int) -> Callable[[], int]:
    """The preset on pictures at full size, resized afterwards; one thread."""
    from tfcells.finetune.augment import augment
    from tfcells.images.resize import resize_image

    squares = [picture[: min(picture.shape[:2]), : min(picture.shape[:2])] for picture in whole]

    def run() -> int:
        for seed, picture in enumerate(squares):
            resize_image(augment(np.ascontiguousarray(picture), seed=seed), height=size, width=size)
        return len(squares)

    return run


def sharpness(pictures: Pictures) -> dict[str, float]:
    """Median ratio of sharpness after turning, by interpolation."""
    from tfcells.finetune.cell_transforms import Turn

    def spread(picture: np.ndarray) -> float:
        edge = len(picture) // 4
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return float(cv2.Laplacian(grey, cv2.CV_32F)[edge:-edge, edge:-edge].std())

    found = {}
    for name, interpolation in (("linear", cv2.INTER_LINEAR), ("cubic", cv2.INTER_CUBIC)):
        turn = Turn(rotate=(-180, 180), interpolation=interpolation, border_mode=cv2.BORDER_REFLECT_101, p=1.0)
        turn.set_random_seed(0)
        ratios = [spread(turn(image=picture, aspect=1.0)["image"]) / spread(picture) for picture in pictures]
        found[name] = float(np.median(ratios))
    return found


# --------------------------------------------------------------------------------------------- lines


def some_pictures(folder: Path, count: int) -> Iterator[np.ndarray]:
    """Evenly spaced pictures of a folder, canonical."""
    from tfcells.images.decode import SUFFIXES, decode_image

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    for place in np.unique(np.linspace(0, len(files) - 1, count, dtype=int)):
        yield decode_image(files[place].read_bytes())


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

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "flags": sorted(this_machine().flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd"}),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder of one folder of pictures per class")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--count", type=int, default=192)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()

    from tfcells.images.resize import resize_image

    whole = list(some_pictures(args.images, args.count))
    small = [resize_image(one, height=args.size, width=args.size).round().astype(np.uint8) for one in whole]
    runs = {name: make(small) for name, make in CONTESTANTS.items()}
    runs |= {"tfcells at full size, one thread": full_size(whole, args.size)}
    runs |= epochs(args.images, args.size, args.count)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(args.turns + 1):
        for name, run in runs.items():
            if not rates[name] or rates[name][0][1] > HOPELESS:
                rates[name].append(timed(run))
    for name, found in rates.items():
        kept = found[1:] or found  # the first turn prepares what the others use
        by_clock, by_processor = zip(*kept, strict=True)
        say(
            "augment",
            contestant=name,
            size=args.size,
            images=len(small),
            turns=len(kept),
            images_per_second=statistics.median(by_clock),
            images_per_cpu_second=statistics.median(by_processor),
        )
    say("sharpness", size=args.size, images=len(small), **sharpness(small))


if __name__ == "__main__":
    main()
