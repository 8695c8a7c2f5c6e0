"""Rows that failed while they were extracted and would not fail now: a disk was away for a moment."""

from tfcells.features.handcrafted import find_handcrafted, measure_all
from tfcells.features.store import FeatureStore
from tfcells.images.checked import read_measured
from tfcells.images.decode import BadImageError
from tfcells.images.table import ImageTable


def worth_another_try(store: FeatureStore, table: ImageTable) -> frozenset[str]:
    """Ids of the rows that the store names as failed and whose pictures can be read and measured now.

    Only these pictures are read; where no row failed, nothing is.

    Args:
        store: Features, with the rows that failed.
        table: The pictures, in the rows of the store.
    """
    if not store.failed:
        return frozenset()
    measure = measure_all(find_handcrafted(tuple(store.recipe["handcrafted"])))

    def can_be_read(row: int) -> bool:
        try:
            read_measured(table, row, measure)
        except BadImageError:
            return False
        return True

    return frozenset(id for row, id in enumerate(table.ids) if id in store.failed and can_be_read(row))
