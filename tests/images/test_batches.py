import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfcells.images.batches import image_batches
from tfcells.images.decode import BadImageError, pixel_digest
from tfcells.images.readers import read_folder
from tfcells.images.resize import resize_image
from tfcells.images.table import ImageTable

SIZE, ROWS = 12, 11


class Drawn:
    """A source that draws the picture of each id, and fails as it is told."""

    def __init__(self, faults=None):
        self.faults = faults or {}

    def read(self, id):
        fault = self.faults.get(id)
        if isinstance(fault, BaseException):
            raise fault
        return picture(int(id.removeprefix("cell "))) if fault is None else fault

    def describe(self):
        return {"kind": "drawn", "root": ""}


def picture(seed):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (*generator.integers(5, 30, 2), 3), dtype=np.uint8)


def table(faults=None, rows=ROWS):
    ids = tuple(f"cell {row}" for row in range(rows))
    return ImageTable(
        ids=ids,
        digests=tuple(pixel_digest(picture(row)) for row in range(rows)),
        labels=np.zeros(rows, np.int64),
        class_names=("cell",),
        groups=ids,
        source=Drawn(faults),
    )


def small(pixels):
    return resize_image(pixels, height=SIZE, width=SIZE)


@pytest.fixture(scope="module")
def batches_of():
    def read(rows, **options):
        options = {"batch_size": 4, **options}
        return list(image_batches(rows, resize=small, size=SIZE, **options))

    return read


def joined(batches, key):
    return np.concatenate([getattr(batch, key) for batch in batches])


def ids_in(batches):
    return joined(batches, "ids").tolist()


def reasons_in(batches):
    pairs = zip(ids_in(batches), joined(batches, "reasons").tolist(), strict=True)
    return {id: reason for id, reason in pairs if reason}


@pytest.fixture(scope="module")
def sound(batches_of):
    return batches_of(table())


def test_rows_come_in_order_and_ids_travel_with_their_pixels(sound):
    assert ids_in(sound) == [*table().ids, ""]
    for row, pixels in enumerate(joined(sound, "pixels")[:ROWS]):
        np.testing.assert_allclose(pixels, resize_image(picture(row), height=SIZE, width=SIZE), atol=0.02)
    assert reasons_in(sound) == {}


@pytest.mark.parametrize("batch_size", [1, 4, 11, 64])
def test_every_batch_has_the_fixed_size_and_the_last_is_filled_up_with_zeros(batches_of, sound, batch_size):
    batches = batches_of(table(), batch_size=batch_size)
    assert len(batches) == -(-ROWS // batch_size)
    for batch in batches:
        assert batch.pixels.shape == (batch_size, SIZE, SIZE, 3)
        assert batch.pixels.dtype == np.float32
        assert batch.measured.shape == (batch_size, 0)
    pixels = joined(batches, "pixels")
    np.testing.assert_array_equal(pixels[:ROWS], joined(sound, "pixels")[:ROWS])
    assert (pixels[ROWS:] == 0).all()
    assert set(ids_in(batches)[ROWS:]) <= {""}


def test_no_more_than_three_batches_are_decoded_before_they_are_wanted():
    """Whoever takes batches slowly makes the decoding wait; memory does not grow."""
    read = []

    class Counted(Drawn):
        def read(self, id):
            read.append(id)
            return super().read(id)

    rows = replace(table(rows=60), source=Counted())
    batches = image_batches(rows, resize=small, size=SIZE, batch_size=4, workers=2)
    for taken in range(1, 6):
        next(batches)
        time.sleep(0.05)
        assert len(read) <= 4 * (taken + 2)
    batches.close()
    assert len(read) <= 4 * 7


def test_the_number_of_threads_changes_nothing(batches_of, sound):
    for workers in (1, 5):
        np.testing.assert_array_equal(joined(batches_of(table(), workers=workers), "pixels"), joined(sound, "pixels"))


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (5, None), (3, 8), (10, 11), (4, 4), (11, None)])
def test_a_stretch_of_rows_is_that_stretch(batches_of, sound, start, stop):
    batches = batches_of(table(), start=start, stop=stop)
    wanted = table().ids[start:stop]
    assert [id for batch in batches for id in batch.ids if id] == list(wanted)
    if wanted:
        found = joined(batches, "pixels")[: len(wanted)]
        np.testing.assert_array_equal(found, joined(sound, "pixels")[start : start + len(wanted)])


def test_rows_that_fail_in_any_way_have_a_reason_and_leave_their_neighbours_as_they_were(batches_of, sound):
    faults = {
        "cell 1": BadImageError("the file is empty (0 bytes)"),
        "cell 2": OSError(5, "Input/output error"),
        "cell 5": KeyError("lost"),
        "cell 6": MemoryError(),
        "cell 9": picture(99),
        "cell 10": BadImageError(),
    }
    batches = batches_of(table(faults))
    assert reasons_in(batches) == {
        "cell 1": "the file is empty (0 bytes)",
        "cell 2": "cannot be read: OSError: [Errno 5] Input/output error",
        "cell 5": "cannot be read: KeyError: 'lost'",
        "cell 6": "cannot be read: MemoryError: ",
        "cell 9": "its pixels changed after it was first read",
        "cell 10": "cannot be read",
    }
    assert ids_in(batches) == ids_in(sound)
    failed = np.isin(np.arange(12), [1, 2, 5, 6, 9, 10, 11])
    np.testing.assert_array_equal(joined(batches, "pixels")[~failed], joined(sound, "pixels")[~failed])
    assert (joined(batches, "pixels")[failed] == 0).all()


@pytest.mark.parametrize(
    "pixels",
    [
        picture(3).astype(np.float32),
        picture(3).astype(np.uint16),
        picture(3)[:, :, 0],
        picture(3)[:, :, :2],
        picture(3)[:0],
        picture(3)[::-1],
        picture(3).transpose(1, 0, 2),
        b"bytes",
    ],
    ids=["float32", "uint16", "grey", "two channels", "empty", "upside down", "turned", "bytes"],
)
def test_what_is_not_the_picture_of_the_table_is_noticed(batches_of, sound, pixels):
    batches = batches_of(table({"cell 3": pixels}))
    assert list(reasons_in(batches)) == ["cell 3"]
    np.testing.assert_array_equal(batches[1].pixels, sound[1].pixels)


def test_a_reason_that_is_no_valid_text_ends_nothing(batches_of):
    batches = batches_of(table({"cell 0": OSError("caf\udce9.png"), "cell 1": BadImageError("caf\udce9.png")}))
    assert reasons_in(batches) == {"cell 0": "cannot be read: OSError: caf\\udce9.png", "cell 1": "caf\\udce9.png"}


def test_measurements_of_the_full_size_pixels_arrive_with_their_rows(batches_of):
    def measure(pixels):
        return np.float32([pixels.shape[0], pixels.shape[1], pixels.mean()])

    faults = {"cell 4": BadImageError("broken")}
    measured = joined(batches_of(table(faults), measure=measure), "measured")
    for row in range(ROWS):
        np.testing.assert_array_equal(measured[row], [0, 0, 0] if row == 4 else measure(picture(row)))
    assert (measured[ROWS:] == 0).all()


def test_a_picture_that_cannot_be_measured_has_a_reason(batches_of, sound):
    def measure(pixels):
        if pixels.shape == picture(2).shape:
            raise ZeroDivisionError("no colour")
        return np.zeros(2, np.float32)

    batches = batches_of(table(), measure=measure)
    assert reasons_in(batches) == {"cell 2": "cannot be read: ZeroDivisionError: no colour"}
    assert (joined(batches, "pixels")[2] == 0).all()
    np.testing.assert_array_equal(joined(batches, "pixels")[3:], joined(sound, "pixels")[3:])


def test_a_resize_to_another_size_is_refused():
    wrong = image_batches(
        table(), resize=lambda pixels: resize_image(pixels, height=5, width=5), size=SIZE, batch_size=4
    )
    with pytest.raises(ValueError, match=r"resize gave \(5, 5, 3\)\. Expected \(12, 12, 3\)"):
        next(wrong)


def test_files_that_vanish_or_change_between_reading_and_batching_are_named(batches_of, cell_folder, tmp_path):
    root = Path(shutil.copytree(cell_folder, tmp_path / "cells"))
    before = read_folder(root)
    gone, changed, cut = before.ids[0], before.ids[7], before.ids[20]
    (root / gone).unlink()
    shutil.copy(root / before.ids[8], root / changed)
    (root / cut).write_bytes((root / cut).read_bytes()[:900])
    reasons = reasons_in(batches_of(before))
    assert list(reasons) == [gone, changed, cut]
    assert reasons[gone] == "cannot be read: No such file or directory"
    assert reasons[changed] == "its pixels changed after it was first read"
    assert reasons[cut].startswith("cannot be decoded: ")
