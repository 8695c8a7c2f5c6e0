import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.images.resize import resize_image, thumbnail
from tfcells.images.sources import ArraySource, FolderSource
from tfcells.images.synthetic.cells import draw_cell
from tfcells.images.thumbnails import MISSING_GREY, read_thumbnails


@pytest.fixture(scope="module")
def tensorflow_resize():
    import tensorflow as tf

    def resize(pixels, *, height, width):
        resized = tf.image.resize(pixels, (height, width), method="bilinear", antialias=True)
        return resized.numpy()

    return resize


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# The kernel.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((363, 360), (224, 224)),
        ((224, 224), (224, 224)),
        ((100, 150), (224, 224)),
        ((1024, 768), (96, 96)),
        ((7, 500), (33, 31)),
        ((1, 1), (5, 4)),
        ((300, 1), (10, 10)),
        ((2, 3), (1, 1)),
        ((640, 481), (299, 331)),
    ],
)
def test_the_kernel_in_python_is_the_twin_of_tensorflows(tensorflow_resize, before, after):
    (height, width), pixels = after, noise(*before)
    found = resize_image(pixels, height=height, width=width)
    np.testing.assert_allclose(found, tensorflow_resize(pixels, height=height, width=width), atol=2e-4)


@given(
    before=st.tuples(st.integers(1, 90), st.integers(1, 90)), after=st.tuples(st.integers(1, 90), st.integers(1, 90))
)
@settings(max_examples=60, deadline=None)
def test_the_kernel_in_python_is_the_twin_of_tensorflows_at_any_size(tensorflow_resize, before, after):
    (height, width), pixels = after, noise(*before)
    found = resize_image(pixels, height=height, width=width)
    np.testing.assert_allclose(found, tensorflow_resize(pixels, height=height, width=width), atol=2e-4)


def test_a_cell_is_seen_alike_by_both(tensorflow_resize):
    cell = draw_cell("monocyte", seed=1, index=0)
    found = resize_image(cell, height=224, width=224)
    np.testing.assert_allclose(found, tensorflow_resize(cell, height=224, width=224), atol=0.02)


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), shade=st.integers(0, 255))
@settings(max_examples=50, deadline=None)
def test_a_plain_picture_stays_plain_at_any_size(size, shade):
    plain = np.full((13, 17, 3), (shade, 0, 255), dtype=np.uint8)
    found = resize_image(plain, height=size[0], width=size[1])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.broadcast_to(np.float32([shade, 0, 255]), (*size, 3)), atol=1e-4)


def test_the_same_size_changes_nothing_and_the_result_is_not_rounded():
    pixels = noise(20, 30)
    np.testing.assert_array_equal(resize_image(pixels, height=20, width=30), pixels)
    assert (resize_image(pixels, height=7, width=9) % 1 != 0).any()


def test_channels_do_not_mix():
    pixels = noise(20, 30)
    pixels[:, :, 1] = 0
    found = resize_image(pixels, height=9, width=11)
    assert (found[:, :, 1] == 0).all()
    np.testing.assert_array_equal(resize_image(pixels[:, :, ::-1], height=9, width=11), found[:, :, ::-1])


# Thumbnails.


@given(size=st.tuples(st.integers(1, 300), st.integers(1, 300)), side=st.integers(1, 70))
@settings(max_examples=100, deadline=None)
def test_a_thumbnail_keeps_the_aspect_ratio_and_lies_in_the_middle(size, side):
    small = thumbnail(np.zeros((*size, 3), np.uint8), side=side)
    assert small.shape == (side, side, 3)
    rows, columns = np.flatnonzero((small == 0).any(axis=(1, 2))), np.flatnonzero((small == 0).any(axis=(0, 2)))
    found = (len(rows), len(columns))
    assert max(found) == side
    for extent, original in zip(found, size, strict=True):
        assert extent == max(1, round(original * side / max(size)))
    for lines in (rows, columns):
        assert lines[-1] - lines[0] == len(lines) - 1
        assert abs(lines[0] - (side - 1 - lines[-1])) <= 1


def test_a_thumbnail_is_the_rounded_kernel_and_its_rest_is_filled():
    pixels = noise(80, 40)
    small = thumbnail(pixels, side=20, filler=7)
    assert (small[:, :5] == 7).all()
    assert (small[:, 15:] == 7).all()
    assert np.abs(small[:, 5:15] - resize_image(pixels, height=20, width=10)).max() <= 1


def test_thumbnails_come_in_the_order_that_was_asked_and_missing_ones_are_grey(tmp_path, monkeypatch):
    monkeypatch.setattr("tfcells.images.thumbnails._WINDOW", 3)
    pictures = np.stack([np.full((9, 9, 3), 20 * row, np.uint8) for row in range(8)])
    source = ArraySource({"images": pictures}, path=tmp_path / "x.npz")
    told, rows = [], [7, 0, 3, 3, 5, 1, 2]
    ids = [f"images/{row:06d}" for row in rows]
    small = read_thumbnails(source, ids, side=4, progress=lambda stage, done, total: told.append((stage, done, total)))
    assert small[:, 0, 0, 0].tolist() == [20 * row for row in rows]
    assert told == [("thumbnails", done, 7) for done in (0, 3, 6, 7)]
    gone = read_thumbnails(FolderSource(tmp_path), ["gone.png"], side=4)
    assert (gone == MISSING_GREY).all()
    assert read_thumbnails(source, [], side=4).shape == (0, 4, 4, 3)
