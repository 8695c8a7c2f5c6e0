"""Fill a store with the features of a table; nothing is done that is done already.

TensorFlow is loaded only if rows are missing, and only for a backbone (`tfcells.features.forward`).
"""

import logging
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path

from tfcells.backbones.catalog import find_backbone
from tfcells.backbones.seen import SeenPictures, seen_by_file, write_seen
from tfcells.backbones.weights import find_weights
from tfcells.errors import EmptyDataError, RequestError
from tfcells.features.cluster import Cluster
from tfcells.features.filling import Shards, disk_full_said, fill_store, shards_here
from tfcells.features.growth import grow, plan_growth
from tfcells.features.pieces import GROWING, SEEN, SHARDS, is_store, something_begun
from tfcells.features.plan import Plan
from tfcells.features.recipe import Recipe, differences
from tfcells.features.request import Extraction, feature_maker, requested_recipe
from tfcells.features.retry import worth_another_try
from tfcells.features.shards import shards_beside
from tfcells.features.store import FeatureStore, StoreWriter, check_target, is_described, read_recipe
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent

__all__ = ["Extraction", "extract", "plan_extraction", "requested_recipe"]

_log = logging.getLogger(__name__)


def extract(
    table: ImageTable,
    extraction: Extraction,
    *,
    into: str | Path,
    progress: Progress = silent,
    announce: Callable[[Plan], None] = lambda plan: None,
    budget: int | None = None,
    cluster: Cluster | None = None,
) -> FeatureStore:
    """Extract the features of a table into a store, or resume or reopen one.

    Shards that are missing or torn, and those with a row that failed and can be read by now, are made again, each
    alone. A store of the same recipe but for its images, taps and hand-made features becomes one of this request: rows
    that it knows by their pixels and features that it has are kept, whatever is missing is extracted, the rest is
    dropped.

    Args:
        table: The pictures.
        extraction: Backbone, weights, taps, hand-made features.
        into: Folder of the store; made if it does not exist.
        progress: Told how far the extraction is.
        announce: Told the plan before the first row, when the store is as it was; an error of its stops there. Not
            called where nothing is missing.
        budget: Bytes that the whole store may take on disk.
        cluster: Ray workers that make the missing rows; this process by default. The store is the same.

    Returns:
        The complete store.

    Raises:
        UnknownNameError: If a layer of the backbone is unknown; nothing was written.
        MissingWeightsError: If the weights are not to be had; nothing was written.
        EmptyDataError: If the table holds no image; nothing was written.
        StaleStoreError: If `into` holds a store of another recipe, or of none of these images; nothing was written.
        RequestError: If the disk has no room for it, the budget is too small, or no engine fits; nothing was written.
        DamageError: If the golden check of the weights fails, workers die again and again, or the disk is full before
            the end; what is written is kept, and the same call goes on. If the recipe of a store was altered. If the
            list of what the weights have seen cannot be read; nothing was written.
        MissingExtraError: If an engine or a cluster is asked for that is not installed.
    """
    into = Path(into)
    _require_possible(table, into)
    seen = _seen_by(extraction)
    store = _extracted(
        table, extraction, into=into, progress=progress, announce=announce, budget=budget, cluster=cluster
    )
    if seen is not None and not (into / SEEN).exists():
        with suppress(PermissionError):  # a store that may only be read is as good
            write_seen(into / SEEN, seen)
    return store


def _seen_by(extraction: Extraction) -> SeenPictures | None:
    """What the weights have seen: kept in the store, so that its readers need not know where the weights lay."""
    if extraction.backbone is None:
        return None
    return seen_by_file(find_weights(find_backbone(extraction.backbone).name, extraction.weights))


def _extracted(
    table: ImageTable,
    extraction: Extraction,
    *,
    into: Path,
    progress: Progress,
    announce: Callable[[Plan], None],
    budget: int | None,
    cluster: Cluster | None,
) -> FeatureStore:
    wanted = requested_recipe(extraction, table)
    fill = partial(_fill, progress=progress, budget=budget, cluster=cluster)
    existing = FeatureStore.salvaged(into) if is_store(into) else None
    if existing is not None and differences(existing.recipe, wanted):
        existing.close()
        grow(into, table, extraction, wanted=wanted, fill=fill, progress=progress, announce=announce, budget=budget)
        return FeatureStore(into, recipe=wanted)
    if existing is not None and existing.complete and not worth_another_try(existing, table):
        _log.info("features: complete, all %d rows kept, no forward pass", len(table))
        if not is_described(into, table) or _something_beside(existing):
            with disk_full_said(into), StoreWriter.open(into, recipe=existing.recipe, table=table):
                # Labels and groups may have changed since; the features have not, and what was begun is not wanted.
                shutil.rmtree(into / GROWING, ignore_errors=True)
        return FeatureStore(into, recipe=wanted)
    check_target(into, wanted)
    fill(table, extraction, wanted=wanted, into=into, announce=announce)
    return FeatureStore(into, recipe=wanted)


def _require_possible(table: ImageTable, into: Path | None) -> None:
    """Refuse a table without a row, and a store where a link leads nowhere."""
    if not len(table):
        raise EmptyDataError("The table holds no image: there is nothing to extract. Expected one or more.")
    if into is not None and into.is_symlink() and not into.exists():
        raise RequestError(
            f"{into} is a link to {into.readlink()}, which does not exist. Make that folder, remove the link, or name "
            "another folder."
        )


def _something_beside(store: FeatureStore) -> bool:
    """Whether a complete store's folder holds more than that: what was begun or left, shards that are not of it."""
    return something_begun(store.path) or shards_beside(
        store.path / SHARDS, but={path.name for path, _ in store.shards}
    )


def _fill(
    table: ImageTable,
    extraction: Extraction,
    *,
    wanted: Recipe,
    into: Path,
    announce: Callable[[Plan], None],
    progress: Progress,
    budget: int | None,
    cluster: Cluster | None,
) -> None:
    """Extract the rows that a store lacks, here or on workers."""
    with _shards_made(cluster, table, extraction) as shards:
        prepared = feature_maker(extraction).prepare(table, extraction, wanted=wanted, into=into)
        fill_store(prepared, table, into=into, shards=shards, progress=progress, announce=announce, budget=budget)


def _shards_made(cluster: Cluster | None, table: ImageTable, extraction: Extraction) -> AbstractContextManager[Shards]:
    if cluster is None:
        return nullcontext(shards_here)
    from tfcells.features.cluster.shards import shards_on

    return shards_on(cluster, table, extraction)


def plan_extraction(table: ImageTable, extraction: Extraction, *, into: str | Path | None = None) -> Plan:
    """Work out what `extract` would cost, without writing anything; errors as there.

    Args:
        table: The pictures.
        extraction: Backbone, weights, taps, hand-made features.
        into: The store to be made or gone on with; without one, a new store in the working directory.
    """
    place = None if into is None else Path(into)
    _require_possible(table, place)
    wanted = requested_recipe(extraction, table)
    if place is not None and is_store(place) and differences(read_recipe(place), wanted):
        return plan_growth(place, table, extraction, wanted=wanted)
    if place is not None:
        check_target(place, wanted)
    plan: Plan = feature_maker(extraction).prepare(table, extraction, wanted=wanted, into=place).plan
    return plan
