"""Two recipes side by side: every difference is named, what only the stored one knows is not."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tfcells.features.recipe import canonical_json, differences, images_digest

WORDS = st.text("abcdef", min_size=1, max_size=4)
LEAVES = st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.none(), st.lists(WORDS, max_size=3))
RECIPES = st.recursive(
    st.dictionaries(WORDS, LEAVES, min_size=1, max_size=4),
    lambda inner: st.dictionaries(WORDS, st.one_of(LEAVES, inner), min_size=1, max_size=4),
    max_leaves=12,
)
STORED = {"backbone": {"name": "vgg16", "size": 224}, "taps": ["a:mean", "b:mean"], "dtype": "float32"}


@given(RECIPES)
def test_a_recipe_does_not_differ_from_itself_in_a_file(recipe):
    assert differences(json.loads(canonical_json(recipe)), recipe) == []


@given(RECIPES, st.dictionaries(st.text("xyz", min_size=1), LEAVES, max_size=3))
def test_what_only_the_stored_recipe_knows_is_no_difference(recipe, more):
    assert differences({**recipe, **more}, recipe) == []


def test_every_difference_is_named_with_both_values():
    wanted = {"backbone": {"name": "vgg19", "size": 224}, "taps": ["a:mean"], "dtype": "float32", "seed": 3}
    assert differences(STORED, wanted) == [
        "backbone.name is vgg16 in the store, vgg19 was asked for",
        "taps is a:mean, b:mean in the store, a:mean was asked for",
        "seed is (absent) in the store, 3 was asked for",
    ]


def test_tuples_are_the_lists_that_json_makes_of_them():
    assert differences(STORED, {"taps": ("a:mean", "b:mean")}) == []


def test_the_order_of_taps_is_a_difference():
    assert len(differences(STORED, {"taps": ["b:mean", "a:mean"]})) == 1


def test_long_values_are_cut_short():
    (line,) = differences({"taps": []}, {"taps": ["block"] * 1000})
    assert len(line) < 400


@given(RECIPES)
def test_canonical_text_depends_on_the_value_alone(recipe):
    turned = dict(reversed(list(recipe.items())))
    assert canonical_json(recipe) == canonical_json(turned)
    assert json.loads(canonical_json(recipe)) == recipe


def test_the_digest_of_images_knows_names_pixels_and_order():
    base = images_digest(tuple("ab"), ("0", "1"))
    others = [(tuple("ac"), "01"), (tuple("ab"), "02"), (tuple("ba"), "10"), (tuple("a"), "0")]
    assert len({base, *(images_digest(*other) for other in others)}) == 5
    assert base == images_digest(tuple("ab"), ("0", "1"))
