"""A feature store: shards of `.npy` files that carry the recipe they were made by.

    STORE/
      recipe.json        backbone, weights digest, taps, preprocessing, images, engine, versions
      rows.csv           id, pixel digest, label, group, metadata of every planned row
      classes.json       class names, and where the images lie
      quarantine.csv     what the reader could not use
      shards/00000/      one .npy per tap, record.json with digests and rows that failed
      run.json           times and host; not part of the store's digest

Reading needs NumPy alone.
"""

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.backbones.taps import Tap
from tfcells.errors import DamageError, RequestError, StaleStoreError, UnknownNameError
from tfcells.features.recipe import COLOUR, Recipe, canonical_json, differences, stored_shapes, taps_of
from tfcells.features.rows import Rows, read_quarantine, read_rows, write_quarantine, write_rows
from tfcells.features.shards import check_shard, read_shards, remove_leftovers, write_shard
from tfcells.features.table import FeatureTable
from tfcells.images.table import ImageTable, Quarantined

_RECIPE: Final = "recipe.json"
_BEFORE_RECIPE: Final = {".lock", "shards", "recipe.json.new"}  # all that a writer killed at its start can leave


class FeatureStore:
    """Features on disk, opened for reading; `StoreWriter` fills one.

    Args:
        path: The folder.
        recipe: The recipe the caller wants; what the store has beyond it does not matter.

    Raises:
        RequestError: If there is no store.
        StaleStoreError: If it was made by another recipe; names every difference.
        DamageError: If it cannot be read.
    """

    def __init__(self, path: str | Path, *, recipe: Recipe | None = None) -> None:
        self.path = Path(path)
        self.recipe = read_recipe(self.path)
        if recipe is not None:
            require_recipe(self.path, self.recipe, recipe)
        self._shards = list(read_shards(self.path / "shards"))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Class names (`class_names`) and where the images lie (`source`)."""
        return _read_json(self.path / "classes.json")

    @cached_property
    def planned(self) -> Rows:
        """Every row the store is meant to hold, extracted or not."""
        return read_rows(self.path / "rows.csv", class_names=tuple(self.facts["class_names"]))

    @cached_property
    def rows(self) -> Rows:
        """The rows that have features, in the order of every array."""
        covered = self._shards[-1][1].stop if self._shards else 0
        failed = {id for _, record in self._shards for id in record.failed}
        return self.planned.take(
            np.array([row for row in range(covered) if self.planned.ids[row] not in failed], dtype=np.int64)
        )

    @property
    def complete(self) -> bool:
        """Whether every planned row was extracted or named as failed."""
        return self.rows_done == int(self.recipe["images"]["count"])

    @property
    def rows_done(self) -> int:
        """Planned rows that whole shards cover."""
        return self._shards[-1][1].stop if self._shards else 0

    @cached_property
    def quarantine(self) -> tuple[Quarantined, ...]:
        """Pictures the reader could not use, and rows that failed while they were extracted."""
        failed = [Quarantined(*entry) for _, record in self._shards for entry in record.failed.items()]
        return tuple(sorted([*read_quarantine(self.path / "quarantine.csv"), *failed]))

    @cached_property
    def tap_of(self) -> Mapping[str, Tap]:
        """The taps by their keys: the layer, or `layer:pooling` where a layer is tapped twice."""
        return taps_of(self.recipe)

    @property
    def taps(self) -> tuple[str, ...]:
        """Keys of the features that are compared: hand-made ones that were asked for, then the layers in order.

        The colour statistics, with which all are compared, are among them only where there is nothing else.
        """
        asked = [name for name in self.recipe["handcrafted"] if name != COLOUR]
        return (*asked, *self.layers) or (COLOUR,)

    @property
    def layers(self) -> tuple[str, ...]:
        """Keys of the deep features, in order."""
        return tuple(self.tap_of)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one picture's features, by key."""
        return stored_shapes(self.recipe)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the recipe and every shard's record, which holds the digest of each file."""
        digest = hashlib.sha256(canonical_json(self.recipe).encode())
        for _, record in self._shards:
            digest.update(canonical_json(record.__dict__).encode())
        return digest.hexdigest()

    def blocks(self, key: str) -> Iterator[np.ndarray]:
        """A tap's features shard by shard, memory-mapped: float arrays of shape (rows, ...)."""
        name = self._file_of(key)
        for path, _ in self._shards:
            try:
                yield np.load(path / name, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as broken:
                raise DamageError(
                    f"{path / name} cannot be read: {broken}. Delete {path}; it is made again."
                ) from broken

    def array(self, key: str) -> np.ndarray:
        """A tap's features of all rows, as extracted: shape (images, ...); one shard is returned as a map."""
        blocks = list(self.blocks(key))
        if len(blocks) == 1:
            return blocks[0]
        return np.concatenate(blocks) if blocks else np.empty((0, 0), dtype=np.float32)

    def table(self, keys: str | Sequence[str]) -> FeatureTable:
        """Features of one tap, or of several side by side, as a matrix with its rows.

        Args:
            keys: Taps as in `taps`, or `colour` for the colour statistics.
        """
        keys = (keys,) if isinstance(keys, str) else tuple(keys)
        if not keys:
            raise RequestError(f"No tap of {self.path} was named. Expected one or more of: {', '.join(self.taps)}.")
        # Computed in float32 whatever they are kept in; a width is not to be guessed where no row is left.
        parts = [
            array.reshape(len(array), math.prod(array.shape[1:])).astype(np.float32, copy=False)
            for array in (self.array(key) for key in keys)
        ]
        return FeatureTable(
            vectors=parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1),
            ids=self.rows.ids,
            labels=self.rows.labels,
            class_names=self.rows.class_names,
            taps=keys,
            widths=tuple(part.shape[1] for part in parts),
            pooling=self.pooling_of(keys),
        )

    def pooling_of(self, keys: Sequence[str]) -> str:
        """How taps were pooled, joined by `+` where they differ; hand-made features are `none`."""
        return "+".join(dict.fromkeys(self.tap_of[key].pooling if key in self.tap_of else "none" for key in keys))

    def check_files(self) -> None:
        """Compare every file with its digest; raises `DamageError` for the first that differs."""
        for path, record in self._shards:
            check_shard(path, record)

    def _file_of(self, key: str) -> str:
        known = (*self.layers, *self.recipe["handcrafted"])
        if key not in known:
            raise UnknownNameError(f"tap of {self.path}", key, known)
        return f"{_stem(key, self.tap_of)}.npy"


class StoreWriter:
    """Fills a store shard by shard; `StoreWriter.open` makes or resumes one and holds its lock."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path = path
        self.recipe = recipe
        self.rows_done = FeatureStore(path).rows_done

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, recipe: Recipe, table: ImageTable) -> Iterator["StoreWriter"]:
        """Make a store, or resume one of the same recipe.

        Raises:
            RequestError: If `path` is a non-empty folder that is no store, or another process writes to it.
            StaleStoreError: If the store was made by another recipe.
        """
        check_target(path, recipe)
        (path / "shards").mkdir(parents=True, exist_ok=True)
        with _locked(path):
            remove_leftovers(path / "shards")
            if not (path / _RECIPE).exists():
                _write_atomically(path / _RECIPE, json.dumps(recipe, indent=1, sort_keys=True, ensure_ascii=False))
            write_description(path, table)
            yield cls(path, recipe)

    def append(self, arrays: Mapping[str, np.ndarray], *, stop: int, failed: Mapping[str, str]) -> None:
        """Commit the rows from `rows_done` to `stop`.

        Args:
            arrays: By tap key, features of the rows that did not fail, in row order.
            stop: Row after the last.
            failed: Reason by id.
        """
        taps = taps_of(self.recipe)
        number = len([*(self.path / "shards").glob("[0-9]*")])
        write_shard(
            self.path / "shards" / f"{number:05d}",
            start=self.rows_done,
            stop=stop,
            arrays={_stem(key, taps): array for key, array in arrays.items()},
            failed=failed,
        )
        self.rows_done = stop

    def finish(self, run: Mapping[str, object]) -> None:
        """Write what is not part of the store's identity: times, host, engine figures."""
        _write_atomically(self.path / "run.json", json.dumps(run, indent=1))


def _stem(key: str, taps: Mapping[str, Tap]) -> str:
    """File name of a feature without its suffix; that of a tap does not depend on what else is tapped."""
    return f"{taps[key].layer}__{taps[key].pooling}" if key in taps else key


def check_target(path: Path, recipe: Recipe) -> None:
    """Refuse a folder that is not empty and no store, or a store of another recipe."""
    if (path / _RECIPE).exists():
        require_recipe(path, read_recipe(path), recipe)
    elif path.exists() and (not path.is_dir() or {entry.name for entry in path.iterdir()} - _BEFORE_RECIPE):
        raise RequestError(f"{path} exists and is no feature store. Choose another folder, or remove it.")


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a store's recipe.

    Raises:
        RequestError: If there is none.
    """
    if not (path / _RECIPE).is_file():
        raise RequestError(f"{path} is no feature store: it has no {_RECIPE}. Make one with `tfcells extract`.")
    return _read_json(path / _RECIPE)


def require_recipe(path: Path, stored: Recipe, wanted: Recipe) -> None:
    """Raise `StaleStoreError` with every difference between a stored recipe and a wanted one."""
    found = differences(stored, wanted)
    if found:
        raise StaleStoreError(
            f"{path} was made by another recipe: {'; '.join(found)}. Use another output folder, or remove this one."
        )


def write_description(path: Path, table: ImageTable) -> None:
    """Write rows, classes and quarantine; labels and groups may differ from an earlier run, pixels may not."""
    rows, quarantine = path / "rows.csv.new", path / "quarantine.csv.new"
    write_rows(rows, table)
    rows.replace(path / "rows.csv")
    write_quarantine(quarantine, table.quarantine)
    quarantine.replace(path / "quarantine.csv")
    facts = {"class_names": table.class_names, "source": table.source.describe()}
    _write_atomically(path / "classes.json", json.dumps(facts, indent=1, ensure_ascii=False))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # The kernel frees the lock when its holder dies, so a dead writer never blocks the next one.
    with (path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            raise RequestError(
                f"Another process is writing to {path}. Wait for it, or choose another folder."
            ) from taken
        yield


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as broken:
        raise DamageError(f"{path} cannot be read: {broken}. Extract the store again.") from broken
    if not isinstance(value, dict):
        raise DamageError(f"{path} holds no JSON object. Extract the store again.")
    return value


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
