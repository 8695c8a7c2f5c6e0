import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.cues import JPEG, read_cues
from tfcells.images.decode import decode_image, pixel_digest
from tfcells.images.readers import read_images

pytestmark = pytest.mark.slow

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 16, 20, 3), dtype=np.uint8)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def tfds():
    import tensorflow_datasets

    return tensorflow_datasets


@pytest.fixture(scope="module")
def read():
    from tfcells.images.tfds_reader import read_tfds

    return read_tfds


def encoded(pixels, kind):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return io.BytesIO(buffer.getvalue())


def make(tfds, features, splits):
    """Registers a builder of these examples under a new name, and returns the name."""
    module = tfds.core

    class Made(module.GeneratorBasedBuilder, skip_registration=True):
        VERSION = module.Version("1.0.0")
        code_path = Path(__file__)

        def _info(self):
            return module.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: iter(enumerate(examples)) for split, examples in splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    number = next(_numbers)
    type(f"TfcellsMade{number}", (Made,), {"__module__": __name__})
    return f"tfcells_made{number}"


@pytest.fixture(scope="module")
def smears(read, tmp_path_factory):
    from tfcells.images.synthetic.builder import SmearsConfig, TfcellsSmears

    with pytest.MonkeyPatch.context() as patch:
        small = SmearsConfig(name="small", images_per_class=2, copies=4, other_site=0.25, seed=5)
        # Not BUILDER_CONFIGS, of which tensorflow-datasets makes this once in a process.
        patch.setattr(TfcellsSmears, "builder_configs", {"small": small})
        return read("tfcells_smears/small", data_dir=tmp_path_factory.mktemp("tfds"))


def test_the_generated_smears_come_with_classes_sites_and_groups(smears):
    from tfcells.images.synthetic.recipes import CLASSES

    assert len(smears) == 2 * len(CLASSES) + 4
    assert smears.class_names == tuple(sorted(CLASSES))
    assert smears.class_counts().keys() == set(CLASSES)
    assert min(smears.class_counts().values()) >= 2
    assert set(smears.metadata["site"]) == {"pbc_like", "other_site"}
    assert set(smears.metadata["split"]) == {"train"}
    assert len(set(smears.groups)) == 2 * len(CLASSES)  # each copy is with its original
    assert smears.quarantine == ()


def test_ids_are_those_of_tensorflow_datasets_and_lead_to_the_pixels(smears):
    assert len(set(smears.ids)) == len(smears)
    assert all(id.startswith("tfcells_smears-train.tfrecord-00000-of-00001__") for id in smears.ids)
    for id, digest in zip(smears.ids, smears.digests, strict=True):
        assert pixel_digest(smears.source.read(id)) == digest
    assert smears.source.describe() == {"kind": "tfds", "root": "tfds:tfcells_smears/small"}


@pytest.fixture(scope="module")
def patients(tfds, read, tmp_path_factory):
    """Two splits, a number as the group, numbers and truth values as columns, an unlabelled picture."""
    features = {
        "photo": tfds.features.Image(),
        "kind": tfds.features.ClassLabel(names=["zebra", "ape"]),
        "group": np.int64,
        "age": np.float32,
        "stained": np.bool_,
        "width": tfds.features.Text(),
        "boxes": tfds.features.Tensor(shape=(2,), dtype=np.float32),
    }
    examples = [
        {
            "photo": encoded(PIXELS[row], "JPEG" if row < 2 else "PNG"),
            "kind": (0, 1, 0, -1)[row],
            "group": (7, 8, 7, 9)[row],
            "age": 0.5 * row,
            "stained": row == 1,
            "width": "7 µm",
            "boxes": [0, 1],
        }
        for row in range(4)
    ]
    name = make(tfds, features, {"train": examples[:2], "test": examples[2:]})
    return read(name, data_dir=tmp_path_factory.mktemp("tfds"))


def by_age(table, column):
    return dict(sorted(zip(table.metadata["age"], column, strict=True)))


def test_a_group_that_is_a_number_is_a_group(patients):
    groups = by_age(patients, patients.groups)
    assert groups["0.0"] == groups["1.0"]
    assert len(set(groups.values())) == 3
    assert "group" not in patients.metadata


def test_classes_come_in_the_order_that_was_given_and_others_are_refused(tfds, read, tmp_path):
    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["ape", "zebra"])}
    examples = [{"image": encoded(PIXELS[row], "PNG"), "label": row} for row in range(2)]
    name = make(tfds, features, {"train": examples})
    table = read(name, data_dir=tmp_path, class_names=["zebra", "ape"])
    assert table.class_names == ("zebra", "ape")
    assert table.class_counts() == {"zebra": 1, "ape": 1}
    with pytest.raises(UnknownNameError, match="zebra"):
        read(name, data_dir=tmp_path, class_names=["ape"])


def test_scalars_become_columns_and_splits_are_told_apart(patients):
    assert by_age(patients, patients.metadata["split"]) == {
        "0.0": "train",
        "0.5": "train",
        "1.0": "test",
        "1.5": "test",
    }
    assert by_age(patients, patients.metadata["stained"])["0.5"] == "True"
    assert set(patients.metadata["width"]) == {"7 µm"}
    assert set(patients.metadata["height"]) == {"16"}
    assert "boxes" not in patients.metadata


def test_labels_go_by_name_and_a_missing_one_is_unlabelled(patients):
    assert patients.class_names == ("ape", "zebra")
    assert by_age(patients, patients.labels.tolist()) == {"0.0": 1, "0.5": 0, "1.0": 1, "1.5": -1}


def test_jpeg_pixels_are_canonical_and_not_tensorflows(patients):
    digests = by_age(patients, patients.digests)
    for row in (0, 1):
        assert digests[f"{0.5 * row}"] == pixel_digest(decode_image(encoded(PIXELS[row], "JPEG").getvalue()))
    assert digests["1.5"] == pixel_digest(PIXELS[3])


def test_cues_are_those_of_the_encoded_pictures_and_there_is_no_order_of_files(patients):
    cues = read_cues(patients)
    sizes = [len(encoded(PIXELS[row], "JPEG" if row < 2 else "PNG").getvalue()) / (16 * 20) for row in range(4)]
    assert list(by_age(patients, cues.values["bytes"][:, 0].tolist()).values()) == pytest.approx(sizes)
    jpeg = cues.values["jpeg"][:, JPEG.index("format JPEG")]
    assert list(by_age(patients, jpeg.tolist()).values()) == [1, 1, 0, 0]
    reason = "ids are places in a data set's records, which it may have shuffled, not names of files"
    assert cues.absent == {"order": reason}


def test_a_picture_that_does_not_decode_is_quarantined_by_its_id(tfds, read, tmp_path):
    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
    photos = [encoded(PIXELS[0], "PNG"), io.BytesIO(encoded(PIXELS[1], "PNG").getvalue()[:300])]
    examples = [{"image": photo, "label": row} for row, photo in enumerate(photos)]
    table = read(make(tfds, features, {"train": examples}), data_dir=tmp_path)
    assert len(table) == 1
    assert table.class_names == ("0", "1")
    (entry,) = table.quarantine
    assert entry.reason.startswith("cannot be decoded")
    assert entry.id not in table.ids


def test_a_data_set_without_one_image_and_one_label_is_refused(tfds, read, tmp_path):
    features = {"left": tfds.features.Image(), "right": tfds.features.Image(), "text": tfds.features.Text()}
    name = make(tfds, features, {"train": []})
    with pytest.raises(
        RequestError, match=rf"tfds:{name} .*2 image features and 0 class labels \(left, right, text\)\."
    ):
        read(name, data_dir=tmp_path)


def test_an_unknown_name_is_refused_with_a_suggestion(read, tmp_path):
    with pytest.raises(UnknownNameError, match=r"builder 'tfcells_smear'\. Did you mean 'tfcells_smears'") as refused:
        read("tfcells_smear", data_dir=tmp_path)
    assert len(str(refused.value)) < 2000
    with pytest.raises(UnknownNameError, match="Did you mean 'tfcells_smears'"):
        read_images("tfds:tfcells_smear/n20_seed0")


@pytest.mark.parametrize("name", ["tfcells_smears:9.9.9", "tfcells_smears/nope", "", "../x", "a b"])
def test_a_name_that_cannot_be_opened_is_refused_with_what_tensorflow_datasets_says(read, tmp_path, name):
    with pytest.raises(RequestError, match=r"^tfds:.* cannot be opened: \S"):
        read(name, data_dir=tmp_path)


def test_a_data_set_that_cannot_be_prepared_says_where_it_would_lie(tfds, read, tmp_path):
    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
    name = make(tfds, features, {"train": [{"image": "/nowhere.png", "label": 0}]})
    with pytest.raises(RequestError, match=rf"tfds:{name} is not on this machine .* copy the folder {tmp_path}"):
        read(name, data_dir=tmp_path)
