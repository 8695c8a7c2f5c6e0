"""Taps: written, read, refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.backbones.taps import POOLINGS, Tap, parse_taps, tap_keys
from tfcells.errors import RequestError, UnknownNameError

LAYERS = st.text(min_size=1, max_size=20).filter(lambda text: ":" not in text)
TAPS = st.builds(Tap, LAYERS, st.sampled_from(POOLINGS))


@given(TAPS)
def test_a_written_tap_reads_as_itself(tap):
    assert Tap.parse(str(tap), pooling="max") == tap


@given(LAYERS, st.sampled_from(POOLINGS))
def test_a_tap_without_pooling_takes_the_given_one(layer, pooling):
    assert Tap.parse(layer, pooling=pooling) == Tap(layer, pooling)


def test_the_mean_is_the_pooling_nobody_named():
    assert parse_taps(["late"]) == (Tap("late", "mean"),)


@pytest.mark.parametrize("text", ["late:men", "late:", "late:mean:max"])
def test_an_unknown_pooling_is_refused(text):
    with pytest.raises(UnknownNameError, match=r"Unknown pooling .* Expected one of: mean, max, gem, flatten, none"):
        Tap.parse(text)


@pytest.mark.parametrize("text", ["", ":mean"])
def test_a_tap_without_layer_is_refused(text):
    with pytest.raises(RequestError, match=r"names no layer\. Expected `layer` or `layer:pooling`"):
        Tap.parse(text)


def test_no_tap_at_all_is_refused():
    with pytest.raises(RequestError, match="No layer was named"):
        parse_taps([])


@pytest.mark.parametrize("twice", [["a", "a:mean"], ["a:max", "b", "a:max"], [Tap("a"), "a"]], ids=str)
def test_a_tap_that_comes_twice_is_refused_by_name(twice):
    with pytest.raises(RequestError, match=r"Taps come twice: a:(mean|max)\. Expected each once"):
        parse_taps(twice)


def test_taps_come_as_texts_and_as_taps():
    assert parse_taps(["a:max", Tap("b", "none"), "c"], pooling="gem") == (
        Tap("a", "max"),
        Tap("b", "none"),
        Tap("c", "gem"),
    )


@given(st.lists(TAPS, min_size=1, max_size=6, unique=True))
def test_keys_are_unique_and_read_as_the_taps_they_name(taps):
    keys = tap_keys(taps)
    assert len(set(keys)) == len(taps)
    assert [Tap.parse(key, pooling=tap.pooling) for key, tap in zip(keys, taps, strict=True)] == taps


def test_a_key_is_the_layer_alone_unless_it_is_tapped_twice():
    assert tap_keys(parse_taps(["a", "b:max", "b:none"])) == ("a", "b:max", "b:none")
