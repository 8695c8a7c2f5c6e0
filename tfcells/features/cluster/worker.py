"""The worker: a process of its own that opens the network once and makes one shard after the other."""

import os
import platform
from collections.abc import Callable

from tfcells.errors import RequestError
from tfcells.features.filling import Extractor, Shard, shards_here
from tfcells.features.recipe import Recipe
from tfcells.features.request import Extraction, feature_maker
from tfcells.images.checked import read_checked
from tfcells.images.decode import BadImageError
from tfcells.images.table import ImageTable


class ShardWorker:
    """Makes shards of a table as `shards_here` does in one process.

    Args:
        extraction: What to extract.
        recipe: The store's, complete.
        readable: A row that the driver can read; None if it has found none.
    """

    def __init__(self, extraction: Extraction, recipe: Recipe, readable: int | None) -> None:
        # Nothing is opened here: a fault in a constructor would come to the driver as the death of an actor.
        self.extraction, self.recipe, self.readable = extraction, recipe, readable
        self._extractor: Extractor | None = None

    def shard(self, table: Callable[[], ImageTable], start: int, stop: int) -> Shard:
        """The shard of rows `start` to `stop`; network or functions are opened at the first one, and after a death.

        Args:
            table: Gives the pictures when it is called, which is once: a table may have a million rows.
            start: First row.
            stop: Row after the last.

        Raises:
            RequestError: If this machine does not see the pictures, or finds other weights.
            DamageError: If a golden check fails, or features are not finite.
        """
        if self._extractor is None:
            self._extractor = self._open(table())
        (shard,) = shards_here(self._extractor, [range(start, stop)], lambda done: None)
        return shard

    def _open(self, table: ImageTable) -> Extractor:
        if self.readable is not None:
            _require_pictures(table, self.readable)
        opened: Extractor = feature_maker(self.extraction).reopen(table, self.extraction, self.recipe)
        return opened

    def process(self) -> int:
        """The id of the process."""
        return os.getpid()


def _require_pictures(table: ImageTable, row: int) -> None:
    try:
        read_checked(table, row)
    except BadImageError as fault:
        raise RequestError(
            f"{table.ids[row]} was read by the process that asks, but on {platform.node()}: {fault}. Put the images "
            "where every machine of the cluster sees them, at the same path."
        ) from fault
