import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfcells.errors import RequestError
from tfcells.maps.mosaic import mosaic

SIDE, WIDTH, HEIGHT = 8, 120, 90
POINTS = hnp.arrays(np.float64, st.tuples(st.integers(1, 9), st.just(2)), elements=st.floats(-1e9, 1e9))


def flat(count, shades=None):
    shades = np.arange(count) if shades is None else np.array(shades)
    return np.broadcast_to(shades.astype(np.uint8)[:, None, None, None], (count, SIDE, SIDE, 3))


def pasted(points, thumbnails=None):
    thumbnails = flat(len(points)) if thumbnails is None else thumbnails
    return mosaic(np.asarray(points, dtype=float), thumbnails, width=WIDTH, height=HEIGHT)


def centre_of(canvas, shade):
    return np.argwhere((canvas == shade).all(axis=2)).mean(axis=0)


@given(POINTS)
def test_no_thumbnail_leaves_the_picture(points):
    canvas = pasted(points)
    assert canvas.shape == (HEIGHT, WIDTH, 3)
    assert canvas.dtype == np.uint8
    assert (canvas == len(points) - 1).all(axis=2).sum() == SIDE * SIDE  # the last lies on top of all, whole
    used = (canvas != 255).any(axis=2)
    assert SIDE * SIDE <= used.sum() <= len(points) * SIDE * SIDE
    assert not used[0].any()  # a margin stays free
    assert not used[:, -1].any()


def test_the_first_axis_runs_right_and_the_second_up():
    canvas = pasted([[0, 0], [1, 0], [0, 1], [1, 1]])
    (low_y, left), (_, right), (high_y, _), (corner_y, corner_x) = (centre_of(canvas, shade) for shade in range(4))
    assert left < right == corner_x
    assert corner_y == high_y < low_y


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_thumbnail_has_its_centre_at_its_point(x, y):
    canvas = pasted([[0, 0], [1, 1], [x, y]])
    (bottom, left), (top, right) = place_of([0, 0]), place_of([1, 1])
    expected = [bottom + y * (top - bottom), left + x * (right - left)]
    np.testing.assert_allclose(centre_of(canvas, 2), expected, atol=1.01)


def place_of(corner):
    """Where a corner of the map lies in the picture."""
    return centre_of(pasted([[0, 0], [1, 1], corner]), 2)


def test_a_thumbnail_is_pasted_bit_for_bit():
    picture = np.random.default_rng(0).integers(0, 255, (1, SIDE, SIDE, 3), dtype=np.uint8)
    canvas = pasted([[3, 4]], picture)
    rows, columns = np.nonzero((canvas != 255).any(axis=2))
    np.testing.assert_array_equal(canvas[rows.min() :, columns.min() :][:SIDE, :SIDE], picture[0])


def test_later_thumbnails_lie_on_top():
    canvas = pasted([[0, 0], [5, 5], [0, 0]])
    assert not (canvas == 0).all(axis=2).any()
    assert (canvas == 2).all(axis=2).sum() == SIDE * SIDE


@pytest.mark.parametrize(("count", "width"), [(0, 100), (1, 7)])
def test_no_thumbnails_or_too_large_ones_are_refused(count, width):
    with pytest.raises(RequestError, match=rf"{count} thumbnails of 8 pixels for a mosaic of {width} x 90"):
        mosaic(np.zeros((count, 2)), flat(count), width=width, height=HEIGHT)
