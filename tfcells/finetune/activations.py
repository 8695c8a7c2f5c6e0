"""What a frozen lower part of a network makes of every picture, computed once and kept on disk.  [TensorFlow]

For phases that train only what comes after a layer: an epoch then costs what comes after it. Without augmentation, or
with a fixed number of augmented variants of each picture that the epochs take in turns.

Below the given folder, a folder by the digest of all that the maps depend on; in it one `.npy` file for the plain
pictures and one for each variant, with a record. A file gets its name when it is whole, so that a kill costs the
file in work; others are found again.
"""

import hashlib
import importlib.metadata
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from tfcells.arrays import Float32, Ids, Labels
from tfcells.backbones.golden import check_fingerprint, fingerprint, golden_picture
from tfcells.backbones.weights import file_digest
from tfcells.errors import DamageError, RequestError, UnknownNameError
from tfcells.features.pieces import flush_folder, locked, write_atomically, write_file
from tfcells.features.recipe import canonical_json, images_digest, sealed, unsealed
from tfcells.finetune.augment import picture_seed, preset_digest
from tfcells.finetune.draws import Draw, check_rows, epoch_draws, even_batches
from tfcells.finetune.examples import Weights, batches_of, faults_by_name
from tfcells.finetune.pictures import PictureCache, Pictures
from tfcells.images.resize import RESIZERS
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent

DTYPES: Final = ("float16", "float32")
PLAIN: Final = "plain"

_FORMAT: Final = 1
_RECORD: Final = "record.json"
_RECIPE: Final = "recipe.json"
_MAPS: Final = "maps"
_FILE: Final = "maps.npy"
_DIGITS: Final = 16  # of the digest, in the folder's name

Maps = Float32[np.ndarray, "batch ..."]


@dataclass(frozen=True, eq=False)
class Activations:
    """Kept maps, open for reading.

    Attributes:
        path: Their folder.
        ids: Of the pictures, in the order of the maps.
        digests: Of their pixels, by id.
        variants: How many augmented ones there are of each picture; 0 where there is the plain one.
        maps: Arrays on disk, (images, ...), one for each variant, or one of the plain pictures.
    """

    path: Path
    ids: Ids
    digests: Mapping[str, str]
    variants: int
    maps: tuple[np.ndarray, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one picture's map."""
        return tuple(self.maps[0].shape[1:])


def cache_activations(
    lower: keras.Model,
    table: ImageTable,
    rows: Sequence[int] | np.ndarray,
    *,
    folder: Path,
    size: int,
    kernel: str = "bilinear",
    variants: int = 0,
    seed: int = 0,
    dtype: str = "float16",
    batch_size: int = 32,
    progress: Progress = silent,
    workers: int | None = None,
) -> Activations:
    """Compute what is not there yet, and open it.

    The n-th variant of a picture is what epoch n of a training by the same seed shows (`Pictures.variant`), whose
    first variants are thus those of more variants.

    Args:
        lower: From float32 pixels (batch, size, size, 3) in [0, 255] to one map; run in inference mode.
        table: The pictures.
        rows: Which of them, each once.
        folder: Where folders of maps are kept.
        size: Side of the pictures in pixels.
        kernel: By which they are resized; that of the network.
        variants: How many augmented variants of each picture; 0 for the pictures as they are.
        seed: Of the variants.
        dtype: Of the files: `float16` or `float32`.
        batch_size: Of every pass, filled up at the end.
        progress: Told how many pictures of a file are done.
        workers: Threads that read pictures; one per core by default.

    Raises:
        RequestError: If values are too large for float16, rows repeat, `lower` has several outputs, or another
            process writes to the folder.
        DamageError: If a picture cannot be read, a kept file was altered, or `lower` no longer answers as it did.
    """
    if dtype not in DTYPES:
        raise UnknownNameError("dtype of activations", dtype, DTYPES)
    taken = table.take(_by_id(table, rows))
    pictures = Pictures(taken, size, kernel, PictureCache(0))
    maker = _Maker(pictures, _answering(lower), np.dtype(dtype), batch_size, workers)
    recipe = _recipe(lower, pictures, seed=seed if variants else None, dtype=dtype, batch_size=batch_size)
    home = folder / hashlib.sha256(canonical_json(recipe).encode()).hexdigest()[:_DIGITS]
    epochs = {f"variant-{epoch:03d}": epoch for epoch in range(variants)} if variants else {PLAIN: None}
    with locked(home):
        _check_answers(home / _RECIPE, recipe, maker.golden())
        for name, epoch in epochs.items():
            if not (home / name).is_dir():
                maker.write(home / name, _examples(pictures, seed, epoch), _named(progress, f"{name} maps"))
        maps = tuple(_opened(home / name) for name in epochs)
    return Activations(home, taken.ids, dict(zip(taken.ids, taken.digests, strict=True)), variants, maps)


def activation_batches(
    activations: Activations,
    table: ImageTable,
    rows: Sequence[int] | np.ndarray,
    labels: Labels,
    *,
    batch_size: int,
    epoch: int,
    seed: int,
    sampling: str = "natural",
    weights: Weights | None = None,
    replicas: int = 1,
    workers: int | None = None,
) -> tf.data.Dataset:
    """One epoch of kept maps to learn from, as (maps, labels, weights): float32 (batch, ...), int64 and float32.

    Draws, order and batches are those of `training_batches`. Of several variants each picture shows another one in
    every epoch and copy, and after as many epochs as there are variants each of them once.

    Raises:
        RequestError: If a row's picture is not among the kept ones, or as `training_batches`.
    """
    draws = epoch_draws(table.ids, rows, labels, sampling=sampling, seed=seed, epoch=epoch)
    place_of = _places(activations, table, [draw.row for draw in draws])

    def make(draw: Draw) -> np.ndarray:
        first = picture_seed("first variant", seed, table.ids[draw.row])
        maps = activations.maps[(first + epoch + draw.copy) % len(activations.maps)]
        return np.asarray(maps[place_of[draw.row]], dtype=np.float32)

    batches = even_batches(draws, batch_size, replicas=replicas)
    return batches_of(batches, make, activations.shape, labels=labels, weights=weights, workers=workers)


def activations_in_order(
    activations: Activations,
    table: ImageTable,
    rows: Sequence[int] | np.ndarray,
    labels: Labels,
    *,
    batch_size: int,
    workers: int | None = None,
) -> tf.data.Dataset:
    """Kept maps of the plain pictures to validate by, in the order of `rows`; see `validation_batches`.

    Raises:
        RequestError: If only augmented variants are kept, or as `activation_batches`.
    """
    if activations.variants:
        raise RequestError(
            f"{activations.path} holds augmented variants, which no validation should see. Expected maps of the plain "
            "pictures: cache them with variants=0."
        )
    draws = [Draw(row, 0) for row in check_rows(table.ids, rows, labels)]
    place_of = _places(activations, table, [draw.row for draw in draws])
    batches = [draws[start : start + batch_size] for start in range(0, len(draws), batch_size)]
    return batches_of(
        batches,
        lambda draw: np.asarray(activations.maps[0][place_of[draw.row]], dtype=np.float32),
        activations.shape,
        labels=labels,
        weights=None,
        workers=workers,
    )


@dataclass(frozen=True, eq=False)
class _Maker:
    """What turns pictures into a file of maps; the attributes are arguments of `cache_activations`."""

    pictures: Pictures
    answer: Callable[[Maps], Maps]
    dtype: np.dtype
    batch_size: int
    workers: int | None

    def golden(self) -> dict[str, list[float]]:
        """The fingerprint of the fixed picture's map."""
        resize = RESIZERS[self.pictures.kernel]
        pixels = resize(golden_picture(), height=self.pictures.size, width=self.pictures.size)
        return fingerprint({_MAPS: self._filled(pixels[None])})

    def write(self, path: Path, make: Callable[[Draw], np.ndarray], tell: Callable[[int, int], None]) -> None:
        """Make one file of maps and its record, in a folder that gets its name at the end."""
        writing = path.with_name(f".{path.name}.writing")
        shutil.rmtree(writing, ignore_errors=True)  # what a kill left
        writing.mkdir()
        try:
            self._write_maps(writing / _FILE, make, tell)
            write_file(writing / _RECORD, sealed({"sha256_of_maps": file_digest(writing / _FILE)}))
            flush_folder(writing)
            writing.rename(path)
            flush_folder(path.parent)
        except BaseException:
            shutil.rmtree(writing, ignore_errors=True)
            raise

    def _write_maps(self, path: Path, make: Callable[[Draw], np.ndarray], tell: Callable[[int, int], None]) -> None:
        table, size = self.pictures.table, self.pictures.size
        draws = [Draw(row, 0) for row in range(len(table))]
        batches = [draws[start : start + self.batch_size] for start in range(0, len(draws), self.batch_size)]
        dataset = batches_of(
            batches, make, (size, size, 3), labels=np.zeros(len(table), np.int64), weights=None, workers=self.workers
        )
        kept: np.memmap | None = None
        done = 0
        tell(0, len(table))
        with faults_by_name():
            for pixels, *_ in dataset.as_numpy_iterator():
                maps = self._filled(pixels)
                if kept is None:
                    shape = (len(table), *maps.shape[1:])
                    kept = np.lib.format.open_memmap(path, mode="w+", dtype=self.dtype, shape=shape)
                kept[done : done + len(maps)] = self._rounded(maps)
                done += len(maps)
                tell(done, len(table))
        if kept is not None:
            kept.flush()
        with path.open("rb") as file:
            os.fsync(file.fileno())

    def _filled(self, pixels: Maps) -> Maps:
        """Answers to a batch, filled up to the fixed size: the same kernels for every batch, the same bits."""
        whole = np.zeros((self.batch_size, *pixels.shape[1:]), np.float32)
        whole[: len(pixels)] = pixels
        return self.answer(whole)[: len(pixels)]

    def _rounded(self, maps: Maps) -> np.ndarray:
        largest, most = float(np.abs(maps).max(initial=0.0)), float(np.finfo(self.dtype).max)
        if not largest <= most:  # also catches NaN
            raise RequestError(
                f"The lower part gives values up to {largest:.3g}, and {self.dtype} holds up to {most:.3g}. Keep them "
                "as float32, and look at the weights if they are not finite."
            )
        return maps.astype(self.dtype)


def _examples(pictures: Pictures, seed: int, epoch: int | None) -> Callable[[Draw], np.ndarray]:
    if epoch is None:
        return lambda draw: pictures.exact(draw.row)
    return lambda draw: pictures.variant(draw.row, seed=seed, epoch=epoch).astype(np.float32)


def _named(progress: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(stage, done, total)


def _by_id(table: ImageTable, rows: Sequence[int] | np.ndarray) -> list[int]:
    """Rows by their ids, so that the order in which they are given makes no other file."""
    known = check_rows(table.ids, rows, np.zeros(len(table), np.int64))
    return sorted(known, key=lambda row: table.ids[row])


def _answering(lower: keras.Model) -> Callable[[Maps], Maps]:
    if len(lower.outputs) != 1:
        raise RequestError(f"The lower part gives {len(lower.outputs)} outputs. Expected one: the map that is kept.")

    # There is no control flow in it; XLA on a processor would make it many times slower.
    @tf.function(autograph=False, jit_compile=False)
    def answer(pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(lower(pixels, training=False), tf.float32)

    return lambda pixels: np.asarray(answer(tf.constant(pixels)))


def _recipe(lower: keras.Model, pictures: Pictures, *, seed: int | None, dtype: str, batch_size: int) -> dict[str, Any]:
    """All that the maps depend on, in JSON terms; `seed` is that of augmented variants."""
    table = pictures.table
    return {
        "format": _FORMAT,
        "images": images_digest(table.ids, table.digests),
        "size": pictures.size,
        "kernel": pictures.kernel,
        "augmentation": None if seed is None else {"seed": seed, "preset": preset_digest(pictures.size)},
        "lower": {"weights": _weights_digest(lower), "layers": _layers(lower), "shape": list(lower.output.shape[1:])},
        "dtype": dtype,
        "batch_size": batch_size,
        "versions": {package: importlib.metadata.version(package) for package in ("keras", "numpy", "tensorflow")},
    }


def _layers(model: keras.Model) -> list[Any]:
    """Kinds and precisions of all layers, nested ones as lists; no names, which Keras counts up within a process."""
    return [
        _layers(layer) if isinstance(layer, keras.Model) else [type(layer).__name__, layer.dtype_policy.name]
        for layer in model.layers
    ]


def _weights_digest(model: keras.Model) -> str:
    digest = hashlib.sha256()
    for variable in model.weights:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{value.shape} {value.dtype}|".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _check_answers(path: Path, recipe: Mapping[str, Any], golden: Mapping[str, list[float]]) -> None:
    """Write the recipe into a new folder; in an old one, see that the lower part answers as it did.

    Raises:
        DamageError: If it does not, or the recipe was altered.
    """
    if not path.exists():
        write_atomically(path, sealed({**recipe, "golden": golden}))
        return
    check_fingerprint(golden, _unsealed(path)["golden"], whose=f"the lower part, against the maps in {path.parent},")


def _opened(folder: Path) -> np.ndarray:
    """Map a file of maps into memory, once its digest is seen to be the recorded one."""
    path = folder / _FILE
    recorded = _unsealed(folder / _RECORD)["sha256_of_maps"]
    if not path.is_file() or file_digest(path) != recorded:
        raise DamageError(f"{path} is missing or was altered since it was made. Delete {folder}; it is made again.")
    maps: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    return maps


def _unsealed(path: Path) -> dict[str, Any]:
    try:
        return unsealed(path.read_bytes())
    except (OSError, ValueError) as broken:
        raise DamageError(
            f"{path} cannot be read: {broken}. Delete {path.parent}; what it holds is made again."
        ) from broken


def _places(activations: Activations, table: ImageTable, rows: Sequence[int]) -> dict[int, int]:
    """Place of each row's map."""
    place_of = {id: place for place, id in enumerate(activations.ids)}
    for row in rows:
        if activations.digests.get(table.ids[row]) != table.digests[row]:
            raise RequestError(
                f"Picture {table.ids[row]!r} is not among the {len(place_of):,} whose maps are in {activations.path}, "
                "or was another picture then. Cache the activations of all rows that are learned from."
            )
    return {row: place_of[table.ids[row]] for row in rows}
