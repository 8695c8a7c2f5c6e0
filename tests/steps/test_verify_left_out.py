"""What cannot be checked is left out by name and is no fault of the store; stores without a network are checked too."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfcells.cli.main import main
from tfcells.errors import DamageError, MissingExtraError, RequestError
from tfcells.features import plan, shards
from tfcells.features.extract import Extraction, extract
from tfcells.features.shards import write_shard
from tfcells.features.store import FeatureStore
from tfcells.images.readers import read_folder
from tfcells.steps.verify import verify_store


@pytest.fixture(scope="module")
def original(cell_folder, tmp_path_factory):
    """A folder with `cells` and the `store` of hand-made features made from it: copy before changing it."""
    folder = tmp_path_factory.mktemp("verified by hand")
    shutil.copytree(cell_folder, folder / "cells")
    request = Extraction(handcrafted=("raw", "stain"), batch_size=1, dtype="float16")
    extract(read_folder(folder / "cells"), request, into=folder / "store").close()
    return folder


@pytest.fixture
def made(original, tmp_path):
    return shutil.copytree(original, tmp_path / "made")


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_a_store_without_a_network_is_extracted_anew_to_the_bit(original, capsys):
    found = verify_store(original / "store")
    assert found.sound, found.faults
    assert (found.images, found.compared, found.identical, found.left_out) == (36, 32, 32, ())
    assert main(["verify", str(original / "store")]) == 0
    assert ": sound: " in capsys.readouterr().out


def test_a_hand_made_feature_that_is_not_what_is_measured_is_named(made):
    path, record = FeatureStore(made / "store").shards[1]
    arrays = {Path(name).stem: np.array(np.load(path / name)) for name in record.files}
    arrays["stain"][2, 7] += 1
    shutil.rmtree(path)
    write_shard(path, start=record.start, stop=record.stop, arrays=arrays, failed=record.failed)
    (fault,) = verify_store(made / "store", images=made / "cells", rows=36).faults
    assert (fault.where, fault.tap) == (FeatureStore(made / "store").rows.ids[18], "stain")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RequestError("no engine fits"), "no engine fits"),
        (
            MissingExtraError("openvino", extra="openvino"),
            "openvino is not installed. It comes with an extra: pip install 'tfcells[openvino]'.",
        ),
        (DamageError("The golden check of the weights failed."), "The golden check of the weights failed."),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found"),
            "the system refused: [Errno 2] No usable temporary directory found",
        ),
    ],
)
def test_what_hinders_the_extraction_here_and_now_is_no_fault_of_the_store(
    original, monkeypatch, capsys, error, reason
):
    def hindered(*arguments, **options):
        raise error

    monkeypatch.setattr("tfcells.steps.verify.extract", hindered)
    found = verify_store(original / "store")
    assert (found.faults, found.images, found.compared) == ((), 36, 0)
    assert found.left_out == (f"features were not compared: {reason}",)
    assert main(["verify", str(original / "store")]) == 1
    out = capsys.readouterr().out
    assert f"left out: features were not compared: {reason}\n" in out
    assert "store: no fault found, but only digests and pictures were checked: " in out


def test_a_full_temporary_disk_is_no_fault_of_the_store(original, monkeypatch, tmp_path):
    def full(path, data):
        raise OSError(errno.EFBIG, "File too large", str(path))

    monkeypatch.setattr(shards, "write_file", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = verify_store(original / "store", rows=8)
    assert found.faults == ()
    assert found.left_out == (
        f"features were not compared: the temporary folder {tmp_path} does not take the rows that are extracted anew "
        "(File too large); make room there, name another with TMPDIR, or compare fewer rows",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_disk_without_room_is_named_before_anything_is_extracted(original, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)._replace(free=2048)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(shards, "write_file", lambda path, data: pytest.fail("something was written"))
    found = verify_store(original / "store", rows=8)
    assert found.faults == ()
    assert " KiB are needed, 2.0 KiB are free); make room there, name another with TMPDIR" in found.left_out[0]


def test_without_pictures_the_verdict_is_that_of_digests_alone(make_small_store, capsys):
    store = make_small_store().path
    assert main(["verify", str(store)]) == 1
    out = capsys.readouterr().out
    assert "left out: only digests were checked: the images are no longer at " in out
    assert f"{store}: no fault found, but only digests were checked: 16 files, 0 pictures\n" in out
    assert main(["verify", str(store), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["sound"], len(facts["left_out"])) == (True, 1)


def test_rows_that_were_not_asked_for_are_not_left_out(original):
    assert verify_store(original / "store", rows=0).left_out == ()
    assert main(["verify", str(original / "store"), "--rows", "0", "--quiet"]) == 0


def test_a_store_none_of_whose_rows_has_a_feature_has_nothing_to_compare(made):
    store = FeatureStore(made / "store")
    for path, record in store.shards:
        arrays = {Path(name).stem: np.array(np.load(path / name))[:0] for name in record.files}
        shutil.rmtree(path)
        failed = dict.fromkeys(store.planned.ids[record.start : record.stop], "cannot be read")
        write_shard(path, start=record.start, stop=record.stop, arrays=arrays, failed=failed)
    found = verify_store(made / "store", images=made / "cells")
    assert found.left_out == ("features were not compared: no row has both a feature and its picture",)


@pytest.mark.parametrize("file", ["shards/00001/stain.npy", "shards/00001/record.json", "rows.csv", "recipe.json"])
@pytest.mark.parametrize("folder", ["my store, copied: twice", "."])
def test_the_file_is_named_whatever_the_store_is_called(made, monkeypatch, folder, file):
    if folder == ".":
        monkeypatch.chdir(made / "store")
        path = Path()
    else:
        path = (made / "store").rename(made / folder)
    flip(path / file, 8 * ((path / file).stat().st_size // 2))
    (fault,) = verify_store(path).faults
    assert fault.where == (file if not file.endswith("record.json") else "shards/00001")


def test_damaged_digests_are_one_fault(made):
    flip(made / "store" / "digests.json", 100)
    (fault,) = verify_store(made / "store").faults
    assert (fault.where, "cannot be read" in fault.what) == ("digests.json", True)


def test_a_flipped_bit_in_the_format_is_damage_and_no_other_version(made, capsys):
    recipe = made / "store" / "recipe.json"
    flip(recipe, 8 * (recipe.read_bytes().index(b'"format": 2') + len('"format": ')))
    assert b'"format": 3' in recipe.read_bytes()
    assert main(["verify", str(made / "store")]) == 3
    assert "damaged: recipe.json: " in capsys.readouterr().out


def test_a_store_that_lost_its_recipe_is_damaged(made, capsys):
    (made / "store" / "recipe.json").unlink()
    assert main(["verify", str(made / "store")]) == 3
    assert "looks like a feature store, but" in capsys.readouterr().out


def test_numbers_of_another_type_are_damage_whatever_their_digest(made):
    path, record = FeatureStore(made / "store").shards[0]
    arrays = {Path(name).stem: np.array(np.load(path / name)) for name in record.files}
    shutil.rmtree(path)
    write_shard(
        path,
        start=record.start,
        stop=record.stop,
        arrays=arrays | {"stain": arrays["stain"].astype(np.float64)},
        failed=record.failed,
    )
    (fault,) = verify_store(made / "store").faults
    assert fault.where == "shards/00000/stain.npy"
    assert "float64" in fault.what and "float16 was expected" in fault.what
