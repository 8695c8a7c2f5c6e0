"""Weights by name, file or folder: where they are looked for, and what is said when they are nowhere."""

import os
from pathlib import Path

import pytest

from tfcells.backbones import weights
from tfcells.backbones.golden import known_fingerprints
from tfcells.backbones.weights import SEARCH_VARIABLE, WeightsFile, file_digest, find_weights, model_card
from tfcells.errors import MissingWeightsError, RequestError

SHA_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
WAYS_OUT = r"Three ways out: put vgg16_<name>\.weights\.h5 into .* --weights FILE; or .* --weights none"


@pytest.fixture(autouse=True)
def no_search(monkeypatch):
    monkeypatch.delenv(SEARCH_VARIABLE, raising=False)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A package that ships `cells` for MobileNetV2 alone."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(weights, "_SHIPPED", folder)
    return put(folder, "mobilenet_v2_cells.weights.h5")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders that are searched, in this order."""
    made = [tmp_path / "first", tmp_path / "second"]
    for folder in made:
        folder.mkdir()
    monkeypatch.setenv(SEARCH_VARIABLE, os.pathsep.join(map(str, made)))
    return made


def put(folder: Path, name: str = "vgg16_cells.weights.h5", data: bytes = b"abc") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_the_digest_of_a_file_is_its_sha256(tmp_path):
    assert file_digest(put(tmp_path)) == SHA_OF_ABC


def test_a_name_is_found_in_any_folder_that_is_searched(folders):
    path = put(folders[1])
    assert find_weights("vgg16", "cells") == WeightsFile("cells", path, SHA_OF_ABC)


def test_the_folder_named_first_wins(folders):
    first, _ = put(folders[0]), put(folders[1], data=b"later")
    assert find_weights("vgg16", "cells").path == first


def test_empty_and_missing_folders_are_passed_over(folders, monkeypatch):
    monkeypatch.setenv(SEARCH_VARIABLE, os.pathsep.join(["", "/no/such/folder", "", str(folders[1])]))
    path = put(folders[1])
    assert find_weights("vgg16", "cells").path == path


def test_imagenet_beside_the_checkout_comes_before_any_download(folders):
    path = put(folders[0], "vgg16_imagenet.weights.h5")
    assert find_weights("vgg16", "imagenet") == WeightsFile("imagenet", path, SHA_OF_ABC)


def test_imagenet_that_is_nowhere_is_left_to_keras(folders):
    assert find_weights("vgg16", "imagenet") == WeightsFile("imagenet", None, None)


def test_random_weights_are_found_only_by_their_name(folders):
    put(folders[0], "vgg16_none.weights.h5")
    assert find_weights("vgg16", "none") == WeightsFile("none", None, None)


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_a_file_is_taken_as_it_is(tmp_path, suffix, kind):
    path = put(tmp_path, f"mine{suffix}")
    assert find_weights("vgg16", kind(path)) == WeightsFile(f"mine{suffix}", path, SHA_OF_ABC)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("vgg16_hed.weights.h5", "hed"),
        ("vgg16_my_own.weights.h5", "my_own"),
        ("vgg16_hed.h5", "vgg16_hed.h5"),
        ("vgg16_hed.keras", "vgg16_hed.keras"),
        ("vgg16.weights.h5", "vgg16.weights.h5"),
        ("vgg19_hed.weights.h5", "vgg19_hed.weights.h5"),
        ("hed.weights.h5", "hed.weights.h5"),
    ],
)
def test_only_names_of_the_searched_form_are_shortened(tmp_path, file, name):
    assert find_weights("vgg16", put(tmp_path, file)).name == name


@pytest.mark.parametrize("written", [Path, str, "{}/".format], ids=["path", "text", "slash"])
def test_a_folder_stands_for_the_one_file_in_it(tmp_path, written):
    path = put(tmp_path)
    put(tmp_path, "vgg19_cells.weights.h5")
    put(tmp_path, "vgg16_notes.txt")
    assert find_weights("vgg16", written(tmp_path)) == WeightsFile("cells", path, SHA_OF_ABC)


def test_a_folder_here_needs_no_slash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    put(Path("mine"))
    assert find_weights("vgg16", "mine").name == "cells"


def test_a_folder_here_does_not_hide_weights_of_its_name(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cells").mkdir()
    path, _ = put(folders[0]), put(Path("cells"), data=b"other")
    assert find_weights("vgg16", "cells").path == path


def test_weights_of_a_network_whose_name_goes_on_are_not_mistaken(tmp_path):
    put(tmp_path, "mobilenet_v2_imagenet.weights.h5")
    with pytest.raises(MissingWeightsError, match="No mobilenet_<name>"):
        find_weights("mobilenet", tmp_path)
    path = put(tmp_path, "mobilenet_imagenet.weights.h5")
    assert find_weights("mobilenet", tmp_path).path == path


def test_a_folder_with_several_candidates_is_refused_and_names_them(tmp_path):
    put(tmp_path)
    put(tmp_path, "vgg16_imagenet.weights.h5")
    with pytest.raises(RequestError, match=r"vgg16_cells\.weights\.h5, vgg16_imagenet\.weights\.h5\. Name the file"):
        find_weights("vgg16", tmp_path)


def test_a_folder_without_any_is_refused_with_the_ways_out(tmp_path):
    with pytest.raises(MissingWeightsError, match=rf"No vgg16_<name>\.weights\.h5 in {tmp_path}\. {WAYS_OUT}"):
        find_weights("vgg16", tmp_path)


def test_a_missing_file_is_refused_with_the_ways_out(tmp_path):
    with pytest.raises(MissingWeightsError, match=rf"No weights file {tmp_path}/mine\.keras\. {WAYS_OUT}"):
        find_weights("vgg16", tmp_path / "mine.keras")


def test_a_missing_name_lists_every_place_and_the_ways_out(folders):
    places = rf"{folders[0]}, {folders[1]} and the weights shipped with tfcells"
    with pytest.raises(MissingWeightsError, match=rf"looked for vgg16_mine\.weights\.h5 in {places}\. {WAYS_OUT}"):
        find_weights("vgg16", "mine")


def test_shipped_weights_need_no_folder(shipped):
    assert find_weights("mobilenet_v2", "cells") == WeightsFile("cells", shipped, SHA_OF_ABC)


def test_a_folder_that_is_searched_comes_before_what_is_shipped(shipped, folders):
    path = put(folders[1], "mobilenet_v2_cells.weights.h5", data=b"mine")
    assert find_weights("mobilenet_v2", "cells").path == path


def test_a_backbone_without_shipped_weights_is_told_which_have_them(shipped):
    with pytest.raises(MissingWeightsError, match=rf"tfcells ships 'cells' for: mobilenet_v2\. {WAYS_OUT}"):
        find_weights("vgg16", "cells")


def test_a_model_card_belongs_to_the_bytes_that_are_shipped(shipped):
    assert model_card(SHA_OF_ABC) is None
    card = shipped.with_name("mobilenet_v2_cells.md")
    card.write_text("# cells")
    assert model_card(SHA_OF_ABC) == card
    assert model_card(SHA_OF_ABC.replace("b", "a")) is None


def test_what_is_shipped_fits_its_promise():
    found = weights._SHIPPED / "mobilenet_v2_cells.weights.h5"
    assert find_weights("mobilenet_v2", "cells").path == found
    assert found.stat().st_size <= 5_000_000
    assert file_digest(found) in known_fingerprints()
    assert f"`{file_digest(found)}`" in model_card(file_digest(found)).read_text(encoding="utf-8")


def test_a_missing_name_says_that_no_folder_was_set():
    with pytest.raises(MissingWeightsError, match=rf"{SEARCH_VARIABLE} \(not set\) and the weights shipped"):
        find_weights("vgg16", "cells")
