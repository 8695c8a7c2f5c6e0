import numpy as np
from PIL import Image

from tfcells.explain.pictures import Panel, Row, draw_sheet, outlined, overlay
from tfcells.explain.verdict import UNTRUSTWORTHY


def grey_picture(side=64):
    return np.full((side, side, 3), 128, dtype=np.uint8)


def test_for_is_red_against_is_blue_and_nothing_is_the_picture_in_grey():
    heat = np.zeros((4, 4))
    heat[0, 0], heat[3, 3] = 2, -2
    shown = overlay(grey_picture(), heat, signed=True).astype(int)
    assert shown[4, 4, 0] > shown[4, 4, 2] + 50
    assert shown[60, 60, 2] > shown[60, 60, 0] + 50
    assert np.ptp(shown[32, 32]) == 0


def test_a_cell_of_a_map_covers_its_part_of_the_picture():
    heat = np.zeros((4, 4))
    heat[1, 2] = 1
    shown = overlay(grey_picture(), heat, signed=True).astype(int)
    coloured = np.ptp(shown, axis=2) > 0
    assert coloured[16:32, 32:48].all() and coloured.sum() == 16 * 16


def test_a_map_of_nothing_can_be_drawn():
    for signed in (True, False):
        assert overlay(grey_picture(), np.zeros((7, 7)), signed=signed).shape == (64, 64, 3)


def test_a_stronger_place_is_brighter_in_a_map_without_signs():
    shown = overlay(grey_picture(), np.linspace(0, 1, 16).reshape(4, 4), signed=False).astype(int).sum(axis=2)
    assert shown[60, 60] > shown[30, 30] > shown[4, 4]


def test_the_outline_lies_on_the_edge_of_the_mask():
    mask = np.zeros((64, 64), dtype=bool)
    mask[16:48, 16:48] = True
    changed = (outlined(grey_picture(), mask) != 128).any(axis=2)
    assert changed[16, 20] and changed[47, 30] and not changed[32, 32] and not changed[4, 4]


def test_a_sheet_has_a_row_for_each_image_and_a_column_for_each_method(tmp_path):
    panels = [
        Panel(heat=np.eye(7), signed=True, note="adds up"),
        None,
        Panel(heat=np.eye(4), signed=False, verdict=UNTRUSTWORTHY),
    ]
    rows = [Row(picture=grey_picture(), caption=("a $ b_c", "is b"), panels=panels, mask=np.eye(64, dtype=bool))] * 2
    draw_sheet(rows, ["one", "two", "three"], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > sheet.height * 0.8 and sheet.format == "PNG"
