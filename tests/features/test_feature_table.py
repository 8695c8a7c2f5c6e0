"""A feature table: its parts must fit, its rows are found by name."""

from dataclasses import replace

import numpy as np
import pytest

from tfcells.errors import RequestError, UnknownNameError
from tfcells.features.table import FeatureTable

TABLE = FeatureTable(
    vectors=np.arange(12, dtype=np.float32).reshape(4, 3),
    ids=("a", "b", "c", "d"),
    labels=np.array([0, 1, -1, 0]),
    class_names=("x", "y"),
    taps=("early", "late"),
    widths=(1, 2),
    pooling="mean",
)


@pytest.mark.parametrize(
    "part", [{"ids": ("a", "b", "c")}, {"vectors": TABLE.vectors[:3], "labels": TABLE.labels[:3]}], ids=list
)
def test_parts_of_different_length_are_refused(part):
    with pytest.raises(RequestError, match=r"vectors, . ids and . labels\. .* were they filtered separately"):
        replace(TABLE, **part)


@pytest.mark.parametrize("part", [{"widths": (1, 1)}, {"widths": (3,)}, {"taps": ("late",)}], ids=str)
def test_widths_that_do_not_add_up_are_refused(part):
    with pytest.raises(RequestError, match="do not add up to 3 columns"):
        replace(TABLE, **part)


def test_rows_are_found_by_id_in_the_order_asked_for():
    np.testing.assert_array_equal(TABLE.rows_of(["d", "a", "d"]), [3, 0, 3])
    assert TABLE.rows_of([]).dtype == np.int64


def test_an_unknown_id_is_refused_by_name():
    with pytest.raises(UnknownNameError, match="Unknown id of the features 'e'"):
        TABLE.rows_of(["a", "e"])
