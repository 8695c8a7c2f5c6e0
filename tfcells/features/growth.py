"""A store that is asked for more or for less than it holds: what is missing is extracted, the rest taken over.

Features are known by the pixels they were made from and by their tap, or by the definition of hand-made ones,
whatever a row is called and wherever it stands. What is missing, or damaged in the store, is extracted into
ordinary stores inside the store's folder:

    STORE/.growing/<request>/
      images/     pictures the store does not know, all features
      taps/       pictures it knows, at the taps it lacks, and the hand-made features it lacks
      store/      the new store, put together from the old one and these two

A kill costs the shard in flight, as everywhere, and the same request goes on. At the end `store/` takes the
place of the old pieces in one step (`tfcells.features.pieces`).

The result is what a fresh extraction would have made, to the last bit where the taps stay and the place of a row in
its batch does. Else only but for rounding: an engine fuses a layer with the next unless it is tapped.
"""

import hashlib
import logging
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.backbones.golden import check_fingerprint
from tfcells.backbones.taps import Tap
from tfcells.errors import StaleStoreError
from tfcells.features.filling import disk_full_said
from tfcells.features.handcrafted import handcrafted_recipe
from tfcells.features.measured import made_rounding
from tfcells.features.pieces import GROWING, is_store, locked, replace_pieces
from tfcells.features.plan import Plan, bytes_free, plan_of
from tfcells.features.recipe import COLOUR, Recipe, canonical_json, differences, images_of, shard_rows, taps_of
from tfcells.features.request import Extraction, feature_maker, requested_recipe
from tfcells.features.rows import rows_csv
from tfcells.features.store import FeatureStore, StoreWriter, require_recipe
from tfcells.images.table import ImageTable
from tfcells.progress import Progress

_log = logging.getLogger(__name__)
_GROWS: Final = ("images", "taps", "handcrafted")  # keys of a recipe in which a store may change
_BY_TAP: Final = ("shapes", "golden")  # keys that hold something for each tap
_BY_FEATURE: Final = "rounding"  # for hand-made features too, as does the parity of `engine` for taps

Fill = Callable[..., None]
"""Extracts a table into a store; see `tfcells.features.extract`."""


@dataclass(frozen=True, eq=False)
class Growth:
    """A store, and what it lacks of a request.

    Attributes:
        store: As it is.
        table: Every row that is wanted.
        wanted: The recipe that is asked for.
    """

    store: FeatureStore
    table: ImageTable
    wanted: Recipe

    def __post_init__(self) -> None:
        stored = self.store.recipe
        require_recipe(self.store.path, stored, {key: self.wanted[key] for key in self.wanted if key not in _GROWS})
        if len(self.store.rows.ids) and not len(self.known):
            raise StaleStoreError(
                f"{self.store.path} holds features of {len(self.store.rows.ids):,} images, and not one of them is "
                f"among the {len(self.table):,} given: {'; '.join(differences(stored, self.wanted))}. Use another "
                "output folder, or remove this one."
            )

    @cached_property
    def place_of(self) -> Mapping[str, int]:
        """Number among the store's rows by digest of the pixels."""
        return {digest: row for row, digest in enumerate(self.store.rows.digests)}

    @cached_property
    def known(self) -> np.ndarray:
        """Rows of the table whose pixels the store has features of, int64."""
        return np.array([row for row, digest in enumerate(self.table.digests) if digest in self.place_of], np.int64)

    @cached_property
    def unknown(self) -> np.ndarray:
        """The other rows, int64."""
        return np.setdiff1d(np.arange(len(self.table)), self.known)

    @cached_property
    def taps(self) -> tuple[Tap, ...]:
        """The taps that are wanted and that the store lacks."""
        there = set(self.store.tap_of.values())
        return tuple(tap for tap in taps_of(self.wanted).values() if tap not in there)

    @cached_property
    def made(self) -> tuple[str, ...]:
        """The hand-made features that are wanted and that the store lacks, or has by another definition."""
        there = self.store.recipe["handcrafted"]
        return tuple(name for name, facts in self.wanted["handcrafted"].items() if there.get(name) != facts)

    @property
    def taps_kept(self) -> tuple[str, ...]:
        """The taps and hand-made features that are wanted and that the store has."""
        made = [name for name in self.wanted["handcrafted"] if name not in (*self.made, COLOUR)]
        return (*(str(tap) for tap in taps_of(self.wanted).values() if tap not in self.taps), *made)

    def pinned(self, extraction: Extraction) -> Extraction:
        """The request, by the engine that the store was begun with."""
        if extraction.backbone is None:
            return extraction
        engine = self.store.recipe["engine"]
        return replace(extraction, engine=engine["name"], precision=engine["precision"])

    def parts(self, extraction: Extraction) -> dict[str, tuple[ImageTable, Extraction]]:
        """What has to be extracted, by the name of the store it goes to: pictures and request."""
        parts = {}
        if len(self.unknown):
            parts["images"] = (self.table.take(self.unknown), self.pinned(extraction))
        if (self.taps or self.made) and len(self.known):
            if self.taps:
                lacking = replace(self.pinned(extraction), taps=tuple(map(str, self.taps)), handcrafted=self.made)
            else:  # no network is needed
                lacking = Extraction(handcrafted=self.made, batch_size=extraction.batch_size, dtype=extraction.dtype)
            parts["taps"] = (self.table.take(self.known), lacking)
        return parts

    def wanted_of(self, table: ImageTable, extraction: Extraction) -> dict[str, Any]:
        """The request of one part."""
        images = images_of(table.ids, table.digests)
        if extraction.backbone is None and self.wanted["backbone"] is not None:
            return requested_recipe(extraction, table)
        taps = [str(tap) for tap in extraction.parsed_taps()]
        return {
            **self.wanted,
            "images": images,
            "taps": taps,
            "handcrafted": handcrafted_recipe(extraction.handcrafted),
        }

    def recipe(self, extraction: Extraction) -> dict[str, Any]:
        """The whole recipe of the new store; opens the network where there are taps that the store lacks.

        Raises:
            StaleStoreError, DamageError: If the network is no longer the one the store was made with.
        """
        stored = self.store.recipe
        if not self.taps:
            grown = {key: self.wanted[key] for key in _GROWS}
            kept = {key: self._kept(stored[key]) for key in _BY_TAP}
            return {**stored, **kept, **self._engine_kept(), **self._rounding_kept(), **grown}
        request = self.pinned(extraction)
        prepared = feature_maker(request).prepare(self.table, request, wanted=self.wanted, into=None)
        complete: dict[str, Any] = dict(prepared.extractor.recipe)
        comparable = {key: complete[key] for key in complete if key not in (*_GROWS, *_BY_TAP, _BY_FEATURE)}
        comparable["engine"] = {key: value for key, value in complete["engine"].items() if key != "parity"}
        require_recipe(self.store.path, stored, comparable)
        common = {key: tap for key, tap in taps_of(complete).items() if tap not in self.taps}
        there = {tap: stored["golden"][key] for key, tap in self.store.tap_of.items()}
        check_fingerprint(
            {key: complete["golden"][key] for key in common},
            {key: there[tap] for key, tap in common.items()},
            whose=f"the weights that {self.store.path} was made with",
        )
        return complete

    def _kept(self, by_tap: Mapping[str, Any]) -> dict[str, Any]:
        """Entries of the taps that are wanted, under the keys they have in the new store."""
        keys = {tap: key for key, tap in self.store.tap_of.items()}
        return {key: by_tap[keys[tap]] for key, tap in taps_of(self.wanted).items()}

    def _engine_kept(self) -> dict[str, Any]:
        engine = self.store.recipe["engine"]
        return {"engine": {**engine, "parity": self._kept(engine["parity"])} if "parity" in engine else engine}

    def _rounding_kept(self) -> dict[str, Any]:
        if self.wanted["dtype"] == "float32":
            return {"rounding": {}}
        return {"rounding": {**self._kept(self.store.recipe["rounding"]), **made_rounding(self.wanted)}}

    def plan_after(self, first: Plan, rows: ImageTable, request: Extraction, recipe: Recipe) -> Plan:
        """The plan of a part that comes after another; the same network is not opened once more for it."""
        part = self.wanted_of(rows, request)
        if request.backbone is None:
            plan: Plan = feature_maker(request).prepare(rows, request, wanted=part, into=None).plan
            return plan
        lacking = {key: recipe["shapes"][key] for key, tap in taps_of(recipe).items() if tap in self.taps}
        return plan_of(
            {**recipe, **{key: part[key] for key in _GROWS}, "shapes": lacking},
            into=self.store.path,
            rows_bytes=len(rows_csv(rows)),
            rows_done=0,
            images_per_second=first.images_per_second,
            weights_bytes=0,  # it is held already
            shard_rows=shard_rows(recipe),
        )

    def planned(self, plan: Plan, recipe: Recipe) -> Plan:
        """The plan of what is extracted as that of the whole: all is written once more when it is put together."""
        whole = plan_of(
            recipe,
            into=self.store.path,
            rows_bytes=len(rows_csv(self.table)),
            rows_done=0,
            images_per_second=1.0,
            weights_bytes=0,
            shard_rows=shard_rows(recipe),
        )
        return replace(
            plan,
            widths=whole.widths,
            taps=whole.taps,
            bytes_total=whole.bytes_total,
            bytes_missing=plan.bytes_missing + whole.bytes_missing,
            bytes_free=whole.bytes_free,
            memory_bytes=max(plan.memory_bytes, sum(tap.memory_bytes for tap in whole.taps.values())),
            rows_kept=len(self.known),
            taps_kept=self.taps_kept,
        )


def grow(
    path: Path,
    table: ImageTable,
    extraction: Extraction,
    *,
    wanted: Recipe,
    fill: Fill,
    progress: Progress,
    announce: Callable[[Plan], None],
    budget: int | None,
) -> None:
    """Make a store hold exactly these rows and features, and extract only what it lacks.

    Raises:
        StaleStoreError: If it differs in more than images, taps and hand-made features, or holds none of the images.
        RequestError: If the disk has no room for both stores, or the budget is too small.
        DamageError: If the disk is full before the end; the store is as it was, and the same call goes on.
    """
    with disk_full_said(path), locked(path):
        growth = Growth(_checked(path), table, wanted)
        recipe = growth.recipe(extraction)
        parts = growth.parts(extraction)
        work = path / GROWING / _name_of(growth)
        lacking = _lacking(work, parts)
        allow = _Allowance(growth, recipe, work, rest=[parts[name] for name in lacking[1:]], budget=budget)
        if not parts:
            allow(_nothing_missing(growth, recipe), announce=_unannounced)
        allowed: Callable[[Plan], None] = partial(allow, announce=announce)
        made: dict[str, FeatureStore] = {}
        for name, (rows, request) in parts.items():
            part = growth.wanted_of(rows, request)
            if name == "images":  # begun with the store's own recipe: it goes on as the store itself would
                with StoreWriter.open(work / name, recipe={**recipe, "images": part["images"]}, table=rows):
                    pass
            if name in lacking:  # the plan of the first is announced as that of all
                fill(rows, request, wanted=part, into=work / name, announce=allowed)
                allowed = _unannounced
            made[name] = FeatureStore(work / name)
            made[name].check_files()
        _put_together(work / "store", growth, recipe, made, progress)
        _log.info("features: %d rows and %d taps kept", len(growth.known), len(growth.taps_kept))
        for store in (growth.store, *made.values()):
            store.close()
        replace_pieces(path, work / "store")
        shutil.rmtree(path / GROWING)


def _checked(path: Path) -> FeatureStore:
    """A store whose every shard was compared with its digests: rows of those that are damaged are not taken over.

    What is put together gets digests of its own, under which damage would look sound.
    """
    store = FeatureStore.salvaged(path, digests=True)
    lost = sum(map(len, store.missing()))
    if lost:
        _log.warning("features: %d rows of %s are missing or damaged, and are extracted", lost, path)
    return store


def plan_growth(path: Path, table: ImageTable, extraction: Extraction, *, wanted: Recipe) -> Plan:
    """What `grow` would cost; writes nothing. Errors as there."""
    growth = Growth(_checked(path), table, wanted)
    recipe = growth.recipe(extraction)
    parts = growth.parts(extraction)
    work = path / GROWING / _name_of(growth)
    lacking = _lacking(work, parts)
    if not lacking:
        return growth.planned(_nothing_missing(growth, recipe), recipe)
    rows, request = parts[lacking[0]]
    begun = work / lacking[0] if is_store(work / lacking[0]) else None
    first = feature_maker(request).prepare(rows, request, wanted=growth.wanted_of(rows, request), into=begun).plan
    return _whole(growth, recipe, first, [parts[name] for name in lacking[1:]])


def _lacking(work: Path, parts: Mapping[str, object]) -> list[str]:
    """The parts that are still to be extracted, in order; a growth that was stopped may have made the first."""
    return [name for name in parts if not (is_store(work / name) and FeatureStore.salvaged(work / name).complete)]


def _whole(growth: Growth, recipe: Recipe, first: Plan, rest: Sequence[tuple[ImageTable, Extraction]]) -> Plan:
    """One plan of the whole growth from that of its first part."""
    whole = first
    for rows, request in rest:
        plan = growth.plan_after(first, rows, request, recipe)
        whole = replace(
            whole,
            rows=whole.rows + plan.rows,
            bytes_missing=whole.bytes_missing + plan.bytes_missing,
            seconds=whole.seconds + plan.seconds,
            memory_bytes=max(whole.memory_bytes, plan.memory_bytes),
        )
    return growth.planned(whole, recipe)


def _nothing_missing(growth: Growth, recipe: Recipe) -> Plan:
    plan = plan_of(
        recipe,
        into=growth.store.path,
        rows_bytes=len(rows_csv(growth.table)),
        rows_done=len(growth.table),
        images_per_second=1.0,
        weights_bytes=0,
        shard_rows=shard_rows(recipe),
    )
    return replace(plan, images_per_second=0.0)


def _unannounced(plan: Plan) -> None:
    """What was announced with the whole is not announced again."""


class _Allowance:
    """Announces the whole growth once, before the first row, and refuses it where it is too large.

    Args:
        growth: What is to be done.
        recipe: Of the new store.
        work: Where it is done; where nothing was there, a refusal leaves nothing.
        rest: Pictures and requests of the parts after the first.
        budget: Bytes that the new store may take; None is no limit.
    """

    def __init__(
        self,
        growth: Growth,
        recipe: Recipe,
        work: Path,
        *,
        rest: Sequence[tuple[ImageTable, Extraction]],
        budget: int | None,
    ) -> None:
        self._growth, self._recipe, self._rest, self._budget = growth, recipe, rest, budget
        self._work, self._begun = work, work.exists()

    def __call__(self, first: Plan, *, announce: Callable[[Plan], None]) -> None:
        """Allow the growth whose first part has this plan, or raise `RequestError`."""
        path = self._growth.store.path
        try:
            whole = _whole(self._growth, self._recipe, first, self._rest)
            announce(whole)
            whole.require_budget(self._budget)
            _remove_others(self._work)
            replace(whole, bytes_free=bytes_free(path)).require_room(path)
        except BaseException:
            if not self._begun:
                shutil.rmtree(self._work, ignore_errors=True)
                with suppress(OSError):  # others have begun something there
                    self._work.parent.rmdir()
            raise


def _name_of(growth: Growth) -> str:
    text = f"{growth.store.digest} {canonical_json(growth.wanted)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _remove_others(work: Path) -> None:
    """Remove what was begun for requests that nobody makes any more."""
    if work.parent.is_dir():
        for other in work.parent.iterdir():
            if other != work:
                shutil.rmtree(other)
    work.mkdir(parents=True, exist_ok=True)


def _put_together(
    path: Path, growth: Growth, recipe: Recipe, made: Mapping[str, FeatureStore], progress: Progress
) -> None:
    """Write the new store in the shards that a fresh extraction would write."""
    rows = len(growth.table)
    with StoreWriter.open(path, recipe=recipe, table=growth.table) as writer:
        gather = _Gather(growth, recipe, made)
        per_shard = shard_rows(recipe)
        shards = [(start, gap.stop) for gap in writer.missing for start in range(gap.start, gap.stop, per_shard)]
        for start, end in shards:
            stop = min(start + per_shard, end)
            arrays, failed = gather(start, stop)
            writer.append(arrays, stop=stop, failed=failed)
            progress("putting together", stop, rows)
        writer.finish(
            {
                "images": len(growth.unknown),
                "images_kept": len(growth.known),
                "taps_kept": growth.taps_kept,
                "host": platform.node(),
                "processor": platform.processor() or platform.machine(),
            }
        )


class _Gather:
    """Features of rows of the new store, from wherever they are."""

    def __init__(self, growth: Growth, recipe: Recipe, made: Mapping[str, FeatureStore]) -> None:
        self._growth = growth
        self._taps = taps_of(recipe)
        self._keys = (*self._taps, *recipe["handcrafted"])
        self._new, self._more = made.get("images"), made.get("taps")
        self._failed = {id: reason for store in made.values() for id, reason in store.failed.items()}

    def __call__(self, start: int, stop: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Arrays by tap key for the rows from `start` to `stop`, and the reasons of those that have none."""
        ids = self._growth.table.ids[start:stop]
        failed = {id: self._failed[id] for id in ids if id in self._failed}
        rows = [row for row in range(start, stop) if self._growth.table.ids[row] not in failed]
        return {key: self._column(key, rows) for key in self._keys}, failed

    def _column(self, key: str, rows: list[int]) -> np.ndarray:
        """One tap of these rows: those the store knows and those it does not, each in their place."""
        growth = self._growth
        digests, place_of = growth.table.digests, growth.place_of
        known = [place for place, row in enumerate(rows) if digests[row] in place_of]
        new = [place for place, row in enumerate(rows) if digests[row] not in place_of]
        lacks = key in growth.made or (key in self._taps and self._taps[key] in growth.taps)
        old = self._more if lacks else growth.store
        parts = []
        if old is not None and len(growth.known):
            numbers = (
                [old.row_of[growth.table.ids[rows[place]]] for place in known]
                if lacks
                else [place_of[digests[rows[place]]] for place in known]
            )
            parts.append((known, self._take(old, key, numbers)))
        if self._new is not None:
            numbers = [self._new.row_of[growth.table.ids[rows[place]]] for place in new]
            parts.append((new, self._take(self._new, key, numbers)))
        column = np.empty((len(rows), *parts[0][1].shape[1:]), dtype=parts[0][1].dtype)
        for places, values in parts:
            column[places] = values
        return column

    def _take(self, store: FeatureStore, key: str, numbers: list[int]) -> np.ndarray:
        if key in self._taps:
            key = next(own for own, tap in store.tap_of.items() if tap == self._taps[key])
        return store.take(key, np.array(numbers, dtype=np.int64))
