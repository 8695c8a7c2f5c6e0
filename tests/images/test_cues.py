import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfcells.errors import DamageError, RequestError
from tfcells.images.cues import BORDER, JPEG, Cues, file_order, header_cues, read_cues
from tfcells.images.readers import read_folder, read_npz

GREY = np.full((40, 50, 3), 128, np.uint8)


def encoded(pixels=GREY, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **{"format": "JPEG"} | options)
    return buffer.getvalue()


def read(data, name):
    return header_cues(data)[JPEG.index(name)]


def folder_of(root: Path, files: dict[str, bytes]):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return read_folder(root)


def test_size_is_height_width_and_aspect(tmp_path):
    table = folder_of(tmp_path, {"a/1.png": encoded(format="PNG"), "b/2.png": encoded(GREY[:, :20], format="PNG")})
    np.testing.assert_array_equal(read_cues(table).values["size"], [[40, 50, 1.25], [40, 20, 0.5]])


def test_bytes_are_those_of_the_file(tmp_path):
    data = encoded()
    cues = read_cues(folder_of(tmp_path, {"a/1.jpg": data}))
    assert cues.values["bytes"].tolist() == [[len(data) / 2000]]


def test_the_border_is_seen_and_the_middle_is_not(tmp_path):
    strip, cell = GREY.copy(), GREY.copy()
    strip[-2:] = 0
    cell[10:30, 10:40] = (200, 10, 90)
    files = {f"a/{name}.png": encoded(picture, format="PNG") for name, picture in (("1", strip), ("2", cell))}
    marked, plain = read_cues(folder_of(tmp_path, files)).values["border"]
    assert marked[BORDER.index("bottom edge red")] == 0
    assert marked[BORDER.index("ring mean red")] < 128
    np.testing.assert_allclose(plain, np.array([128] * 3 + [0] * 3 + [128] * 12))


def test_colour_is_means_and_deviations_of_the_whole_picture(tmp_path):
    half = GREY.copy()
    half[:20] = (100, 128, 0)
    cues = read_cues(folder_of(tmp_path, {"a/1.png": encoded(half, format="PNG")}))
    np.testing.assert_allclose(cues.values["colour statistics"], [[114, 128, 64, 14, 0, 64]])


def test_a_picture_of_one_pixel_has_cues(tmp_path):
    cues = read_cues(folder_of(tmp_path, {"a/1.png": encoded(GREY[:1, :1], format="PNG")}))
    assert all(np.isfinite(values).all() for values in cues.values.values())


def test_headers_say_how_a_jpeg_was_made():
    assert read(encoded(), "format JPEG") == 1
    assert read(encoded(quality=50), "table 0, 0") > read(encoded(quality=95), "table 0, 0") > 0
    assert (read(encoded(progressive=True), "progressive"), read(encoded(), "progressive")) == (1, 0)
    for name, number in (("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)):
        sampled = header_cues(encoded(subsampling=number))[JPEG.index("subsampling 4:4:4") :][:3]
        np.testing.assert_array_equal(sampled, np.eye(3)[number], err_msg=name)


def test_headers_say_whether_there_is_exif_and_a_profile():
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    data = encoded(exif=exif, icc_profile=b"profile")
    assert (read(data, "has EXIF"), read(data, "has ICC profile")) == (1, 1)
    assert (read(encoded(), "has EXIF"), read(encoded(), "has ICC profile")) == (0, 0)


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_other_formats_are_named_and_have_no_tables(format):
    numbers = header_cues(encoded(format=format))
    assert numbers[JPEG.index(f"format {format}")] == 1
    assert numbers[6:-3].sum() == 0


def test_hostile_bytes_are_no_cue():
    generator = np.random.default_rng(0)
    good = encoded(progressive=True, icc_profile=b"profile")
    assert not header_cues(b"").any()
    assert not header_cues(generator.bytes(500)).any()
    for _ in range(300):
        data = bytearray(good[: int(generator.integers(1, len(good)))])
        for place in generator.integers(0, len(data), 4):
            data[place] = generator.integers(256)
        numbers = header_cues(bytes(data))
        assert numbers.shape == (140,)
        assert np.isfinite(numbers).all()


def test_cues_come_in_the_order_of_the_rows_and_do_not_depend_on_workers(cells):
    some = cells.take(range(0, len(cells), 6))
    once, again = read_cues(some, workers=1), read_cues(some.take(range(len(some))[::-1]), workers=4)
    assert again.ids == once.ids[::-1]
    aligned = again.aligned_to(once.ids)
    for cue, values in once.values.items():
        np.testing.assert_array_equal(aligned.values[cue], values)


def test_progress_is_told(cells):
    told = []
    read_cues(cells.take([0, 1]), progress=lambda stage, done, total: told.append((stage, done, total)))
    assert told == [("reading cues", 0, 2), ("reading cues", 2, 2)]


def test_arrays_have_no_files_and_say_so(tmp_path):
    np.savez(tmp_path / "cells.npz", images=np.stack([GREY] * 4), labels=np.arange(4) % 2)
    cues = read_cues(read_npz(tmp_path / "cells.npz"))
    assert set(cues.values) == {"size", "border", "colour statistics"}
    assert cues.absent == dict.fromkeys(("bytes", "jpeg", "order"), "the source keeps no files, only pictures")


def test_a_picture_that_went_bad_is_damage(tmp_path):
    table = folder_of(tmp_path, {"a/1.png": encoded(format="PNG")})
    (tmp_path / "a/1.png").write_bytes(b"gone")
    with pytest.raises(DamageError, match=r"a/1\.png cannot be read any more: .*read them again"):
        read_cues(table)


def test_rows_without_cues_are_refused(cells):
    with pytest.raises(RequestError, match=r"1 of 2 rows have no cues, the first is stranger\. Read the cues"):
        read_cues(cells.take([0])).aligned_to((cells.ids[0], "stranger"))


def test_cues_that_are_no_numbers_are_refused():
    with pytest.raises(RequestError, match=r"'size' has shape \(1, 1\), 1 numbers of it not finite"):
        Cues(ids=("a",), values={"size": np.array([[np.nan]])}, columns={"size": ("x",)}, absent={})


def test_order_is_by_the_numbers_of_the_names_not_by_their_letters():
    ids = ("x/BA_90.jpg", "y/EO_5.jpg", "y/EO_100.jpg", "x/BA_200.jpg")
    values, columns = file_order(ids)
    assert columns == ("place", "number 1")
    np.testing.assert_allclose(values, [[1 / 3, 90], [0, 5], [2 / 3, 100], [1, 200]])


def test_counters_that_start_anew_in_each_folder_are_no_order():
    ids = tuple(f"{kind}/{kind}_{number:05d}.jpg" for kind, most in (("a", 90), ("b", 12)) for number in range(most))
    assert file_order(ids) == "the numbers in the files' names start anew in each folder"


@pytest.mark.parametrize("ids", [("cd4/cd4_x.png", "cd8/cd8_y.png"), ("cd4/CD4.png", "cd8/CD8 (copy).png")])
def test_class_names_in_file_names_are_no_numbers(ids):
    assert file_order(ids) == "no number in any file's name"


def test_a_code_of_the_class_in_the_name_is_no_order():
    ids = tuple(f"{kind}/{code}_{100 * code + row}.png" for code, kind in ((1, "a"), (2, "b")) for row in range(5))
    values, columns = file_order(ids)
    assert columns == ("place", "number 1")
    assert values[:, 1].tolist() == [100, 101, 102, 103, 104, 200, 201, 202, 203, 204]


def test_dates_are_kept_though_folders_share_them():
    ids = tuple(f"{kind}/2019031{day}_{row}.png" for kind in "ab" for day in range(3) for row in range(2))
    values, columns = file_order(ids)
    assert columns == ("place", "number 1")
    assert set(values[:, 1]) == {20190310, 20190311, 20190312}


def test_flat_folders_keep_every_number():
    values, _ = file_order(("p1_10.png", "p1_2.png", "nothing.png"))
    np.testing.assert_allclose(values, [[1, 1, 10], [0.5, 1, 2], [0, -1, -1]])


def test_equal_numbers_share_a_place():
    values, _ = file_order(("7.png", "7.jpg", "9.png"))
    np.testing.assert_allclose(values[:, 0], [0.25, 0.25, 1])
