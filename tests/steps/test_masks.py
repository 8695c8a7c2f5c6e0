"""Masks are found by the name of their picture, are never the picture itself, and must fit it."""

import numpy as np
import pytest
from PIL import Image

from tfcells.errors import RequestError
from tfcells.steps.masks import mask_file, mask_of


def test_a_picture_with_an_absolute_id_is_not_its_own_mask(tmp_path):
    picture, masks = tmp_path / "mine" / "basophil" / "one.png", tmp_path / "masks"
    for path in (picture, masks / "basophil" / "one.png"):
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((4, 6), 255, dtype=np.uint8)).save(path)
    assert mask_file(masks, str(picture)) == masks / "basophil" / "one.png"
    (masks / "basophil" / "one.png").unlink()
    assert mask_file(masks, str(picture)) is None


def test_a_mask_is_what_is_not_black_at_the_size_of_the_network(tmp_path):
    levels = np.zeros((4, 8), dtype=np.uint8)
    levels[:, 4:] = (128, 128, 255, 255)
    Image.fromarray(levels).save(tmp_path / "one.png")
    found = mask_of(tmp_path, "one.jpg", shape=(4, 8), size=4)
    assert found.dtype == bool and found.tolist() == [[False, False, True, True]] * 4
    assert not mask_of(tmp_path, "two.jpg", shape=(4, 8), size=4).any()


def test_a_mask_that_cannot_be_that_of_the_picture_is_refused_by_name(tmp_path):
    Image.fromarray(np.zeros((4, 8), dtype=np.uint8)).save(tmp_path / "one.png")
    with pytest.raises(RequestError, match=r"one\.png is a mask of 8 x 4 pixels, its picture has 8 x 5"):
        mask_of(tmp_path, "one.png", shape=(5, 8), size=4)
    whole = (tmp_path / "one.png").read_bytes()
    for broken in (b"no mask", whole[:40], b""):
        (tmp_path / "one.png").write_bytes(broken)
        with pytest.raises(RequestError, match=r"one\.png cannot be read as a mask: .*Expected a picture"):
            mask_of(tmp_path, "one.png", shape=(4, 8), size=4)


def _numbers(rows=8):
    """Background 0, cytoplasm 1, nucleus 2."""
    found = np.zeros((rows, rows), dtype=np.uint8)
    found[2:6, 2:6], found[3:5, 3:5] = 1, 2
    return found


def _palette(numbers):
    made = Image.fromarray(numbers)
    made.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])  # as PASCAL VOC colours its classes
    return made


def _coloured(numbers, *colour):
    return Image.fromarray(((numbers > 0)[..., None] * np.array(colour)).astype(np.uint8))


@pytest.mark.parametrize(
    "drawn",
    [
        lambda numbers: Image.fromarray((numbers > 0).astype(np.uint8)),
        Image.fromarray,
        lambda numbers: Image.fromarray(numbers.astype(np.uint16)),
        lambda numbers: Image.fromarray((numbers > 0).astype(np.uint16) * 65535),
        lambda numbers: Image.fromarray(numbers > 0),
        _palette,
        lambda numbers: _coloured(numbers, 200, 0, 0),
        lambda numbers: _coloured(numbers, 0, 0, 255),
        lambda numbers: Image.fromarray(np.dstack([np.full((8, 8, 3), 255), 255 * (numbers > 0)]).astype(np.uint8)),
    ],
    ids=["0 and 1", "numbers", "16-bit numbers", "16 bits", "1 bit", "palette", "red", "blue", "transparent"],
)
def test_a_cell_is_found_however_a_mask_is_drawn(drawn, tmp_path):
    drawn(_numbers()).save(tmp_path / "a.png")
    found = mask_of(tmp_path, "a.png", shape=(8, 8), size=8)
    np.testing.assert_array_equal(found, _numbers() > 0)


def test_the_noise_of_a_lossy_mask_without_a_cell_is_no_cell(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (16, 16)).astype(np.uint8)).save(tmp_path / "a.jpg")
    assert not mask_of(tmp_path, "a.jpg", shape=(16, 16), size=8).any()
