"""CSV manifests of pictures, and CSV files of groups."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tfcells.errors import EmptyDataError, RequestError, UnknownNameError
from tfcells.images.readers import read_groups, read_images, read_manifest

NAMES = ("a.png", "b.png", "c.png", "d.png", "e.png")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Five different pictures, and `copy.bmp` with the pixels of the first. Manifests are written beside them."""
    root = tmp_path_factory.mktemp("pictures")
    for seed, name in enumerate((*NAMES, "copy.bmp")):
        pixels = np.random.default_rng(seed % 5).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
    return root


def manifest(pictures, text, *, encoding="utf-8", name="list.csv"):
    path = pictures / name
    path.write_bytes(text.encode(encoding))
    return path


def groups_of(table):
    return dict(zip(table.ids, table.groups, strict=True))


# Manifests.


def test_a_manifest_gives_rows_in_its_own_order_with_their_columns(pictures):
    table = read_images(manifest(pictures, "label,path,site,µm\neos,c.png,Bonn,7.5\nlym,a.png,Ulm,\n"))
    assert table.ids == ("c.png", "a.png")
    assert [table.class_names[label] for label in table.labels] == ["eos", "lym"]
    assert table.metadata == {"width": ("8", "8"), "height": ("6", "6"), "site": ("Bonn", "Ulm"), "µm": ("7.5", "")}
    assert table.source.describe() == {"kind": "folder", "root": str(pictures)}


def test_an_empty_label_is_unlabelled(pictures):
    table = read_images(manifest(pictures, "path,label\na.png,eos\nb.png,\nc.png\n"))
    assert table.labels.tolist() == [0, -1, -1]
    assert table.class_names == ("eos",)


def test_a_manifest_without_labels_is_unlabelled(pictures):
    assert read_images(manifest(pictures, "path\na.png\nb.png\n")).labels.tolist() == [-1, -1]


def test_rows_of_one_group_share_one_and_an_empty_group_is_none(pictures):
    text = "path,group\na.png,p1\nb.png,p1\nc.png,\nd.png,\ne.png,p2\n"
    table = read_images(manifest(pictures, text))
    assert table.groups == ("a.png", "a.png", "c.png", "d.png", "e.png")


def test_groups_of_the_manifest_are_joined_with_those_of_equal_pixels(pictures):
    text = "path,group\na.png,p1\nb.png,p1\ncopy.bmp,p2\nd.png,p2\ne.png,p3\n"
    assert groups_of(read_images(manifest(pictures, text))) == {
        **dict.fromkeys(("a.png", "b.png", "copy.bmp", "d.png"), "a.png"),
        "e.png": "e.png",
    }


def test_a_group_named_like_a_picture_is_not_that_picture(pictures):
    table = read_images(manifest(pictures, "path,group\na.png,c.png\nb.png,c.png\nc.png,\n"))
    assert groups_of(table) == {"a.png": "a.png", "b.png": "a.png", "c.png": "c.png"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_every_line_end_are_read(pictures, encoding, end):
    text = end.join(["path,label", "a.png,eos", '"b.png","lym, or ""mono"""', ""])
    table = read_images(manifest(pictures, text, encoding=encoding))
    assert table.ids == ("a.png", "b.png")
    assert table.class_names == ("eos", 'lym, or "mono"')


def test_columns_of_the_manifest_win_over_the_size_in_pixels(pictures):
    table = read_images(manifest(pictures, "path,width\na.png,7.5 µm\n"))
    assert table.metadata == {"width": ("7.5 µm",), "height": ("6",)}


def test_a_path_that_comes_twice_counts_once_and_is_named(pictures):
    table = read_images(manifest(pictures, "path,label\na.png,eos\nb.png,lym\na.png,lym\n"))
    assert table.ids == ("a.png", "b.png")
    assert table.labels.tolist() == [0, 1]
    assert table.quarantine == (("a.png", "comes more than once in the manifest; the first row counts"),)


def test_paths_that_lead_nowhere_are_quarantined_with_a_reason(pictures):
    text = "path\na.png\ngone.png\n.\n\0.png\n../list.csv\n"
    table = read_images(manifest(pictures, text))
    reasons = {entry.id: entry.reason for entry in table.quarantine}
    assert reasons == {
        "\0.png": "its name holds a zero character, which no file's name can",
        ".": "not a regular file",
        "../list.csv": "cannot be read: No such file or directory",
        "gone.png": "cannot be read: No such file or directory",
    }


def test_a_row_without_a_path_is_named_by_its_number(pictures):
    table = read_images(manifest(pictures, "path,label\na.png,eos\n,lym\n"))
    assert table.quarantine == (("row 2 of list.csv", "its path is empty"),)


def test_absolute_paths_and_another_root_are_possible(pictures, tmp_path):
    path = tmp_path / "elsewhere.CSV"
    path.write_text(f"path\n{pictures}/a.png\n")
    assert read_images(path).ids == (f"{pictures}/a.png",)
    path.write_text("path\na.png\n")
    assert read_manifest(path, root=pictures).ids == ("a.png",)


def test_expected_classes_hold_for_manifests(pictures):
    path = manifest(pictures, "path,label\na.png,eos\n")
    assert read_images(path, class_names=["lym", "eos"]).labels.tolist() == [1]
    with pytest.raises(UnknownNameError, match=r"Unknown class 'eos'\. Did you mean 'eo'"):
        read_images(path, class_names=["eo", "lym"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.png,eos\n", "has the columns file, label. Expected path in a manifest; path is missing"),
        ("path;label\na.png;eos\n", "has the columns path;label. Expected path"),
        ("a.png\nb.png\n", "has the columns a.png. Expected path"),
        ("", "has the columns (none). Expected path"),
    ],
)
def test_a_manifest_without_paths_says_which_columns_it_has(pictures, text, words):
    with pytest.raises(RequestError) as refused:
        read_images(manifest(pictures, text))
    assert words in str(refused.value)


@pytest.mark.parametrize("data", ["path\nä.png\n".encode("latin-1"), "path\na.png\n".encode("utf-16")])
def test_another_encoding_is_refused(pictures, data):
    (pictures / "list.csv").write_bytes(data)
    with pytest.raises(RequestError, match=r"list\.csv cannot be read as a manifest: .*utf-8"):
        read_images(pictures / "list.csv")


def test_a_manifest_of_nothing_or_of_nothing_usable_is_refused(pictures):
    with pytest.raises(EmptyDataError, match="There is no picture"):
        read_images(manifest(pictures, "path,label\n"))
    with pytest.raises(EmptyDataError, match=r"Not one of 1 files is a usable picture: gone\.png: cannot be read"):
        read_images(manifest(pictures, "path\ngone.png\n"))


@given(data=st.binary(max_size=200), start=st.sampled_from([b"", b"path\n", b"path,label,group\n", b"path,path,\n"]))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_manifest_holds_is_read_or_refused(pictures, start, data):
    path = pictures / "random.csv"
    path.write_bytes(start + data)
    try:
        assert set(read_images(path).ids) <= {*NAMES, "copy.bmp"}
    except RequestError as refused:
        assert str(refused)


# Groups beside the pictures.


def test_listed_groups_are_joined_with_those_the_source_knows(pictures):
    images = manifest(pictures, "path,group\na.png,p1\nb.png,p1\nc.png,p2\nd.png,p3\ne.png,p4\n")
    listed = manifest(pictures, "group,id,note\nslide 1,b.png,x\nslide 1,c.png,y\nslide 2,e.png,z\n", name="groups.csv")
    expected = {**dict.fromkeys(("a.png", "b.png", "c.png"), "a.png"), "d.png": "d.png", "e.png": "e.png"}
    assert groups_of(read_images(images, groups=listed)) == expected
    assert groups_of(read_images(str(images), groups=str(listed))) == expected


def test_an_empty_group_joins_nobody(pictures):
    images = manifest(pictures, "path\na.png\nb.png\nc.png\n")
    listed = manifest(pictures, "id,group\na.png,\nb.png,\nc.png,p\n", name="groups.csv")
    assert read_images(images, groups=listed).groups == ("a.png", "b.png", "c.png")
    assert read_groups(listed) == {"c.png": "p"}


def test_a_group_of_an_unknown_picture_is_refused_and_one_of_a_bad_picture_is_not(pictures):
    images = manifest(pictures, "path\na.png\nb.png\ngone.png\n")
    listed = manifest(pictures, "id,group\na.png,p\ngone.png,p\n", name="groups.csv")
    assert read_images(images, groups=listed).groups == ("a.png", "b.png")
    listed = manifest(pictures, "id,group\nbb.png,p\n", name="groups.csv")
    with pytest.raises(UnknownNameError, match=r"Unknown id in the groups 'bb\.png'\. Did you mean 'b\.png'"):
        read_images(images, groups=listed)


def test_two_groups_for_one_picture_contradict_each_other(pictures):
    listed = manifest(pictures, "id,group\na.png,p\na.png,p\nb.png,p\na.png,q\n", name="groups.csv")
    with pytest.raises(RequestError, match=r"gives a\.png two groups, 'p' and 'q'\. Expected one row per id"):
        read_groups(listed)


def test_a_groups_file_that_lacks_a_column_or_does_not_exist_is_refused(pictures):
    listed = manifest(pictures, "id,patient\na.png,p\n", name="groups.csv")
    with pytest.raises(
        RequestError, match=r"has the columns id, patient\. Expected id, group in a groups file; group is"
    ):
        read_groups(listed)
    with pytest.raises(RequestError, match=r"nowhere\.csv cannot be read as a groups file: .*No such file"):
        read_groups(pictures / "nowhere.csv")
    with pytest.raises(RequestError, match="cannot be read as a groups file"):
        read_groups(pictures)
