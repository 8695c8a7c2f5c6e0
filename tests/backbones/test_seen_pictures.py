import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.backbones.seen import (
    SeenPictures,
    list_beside,
    seen_by_file,
    seen_by_shipped,
    seen_words,
    write_seen,
)
from tfcells.backbones.weights import WeightsFile, file_digest, find_weights, shipped_files
from tfcells.errors import DamageError

DIGESTS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(40)]


def weights_file(path):
    path.write_bytes(b"weights")
    return WeightsFile("mine", path, file_digest(path))


def test_a_list_that_was_written_is_read(tmp_path):
    found = weights_file(tmp_path / "net_mine.weights.h5")
    path = tmp_path / "net_mine.seen.txt"
    write_seen(path, SeenPictures.of(DIGESTS[:30]))
    assert seen_by_file(found) == SeenPictures.of(DIGESTS[:30])
    lines = path.read_text().splitlines()
    assert lines == sorted(digest[:16] for digest in DIGESTS[:30])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net_mine.seen.txt", "net_mine.weights.h5"]


@given(st.sets(st.sampled_from(DIGESTS)), st.sets(st.sampled_from(DIGESTS)), st.lists(st.sampled_from(DIGESTS)))
def test_pictures_are_counted_that_one_or_the_other_has_seen(one, other, asked):
    joined = SeenPictures.of(one) | SeenPictures.of(other)
    assert joined.count(asked) == sum(digest in one | other for digest in asked)


@pytest.mark.parametrize("name", ["a_b.weights.h5", "a_b.h5", "a_b.keras"])
def test_the_list_lies_beside_files_of_every_kind(tmp_path, name):
    assert list_beside(tmp_path / name) == tmp_path / "a_b.seen.txt"


def test_where_no_list_lies_nobody_knows(tmp_path):
    assert seen_by_file(weights_file(tmp_path / "net_mine.weights.h5")) is None
    assert seen_by_file(WeightsFile("none", None, None)) is None
    assert seen_by_shipped("0" * 64) is None


@pytest.mark.parametrize("line", ["no digest", DIGESTS[0], DIGESTS[0][:15], DIGESTS[0][:16].upper(), "é" * 16, ""])
def test_a_line_that_is_no_digest_is_named(tmp_path, line):
    found = weights_file(tmp_path / "net_mine.weights.h5")
    list_beside(found.path).write_text(f"{DIGESTS[1][:16]}\n{line}\n", encoding="utf-8")
    with pytest.raises(DamageError, match=r"net_mine\.seen\.txt, line 2: .* came, expected 16 hexadecimal digits"):
        seen_by_file(found)


def test_a_file_without_lines_is_not_read_whole(tmp_path):
    found = weights_file(tmp_path / "net_mine.weights.h5")
    with list_beside(found.path).open("wb") as file:
        file.truncate(1 << 36)  # 64 GiB, of which nothing is on the disk
    with pytest.raises(DamageError, match="line 1"):
        seen_by_file(found)


def test_all_weights_that_ship_say_what_they_have_seen():
    assert shipped_files()
    for path in shipped_files():
        seen = seen_by_shipped(file_digest(path))
        assert seen is not None
        assert len(seen.marks) > 1000


def test_the_weights_cells_have_seen_pictures_of_three_laboratories_and_none_of_a_fourth(real_data):
    from tfcells.images.readers import read_images

    seen = seen_by_file(find_weights("mobilenet_v2", "cells"))
    pbc, other = (read_images(real_data / name).digests for name in ("pbc", "zxaoyou_wbc1"))
    assert 0.9 * len(pbc) < seen.count(pbc) < len(pbc)  # a twentieth was kept aside to be asked
    assert seen.count(other) == 0


def test_what_is_said_of_it():
    assert seen_words(None, weights="imagenet") is None
    assert seen_words({"images": 0, "of": 60}, weights="cells") is None
    assert seen_words({"images": 1824, "of": 1920}, weights="cells") == (
        "The weights cells have seen 1,824 of these 1,920 images in their own training, so the numbers here are better "
        "than those of new images. Take other images, or weights that have not seen these, such as ImageNet's."
    )
