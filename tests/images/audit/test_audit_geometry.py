import numpy as np
import pytest
from audited_pictures import cell, turned
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.images.audit.agreement import View, agreement
from tfcells.images.audit.geometry import LEAST_INLIERS, align, is_plausible, matches, unit_descriptors
from tfcells.images.audit.keypoints import Keypoints, find_keypoints, own_area, working_picture

BRIEF = settings(deadline=None, max_examples=50)


def everywhere(picture):
    return np.ones(picture.shape, dtype=bool)


def seen(pixels):
    picture = working_picture(pixels)
    return find_keypoints(picture, own_area(picture)), View(picture, own_area(picture))


def aligned(first, second):
    return align(first, second, matches(unit_descriptors(first), unit_descriptors(second)))


@st.composite
def placed(draw):
    """Keypoints, where an affine map puts them, and the map."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    angle, scale = draw(st.floats(0, 2 * np.pi)), np.exp(draw(st.floats(-1, 1)))
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = rng.uniform(-50, 50, 2)
    places = np.column_stack([rng.uniform(0, 300, (30, 2)), rng.uniform(2, 9, 30), rng.uniform(0, 2 * np.pi, 30)])
    moved = np.column_stack([places[:, :2] @ linear.T + shift, places[:, 2] * scale, places[:, 3] + angle])
    return places.astype(np.float32), moved.astype(np.float32), np.column_stack([linear, shift])


def points(places):
    return Keypoints(places, np.zeros((len(places), 128), np.uint8), 300)


@given(case=placed(), wrong=st.integers(0, 15))
@BRIEF
def test_the_map_is_found_although_half_of_the_matches_are_wrong(case, wrong):
    places, moved, affine = case
    moved[:wrong, :2] = np.random.default_rng(0).uniform(0, 300, (wrong, 2))
    found = align(points(places), points(moved), np.repeat(np.arange(30)[:, None], 2, axis=1))
    assert found is not None
    np.testing.assert_allclose(found.affine[:, :2], affine[:, :2], atol=0.05)
    assert found.inliers >= 0.6 * (30 - wrong)  # those at one place count once


@given(seed=st.integers(0, 2**32))
@BRIEF
def test_matches_at_random_are_seldom_in_place(seed):
    rng = np.random.default_rng(seed)
    here, there = (
        np.column_stack([rng.uniform(0, 300, (20, 2)), rng.uniform(2, 9, 20), rng.uniform(0, 6, 20)]) for _ in range(2)
    )
    pairs = np.repeat(np.arange(20)[:, None], 2, axis=1)
    found = align(points(here.astype(np.float32)), points(there.astype(np.float32)), pairs)
    assert found is None or found.inliers < LEAST_INLIERS + 2


def test_too_few_matches_are_no_map():
    places = np.array([[1, 1, 3, 0], [50, 9, 3, 0], [90, 80, 3, 0]], dtype=np.float32)
    assert align(points(places), points(places), np.repeat(np.arange(3)[:, None], 2, axis=1)) is None


@pytest.mark.parametrize(
    ("linear", "plausible"),
    [
        (np.eye(2), True),
        (np.diag([1.0, -1.0]), False),  # mirrors
        (np.diag([1.0, 1.33]), True),
        (np.diag([1.0, 2.0]), False),
        (np.eye(2) * 3.9, True),
        (np.eye(2) * 4.1, False),
        (np.eye(2) * 0.2, False),
        (np.zeros((2, 2)), False),
        (np.full((2, 2), np.nan), False),
    ],
)
def test_maps_are_bounded(linear, plausible):
    assert is_plausible(np.column_stack([linear, np.zeros(2)])) == plausible


def test_mirrored_keypoints_are_those_of_the_mirrored_picture():
    first, _ = seen(cell(0))
    second, _ = seen(np.ascontiguousarray(cell(0)[:, ::-1]))
    pairs = matches(unit_descriptors(first.mirrored()), unit_descriptors(second))
    assert len(pairs) > 0.7 * len(first)
    off = first.mirrored().places[pairs[:, 0], :2] - second.places[pairs[:, 1], :2]
    assert np.median(np.abs(off)) < 1.5
    np.testing.assert_array_equal(first.mirrored().mirrored().descriptors, first.descriptors)


def test_keypoints_survive_being_written():
    first, _ = seen(cell(0))
    again = Keypoints.from_bytes(first.to_bytes())
    np.testing.assert_array_equal(again.places, first.places)
    np.testing.assert_array_equal(again.descriptors, first.descriptors)
    assert again.width == first.width
    assert len(Keypoints.from_bytes(points(np.zeros((0, 4), np.float32)).to_bytes())) == 0


def test_no_keypoint_lies_in_filler():
    picture = working_picture(turned(cell(0), 30))
    own = own_area(picture)
    assert not own[0, 0]
    assert own[120, 120]
    x, y = np.rint(find_keypoints(picture, own).places[:, :2]).astype(int).T
    assert own[y, x].all()


def test_dark_inside_is_no_filler():
    picture = np.full((60, 60), 200, dtype=np.uint8)
    picture[20:40, 20:40] = 0
    assert own_area(picture).all()


def test_a_picture_agrees_with_itself_and_its_turned_copy_but_not_with_another():
    first, view = seen(cell(0))
    assert agreement(view, view, np.eye(2, 3)).median > 0.999
    copy, turned_view = seen(turned(cell(0), 25))
    found = aligned(first, copy)
    assert agreement(view, turned_view, found.affine).median > 0.9
    _, other = seen(cell(3))
    assert agreement(view, other, np.eye(2, 3)).median < 0.3


def test_the_order_of_two_pictures_does_not_matter():
    first, view = seen(cell(0))
    second, other = seen(turned(cell(0), 25, scale=1.4))
    there = agreement(view, other, aligned(first, second).affine)
    back = agreement(other, view, aligned(second, first).affine)
    assert there.median == pytest.approx(back.median, abs=0.02)
    assert there.overlap == pytest.approx(back.overlap, abs=0.05)


def test_agreement_is_nothing_without_texture_or_overlap():
    even = np.full((100, 100), 90, dtype=np.uint8)
    view = View(even, everywhere(even))
    assert agreement(view, view, np.eye(2, 3)).blocks == 0
    _, cells = seen(cell(0))
    assert agreement(cells, cells, np.array([[1, 0, 5000], [0, 1, 0.0]])).blocks == 0
    small = View(even[:9, :9], everywhere(even[:9, :9]))
    assert agreement(small, small, np.eye(2, 3)).blocks == 0
