"""The table of hand-made features: every row keeps what it says, and a definition stands for its numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfcells.backbones.golden import golden_picture
from tfcells.errors import RequestError, UnknownNameError
from tfcells.features.handcrafted import HANDCRAFTED, find_handcrafted, handcrafted_recipe, measure_all, parted

PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))
KNOWN = {
    "colour": ("b959119f4519355e", 107.87693, 950.09679),
    "raw": ("d22111275feb2387", 116.2802, -6.2602720),
    "stain": ("736dd13f8a591e7e", 8.953318, -324.03164),
    "hog": ("3428945a41bf159d", 0.10961906, 1.4653974),
    "lbp": ("05931bc4f12afa33", 0.055555555, -0.23279232),
}
"""Definition, mean and weighted sum of the numbers of the golden picture."""


@settings(max_examples=15)
@given(PICTURES)
@pytest.mark.parametrize("row", HANDCRAFTED.values(), ids=lambda row: row.name)
def test_every_picture_gives_as_many_finite_numbers(row, picture):
    vector = row.measure(picture)
    assert (vector.shape, vector.dtype) == ((row.width,), np.float32)
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("row", HANDCRAFTED.values(), ids=lambda row: row.name)
def test_a_definition_stands_for_its_numbers(row):
    """Numbers that change need another revision, and then a new line here."""
    vector = row.measure(golden_picture()).astype(np.float64)
    weights = np.cos(np.arange(row.width))
    definition, mean, weighted = KNOWN[row.name]
    assert row.definition.startswith(definition)
    assert [vector.mean(), vector @ weights] == pytest.approx([mean, weighted], rel=1e-4)


def test_raw_intensities_are_the_pixels_of_the_small_picture():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(HANDCRAFTED["raw"].measure(picture), picture.reshape(-1))
    np.testing.assert_allclose(HANDCRAFTED["raw"].measure(np.full((90, 50, 3), 131, np.uint8)), 131, rtol=1e-6)


def test_colour_always_joins_and_the_order_is_the_tables():
    assert [row.name for row in find_handcrafted(("lbp", "raw"))] == ["colour", "raw", "lbp"]
    assert [row.name for row in find_handcrafted(())] == ["colour"]


def test_what_is_laid_side_by_side_is_taken_apart_again():
    rows = find_handcrafted(("stain", "lbp"))
    picture = golden_picture()
    measured = measure_all(rows)(picture)
    for name, vectors in parted(measured[None], rows).items():
        np.testing.assert_array_equal(vectors[0], HANDCRAFTED[name].measure(picture))


def test_unknown_names_and_names_given_twice_are_refused():
    with pytest.raises(UnknownNameError, match=r"Unknown hand-made features 'hogs'\. Did you mean 'hog'"):
        find_handcrafted(("hogs",))
    with pytest.raises(RequestError, match=r"Hand-made features come twice: lbp\. Expected each once"):
        find_handcrafted(("lbp", "hog", "lbp"))


def test_the_recipe_names_definition_and_shape():
    assert handcrafted_recipe(("hog",)) == {
        name: {"definition": HANDCRAFTED[name].definition, "shape": [width]}
        for name, width in {"colour": 21, "hog": 44_100}.items()
    }
    assert len({row.definition for row in HANDCRAFTED.values()}) == len(HANDCRAFTED)
