"""Is a store what it says it is? Every digest, every picture, and some rows extracted once more."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.errors import DamageError, RequestError
from tfcells.features.extract import extract, requested_recipe
from tfcells.features.pieces import DESCRIBED, DIGESTS, RECIPE
from tfcells.features.plan import Plan, bytes_text
from tfcells.features.recipe import differences, images_digest
from tfcells.features.request import request_of
from tfcells.features.store import FeatureStore
from tfcells.images.decode import BadImageError
from tfcells.images.inspect import look_at
from tfcells.images.readers import read_images
from tfcells.images.remote import RemoteSource, is_remote
from tfcells.images.sources import PixelSource
from tfcells.images.table import ImageTable, KnownFile
from tfcells.progress import Progress, silent
from tfcells.steps.pictures import open_source

TOLERANCES: Final = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
"""Largest difference of a feature between two extractions, as a share of the tap's root mean square over the
compared rows, by the precision computed in or stored in, whichever is coarser. Processors and batches round
differently; another picture, weight or preprocessing differs by far more."""

_ORDER: Final = ("float32", "float16", "bfloat16")  # from fine to coarse
_PICTURES_AT_ONCE: Final = 512
_FILE: Final = "|".join([r"shards/[^\s:,;]+", *map(re.escape, (*DESCRIBED, DIGESTS, RECIPE))])


@dataclass(frozen=True)
class Fault:
    """Something that is not as it should be.

    Attributes:
        where: A file of the store, or the id of a row.
        what: What is wrong with it.
        tap: Of a row whose features differ.
        difference: Largest difference there, as a share of the tap's root mean square.
    """

    where: str
    what: str
    tap: str | None = None
    difference: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was checked, and what was found. Sound is what is checked in full: nothing wrong, nothing left out.

    Attributes:
        path: The store.
        digest: Its digest; None where it cannot be opened.
        files: Files whose digest was compared.
        rows: Rows that have features.
        images: Pictures compared with their digests; 0 where there are none to be had.
        compared: Rows extracted once more.
        identical: Those that came out the same to the last bit, at every tap.
        largest: Largest difference found, as a share of the tap's root mean square.
        tolerance: The largest that is allowed.
        left_out: Why something could not be checked, one sentence each.
        faults: Everything that is wrong.
    """

    path: Path
    digest: str | None = None
    files: int = 0
    rows: int = 0
    images: int = 0
    compared: int = 0
    identical: int = 0
    largest: float = 0.0
    tolerance: float = TOLERANCES["float32"]
    left_out: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with what could be checked."""
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON terms."""
        faults = [vars(fault) for fault in self.faults]
        return {**vars(self), "path": str(self.path), "sound": self.sound, "faults": faults}


def verify_store(
    path: str | Path,
    *,
    images: str | Path | None = None,
    weights: str | Path | None = None,
    rows: int = 32,
    seed: int = 0,
    progress: Progress = silent,
) -> Verification:
    """Check a store: its files against their digests, its pictures, and some of its features anew.

    A row is extracted anew by what the recipe says, with the weights whose digest it holds, and at the place in
    its batch where it stood. On the processor that made the store it comes out the same to the last bit, unless
    the store has grown. How many do is counted; what is asked for is `TOLERANCES`, since others round otherwise.

    Args:
        path: The store.
        images: Where the pictures are; where they were when the store was made, by default.
        weights: Name, file or folder; the name in the recipe, by default.
        rows: How many rows to extract anew; 0 for none.
        seed: Of their choice.
        progress: Told how far the checking is.

    Raises:
        RequestError: If there is no store, or `images` are not there.
    """
    path = Path(path)
    source = None if images is None else _source_of(images)
    try:
        store = FeatureStore(path)
    except DamageError as damage:
        return Verification(path=path, faults=(Fault(_file_in(damage, path), str(damage)),))
    checked = Verification(
        path=path,
        digest=store.digest,
        files=4 + sum(len(record.files) + 1 for _, record in store.shards),
        faults=tuple(_faults_of_files(store)),
    )
    if checked.faults:
        return _without(checked, "pictures and features were not compared: the store's own files are damaged")
    checked = replace(checked, rows=len(store.rows.ids))
    source = open_source(store) if source is None else source
    if source is None:
        return _without(
            checked,
            f"only digests were checked: the images are no longer at {store.facts['source']['root']}; name their "
            "folder with --images",
        )
    good, faults = _compare_pictures(store, source, progress)
    checked = replace(checked, images=len(store.planned.ids), faults=checked.faults + faults)
    if not rows:
        return checked
    if not good:
        return _without(checked, "features were not compared: no row has both a feature and its picture")
    return _compare_features(store, source, checked, good, weights=weights, rows=rows, seed=seed, progress=progress)


def _source_of(images: str | Path) -> PixelSource:
    if is_remote(images):
        return RemoteSource(str(images))
    path = Path(images)
    if path.is_dir():
        from tfcells.images.sources import FolderSource

        return FolderSource(path)
    return read_images(images).source


def _without(checked: Verification, reason: str) -> Verification:
    return replace(checked, left_out=(*checked.left_out, reason))


def _faults_of_files(store: FeatureStore) -> Iterator[Fault]:
    """Files that were altered; then, if none was, statements of theirs that do not fit one another."""
    found = False
    for damage in store.faults():
        found = True
        yield Fault(_file_in(damage, store.path), str(damage))
    if found:
        return
    images, rows = store.recipe["images"], store.planned
    if images_digest(rows.ids, rows.digests) != images["digest"] or len(rows.ids) != images["count"]:
        yield Fault("rows.csv", "its ids and pixel digests are not those of recipe.json")
    if len(set(rows.ids)) != len(rows.ids):
        yield Fault("rows.csv", "an id comes twice")
    if not store.complete:
        yield Fault("shards", f"holds {store.rows_done:,} of {images['count']:,} rows; the extraction was not finished")
    for number, (path, record) in enumerate(store.shards):
        strange = set(record.failed) - set(rows.ids[record.start : record.stop])
        if strange:
            yield Fault(
                f"shards/{path.name}/record.json", f"names rows that it does not cover: {', '.join(sorted(strange))}"
            )
        for key in store.shapes:
            yield from _faults_of_array(store, number, key)


def _faults_of_array(store: FeatureStore, number: int, key: str) -> Iterator[Fault]:
    path, _ = store.shards[number]
    name = f"shards/{path.name}/{store.file_of(key)}"
    try:
        array = store.block(key, number)
    except DamageError as damage:
        yield Fault(name, str(damage))
        return
    if not np.isfinite(array).all():
        yield Fault(name, "holds numbers that are not finite")


def _file_in(damage: DamageError, path: Path) -> str:
    """The file that a message begins with or names, relative to the store."""
    prefix = "" if path == Path() else f"{path}/"  # which may hold blanks; names of a store's own files do not
    found = re.search(rf"{re.escape(prefix)}({_FILE})", str(damage))
    return found[1].rstrip(".") if found else str(path)


def _compare_pictures(
    store: FeatureStore, source: PixelSource, progress: Progress
) -> tuple[list[str], tuple[Fault, ...]]:
    """Ids of the rows whose pictures are those the store was made from, and what is wrong with the others.

    Bytes that are the same need no decoding.
    """
    planned, good, faults = store.planned, [], []
    known = {file.sha256: KnownFile("", 0, 0) for file in planned.files if file.sha256}

    def differs(row: int) -> str | None:
        sha256 = planned.files[row].sha256
        try:
            pixels, file = look_at(planned.ids[row], source, known={sha256: known[sha256]} if sha256 else {})
        except (BadImageError, KeyError, ValueError, IndexError) as fault:
            return f"its picture is gone: {fault}"
        unchanged = (file.sha256 == sha256 != "") or pixels == planned.digests[row]
        return None if unchanged else "its picture has other pixels than the store was made from"

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(planned.ids), _PICTURES_AT_ONCE):
            some = range(start, min(start + _PICTURES_AT_ONCE, len(planned.ids)))
            for row, what in zip(some, pool.map(differs, some), strict=True):
                if what is None:
                    good.append(planned.ids[row])
                elif planned.ids[row] not in store.failed:
                    faults.append(Fault(planned.ids[row], what))
            progress("comparing pictures", some.stop, len(planned.ids))
    return [id for id in good if id not in store.failed], tuple(faults)


def _compare_features(
    store: FeatureStore,
    source: PixelSource,
    checked: Verification,
    good: list[str],
    *,
    weights: str | Path | None,
    rows: int,
    seed: int,
    progress: Progress,
) -> Verification:
    batch_size = int(store.recipe["engine"]["batch_size"])
    places = {id: row % batch_size for row, id in enumerate(store.planned.ids)}
    ids, chosen = _drawn(good, places, rows=rows, batch_size=batch_size, seed=seed)
    table = _table_of(store, source, ids)
    try:
        with tempfile.TemporaryDirectory() as folder:
            anew = _extracted_anew(store, table, into=Path(folder) / "store", weights=weights, progress=progress)
            try:
                return _compared(store, anew, chosen, checked)
            except DamageError as damage:  # of the store: it was sound when its digests were compared
                return replace(checked, faults=(*checked.faults, Fault(_file_in(damage, store.path), str(damage))))
    except (RequestError, DamageError, OSError) as hindrance:  # here and now: it says nothing of the store
        return _without(checked, f"features were not compared: {_said(hindrance)}")


def _extracted_anew(
    store: FeatureStore, table: ImageTable, *, into: Path, weights: str | Path | None, progress: Progress
) -> FeatureStore:
    """Some rows by the request that the store was made by.

    Raises:
        RequestError: If that request would make another store here, or cannot be met.
        DamageError: If the weights that are found are damaged, or the disk is full.
    """
    request = request_of(store.recipe, weights=weights)
    wanted = {key: value for key, value in requested_recipe(request, table).items() if key != "versions"}
    other = [line for line in differences(store.recipe, wanted) if not line.startswith("images.")]
    if other:
        raise RequestError("; ".join(other))
    anew = extract(table, request, into=into, progress=progress, announce=_require_room)
    made, stored = ((whose.recipe["weights"] or {}).get("sha256") for whose in (anew, store))  # none: no network
    if made != stored:
        raise RequestError("the weights of that name have another digest")
    return anew


def _require_room(plan: Plan) -> None:
    if plan.bytes_missing > plan.bytes_free:
        needed, free = bytes_text(plan.bytes_missing), bytes_text(plan.bytes_free)
        raise RequestError(_no_room(f"{needed} are needed, {free} are free"))


def _said(hindrance: Exception) -> str:
    """Why rows could not be extracted anew; a full disk is that of the temporary folder."""
    fault = hindrance.__cause__
    if isinstance(hindrance, DamageError) and isinstance(fault, OSError):
        return _no_room(str(fault.strerror))
    return f"the system refused: {hindrance}" if isinstance(hindrance, OSError) else str(hindrance)


def _no_room(what: str) -> str:
    return (
        f"the temporary folder {tempfile.gettempdir()} does not take the rows that are extracted anew ({what}); make "
        "room there, name another with TMPDIR, or compare fewer rows"
    )


def _drawn(
    good: list[str], places: Mapping[str, int], *, rows: int, batch_size: int, seed: int
) -> tuple[list[str], list[str]]:
    """Draw rows, and lay them out in batches so that each stands where it stood when the store was made.

    The same picture at another place of a batch may be rounded otherwise; which pictures stand beside it does not
    matter, so the places between are filled with others.

    Returns:
        Ids to extract, in order; those of them that were drawn.
    """
    order = [good[number] for number in np.random.default_rng(seed).permutation(len(good)).tolist()]
    batches: list[dict[int, str]] = [{} for _ in range(-(-min(rows, len(good)) // batch_size))]
    drawn: list[str] = []
    for id in order:
        free = next((batch for batch in batches if places[id] not in batch), None)
        if free is not None and len(drawn) < rows:
            free[places[id]] = id
            drawn.append(id)
    rest = iter([id for id in order if id not in set(drawn)])
    laid = []
    for batch in batches:
        for place in range(max(batch, default=-1) + 1 if batch is batches[-1] else batch_size):
            id = batch.get(place) or next(rest, None)
            if id is not None:
                laid.append(id)
    return laid, drawn


def _table_of(store: FeatureStore, source: PixelSource, ids: list[str]) -> ImageTable:
    rows = store.rows.take(np.array([store.row_of[id] for id in ids], dtype=np.int64))
    return ImageTable(
        ids=rows.ids,
        digests=rows.digests,
        labels=rows.labels,
        class_names=rows.class_names,
        groups=rows.groups,
        source=source,
    )


def _compared(store: FeatureStore, anew: FeatureStore, chosen: list[str], checked: Verification) -> Verification:
    """Compare rows of two stores, tap by tap; both are whole."""
    tolerance = TOLERANCES[_coarser(store.recipe)]
    # A picture that changes while this runs fails in the new extraction, by name.
    faults = [Fault(id, f"could not be extracted anew: {reason}") for id, reason in anew.failed.items()]
    ids = [id for id in chosen if id not in anew.failed]
    there, here = (np.array([whose.row_of[id] for id in ids], dtype=np.int64) for whose in (store, anew))
    identical, largest = np.ones(len(ids), dtype=bool), 0.0
    for key in store.shapes:
        stored, fresh = (
            column.astype(np.float64).reshape(len(ids), -1) for column in (store.take(key, there), anew.take(key, here))
        )
        scale = max(float(np.sqrt(np.mean(fresh**2))), 1e-12) if len(ids) else 1.0
        difference = np.abs(stored - fresh).max(axis=1, initial=0.0) / scale
        identical &= difference == 0
        largest = max(largest, float(difference.max(initial=0.0)))
        faults += [
            Fault(ids[row], f"is not what is extracted anew ({tolerance:g} is allowed)", key, float(difference[row]))
            for row in np.flatnonzero(~(difference <= tolerance)).tolist()
        ]
    return replace(
        checked,
        compared=len(ids),
        identical=int(identical.sum()),
        largest=largest,
        tolerance=tolerance,
        faults=(*checked.faults, *faults),
    )


def _coarser(recipe: dict[str, Any]) -> str:
    return max(str(recipe["engine"]["precision"]), str(recipe["dtype"]), key=_ORDER.index)
