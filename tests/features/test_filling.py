"""From batches to shards: what cannot be stored is named, and work is handed out in whole batches."""

import numpy as np
import pytest

from tfcells.errors import DamageError
from tfcells.features.filling import Batch, Extractor, shards_here

RECIPE = {
    "handcrafted": {"raw": {"definition": "0" * 64, "shape": [2]}},
    "shapes": {},
    "dtype": "float16",
    "engine": {"name": "numpy", "precision": "float32", "batch_size": 2},
}


class Counting:
    """Every row's features are its number; a row may be a bad one."""

    def __init__(self, *, bad=(), loud=()):
        self.recipe = RECIPE
        self.bad, self.loud = bad, loud

    def batches(self, start, stop):
        for first in range(start, stop, 2):
            rows = [row if row < stop else None for row in (first, first + 1)]
            yield Batch(
                ids=tuple("" if row is None else f"row {row}" for row in rows),
                reasons=tuple("torn" if row in self.bad else "" for row in rows),
                features={"raw": np.array([[1e6 if row in self.loud else row or 0] * 2 for row in rows], np.float32)},
            )


def test_shards_hold_the_rows_that_did_not_fail_in_order_and_name_the_others():
    told = []
    assert isinstance(Counting(), Extractor)
    (shard,) = shards_here(Counting(bad=(1, 4)), [range(7)], told.append)
    assert (shard.stop, shard.failed) == (7, {"row 1": "torn", "row 4": "torn"})
    np.testing.assert_array_equal(shard.arrays["raw"][:, 0], [0, 2, 3, 5, 6])
    assert shard.arrays["raw"].dtype == np.float16
    assert told == [2, 4, 6, 7]


def test_a_shard_is_sixteen_batches_and_begins_where_it_is_asked_to():
    assert [shard.stop for shard in shards_here(Counting(), [range(70)], lambda done: None)] == [32, 64, 70]
    (last,) = shards_here(Counting(), [range(64, 70)], lambda done: None)
    np.testing.assert_array_equal(last.arrays["raw"][:, 0], range(64, 70))


def test_only_the_ranges_that_are_missing_are_made():
    told = []
    first, second = shards_here(Counting(), [range(32, 64), range(96, 98)], told.append)
    assert (first.stop, second.stop) == (64, 98)
    np.testing.assert_array_equal(first.arrays["raw"][:, 0], range(32, 64))
    np.testing.assert_array_equal(second.arrays["raw"][:, 0], [96, 97])
    assert (told[0], told[-1]) == (34, 98)


def test_a_feature_too_large_for_its_type_is_damage_with_tap_and_picture():
    with pytest.raises(DamageError, match=r"tap 'raw' .* batch from row 2 are not finite as float16: .* \(use float32"):
        list(shards_here(Counting(loud=(3,)), [range(7)], lambda done: None))
