"""The worker: a process of its own that opens the network once and makes one shard after the other."""

import os
import platform
from collections.abc import Callable
from functools import cached_property

from tfcells.errors import RequestError
from tfcells.features.extract import Extraction, feature_maker
from tfcells.features.filling import Extractor, Shard, shards_here
from tfcells.features.recipe import Recipe
from tfcells.images.checked import read_checked
from tfcells.images.decode import BadImageError
from tfcells.images.table import ImageTable


class ShardWorker:
    """Makes shards of a table as `shards_here` does in one process.

    Args:
        table: Gives the pictures when it is called: a table of a million rows is fetched once, by whom it reaches.
        extraction: What to extract.
        recipe: The store's, complete.
        readable: A row that the driver can read; None if it has found none.
    """

    def __init__(
        self, table: Callable[[], ImageTable], extraction: Extraction, recipe: Recipe, readable: int | None
    ) -> None:
        # Nothing is opened here: a fault in a constructor would come to the driver as the death of an actor.
        self.table, self.extraction, self.recipe, self.readable = table, extraction, recipe, readable

    @cached_property
    def extractor(self) -> Extractor:
        """The network or the hand-made functions, opened at the first shard, and again after a death.

        Raises:
            RequestError: If this machine does not see the pictures, or finds other weights.
            DamageError: If a golden check fails.
        """
        table = self.table()
        if self.readable is not None:
            _require_pictures(table, self.readable)
        opened: Extractor = feature_maker(self.extraction).reopen(table, self.extraction, self.recipe)
        return opened

    def shard(self, start: int, stop: int) -> Shard:
        """The shard of rows `start` to `stop`."""
        (shard,) = shards_here(self.extractor, start, stop, lambda done: None)
        return shard

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
