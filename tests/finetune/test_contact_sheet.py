import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tfcells.errors import EmptyDataError
from tfcells.finetune.contact_sheet import contact_sheet, draw_contact_sheet, png_of, rows_that_fit, some_of_each_class
from tfcells.finetune.examples import training_batches
from tfcells.finetune.pictures import PictureCache, Pictures

SIZE = 40


@pytest.fixture(scope="module")
def pictures(cells):
    return Pictures(cells, SIZE, "bilinear", PictureCache())


def test_the_first_column_is_the_picture_and_the_others_are_what_each_epoch_shows(cells, pictures):
    sheet = contact_sheet(pictures, [2, 30], seed=5, variants=3)
    assert sheet.shape == (2 * SIZE + 4, 4 * SIZE + 3 * 4 + 8, 3)
    for place, row in enumerate([2, 30]):
        top = place * (SIZE + 4)
        np.testing.assert_array_equal(sheet[top : top + SIZE, :SIZE], pictures.exact(row).round())
        for epoch in range(3):
            left = (epoch + 1) * (SIZE + 4) + 8
            batches = training_batches(cells, [row], cells.labels, size=SIZE, batch_size=1, epoch=epoch, seed=5)
            trained = next(batches.as_numpy_iterator())[0][0]
            np.testing.assert_array_equal(sheet[top : top + SIZE, left : left + SIZE], trained)
    assert (sheet[SIZE : SIZE + 4] == 255).all()


def test_every_class_is_shown_as_often_as_asked_or_as_it_can_be(cells):
    labels = cells.labels.copy()
    labels[:11] = -1  # one of the first class is left
    rows = some_of_each_class(cells.ids, labels, classes=4, per_class=2, seed=0)
    assert labels[rows].tolist() == [0, 1, 1, 2, 2]
    assert some_of_each_class(cells.ids, labels, classes=3, per_class=1, rows=[30, 15]) == [15, 30]
    others = {tuple(some_of_each_class(cells.ids, labels, classes=3, seed=seed)) for seed in range(8)}
    assert len(others) > 1


def test_the_figure_holds_the_sheet_pixel_for_pixel(cells, pictures):
    rows = some_of_each_class(cells.ids, cells.labels, classes=3)
    figure = draw_contact_sheet(
        pictures, rows, cells.labels, ("a", "price $5$", "a\tvery long name"), seed=1, variants=2
    )
    drawn = np.asarray(Image.open(io.BytesIO(png_of(figure))).convert("RGB"))
    sheet = contact_sheet(pictures, rows, seed=1, variants=2)
    assert contains(drawn, sheet)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["a", r"price \$5\$", r"a\tvery long name"]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["as it is", "epoch 1", "epoch 2"]
    for text in figure.axes[0].get_yticklabels():
        assert text.get_window_extent().x0 >= 0


def test_of_hundreds_of_classes_a_bounded_sheet_shows_some_and_says_what_is_left_out(cells, pictures):
    rows = [place % len(cells) for place in range(300)]
    figure = draw_contact_sheet(pictures, rows, cells.labels, ("a", "b", "c"), seed=1, variants=1)
    (note,) = figure.texts
    assert note.get_text() == "32 of 300 images; the other 268 are left out"
    height, _ = Image.open(io.BytesIO(png_of(figure))).size[::-1]
    assert height < 32 * (SIZE + 4) + 60
    extent = note.get_window_extent()
    assert extent.y0 >= 0 and extent.x0 >= 0 and extent.x1 <= figure.bbox.x1
    few = draw_contact_sheet(pictures, rows[:32], cells.labels, ("a", "b", "c"), seed=1, variants=1)
    assert few.texts[0].get_text() == ""


@given(st.integers(1, 400), st.integers(16, 3000))
def test_rows_that_fit_are_of_the_whole_range_in_order_and_once(count, size):
    kept = rows_that_fit(range(count), size=size)
    assert kept == sorted(set(kept)) and set(kept) <= set(range(count))
    assert 1 <= len(kept) <= 32 and len(kept) * size <= max(8000, size)
    if len(kept) > 1:
        assert (kept[0], kept[-1]) == (0, count - 1)


def contains(large, small):
    """Whether a picture holds another one somewhere."""
    rows, columns = (a - b + 1 for a, b in zip(large.shape[:2], small.shape[:2], strict=True))
    starts = np.argwhere((large[:rows, :columns] == small[0, 0]).all(axis=2))
    return any(np.array_equal(large[y : y + small.shape[0], x : x + small.shape[1]], small) for y, x in starts)


def test_a_sheet_of_nothing_is_refused(pictures):
    with pytest.raises(EmptyDataError, match=r"A contact sheet without pictures\. Expected one row or more\."):
        contact_sheet(pictures, [], seed=0)
