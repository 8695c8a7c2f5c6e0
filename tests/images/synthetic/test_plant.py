"""Plants are checked where they are made."""

import re

import numpy as np
import pytest

from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.synthetic.cells import draw_cell
from tfcells.images.synthetic.copies import augmented_copy
from tfcells.images.synthetic.plant import Plants, Shortcut, plan_entries


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"copies": -1}, r"Plants\.copies is -1\. Expected a number of files, 0 or more\."),
        ({"corrupt": -2}, r"Plants\.corrupt is -2\. Expected a number of files"),
        ({"other_site": 1.5}, r"Plants\.other_site is 1\.5\. Expected a share of the pictures from 0 to 1\."),
        ({"other_site": float("nan")}, r"Plants\.other_site is nan"),
        ({"label_noise": 0.6}, r"Plants\.label_noise is 0\.6\. Expected a share of the pictures from 0 to 0\.5\."),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(RequestError, match=message):
        Plants(**arguments)


def test_unknown_shortcuts_are_refused():
    with pytest.raises(UnknownNameError, match=r"Unknown kind of shortcut 'boarder'\. Did you mean 'border'"):
        Shortcut(kind="boarder", of="ig")
    with pytest.raises(UnknownNameError, match="Unknown class of generated cells 'IG'"):
        Shortcut(kind="border", of="IG")


def test_adding_copies_leaves_the_originals_as_they_were():
    def originals(plants):
        rng = np.random.default_rng(0)
        entries = plan_entries(plants, classes=("ig", "monocyte"), images_per_class=5, rng=rng)
        return sorted((e.kind, e.index, e.group) for e in entries if e.copy is None and not e.fault)

    assert originals(Plants()) == originals(Plants(copies=7, corrupt=3))


@pytest.mark.parametrize("seed", range(12))
def test_a_copy_keeps_size_and_says_what_was_done(seed):
    picture = draw_cell("eosinophil", seed=0)
    copy = augmented_copy(picture, rng=np.random.default_rng(seed))
    assert copy.pixels.shape == picture.shape and copy.pixels.dtype == np.uint8
    assert copy.done and (copy.pixels != picture).any()


def test_copies_come_in_every_kind():
    picture = draw_cell("platelet", seed=0)
    done = " ".join(augmented_copy(picture, rng=np.random.default_rng(seed)).done for seed in range(60))
    for kind in (
        "rotate",
        "flip up-down",
        "flip left-right",
        "shift",
        "crop",
        "blur",
        "noise",
        "jpeg",
        "gamma",
        "colour",
    ):
        assert kind in done
    areas = [float(area) for area in re.findall(r"crop (\S+?)(?:,|\s|$)", done)]
    assert areas and min(areas) >= 0.35


def test_the_picture_a_copy_is_made_of_is_not_touched():
    picture = draw_cell("ig", seed=0)
    before = picture.copy()
    for seed in range(10):
        augmented_copy(picture, rng=np.random.default_rng(seed))
    np.testing.assert_array_equal(picture, before)
