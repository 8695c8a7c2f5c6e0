"""A feature store: shards of `.npy` files that carry the recipe they were made by.

    STORE/
      recipe.json        backbone, weights digest, taps, preprocessing, images, engine, versions
      rows.csv           id, pixel digest, file digest, size, label, group, metadata of every planned row
      classes.json       class names, where the images lie, what decoded them
      quarantine.csv     what the reader could not use
      digests.json       SHA-256 of the four files above
      shards/00000/      one .npy per tap, record.json with digests, rows that failed and the recipe's digest
      run.json           times and host; not part of the store's digest
      seen.txt           pictures that the weights have seen, where a list says so; not part of the store's digest

Reading needs NumPy alone.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.backbones.taps import Tap
from tfcells.errors import DamageError, RequestError, StaleStoreError, UnknownNameError
from tfcells.features.pieces import (
    CLASSES,
    DESCRIBED,
    DIGESTS,
    QUARANTINE,
    RECIPE,
    ROWS,
    RUN,
    SHARDS,
    Pieces,
    is_free,
    is_store,
    locked,
    replace_files,
    require_no_shards,
    way_out,
    write_atomically,
)
from tfcells.features.recipe import (
    COLOUR,
    FORMAT,
    Recipe,
    canonical_json,
    differences,
    recipe_digest,
    sealed,
    stored_dtype,
    stored_shapes,
    taps_of,
    unsealed,
)
from tfcells.features.rows import Rows, quarantine_csv, read_quarantine, read_rows, rows_csv
from tfcells.features.shards import (
    Columns,
    ShardRecord,
    load_array,
    read_shards,
    recipes_named,
    remove_leftovers,
    remove_shards,
    require_record,
    shard_faults,
    shard_name,
    whole_shards,
    write_shard,
)
from tfcells.features.table import FeatureTable
from tfcells.images.decode import decoder_version
from tfcells.images.table import NOTHING_KNOWN, ImageTable, KnownFile, KnownFiles, Quarantined

_COVERED: Final = (*DESCRIBED, RECIPE)  # by digests.json


class FeatureStore:
    """Features on disk, opened for reading; `StoreWriter` fills one.

    What was opened stays as it was: a store that is filled further, described anew or grown meanwhile shows its
    new state to those who open it again. It shows the shards from the first on, up to one that is missing.

    Args:
        path: The folder.
        recipe: The recipe the caller wants; what the store has beyond it does not matter.

    Raises:
        RequestError: If there is no store.
        StaleStoreError: If it was made by another recipe, of which it names every difference, or by a version of
            tfcells that wrote stores in another form.
        DamageError: If it cannot be read.
    """

    def __init__(self, path: str | Path, *, recipe: Recipe | None = None) -> None:
        self._open(Path(path))
        if recipe is not None:
            require_recipe(self.path, self.recipe, recipe)
        self._shards = self._from_the_first()

    @classmethod
    def salvaged(cls, path: str | Path, *, digests: bool = False) -> "FeatureStore":
        """Open a store with every whole shard, whatever is missing or torn between them.

        Args:
            path: The folder.
            digests: Whether every file is compared with its digest too, for which it is read; else what can be seen
                at its beginning: that it is there, in the size, type and shape that the recipe says.

        Raises:
            RequestError: If there is no store.
            StaleStoreError: If it is of another form.
            DamageError: If its recipe was altered, or the system does not let a file be read, which may pass.
        """
        store = cls.__new__(cls)
        store._open(Path(path))
        store._require_own_recipe()
        store._shards = list(
            whole_shards(
                store.path / SHARDS,
                store._columns,
                held=store._pieces.shards,
                recipe=recipe_digest(store.recipe),
                digests=digests,
            )
        )
        return store

    def _open(self, path: Path) -> None:
        self.path = path
        self._pieces = Pieces(path)
        self.recipe = _json_of(self._pieces.read(RECIPE), path / RECIPE)
        self._require_format()

    def _from_the_first(self) -> list[tuple[Path, ShardRecord]]:
        try:
            own = recipe_digest(self.recipe)
            return list(read_shards(self.path / SHARDS, held=self._pieces.shards, recipe=own))
        except DamageError:
            self._require_own_recipe()  # if that was altered, no shard is of it
            raise

    def _require_own_recipe(self) -> None:
        """Raise `DamageError` if the recipe is not the one that the store was begun with."""
        try:
            altered = hashlib.sha256(self._pieces.read(RECIPE)).hexdigest() != self._digests[RECIPE]
        except DamageError as damage:
            vouched = recipes_named(self.path / SHARDS, held=self._pieces.shards)
            if not vouched:
                raise DamageError(
                    f"{damage} No shard names the recipe either; remove {self.path}, and extract the store again."
                ) from damage
            altered = vouched != {recipe_digest(self.recipe)}
        if altered:
            raise DamageError(
                f"{self.path / RECIPE} was altered: its SHA-256 is not the one in {DIGESTS}, so nothing says what the "
                f"features were made by. Remove {self.path}, and extract the store again."
            )

    def __reduce__(self) -> tuple[Callable[..., "FeatureStore"], tuple[Any, ...]]:
        return FeatureStore, (self.path,)  # open files do not travel to another process: it opens its own

    def close(self) -> None:
        """Let go of the files; otherwise that is done when the last reference goes. Arrays stay."""
        self._pieces.close()

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Class names (`class_names`), where the images lie (`source`) and what decoded them (`decoder`)."""
        return _json_of(self._checked(CLASSES), self.path / CLASSES)

    @cached_property
    def planned(self) -> Rows:
        """Every row the store is meant to hold, extracted or not."""
        data = self._checked(ROWS)
        return read_rows(data, path=self.path / ROWS, class_names=tuple(self.facts["class_names"]))

    @cached_property
    def rows(self) -> Rows:
        """The rows that have features, in the order of every array."""
        covered = (row for _, record in self._shards for row in range(record.start, record.stop))
        return self.planned.take(
            np.array([row for row in covered if self.planned.ids[row] not in self.failed], dtype=np.int64)
        )

    @property
    def shards(self) -> tuple[tuple[Path, ShardRecord], ...]:
        """The shards in row order: their folders and records."""
        return tuple(self._shards)

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """Number among `rows` by id."""
        return {id: row for row, id in enumerate(self.rows.ids)}

    @cached_property
    def failed(self) -> Mapping[str, str]:
        """Reasons of the rows that failed while they were extracted, by id."""
        return {id: reason for _, record in self._shards for id, reason in record.failed.items()}

    @property
    def complete(self) -> bool:
        """Whether every planned row was extracted or named as failed."""
        return self.rows_done == int(self.recipe["images"]["count"])

    @property
    def rows_done(self) -> int:
        """Planned rows that its shards cover."""
        return sum(record.stop - record.start for _, record in self._shards)

    def missing(self, *, again: Set[str] = frozenset()) -> tuple[range, ...]:
        """Planned rows that none of its shards covers, in order.

        Args:
            again: Ids of rows that failed and are worth another try: their shards count as missing.
        """
        kept = [record for _, record in self._shards if again.isdisjoint(record.failed)]
        begins = [0, *(record.stop for record in kept)]
        ends = [*(record.start for record in kept), int(self.recipe["images"]["count"])]
        return tuple(range(begin, end) for begin, end in zip(begins, ends, strict=True) if begin < end)

    @cached_property
    def quarantine(self) -> tuple[Quarantined, ...]:
        """Pictures the reader could not use, and rows that failed while they were extracted."""
        failed = [Quarantined(*entry) for entry in self.failed.items()]
        refused = read_quarantine(self._checked(QUARANTINE), path=self.path / QUARANTINE)
        return tuple(sorted([*refused, *failed]))

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
        for number in range(len(self._shards)):
            yield self.block(key, number)

    def block(self, key: str, number: int) -> np.ndarray:
        """A tap's features in one of the `shards`, memory-mapped.

        Raises:
            DamageError: If they are not there as the recipe says, or the shard was made again since.
        """
        path, record = self._shards[number]
        require_record(path, record, held=self._pieces.shards)
        name, shape = self.file_of(key), (record.rows, *self.shapes[key])
        dtype = stored_dtype(self.recipe, key)
        return load_array(path, name, shape=shape, dtype=dtype, held=self._pieces.shards)

    def _columns(self) -> Columns:
        return {self.file_of(key): (shape, stored_dtype(self.recipe, key)) for key, shape in self.shapes.items()}

    def array(self, key: str) -> np.ndarray:
        """A tap's features of all rows, as extracted: shape (images, ...); one shard is returned as a map."""
        blocks = list(self.blocks(key))
        if len(blocks) == 1:
            return blocks[0]
        return np.concatenate(blocks) if blocks else np.empty((0, 0), dtype=np.float32)

    def take(self, key: str, rows: np.ndarray) -> np.ndarray:
        """A tap's features of some rows, numbered as in `rows` and in this order; reads only their shards.

        Returns:
            Of shape (len(rows), ...).
        """
        ends = np.cumsum([record.rows for _, record in self._shards], dtype=np.int64)
        homes = np.searchsorted(ends, rows, side="right")
        if not self._shards:
            return np.empty((0, 0), dtype=np.float32)
        first = self.block(key, 0)
        column = np.empty((len(rows), *first.shape[1:]), dtype=first.dtype)
        for home in np.unique(homes).tolist():
            here = homes == home
            column[here] = self.block(key, home)[rows[here] - (ends[home] - self._shards[home][1].rows)]
        return column

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

    @property
    def widths(self) -> dict[str, int]:
        """Numbers of one image, by tap and hand-made feature."""
        return {key: math.prod(shape) for key, shape in self.shapes.items()}

    def pooling_of(self, keys: Sequence[str]) -> str:
        """How taps were pooled, joined by `+` where they differ; hand-made features are `none`."""
        return "+".join(dict.fromkeys(self.tap_of[key].pooling if key in self.tap_of else "none" for key in keys))

    def check_files(self) -> None:
        """Compare every file with its digest; raises `DamageError` for the first that differs."""
        for fault in self.faults():
            raise fault

    def faults(self) -> Iterator[DamageError]:
        """One error for every file that is missing or was altered since it was written."""
        told: set[str] = set()
        for name in _COVERED:
            try:
                self._checked(name)
            except DamageError as fault:
                if str(fault) not in told:  # without the digests nothing can be compared, which is one fault
                    yield fault
                told.add(str(fault))
        for path, record in self._shards:
            yield from shard_faults(path, record, held=self._pieces.shards)

    def _require_format(self) -> None:
        found = self.recipe.get("format", FORMAT)
        if found == FORMAT:
            return
        try:
            told = self._digests[RECIPE]
        except DamageError:  # another version may keep its digests in another form
            told = ""
        if told:
            self._checked(RECIPE)
        raise StaleStoreError(
            f"{self.path} is a store of format {found}, written by another version of tfcells; {FORMAT} was expected. "
            "Extract it again into another folder, or remove this one."
        )

    @cached_property
    def _digests(self) -> dict[str, str]:
        try:
            digests = unsealed(self._pieces.read(DIGESTS))
            if sorted(digests) != sorted(_COVERED):
                raise ValueError(f"it holds {', '.join(digests)}, not {', '.join(_COVERED)}")
            return digests
        except ValueError as broken:
            file = self.path / DIGESTS
            raise DamageError(f"{file} cannot be read: {broken}. {way_out(file)}") from broken

    def _checked(self, name: str) -> bytes:
        data = self._pieces.read(name)
        if hashlib.sha256(data).hexdigest() != self._digests[name]:
            raise DamageError(
                f"{self.path / name} was altered: its SHA-256 is not the one in {DIGESTS}. {way_out(self.path / name)}"
            )
        return data

    def file_of(self, key: str) -> str:
        """Name of the file that holds a tap's features in each shard.

        Raises:
            UnknownNameError: If the store has no such tap.
        """
        known = (*self.layers, *self.recipe["handcrafted"])
        if key not in known:
            raise UnknownNameError(f"tap of {self.path}", key, known)
        return f"{_stem(key, self.tap_of)}.npy"


class StoreWriter:
    """Fills the gaps of a store shard by shard; `StoreWriter.open` makes or resumes one and holds its lock.

    Attributes:
        missing: Rows that are still to be written, in order.
    """

    def __init__(self, path: Path, *, again: Set[str] = frozenset()) -> None:
        store = FeatureStore.salvaged(path)
        self.path = path
        self.recipe = store.recipe
        self.missing = list(store.missing(again=again))
        remove_shards(path / SHARDS, but={folder.name for folder, _ in store.shards})
        self._numbers = {0: 0} | {record.stop: int(folder.name) + 1 for folder, record in store.shards}
        self._kept = {int(folder.name) for folder, record in store.shards if again.isdisjoint(record.failed)}
        store.close()

    @classmethod
    @contextmanager
    def open(
        cls, path: Path, *, recipe: Recipe, table: ImageTable, again: Set[str] = frozenset()
    ) -> Iterator["StoreWriter"]:
        """Make a store, or resume one of the same recipe.

        Args:
            path: The folder.
            recipe: Of the store, complete.
            table: The rows.
            again: Ids of rows whose shards are to be made again.

        Raises:
            RequestError: If `path` is a non-empty folder that is no store, or another process writes to it.
            StaleStoreError: If the store was made by another recipe.
            DamageError: If its recipe was altered.
        """
        check_target(path, recipe)
        with locked(path):
            check_target(path, recipe)  # another writer may have been faster
            begin(path, recipe, table)
            yield cls(path, again=again)

    @property
    def rows_done(self) -> int:
        """The first row that is missing; their number where none is."""
        return self.missing[0].start if self.missing else int(self.recipe["images"]["count"])

    def append(self, arrays: Mapping[str, np.ndarray], *, stop: int, failed: Mapping[str, str]) -> None:
        """Commit the rows from `rows_done` to `stop`, which lie in one gap.

        Args:
            arrays: By tap key, features of the rows that did not fail, in row order.
            stop: Row after the last.
            failed: Reason by id.

        Raises:
            DamageError: If shards of this store were cut otherwise, so that another one is in the way.
        """
        taps, start = taps_of(self.recipe), self.rows_done
        number = self._numbers[start]
        if number in self._kept or stop > self.missing[0].stop:
            raise DamageError(
                f"Rows {start} to {stop} of {self.path} are no shard of it: those that are there were cut otherwise, "
                f"by another version. Remove {self.path / SHARDS}, and extract again."
            )
        write_shard(
            self.path / SHARDS / shard_name(number),
            start=start,
            stop=stop,
            arrays={_stem(key, taps): array for key, array in arrays.items()},
            failed=failed,
            recipe=recipe_digest(self.recipe),
        )
        self._numbers[stop] = number + 1
        self.missing[:1] = [range(stop, self.missing[0].stop)] if stop < self.missing[0].stop else []

    def finish(self, run: Mapping[str, object]) -> None:
        """Write what is not part of the store's identity: times, host, engine figures."""
        write_atomically(self.path / RUN, json.dumps(run, indent=1).encode())


def _stem(key: str, taps: Mapping[str, Tap]) -> str:
    """File name of a feature without its suffix; that of a tap does not depend on what else is tapped."""
    return f"{taps[key].layer}__{taps[key].pooling}" if key in taps else key


def check_target(path: Path, recipe: Recipe) -> None:
    """Refuse a folder that is not empty and no store, or a store of another recipe."""
    if is_store(path):
        require_recipe(path, read_recipe(path), recipe)
    elif not is_free(path):
        require_no_shards(path)
        raise RequestError(f"{path} exists and is no feature store. Choose another folder, or remove it.")


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a store's recipe.

    Raises:
        RequestError: If there is none.
    """
    pieces = Pieces(path)
    try:
        return _json_of(pieces.read(RECIPE), path / RECIPE)
    finally:
        pieces.close()


def require_recipe(path: Path, stored: Recipe, wanted: Recipe) -> None:
    """Raise `StaleStoreError` with every difference between a stored recipe and a wanted one."""
    found = differences(stored, wanted)
    if found:
        raise StaleStoreError(
            f"{path} was made by another recipe: {'; '.join(found)}. Use another output folder, or remove this one."
        )


def known_files(path: str | Path) -> KnownFiles:
    """What a store knows of files by the SHA-256 of their bytes; nothing where there is no sound store.

    Only what this decoder has decoded counts: another one may see other pixels.
    """
    if not is_store(Path(path)):
        return NOTHING_KNOWN
    try:
        store = FeatureStore(path)
        if store.facts.get("decoder") != decoder_version():
            return NOTHING_KNOWN
        rows = zip(store.planned.files, store.planned.digests, strict=True)
        return {file.sha256: KnownFile(pixels, file.width, file.height) for file, pixels in rows if file.sha256}
    except DamageError:
        return NOTHING_KNOWN  # every file is decoded; whoever opens the store is told


def begin(path: Path, recipe: Recipe, table: ImageTable) -> None:
    """Make a store without a shard, or describe the rows of one anew; for the holder of its lock."""
    (path / SHARDS).mkdir(exist_ok=True)
    remove_leftovers(path / SHARDS)
    text = json.dumps(recipe, indent=1, sort_keys=True, ensure_ascii=False).encode()
    made = is_store(path)
    _describe(path, table, recipe=None if made else text)
    if not made:
        write_atomically(path / RECIPE, text)


def is_described(path: Path, table: ImageTable) -> bool:
    """Whether a store says of its rows what a table says: then nothing has to be written, and nobody be locked out."""
    return not _changed(path, _description(path, table, recipe=None))


def _describe(path: Path, table: ImageTable, *, recipe: bytes | None) -> None:
    """Write rows, classes and quarantine where they changed; `recipe` is that of a store that has none yet."""
    contents = _description(path, table, recipe=recipe)
    if _changed(path, contents):
        replace_files(path, contents)


def _changed(path: Path, contents: Mapping[str, bytes]) -> bool:
    return any(not (path / name).is_file() or (path / name).read_bytes() != data for name, data in contents.items())


def _description(path: Path, table: ImageTable, *, recipe: bytes | None) -> dict[str, bytes]:
    """The files that describe the rows of a store, by name, and the digests of them and of its recipe."""
    facts = {"class_names": table.class_names, "source": table.source.describe(), "decoder": decoder_version()}
    contents = {
        # The backslash form of what UTF-8 cannot hold is JSON's own: a folder with such a name is found again.
        CLASSES: json.dumps(facts, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace"),
        QUARANTINE: quarantine_csv(table.quarantine),
        ROWS: rows_csv(table),
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    # A recipe that was altered must not be taken for the true one: its digest is that of the day it was written.
    digests[RECIPE] = hashlib.sha256(recipe).hexdigest() if recipe is not None else _digest_of_recipe(path)
    contents[DIGESTS] = sealed(digests)
    return contents


def _digest_of_recipe(path: Path) -> str:
    try:
        return str(unsealed((path / DIGESTS).read_bytes())[RECIPE])
    except (OSError, KeyError, ValueError):
        return hashlib.sha256((path / RECIPE).read_bytes()).hexdigest()


def _json_of(data: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(data.decode())
    except ValueError as broken:
        raise DamageError(f"{path} cannot be read: {broken}. {way_out(path)}") from broken
    if not isinstance(value, dict):
        raise DamageError(f"{path} holds no JSON object. {way_out(path)}")
    return value
