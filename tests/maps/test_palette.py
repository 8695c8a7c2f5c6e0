import re

import pytest

from tfcells.maps.palette import UNLABELLED, class_colours


@pytest.mark.parametrize("classes", [0, 1, 2, 8, 9, 12, 20, 40, 100])
def test_every_class_has_a_colour_of_its_own(classes):
    colours = class_colours(classes)
    assert len(colours) == classes
    assert len({*colours, UNLABELLED}) == classes + 1
    assert all(re.fullmatch("#[0-9a-fA-F]{6}", colour) for colour in colours)


def test_a_few_classes_keep_their_colours_when_one_is_added():
    assert class_colours(8)[:5] == class_colours(5)
