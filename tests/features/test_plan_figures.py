"""What a plan says before anything is written."""

from collections import namedtuple

import pytest

from tfcells.errors import RequestError
from tfcells.features import plan as module
from tfcells.features.plan import bytes_text, parse_bytes, plan_of

RECIPE = {
    "images": {"count": 1000},
    "dtype": "float32",
    "handcrafted": {},
    "rounding": {},
    "shapes": {"pooled": [1280], "flat": [25088]},
    "backbone": {"size": 224},
    "taps": ["pooled:mean", "flat:flatten"],
    "engine": {"name": "tensorflow", "precision": "float32", "batch_size": 32},
}
Usage = namedtuple("Usage", "total used free")


def plan(tmp_path, *, rows_done=0, into="store", rows_bytes=10**5, **changes):
    return plan_of(
        RECIPE | changes,
        into=tmp_path / into,
        rows_bytes=rows_bytes,
        rows_done=rows_done,
        images_per_second=50.0,
        weights_bytes=10**7,
        shard_rows=512,
    )


def bytes_by_tap(planned):
    return {key: tap.bytes for key, tap in planned.taps.items()}


def test_bytes_are_counted_tap_by_tap(tmp_path):
    assert bytes_by_tap(plan(tmp_path)) == {"pooled": 1000 * 1280 * 4, "flat": 1000 * 25088 * 4}
    assert bytes_by_tap(plan(tmp_path, dtype="float16")) == {"pooled": 1000 * 1280 * 2, "flat": 1000 * 25088 * 2}
    assert [tap.pooling for tap in plan(tmp_path).taps.values()] == ["mean", "flatten"]


def test_what_is_done_already_costs_nothing_more(tmp_path):
    whole, half, done = (plan(tmp_path, rows_done=rows) for rows in (0, 500, 1000))
    assert (whole.rows, half.rows, done.rows) == (1000, 500, 0)
    assert (whole.seconds, half.seconds, done.seconds) == (20.0, 10.0, 0.0)
    assert half.bytes_missing == pytest.approx(whole.bytes_missing / 2, abs=1)
    assert done.bytes_missing == 0
    assert half.taps == whole.taps


def test_the_numbers_are_most_of_what_will_be_missing(tmp_path):
    whole = plan(tmp_path)
    assert 1 < whole.bytes_missing / sum(bytes_by_tap(whole).values()) < 1.1


def test_memory_covers_the_weights_and_a_shard(tmp_path):
    planned = plan(tmp_path)
    assert planned.memory_bytes > 10**7 + 512 * (1280 + 25088) * 4
    assert planned.taps["flat"].memory_bytes == 3 * 512 * 25088 * 4


def test_memory_does_not_grow_with_the_images(tmp_path):
    many = plan(tmp_path, images={"count": 10**7})
    assert (many.memory_bytes, many.taps["flat"].memory_bytes) == (
        plan(tmp_path).memory_bytes,
        plan(tmp_path).taps["flat"].memory_bytes,
    )


def test_free_bytes_are_those_of_the_nearest_folder_that_exists(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: asked.append(path) or Usage(9, 2, 7))
    assert plan(tmp_path, into="not/yet/there").bytes_free == 7
    assert asked == [tmp_path]


def test_a_disk_without_room_is_refused_with_both_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(0, 0, 2**20))
    with pytest.raises(
        RequestError, match=r"store needs 105\.7 MiB more, its disk has 1\.0 MiB free\. Pool the layers"
    ):
        plan(tmp_path).require_room(tmp_path / "store")


def test_a_disk_with_just_enough_room_will_do(tmp_path, monkeypatch):
    needed = plan(tmp_path).bytes_missing
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(0, 0, needed))
    plan(tmp_path).require_room(tmp_path / "store")


def test_a_budget_is_for_the_whole_store(tmp_path):
    planned = plan(tmp_path, rows_done=900)
    planned.require_budget(None)
    planned.require_budget(planned.bytes_total)
    with pytest.raises(RequestError) as refused:
        planned.require_budget(planned.bytes_total - 1)
    assert f"would take {planned.bytes_total:,} bytes, the budget is {planned.bytes_total - 1:,}" in str(refused.value)
    assert "The largest tap is flat (flatten) with 100,352,000: pool it" in str(refused.value)


MADE = {"backbone": None, "taps": [], "shapes": {}}


@pytest.mark.parametrize(
    ("changes", "room", "budget"),
    [
        (
            {},
            "Pool the layers (mean instead of flatten), use float16, name fewer features, or choose another disk.",
            "The largest tap is flat (flatten) with 100,352,000: pool it, leave it out, use float16, or allow more.",
        ),
        (
            {"taps": ["pooled:mean"], "shapes": {"pooled": [1280]}},
            "Use float16, or choose another disk.",
            "The largest tap is pooled (mean) with 5,120,000: use float16, or allow more.",
        ),
        (
            {
                "taps": ["pooled:mean"],
                "shapes": {"pooled": [1280]},
                "dtype": "float16",
                "rounding": {"pooled": {"relative_error": 1e-3}},
            },
            "Choose another disk.",
            "The largest tap is pooled (mean) with 2,560,000: allow more.",
        ),
        (
            MADE | {"handcrafted": {"colour": {"shape": [21]}, "hog": {"shape": [900]}, "raw": {"shape": [30]}}},
            "Use float16, name fewer features, or choose another disk.",
            "The largest is hog with 3,600,000: leave it out, use float16, or allow more.",
        ),
        (
            MADE | {"handcrafted": {"colour": {"shape": [21]}}},
            "Choose another disk.",
            "The largest is colour with 84,000: allow more.",
        ),
    ],
)
def test_the_advice_names_only_ways_that_there_are(tmp_path, monkeypatch, changes, room, budget):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(0, 0, 10))
    planned = plan(tmp_path, **changes)
    with pytest.raises(RequestError) as refused:
        planned.require_room(tmp_path / "store")
    assert str(refused.value).endswith(f" more, its disk has 0.0 KiB free. {room}")
    with pytest.raises(RequestError) as refused:
        planned.require_budget(1)
    assert str(refused.value).endswith(f" bytes, the budget is 1. {budget}")


def test_memory_is_that_of_the_pictures_there_are(tmp_path):
    """A shard holds 512 rows; of 40 pictures no more than 40 are held."""
    few, many = plan(tmp_path, images={"count": 40}), plan(tmp_path)
    number = 4 * (1280 + 25088)
    assert many.memory_bytes - few.memory_bytes == 3 * (512 - 40) * number
    assert sum(tap.memory_bytes for tap in few.taps.values()) == 3 * 40 * number


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0.0 KiB"), (1536, "1.5 KiB"), (3 * 2**19, "1.5 MiB"), (5 * 2**40, "5,120.00 GiB")]
)
def test_bytes_are_written_in_the_unit_that_suits_them(number, text):
    assert bytes_text(number) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [("1000", 1000), ("20GB", 20 * 10**9), ("1.5 GiB", 3 * 2**29), ("7kb", 7000), ("2TiB", 2**41), ("0B", 0)],
)
def test_bytes_are_read_with_their_units(text, number):
    assert parse_bytes(text) == number


@pytest.mark.parametrize("text", ["", "GB", "-1", "20 gigs", "1e9", "1,000"])
def test_what_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(RequestError, match=r"is no number of bytes\. Expected one such as 20GB"):
        parse_bytes(text)
