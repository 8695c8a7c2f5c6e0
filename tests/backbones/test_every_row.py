"""Laws of every row of the catalog, on the network itself, small and with random weights."""

import keras
import numpy as np
import pytest

from tfcells.backbones.catalog import BACKBONES
from tfcells.backbones.cut import cut_backbone, list_layers
from tfcells.backbones.golden import golden_picture
from tfcells.backbones.open import open_backbone

pytestmark = pytest.mark.slow
SIZE = 96


@pytest.fixture(scope="module", params=BACKBONES)
def opened(request):
    return open_backbone(request.param, weights="none", size=SIZE)


@pytest.fixture(scope="module")
def answers(opened):
    """Of one picture, at the row's own taps and, pooled in every way, at the last; by one pass of one cut."""
    row = opened.row
    poolings = [f"{row.late}:{pooling}" for pooling in ("none", "flatten", "max", "gem")]
    answers = cut_backbone(opened, [*row.taps, *poolings])(golden_picture()[None])
    return {key: answer.numpy() for key, answer in answers.items()}


def test_the_taps_are_layers_and_the_late_one_is_the_last(opened):
    names = [row.name for row in list_layers(opened.model)]
    places = [names.index(tap) for tap in opened.row.taps]
    assert places == sorted(places)
    assert places[-1] == len(names) - 1


def test_the_taps_see_ever_coarser(opened):
    """About 1/8, 1/16 and 1/32 of the side; networks that pad nothing lose a few pixels more."""
    shapes = {row.name: row.shape for row in list_layers(opened.model)}
    sides = [shapes[tap][0] for tap in opened.row.taps]
    np.testing.assert_allclose(sides, [SIZE / 8, SIZE / 16, SIZE / 32], rtol=0.35, atol=2)
    assert sides[0] > sides[1] > sides[2]


def test_scaling_is_inside_exactly_where_the_row_leaves_it_out(opened):
    """Twice or never would both be wrong, and neither would raise an error."""
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    inside = any(isinstance(layer, kinds) for layer in opened.model._flatten_layers())
    assert inside == (opened.row.preprocessing.scale == (1.0, 1.0, 1.0) and opened.row.preprocessing.offset[0] == 0)


def test_a_cut_is_at_the_taps_of_the_row_unless_others_are_named(opened):
    assert set(cut_backbone(opened).output) == set(opened.row.taps)


def test_random_weights_give_answers_of_sane_size_at_every_tap(opened, answers):
    row = opened.row
    for key in (row.early, row.middle, f"{row.late}:mean"):
        assert 1e-3 < np.abs(answers[key]).max() < 1e4
        assert answers[key].std() > 1e-3


def test_every_tap_can_be_pooled_in_every_way(opened, answers):
    late = opened.row.late
    maps = answers[f"{late}:none"]
    np.testing.assert_array_equal(answers[f"{late}:flatten"], maps.reshape(1, -1))
    np.testing.assert_allclose(answers[f"{late}:mean"], maps.mean((1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(answers[f"{late}:max"], maps.max((1, 2)))
    assert (answers[f"{late}:gem"] <= np.maximum(maps, 1e-6).max((1, 2)) * 1.0001).all()
