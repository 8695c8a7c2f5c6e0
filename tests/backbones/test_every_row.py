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


def test_random_weights_give_answers_of_sane_size_at_every_tap(opened):
    answers = cut_backbone(opened)(golden_picture()[None])
    assert set(answers) == set(opened.row.taps)
    for answer in answers.values():
        assert 1e-3 < np.abs(answer.numpy()).max() < 1e4
        assert answer.numpy().std() > 1e-3


def test_every_tap_can_be_pooled_in_every_way(opened):
    late = opened.row.late
    answers = cut_backbone(opened, [f"{late}:{pooling}" for pooling in ("none", "flatten", "mean", "max", "gem")])(
        golden_picture()[None]
    )
    maps = answers[f"{late}:none"].numpy()
    np.testing.assert_array_equal(answers[f"{late}:flatten"].numpy(), maps.reshape(1, -1))
    np.testing.assert_allclose(answers[f"{late}:mean"].numpy(), maps.mean((1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(answers[f"{late}:max"].numpy(), maps.max((1, 2)))
    assert (answers[f"{late}:gem"].numpy() <= np.maximum(maps, 1e-6).max((1, 2)) * 1.0001).all()
