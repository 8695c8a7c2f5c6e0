"""The same pictures through tensorflow-datasets."""

import numpy as np
import pytest

from tfcells.errors import RequestError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smears():
    from tfcells.images.synthetic import builder

    return builder


@pytest.fixture(scope="module")
def prepared(smears, tmp_path_factory):
    config = smears.SmearsConfig(images_per_class=2, seed=5, copies=4, other_site=0.25)
    builder = smears.TfcellsSmears(config=config, data_dir=str(tmp_path_factory.mktemp("tfds")))
    builder.download_and_prepare()
    return builder


def read(builder):
    import tensorflow_datasets as tfds

    data = builder.as_dataset(split="train", read_config=tfds.ReadConfig(add_tfds_id=True))
    return sorted(tfds.as_numpy(data), key=lambda example: example["tfds_id"])


def test_round_trip_gives_the_pictures_that_were_drawn(prepared):
    from tfcells.images.synthetic.cells import draw_cell
    from tfcells.images.synthetic.recipes import CLASSES

    examples = read(prepared)
    assert prepared.name == "tfcells_smears"
    assert len(examples) == 2 * len(CLASSES) + 4
    assert prepared.info.features["label"].names == list(CLASSES)
    stored = {example["image"].tobytes() for example in examples}
    at_home = [draw_cell(kind, seed=5, index=index).tobytes() for kind in CLASSES for index in range(2)]
    assert sum(drawn in stored for drawn in at_home) == 12  # a quarter of 16 comes from the other site
    assert all(example["image"].shape == (363, 360, 3) for example in examples)


def test_groups_and_sites_come_along(prepared):
    examples = read(prepared)
    groups = [example["group"] for example in examples]
    assert len(set(groups)) == 16
    assert {example["site"] for example in examples} == {b"pbc_like", b"other_site"}


def test_ids_and_pictures_are_the_same_twice(smears, prepared, tmp_path):
    config = smears.SmearsConfig(images_per_class=2, seed=5, copies=4, other_site=0.25)
    again = smears.TfcellsSmears(config=config, data_dir=str(tmp_path))
    again.download_and_prepare()
    for one, other in zip(read(prepared), read(again), strict=True):
        assert one["tfds_id"] == other["tfds_id"]
        np.testing.assert_array_equal(one["image"], other["image"])


def test_different_requests_never_share_a_name(smears):
    names = {
        smears.SmearsConfig(**arguments).name
        for arguments in ({}, {"seed": 1}, {"images_per_class": 3}, {"copies": 2}, {"other_site": 0.5})
    }
    assert len(names) == 5


def test_numbers_out_of_range_are_refused(smears):
    with pytest.raises(RequestError, match="images_per_class is 0"):
        smears.SmearsConfig(images_per_class=0)
    with pytest.raises(RequestError, match=r"Plants\.copies is -1"):
        smears.SmearsConfig(copies=-1)
