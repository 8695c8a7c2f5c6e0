import logging
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tfcells.errors import EmptyDataError, RequestError, UnknownNameError
from tfcells.features.pieces import RECIPE
from tfcells.images.decode import decode_image, pixel_digest
from tfcells.images.folders import STORE_MARK, find_pictures
from tfcells.images.readers import read_folder, read_images


def draw(path, seed=0, *, size=9):
    """A picture of its own for every seed, in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size + 2, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def labels_of(table):
    return {
        id: table.class_names[label] if label >= 0 else None for id, label in zip(table.ids, table.labels, strict=True)
    }


# Layouts.


def test_class_folders_give_classes_and_ids_relative_to_the_root(cells, cell_folder):
    assert cells.class_names == ("eosinophil", "lymphocyte", "platelet")
    assert cells.class_counts() == {"eosinophil": 12, "lymphocyte": 12, "platelet": 12}
    assert cells.ids == tuple(sorted(path.relative_to(cell_folder).as_posix() for path in cell_folder.rglob("*.jpg")))
    assert all(id.split("/")[0] == label for id, label in labels_of(cells).items())
    assert cells.quarantine == ()


def test_digests_are_those_of_the_decoded_pixels(cells, cell_folder):
    for id, digest in zip(cells.ids, cells.digests, strict=True):
        pixels = decode_image((cell_folder / id).read_bytes())
        assert digest == pixel_digest(pixels)
        np.testing.assert_array_equal(cells.source.read(id), pixels)


def test_the_first_folder_below_the_root_is_the_class_however_deep_a_picture_lies(tmp_path):
    for seed, id in enumerate(["a/x.png", "a/slide 1/x.png", "b/slide 1/field 2/x.png"]):
        draw(tmp_path / id, seed)
    assert labels_of(read_folder(tmp_path)) == {"a/slide 1/x.png": "a", "a/x.png": "a", "b/slide 1/field 2/x.png": "b"}


def test_a_flat_folder_is_unlabelled(tmp_path):
    for seed in range(3):
        draw(tmp_path / f"{seed}.png", seed)
    table = read_folder(tmp_path)
    assert labels_of(table) == {"0.png": None, "1.png": None, "2.png": None}
    assert table.class_names == ()
    assert table.class_counts() == {}


def test_pictures_beside_the_class_folders_are_quarantined_by_name(tmp_path):
    draw(tmp_path / "a" / "x.png", 1)
    draw(tmp_path / "stray.png", 2)
    table = read_folder(tmp_path)
    assert table.ids == ("a/x.png",)
    assert table.quarantine == (("stray.png", "lies beside the class folders; move it into one"),)


def test_width_and_height_become_columns(tmp_path):
    draw(tmp_path / "a" / "x.png", size=7)
    assert read_folder(tmp_path).metadata == {"width": ("9",), "height": ("7",)}


# Names.


@pytest.mark.parametrize("name", ["X.PNG", "x.Jpg", "x.JPEG", "x.jfif", "x.tif", "x.TIFF", "x.bmp", "x.gif", "x.webp"])
def test_a_suffix_counts_in_any_case_of_letters(tmp_path, name):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(tmp_path / "a" / name)
    assert read_folder(tmp_path).ids == (f"a/{name}",)


def test_the_contents_and_not_the_suffix_say_what_a_file_is(tmp_path):
    draw(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "x.png").rename(tmp_path / "a" / "x.jpg")
    assert read_folder(tmp_path).ids == ("a/x.jpg",)


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    for seed, id in enumerate(["a/x.png", "a/._x.png", ".cache/y.png", "a/.thumbnails/z.png"]):
        draw(tmp_path / id, seed)
    table = read_folder(tmp_path)
    assert table.ids == ("a/x.png",)
    assert table.quarantine == ()


def test_other_files_are_counted_in_the_log_and_not_quarantined(tmp_path, caplog):
    draw(tmp_path / "a" / "x.png")
    for name in ("README", "labels.csv", "a/x.xml", "a/y.XML"):
        (tmp_path / name).write_text("text")
    with caplog.at_level(logging.INFO, logger="tfcells"):
        table = read_folder(tmp_path)
    assert table.quarantine == ()
    assert "2 x .xml" in caplog.text
    assert "1 x no suffix" in caplog.text


@pytest.mark.parametrize(
    "id", ["a b/ü ñ.png", "a/it's.png", "a/100%.png", 'a/"x".png', "a/x,y.png", "-a/-x.png", "a/x\ny.png"]
)
def test_odd_names_are_names(tmp_path, id):
    draw(tmp_path / id)
    table = read_folder(tmp_path)
    assert table.ids == (id,)
    assert table.source.read(id).shape == (9, 11, 3)


@pytest.mark.parametrize("name", [b"a/caf\xe9.png", b"caf\xe9/x.png", b"caf\xe9.png"], ids=["file", "class", "stray"])
def test_a_name_that_is_not_utf8_is_quarantined_in_a_form_that_can_be_written(tmp_path, name):
    draw(tmp_path / "a" / "good.png", 1)
    draw(tmp_path / "other.png", 2)
    target = tmp_path / os.fsdecode(name)
    target.parent.mkdir(exist_ok=True)
    (tmp_path / "other.png").rename(target)
    table = read_folder(tmp_path)
    assert table.ids == ("a/good.png",)
    (entry,) = table.quarantine
    assert entry.id.encode("utf-8") == name.replace(b"\xe9", rb"\udce9")
    assert entry.reason in ("its name is not valid UTF-8; rename it", "lies beside the class folders; move it into one")


# Links.


def test_links_to_files_and_to_folders_outside_are_followed(tmp_path):
    draw(tmp_path / "elsewhere" / "b" / "x.png", 1)
    draw(tmp_path / "root" / "a" / "x.png", 2)
    (tmp_path / "root" / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (tmp_path / "root" / "a" / "y.png").symlink_to(tmp_path / "elsewhere" / "b" / "x.png")
    table = read_folder(tmp_path / "root")
    assert table.ids == ("a/x.png", "a/y.png", "b/x.png")
    assert table.groups == ("a/x.png", "a/y.png", "a/y.png")


def test_a_loop_of_links_ends(tmp_path):
    draw(tmp_path / "a" / "x.png", 1)
    draw(tmp_path / "b" / "x.png", 2)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "self").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "other").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "endless").symlink_to("endless")
    assert read_folder(tmp_path).ids == ("a/x.png", "b/x.png")


@pytest.mark.parametrize("link", ["best", "zz best", "a/best"])
def test_a_link_to_a_class_folder_does_not_take_its_pictures(tmp_path, link):
    draw(tmp_path / "a" / "x.png", 1)
    draw(tmp_path / "lymphocyte" / "x.png", 2)
    (tmp_path / link).symlink_to(tmp_path / "lymphocyte")
    table = read_folder(tmp_path)
    assert table.ids == ("a/x.png", "lymphocyte/x.png")
    assert table.class_names == ("a", "lymphocyte")


def test_two_links_to_one_folder_are_read_once(tmp_path):
    draw(tmp_path / "elsewhere" / "x.png")
    (tmp_path / "root").mkdir()
    for name in ("b", "a"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "elsewhere")
    assert read_folder(tmp_path / "root").ids == ("a/x.png",)


def test_the_root_may_be_a_link(tmp_path):
    draw(tmp_path / "real" / "a" / "x.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read_images(tmp_path / "link").ids == ("a/x.png",)


# Bad files.


def test_bad_files_are_quarantined_by_name_with_a_reason_and_the_rest_goes_on(tmp_path):
    draw(tmp_path / "a" / "good.png")
    whole = (tmp_path / "a" / "good.png").read_bytes()
    (tmp_path / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a" / "empty.jpg").write_bytes(b"")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "text.jpg").write_text("moved")
    (tmp_path / "b" / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "b" / "fifo.jpg")
    table = read_folder(tmp_path)
    assert table.ids == ("a/good.png",)
    assert table.class_counts() == {"a": 1, "b": 0}
    reasons = {entry.id: entry.reason for entry in table.quarantine}
    assert list(reasons) == ["a/cut.png", "a/empty.jpg", "b/fifo.jpg", "b/gone.jpg", "b/text.jpg"]
    assert reasons["a/cut.png"].startswith("cannot be decoded: ")
    assert reasons["a/empty.jpg"] == "the file is empty (0 bytes)"
    assert reasons["b/fifo.jpg"] == "not a regular file"
    assert reasons["b/gone.jpg"] == "cannot be read: No such file or directory"
    assert reasons["b/text.jpg"] == "not a picture: it holds text"


def test_a_folder_that_cannot_be_listed_is_quarantined_by_name(tmp_path, monkeypatch):
    draw(tmp_path / "a" / "x.png", 1)
    draw(tmp_path / "locked" / "x.png", 2)
    listed = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)  # the superuser may list everything
    table = read_folder(tmp_path)
    assert table.ids == ("a/x.png",)
    assert table.quarantine == (("locked", "cannot be listed: Permission denied"),)
    assert find_pictures(tmp_path)[2] == list(table.quarantine)


def test_an_empty_folder_says_what_was_there_instead(tmp_path):
    with pytest.raises(
        EmptyDataError, match=r"No image in .*; it holds nothing. Expected .bmp, .*one folder per class"
    ):
        read_images(tmp_path)
    for name in ("a.czi", "b.CZI", "notes"):
        (tmp_path / name).write_text("x")
    with pytest.raises(EmptyDataError, match=r"it holds 2 x \.czi, 1 x no suffix\. Expected"):
        read_images(tmp_path)


def test_a_folder_of_bad_files_names_some_of_them(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(7):
        (tmp_path / "a" / f"{number}.jpg").write_bytes(b"")
    with pytest.raises(
        EmptyDataError, match=r"Not one of 7 files is a usable picture: a/0.jpg: .*; and 2 more\. Expec"
    ):
        read_images(tmp_path)


def test_a_root_that_does_not_exist_or_is_of_no_known_kind_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"No such file or folder: .*nowhere. Expected a folder of images, an .npz"):
        read_images(tmp_path / "nowhere")
    with pytest.raises(EmptyDataError, match=r"cannot be listed: No such file or directory"):
        read_folder(tmp_path / "nowhere")
    draw(tmp_path / "x.png")
    with pytest.raises(RequestError, match=r"x.png is neither a folder nor an .npz file nor a .csv manifest"):
        read_images(str(tmp_path / "x.png"))


# Classes and groups.


def test_expected_classes_keep_their_order_and_may_be_without_pictures(tmp_path):
    draw(tmp_path / "b" / "x.png", 1)
    table = read_images(tmp_path, class_names=["c", "b", "a"])
    assert table.class_names == ("c", "b", "a")
    assert table.class_counts() == {"c": 0, "b": 1, "a": 0}


def test_a_class_that_was_not_expected_is_refused_with_a_suggestion(tmp_path):
    draw(tmp_path / "monocite" / "x.png")
    with pytest.raises(UnknownNameError, match=r"Unknown class 'monocite'. Did you mean 'monocyte'"):
        read_images(tmp_path, class_names=["monocyte", "platelet"])


def test_a_class_folder_without_pictures_is_a_class_without_pictures_and_is_warned_of(tmp_path, caplog):
    for name in ("a", "b"):
        draw(tmp_path / name / "one.png")
    for name in ("c/below", ".hidden", "d\nd"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "c" / "notes.txt").write_text("none yet")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    with caplog.at_level("WARNING", logger="tfcells"):
        table = read_folder(tmp_path)
    assert table.class_counts() == {"a": 1, "b": 1, "c": 0, "d\nd": 0}
    assert caplog.messages == ["class folder c holds no image", r"class folder d\nd holds no image"]


@pytest.mark.parametrize("place", ["features", "runs/first/features"])
def test_a_feature_store_among_the_class_folders_is_no_class(tmp_path, caplog, make_small_store, place):
    for name in ("a", "b"):
        draw(tmp_path / name / "one.png")
    shutil.copytree(make_small_store().path, tmp_path / place)
    with caplog.at_level("WARNING", logger="tfcells"):
        table = read_folder(tmp_path)
    assert table.class_names == ("a", "b")
    assert caplog.messages == []
    assert STORE_MARK == RECIPE


def test_folders_beside_pictures_that_have_no_class_are_no_classes(tmp_path):
    draw(tmp_path / "one.png")
    (tmp_path / "empty").mkdir()
    assert read_folder(tmp_path).class_names == ()


def test_a_class_that_is_named_twice_is_refused(tmp_path):
    draw(tmp_path / "a" / "x.png")
    with pytest.raises(RequestError, match=r"Class names a, b, a given. Expected each of them once"):
        read_images(tmp_path, class_names=["a", "b", "a"])


def test_the_same_pixels_are_one_group_in_whatever_format_and_class(tmp_path):
    pixels = draw(tmp_path / "a" / "x.png", 1)
    for name in ("a/copy.bmp", "b/copy.tiff", "b/deep/copy.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    draw(tmp_path / "b" / "other.png", 2)
    table = read_folder(tmp_path)
    groups = dict(zip(table.ids, table.groups, strict=True))
    assert groups["a/copy.bmp"] == groups["a/x.png"] == groups["b/copy.tiff"] == "a/copy.bmp"
    assert groups["b/other.png"] == "b/other.png"


def test_reading_twice_gives_the_same_table(cell_folder, cells):
    again = read_images(str(cell_folder))
    assert again.ids == cells.ids
    assert again.digests == cells.digests
    assert again.groups == cells.groups
    np.testing.assert_array_equal(again.labels, cells.labels)


def test_a_moved_folder_keeps_its_ids(cell_folder, cells, tmp_path):
    shutil.copytree(cell_folder, tmp_path / "moved")
    assert read_folder(tmp_path / "moved").ids == cells.ids


def test_progress_ends_with_everything_done(cell_folder):
    told = []
    read_images(cell_folder, progress=lambda stage, done, total: told.append((stage, done, total)))
    assert told == [("reading", 0, 36), ("reading", 36, 36)]


def test_more_pictures_than_are_in_flight_at_once_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("tfcells.images.inspect._WINDOW", 4)
    expected = {f"a/{seed:02d}.png": pixel_digest(draw(tmp_path / "a" / f"{seed:02d}.png", seed)) for seed in range(11)}
    told = []
    table = read_images(tmp_path, progress=lambda stage, done, total: told.append(done))
    assert dict(zip(table.ids, table.digests, strict=True)) == expected
    assert told == [0, 4, 8, 11]
