"""A written collection holds exactly what its truth says."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.synthetic.folder import write_sample_folder
from tfcells.images.synthetic.plant import FAULTS, SHORTCUTS, Plants, Shortcut
from tfcells.images.synthetic.recipes import CLASSES
from tfcells.images.synthetic.truth import read_truth

THREE = ("lymphocyte", "neutrophil", "platelet")
EVERYTHING = Plants(
    copies=12,
    shortcut=Shortcut(kind="border", of="platelet"),
    other_site=0.25,
    label_noise=0.1,
    corrupt=5,
)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def first_quantizer(path):
    with Image.open(path) as image:
        return image.quantization[0][0]


def files(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted") / "cells"
    return root, write_sample_folder(root, images_per_class=8, seed=3, plants=EVERYTHING, classes=THREE)


def test_a_sound_collection_has_the_images_asked_for(tmp_path):
    truth = write_sample_folder(tmp_path / "cells", images_per_class=2, seed=0)
    assert Counter(row.true_class for row in truth) == dict.fromkeys(CLASSES, 2)
    assert [row.id for row in truth] == sorted(files(tmp_path / "cells"))
    assert truth.rows[0].id == "basophil/basophil_00001.jpg"
    assert len({row.group for row in truth}) == len(truth)
    assert not truth.faults and not truth.mislabelled
    assert {row.site for row in truth} == {"pbc_like"}


def test_the_same_arguments_give_the_same_bytes(planted, tmp_path):
    root, truth = planted
    again = write_sample_folder(tmp_path / "again", images_per_class=8, seed=3, plants=EVERYTHING, classes=THREE)
    assert again == truth
    assert files(tmp_path / "again") == files(root)


def test_another_seed_gives_other_bytes(planted, tmp_path):
    other = tmp_path / "other"
    write_sample_folder(other, images_per_class=1, seed=4, classes=("platelet",))
    assert not set(files(other).values()) & set(files(planted[0]).values())


def test_every_file_is_in_the_truth_and_under_its_filed_class(planted):
    root, truth = planted
    assert [row.id for row in truth] == sorted(files(root))
    assert all(row.id.startswith(f"{row.filed_class}/{row.filed_class}_") for row in truth)


def test_clean_files_decode_and_corrupt_ones_do_not(planted):
    root, truth = planted
    assert Counter(truth.faults.values()) == {FAULTS[0]: 2, FAULTS[1]: 2, FAULTS[2]: 1}
    for row in truth.readable:
        assert pixels(root / row.id).shape == (363, 360, 3)
    for id, reason in truth.faults.items():
        data = (root / id).read_bytes()
        assert (len(data) == 0) == (reason == "zero bytes")
        assert data.startswith(b"\xff\xd8") == (reason == "truncated JPEG")
        with pytest.raises(OSError):
            Image.open(io.BytesIO(data)).load()


def test_copies_share_the_group_of_exactly_one_original(planted):
    _, truth = planted
    copies = [row for row in truth if row.copy]
    originals = Counter(row.group for row in truth if not row.copy)
    assert len(copies) == EVERYTHING.copies
    assert set(originals.values()) == {1}
    source = {row.group: row for row in truth if not row.copy}
    for copy in copies:
        assert copy.true_class == source[copy.group].true_class
        assert copy.site == source[copy.group].site
        assert not source[copy.group].fault


def test_a_mirrored_copy_is_its_original_mirrored(tmp_path):
    truth = write_sample_folder(
        tmp_path / "cells", images_per_class=4, seed=0, plants=Plants(copies=60), classes=("monocyte",)
    )
    source = {row.group: row.id for row in truth if not row.copy}
    mirrored = [row for row in truth if row.copy in ("flip left-right", "flip up-down")]
    assert mirrored
    for row in mirrored:
        axis = 1 if row.copy == "flip left-right" else 0
        back = np.flip(pixels(tmp_path / "cells" / row.id), axis=axis).astype(int)
        assert np.abs(back - pixels(tmp_path / "cells" / source[row.group])).mean() < 2


def test_the_share_from_the_other_site_is_exact_and_bluish(planted):
    root, truth = planted
    elsewhere = [row for row in truth.readable if row.site == "other_site"]
    assert sum(not row.copy for row in elsewhere) == round(0.25 * 8 * len(THREE))
    for row in truth.readable:
        if not row.copy:
            red, _, blue = np.median(pixels(root / row.id), axis=(0, 1))
            assert (blue > red) == (row.site == "other_site")


def test_label_noise_is_counted_and_truth_keeps_the_real_class(planted):
    _, truth = planted
    assert len(truth.mislabelled) == round(0.1 * (8 * len(THREE) + EVERYTHING.copies))
    originals = Counter(row.true_class for row in truth if not row.copy and not row.fault)
    assert originals == dict.fromkeys(THREE, 8)


@pytest.mark.parametrize("kind", SHORTCUTS)
def test_a_shortcut_can_be_measured_on_its_class_and_nowhere_else(kind, tmp_path):
    root = tmp_path / kind
    plants = Plants(shortcut=Shortcut(kind=kind, of="neutrophil"))
    truth = write_sample_folder(root, images_per_class=6, seed=1, plants=plants, classes=THREE)
    marks = {
        "size": lambda path: -float(pixels(path).shape[0]),
        "border": lambda path: -float(pixels(path)[-1].mean()),
        "jpeg_quality": lambda path: float(first_quantizer(path)),
        "tint": lambda path: -float(np.percentile(pixels(path)[..., 2], 90)),
    }
    mark = {row.id: marks[kind](root / row.id) for row in truth}
    marked = [mark[row.id] for row in truth if row.shortcut]
    unmarked = [mark[row.id] for row in truth if not row.shortcut]
    assert {row.true_class for row in truth if row.shortcut} == {"neutrophil"}
    assert len(marked) == 6
    assert min(marked) > max(unmarked)


def test_without_a_shortcut_nothing_of_the_file_gives_the_class_away(tmp_path):
    truth = write_sample_folder(tmp_path / "cells", images_per_class=2, seed=1)
    seen = set()
    for row in truth:
        with Image.open(tmp_path / "cells" / row.id) as image:
            seen.add((image.size, image.mode, str(image.quantization), tuple(sorted(image.info))))
    assert len(seen) == 1


def test_names_and_order_do_not_give_plants_away(planted):
    _, truth = planted
    for kind in THREE:
        rows = [row for row in truth if row.filed_class == kind]
        numbers = [int(row.id[-9:-4]) for row in rows]
        assert numbers == list(range(1, len(rows) + 1))
    ranks = [rank for rank, row in enumerate(truth) if row.copy or row.fault]
    assert ranks[0] < len(truth) / 2


def test_truth_survives_its_file(planted, tmp_path):
    _, truth = planted
    truth.write(tmp_path / "truth.csv")
    assert read_truth(tmp_path / "truth.csv") == truth


def test_truth_can_be_written_beside_the_pictures(tmp_path):
    path = tmp_path / "notes" / "truth.csv"
    truth = write_sample_folder(tmp_path / "cells", images_per_class=1, seed=0, truth=path)
    assert read_truth(path) == truth


def test_a_file_that_is_no_truth_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("id,label\na,b\n")
    with pytest.raises(RequestError, match=r"has the columns id, label\. Expected id, true_class"):
        read_truth(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images_per_class": 0}, "images_per_class is 0. Expected 1 or more."),
        ({"seed": -1}, "seed is -1. Expected 0 or more."),
        ({"classes": ()}, "Expected at least one class"),
        ({"classes": ("ig", "ig")}, "each named once"),
        ({"classes": ("ig",), "plants": Plants(label_noise=0.2)}, "needs a second class"),
        (
            {"classes": ("ig",), "plants": Plants(shortcut=Shortcut(kind="tint", of="platelet"))},
            "tied to platelet, which is not drawn",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_written(arguments, message, tmp_path):
    with pytest.raises(RequestError, match=message):
        write_sample_folder(tmp_path / "cells", **{"images_per_class": 1, "seed": 0, **arguments})
    assert not (tmp_path / "cells").exists()


def test_an_unknown_class_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'platelet'"):
        write_sample_folder(tmp_path / "cells", images_per_class=1, seed=0, classes=("platelets",))


def test_a_folder_that_is_not_empty_is_refused_by_name(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(RequestError, match=f"{tmp_path} is not an empty folder"):
        write_sample_folder(tmp_path, images_per_class=1, seed=0)
    assert files(tmp_path) == {"precious.txt": b"mine"}


def test_truth_among_the_pictures_is_refused(tmp_path):
    with pytest.raises(RequestError, match="would lie among the pictures"):
        write_sample_folder(tmp_path / "cells", images_per_class=1, seed=0, truth=tmp_path / "cells" / "truth.csv")
