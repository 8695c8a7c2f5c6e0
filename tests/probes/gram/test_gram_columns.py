import numpy as np
import pytest

from tfcells.errors import RequestError
from tfcells.probes.gram.columns import StackedRows, as_columns, checked_rows, read_block, select_rows, stored_columns

FEATURES = np.random.default_rng(0).normal(size=(7, 5))


@pytest.mark.parametrize(
    "features",
    [
        FEATURES,
        np.asfortranarray(FEATURES),
        FEATURES[::-1][::-1],
        StackedRows([FEATURES[:3], FEATURES[3:4], FEATURES[4:]]),
        select_rows(FEATURES[[6, 5, 4, 3, 2, 1, 0]], np.arange(6, -1, -1)),
    ],
    ids=["array", "by column", "strided", "stacked", "selected"],
)
def test_every_source_gives_the_same_columns(features):
    source = as_columns(features)
    assert source.shape == (7, 5)
    block = read_block(source, 1, 4)
    np.testing.assert_array_equal(block, FEATURES[:, 1:4])
    assert block.dtype == np.float64 and block.flags.c_contiguous and block.flags.owndata


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.uint8, bool])
def test_every_real_dtype_is_read(dtype):
    features = (np.arange(12).reshape(4, 3) % 5).astype(dtype)
    np.testing.assert_array_equal(read_block(as_columns(features), 0, 3), features.astype(float))


def test_a_store_is_read_over_its_shards(make_store):
    store = make_store(images=120, widths=(6, 10), shard_rows=50)
    source = stored_columns(store, "late:mean" if "late:mean" in store.taps else store.taps[1])
    assert len(source.parts) == 3
    np.testing.assert_array_equal(source.columns(2, 9), store.array(store.taps[1])[:, 2:9])


def test_a_number_that_is_not_finite_is_named():
    features = FEATURES.copy()
    features[4, 3] = np.nan
    with pytest.raises(RequestError, match="columns 2 to 5, first in row 4, column 3"):
        read_block(as_columns(features), 2, 5)


@pytest.mark.parametrize("features", [FEATURES[0], FEATURES.astype(complex), FEATURES.astype(str), FEATURES[:0], "a"])
def test_what_is_no_matrix_of_numbers_is_refused(features):
    with pytest.raises(RequestError, match="Expected"):
        as_columns(features)


@pytest.mark.parametrize("parts", [[], [FEATURES, FEATURES[:, :2]], [FEATURES[0]]])
def test_parts_must_fit(parts):
    with pytest.raises(RequestError, match="one or more matrices of equal columns"):
        StackedRows(parts)


@pytest.mark.parametrize("rows", [[0, 7], [-1, 2], [1, 1], [3], [True, False], [0.0, 1.0], [[0, 1]]])
def test_rows_are_different_numbers_within_the_features(rows):
    with pytest.raises(RequestError, match="2 or more different row numbers in \\[0, 7\\)"):
        checked_rows(np.array(rows), 7)
