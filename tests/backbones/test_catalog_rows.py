"""Laws of the catalog that need no network; `test_every_row` builds each one."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tfcells.backbones.catalog import BACKBONES, find_backbone
from tfcells.backbones.preprocess import preprocess
from tfcells.errors import UnknownNameError

ROW = BACKBONES["mobilenet_v2"]


@pytest.mark.parametrize("row", BACKBONES.values(), ids=BACKBONES.keys())
def test_preprocessing_is_that_of_keras(row):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3)).astype(np.float32)
    expected = getattr(keras.applications, row.module).preprocess_input(pixels.copy())
    inputs = keras.Input((None, None, 3))
    prepared = keras.Model(inputs, preprocess(inputs, row.preprocessing, size=24, kernel=row.kernel))
    np.testing.assert_allclose(prepared(pixels).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("row", BACKBONES.values(), ids=BACKBONES.keys())
def test_a_row_is_named_after_its_builder_and_has_three_taps(row):
    assert row.name.replace("_", "") == row.builder.lower()
    assert callable(getattr(keras.applications, row.builder))
    assert len(set(row.taps)) == 3


def test_rows_are_found_by_name():
    assert find_backbone("mobilenet_v2") is ROW


def test_an_unknown_backbone_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"Unknown backbone 'mobilenetv2'\. Did you mean 'mobilenet_v2'\?"):
        find_backbone("mobilenetv2")


def test_the_preprocessing_digest_is_what_it_was():
    """A change of this number makes every store stale."""
    assert ROW.preprocessing_digest() == "9aed64f4b645368c3b1b73dd6f3ad54302f6754342e2d6b66e4df65b6440ccab"


@pytest.mark.parametrize(
    "change",
    [
        {"channel_order": "bgr"},
        {"scale": (1 / 127.5, 1 / 127.5, 1 / 128)},
        {"offset": (-1.0, -1.0, -0.9)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_knows_every_part_of_the_preprocessing(change):
    changed = replace(ROW, preprocessing=replace(ROW.preprocessing, **change))
    assert changed.preprocessing_digest() != ROW.preprocessing_digest()


def test_the_digest_knows_size_and_kernel_and_nothing_else():
    assert ROW.preprocessing_digest(160) != ROW.preprocessing_digest()
    assert replace(ROW, kernel="area").preprocessing_digest() != ROW.preprocessing_digest()
    assert replace(ROW, name="other", early="x").preprocessing_digest(ROW.size) == ROW.preprocessing_digest()


def test_rows_share_a_digest_exactly_where_they_share_what_it_covers():
    facts = {(row.preprocessing, row.kernel, row.size): row.preprocessing_digest() for row in BACKBONES.values()}
    assert len(set(facts.values())) == len(facts)
