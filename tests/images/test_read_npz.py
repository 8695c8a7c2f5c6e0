import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfcells.errors import EmptyDataError, RequestError, UnknownNameError
from tfcells.images.decode import pixel_digest
from tfcells.images.readers import read_images, read_npz

PICTURES = np.random.default_rng(0).integers(0, 256, (12, 6, 7, 3), dtype=np.uint8)
MEMBER = np.arange(2 * 6 * 7 * 3, dtype=np.uint8).reshape(2, 6, 7, 3)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name.replace("__", "."), data)
    return path


def names_of(table):
    return [table.class_names[label] if label >= 0 else None for label in table.labels]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cells.npz"


# What is read.


@pytest.mark.parametrize("compressed", [False, True])
def test_images_and_labels_become_rows_in_order(path, compressed):
    (np.savez_compressed if compressed else np.savez)(path, images=PICTURES, labels=np.arange(12) % 3)
    table = read_images(path)
    assert table.ids == tuple(f"images/{row:06d}" for row in range(12))
    assert table.digests == tuple(pixel_digest(picture) for picture in PICTURES)
    assert names_of(table) == list("012012012012")
    assert table.metadata == {"width": ("7",) * 12, "height": ("6",) * 12}
    np.testing.assert_array_equal(table.source.read("images/000011"), PICTURES[11])


@pytest.mark.parametrize(
    ("images", "first"),
    [
        (PICTURES[:, :, :, 0], np.repeat(PICTURES[0, :, :, :1], 3, axis=2)),
        (PICTURES[:, :, :, :1], np.repeat(PICTURES[0, :, :, :1], 3, axis=2)),
        (np.concatenate([PICTURES, PICTURES[:, :, :, :1]], axis=3), PICTURES[0]),
        (PICTURES.astype(np.uint16) * 256 + 3, PICTURES[0]),
        (np.asfortranarray(PICTURES), PICTURES[0]),
    ],
    ids=["grey", "grey with an axis", "RGBA", "16 bits", "columns first"],
)
def test_every_form_of_pictures_becomes_rgb(path, images, first):
    np.testing.assert_array_equal(read_npz(npz(path, images=images)).source.read("images/000000"), first)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.arange(12) % 2, list("01") * 6),
        (np.arange(12)[:, None] % 2, list("01") * 6),
        (np.arange(12), [f"{number:02d}" for number in range(12)]),
        (np.arange(12, dtype=np.uint8), [f"{number:02d}" for number in range(12)]),
        (np.array(["eos", "lym", ""] * 4), ["eos", "lym", None] * 4),
        (np.array([b"eos", "zäh".encode(), b""] * 4), ["eos", "zäh", None] * 4),
        (np.array(["b", "a"] * 6)[:, None], ["b", "a"] * 6),
        (None, [None] * 12),
    ],
    ids=["numbers", "(n, 1)", "sorted as numbers", "uint8", "text", "bytes", "text (n, 1)", "none"],
)
def test_every_form_of_labels_becomes_class_names(path, labels, names):
    table = read_npz(npz(path, images=PICTURES, **({} if labels is None else {"labels": labels})))
    assert names_of(table) == names
    assert table.class_names == tuple(sorted({name for name in names if name is not None}))


def test_class_names_stand_for_numbers_in_their_order(path):
    npz(path, images=PICTURES, labels=np.arange(12) % 2)
    table = read_images(path, class_names=["zebra", "ape", "nobody"])
    assert table.class_names == ("zebra", "ape", "nobody")
    assert names_of(table) == ["zebra", "ape"] * 6


def test_medmnist_splits_become_a_column(path):
    arrays = {
        "train_images": PICTURES[:5],
        "train_labels": np.zeros((5, 1), np.uint8),
        "val_images": PICTURES[5:8, :, :, 0],
        "val_labels": np.ones((3, 1), np.uint8),
        "test_images": PICTURES[8:],
        "test_labels": np.ones((4, 1), np.uint8),
    }
    table = read_images(npz(path, **arrays))
    assert table.metadata["split"] == ("train",) * 5 + ("val",) * 3 + ("test",) * 4
    assert [table.ids[row] for row in (0, 5, 11)] == ["train/000000", "val/000000", "test/000003"]
    assert names_of(table) == list("000001111111")


def test_the_same_pixels_in_two_splits_are_one_group(path):
    table = read_npz(npz(path, train_images=PICTURES[:3], test_images=PICTURES[2:5]))
    groups = dict(zip(table.ids, table.groups, strict=True))
    assert groups["train/000002"] == groups["test/000000"] == "test/000000"
    assert len(set(table.groups)) == 5


def test_other_members_are_not_touched(path):
    archive(path, images__npy=npy(PICTURES), notes__npy=b"no array", README=b"text")
    assert len(read_npz(path)) == 12


def test_the_suffix_counts_in_any_case_of_letters(path):
    assert len(read_images(npz(path, images=PICTURES).rename(path.with_suffix(".NPZ")))) == 12


def test_pictures_stay_on_disk(path):
    npz(path, images=np.zeros((300, 256, 256), np.uint8))
    tracemalloc.start()
    table = read_npz(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == 300
    assert peak < 8 * 2**20  # of 20 MB


# What is refused.


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (PICTURES.astype(np.float32), "float32 of shape"),
        (PICTURES.astype(np.int64), "int64 of shape"),
        (PICTURES[:, :, :, :2], r"uint8 of shape \(12, 6, 7, 2\)"),
        (PICTURES[0, :, :, 0], r"uint8 of shape \(6, 7\)"),
        (PICTURES[None], r"uint8 of shape \(1, 12, 6, 7, 3\)"),
        (PICTURES.transpose(0, 3, 1, 2), r"uint8 of shape \(12, 3, 6, 7\)"),
        (PICTURES[:, :0], r"uint8 of shape \(12, 0, 7, 3\)"),
        (PICTURES[:, :, :0, 0], r"uint8 of shape \(12, 6, 0\)"),
        (np.uint8(3), r"uint8 of shape \(\)"),
        (np.array(["x"] * 12), "<U1 of shape"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused_with_what_they_are(path, images, words):
    with pytest.raises(RequestError, match=rf"`images` in .*cells.npz is {words}.*Expected uint8 or uint16 of shape"):
        read_npz(npz(path, images=images))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(11), r"has shape \(11,\)\. Expected \(12,\) or \(12, 1\), one label per image"),
        (np.eye(12), r"has shape \(12, 12\)"),
        (np.arange(12)[None], r"has shape \(1, 12\)"),
        (np.int64(1), r"has shape \(\)"),
        (np.linspace(0, 1, 12), r"is float64\. Expected integers or strings"),
        (np.arange(12) > 3, r"is bool\. Expected integers or strings"),
        (np.array([b"caf\xe9"] * 12), "holds text that is not UTF-8"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_what_they_are(path, labels, words):
    with pytest.raises(RequestError, match=f"`labels` in .* {words}"):
        read_npz(npz(path, images=PICTURES, labels=labels))


@pytest.mark.parametrize(("first", "span"), [(0, "0 to 11"), (-1, "-1 to 10")])
def test_numbers_without_a_class_name_are_refused(path, first, span):
    npz(path, images=PICTURES, labels=np.arange(12) + first)
    with pytest.raises(RequestError, match=rf"lies in {span}\. Expected 0 to 1, the 2 class names given"):
        read_images(path, class_names=["a", "b"])


def test_text_labels_outside_the_class_names_are_refused(path):
    npz(path, images=PICTURES, labels=np.array(["a", "b"] * 6))
    with pytest.raises(UnknownNameError, match=r"Unknown class 'b'"):
        read_images(path, class_names=["a", "c"])


@pytest.mark.parametrize("member", ["images", "labels"])
def test_python_objects_are_never_unpickled(path, member):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("it was unpickled",)

    arrays = {"images": PICTURES, "labels": np.arange(12)} | {member: np.array([Bomb()] * 12)}
    np.savez(path, **arrays, allow_pickle=True)
    with pytest.raises(
        RequestError, match=f"`{member}` in .* cannot be read: .*Python objects.*Expected a plain array"
    ):
        read_npz(path)


def test_missing_members_are_named_with_what_is_there(path):
    with pytest.raises(
        RequestError, match=r"holds pictures\.npy, targets\.npy\. Expected `images` \(and `labels`\), or"
    ):
        read_npz(npz(path, pictures=PICTURES, targets=np.arange(12)))


def test_an_archive_of_anything_is_refused_with_a_short_list(path):
    archive(path, images=b"no suffix", **{f"{number:04d}__jpg": b"x" for number in range(500)})
    with pytest.raises(RequestError, match=r"holds 0000.jpg, 0001.jpg, 0002.jpg, 0003.jpg, 0004.jpg and 496 more"):
        read_npz(path)


def test_an_empty_archive_and_an_array_of_no_pictures_are_refused(path):
    with pytest.raises(RequestError, match=r"holds nothing"):
        read_npz(npz(path))
    with pytest.raises(EmptyDataError, match=r"There is no picture"):
        read_npz(npz(path, images=PICTURES[:0], labels=np.arange(0)))


@pytest.mark.parametrize("data", [b"", b"text", b"PK\x03\x04", npy(PICTURES)], ids=["empty", "text", "zip", "npy"])
def test_what_is_no_archive_is_refused(path, data):
    path.write_bytes(data)
    with pytest.raises(RequestError, match=r"is no npz file: .*\. Write it with numpy\.savez"):
        read_npz(path)


def header(shape, descr="|u1", order="False"):
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        header("(12, 6, 7, 3)") + PICTURES.tobytes()[:-1],
        header("(10000000000, 6, 7, 3)"),
        header("(10000000000, 10000000000, 10000000000)"),
        header("(-1, 6, 7, 3)") + PICTURES.tobytes(),
        header("(12, 6, 7, 3)", order="'maybe'") + PICTURES.tobytes(),
        header("(12, 6.5, 7, 3)") + PICTURES.tobytes(),
        header("(" * 50) + PICTURES.tobytes(),
        header("(12, 6, 7, 3)", descr="|O") + PICTURES.tobytes(),
        header("(12, 6, 7, 3)", descr="nonsense") + PICTURES.tobytes(),
        b"\x93NUMPY\x01\x00\xff\xff" + b" " * 0xFFFF,
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"\x80\x04]\x94.",
        b"",
        b"text",
    ],
    ids=[
        *("one byte short", "60 GB", "overflow", "negative", "no order", "no whole number", "brackets", "objects"),
        *("no dtype", "a long header", "a coming version", "a pickle", "empty", "text"),
    ],
)
def test_a_member_that_is_no_sound_array_is_refused(path, data):
    archive(path, images__npy=data)
    with pytest.raises(RequestError, match=r"^`images` in .* cannot be read: .*[^.]\. Expected a plain array"):
        read_npz(path)


def test_an_archive_in_the_archive_is_no_array(path):
    inner = io.BytesIO()
    np.savez(inner, images=PICTURES)
    with pytest.raises(RequestError, match=r"`images` in .* cannot be read"):
        read_npz(archive(path, images__npy=inner.getvalue()))


def test_a_member_that_unpacks_to_more_than_the_disk_holds_is_refused_first(path, monkeypatch):
    npz(path, images=PICTURES)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 100}))
    with pytest.raises(RequestError, match=r"unpacks to 1,640 bytes, but .* has 100 bytes free\. Set TMPDIR"):
        read_npz(path)


def test_an_encrypted_member_is_refused(path):
    data = bytearray(archive(path, images__npy=npy(PICTURES)).read_bytes())
    for start, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(start) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(RequestError, match=r"`images` in .* cannot be read: .*encrypted"):
        read_npz(path)


@given(data=st.data(), compression=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_archive_is_refused_or_still_holds_pictures(path, data, compression):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("images.npy", npy(MEMBER))
        file.writestr("labels.npy", npy(np.arange(2)))
    damaged = bytearray(path.read_bytes())
    places = st.integers(0, len(damaged) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=6)):
        damaged[place] = value
    path.write_bytes(damaged[: data.draw(st.one_of(st.just(len(damaged)), places))])
    try:
        assert len(read_npz(path)) == 2
    except RequestError as refused:
        assert "cells.npz" in str(refused)


@given(data=st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_of_an_array_is_refused_or_still_holds_pictures(path, data):
    damaged = bytearray(npy(MEMBER))
    places, letters = st.integers(0, 80), st.sampled_from(list(b"0123456789'(){},-.:<>|OuUfbiTFaelrs \n\0\xff"))
    for place, value in data.draw(st.lists(st.tuples(places, letters), min_size=1, max_size=4)):
        damaged[place] = value
    archive(path, images__npy=bytes(damaged))
    try:
        assert 0 < len(read_npz(path)) <= len(damaged)
    except RequestError as refused:
        assert "cells.npz" in str(refused) or "no picture" in str(refused)
