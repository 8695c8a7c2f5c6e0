"""Masks are found by the name of their picture, and are never the picture itself."""

import numpy as np
from PIL import Image

from tfcells.steps.subjects import _mask_file


def test_a_picture_with_an_absolute_id_is_not_its_own_mask(tmp_path):
    picture, masks = tmp_path / "mine" / "basophil" / "one.png", tmp_path / "masks"
    for path in (picture, masks / "basophil" / "one.png"):
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((4, 6), 255, dtype=np.uint8)).save(path)
    assert _mask_file(masks, str(picture)) == masks / "basophil" / "one.png"
    (masks / "basophil" / "one.png").unlink()
    assert _mask_file(masks, str(picture)) is None
