"""A store that is what it says it is, and everything that makes it another: found, and named."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.backbones.weights import SEARCH_VARIABLE
from tfcells.cli.main import main
from tfcells.errors import RequestError
from tfcells.features.extract import Extraction, extract
from tfcells.features.shards import write_shard
from tfcells.features.store import FeatureStore
from tfcells.images.readers import read_folder
from tfcells.steps.verify import verify_store

in_place = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def build_small(*, weights, include_top, input_shape):
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(8, 3, strides=2, name="early")(pixels)
    return keras.Model(pixels, keras.layers.Conv2D(12, 3, strides=2, name="late")(maps), name="small")


@pytest.fixture(scope="module")
def small_row():
    unit = Preprocessing("rgb", (1 / 127.5,) * 3, (-1.0,) * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "small", Backbone("small", "Small", "small", unit, 32, "early", "early", "late"))
        patch.setattr(keras.applications, "Small", build_small, raising=False)
        patch.delenv(SEARCH_VARIABLE, raising=False)
        yield


@pytest.fixture(scope="module")
def original(small_row, cell_folder, tmp_path_factory):
    """A folder with `cells` and the `store` made from it: copy before changing it."""
    folder = tmp_path_factory.mktemp("verified")
    shutil.copytree(cell_folder, folder / "cells")
    request = Extraction(
        backbone="small", weights="none", taps=("early", "late"), batch_size=1, engine="tensorflow", precision="float32"
    )
    extract(read_folder(folder / "cells"), request, into=folder / "store")
    return folder


@pytest.fixture
def made(original, tmp_path):
    return shutil.copytree(original, tmp_path / "made")


@pytest.fixture(scope="module")
def without_pictures(make_small_store):
    """A small store of made-up features, with a file of each kind."""
    return make_small_store().path


def files_of(store):
    return sorted(path for path in store.rglob("*") if path.is_file() and path.name not in (".lock", "run.json"))


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def rewrite(store, key, change):
    """Change a tap of the first shard, and its record along with it."""
    opened = FeatureStore(store)
    path, record = opened.shards[0]
    arrays = {Path(name).stem: np.array(np.load(path / name)) for name in record.files}
    change(arrays[Path(opened.file_of(key)).stem])
    shutil.rmtree(path)
    facts = {"start": record.start, "stop": record.stop, "failed": record.failed, "recipe": record.recipe}
    write_shard(path, arrays=arrays, **facts)


def test_a_store_whose_pictures_are_there_is_extracted_anew_to_the_bit(made):
    found = verify_store(made / "store", images=made / "cells", rows=10)
    assert found.sound, found.faults
    assert (found.images, found.compared, found.identical, found.largest) == (36, 10, 10, 0)
    assert found.left_out == ()


def test_pictures_are_looked_for_where_they_were(original):
    assert verify_store(original / "store", rows=0).images == 36


def test_the_seed_chooses_the_rows(made, monkeypatch):
    chosen = []

    def stop(table, request, **options):
        chosen.append(table.ids)
        raise RequestError("no pass for this test")

    monkeypatch.setattr("tfcells.steps.verify.extract", stop)
    for seed in (0, 0, 1):
        assert verify_store(made / "store", images=made / "cells", rows=5, seed=seed).left_out == (
            "features were not compared: no pass for this test",
        )
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(chosen[0]) == 5


def test_a_feature_that_is_not_the_networks_is_named_with_row_tap_and_size(made):
    rewrite(made / "store", "late", lambda column: column.__setitem__((3, 5), column[3, 5] + 1))
    found = verify_store(made / "store", images=made / "cells", rows=36)
    (fault,) = found.faults
    assert (fault.where, fault.tap) == (FeatureStore(made / "store").rows.ids[3], "late")
    assert "is not what is extracted anew" in fault.what
    assert fault.difference > 1e-3
    assert (found.compared, found.identical) == (36, 35)


def test_rounding_is_no_damage_but_is_counted(made):
    rewrite(made / "store", "late", lambda column: np.nextafter(column, np.float32(np.inf), out=column))
    found = verify_store(made / "store", images=made / "cells", rows=36)
    assert found.sound
    assert found.identical == 36 - 16
    assert 0 < found.largest < found.tolerance


def test_pictures_that_changed_or_are_gone_are_named(made):
    ids = FeatureStore(made / "store").rows.ids
    (made / "cells" / ids[0]).unlink()
    shutil.copy(made / "cells" / ids[2], made / "cells" / ids[1])
    found = verify_store(made / "store", images=made / "cells", rows=0)
    assert {fault.where: fault.what for fault in found.faults} == {
        ids[0]: "its picture is gone: cannot be read: No such file or directory",
        ids[1]: "its picture has other pixels than the store was made from",
    }


def test_other_bytes_of_the_same_pixels_are_the_same_picture(made):
    from PIL import Image

    path = made / "cells" / FeatureStore(made / "store").rows.ids[0]
    Image.open(path).convert("RGB").save(path, "PNG")
    assert verify_store(made / "store", images=made / "cells", rows=0).sound


def test_weights_that_are_not_here_leave_digests_and_pictures(made):
    found = verify_store(made / "store", images=made / "cells", weights="/no/such.weights.h5")
    assert found.sound
    assert found.images == 36
    assert found.left_out[0].startswith("features were not compared: No weights file /no/such.weights.h5")


def test_without_pictures_only_digests_are_checked_and_it_says_so(without_pictures):
    found = verify_store(without_pictures)
    assert found.sound
    assert (found.images, found.compared) == (0, 0)
    assert found.left_out[0].startswith("only digests were checked: the images are no longer at ")
    assert found.files == 4 + 3 * 4


@in_place
@given(st.data())
def test_any_flipped_bit_in_any_file_is_found_and_the_file_named(without_pictures, tmp_path_factory, data):
    store = shutil.copytree(without_pictures, tmp_path_factory.mktemp("flipped") / "store")
    path = data.draw(st.sampled_from([path.relative_to(store) for path in files_of(store)]))
    flip(store / path, data.draw(st.integers(0, 8 * (store / path).stat().st_size - 1)))
    found = verify_store(store)
    shutil.rmtree(store)
    assert not found.sound
    assert {path.as_posix(), path.parent.as_posix()} & {fault.where for fault in found.faults}, found.faults


@pytest.mark.parametrize(
    "name", ["rows.csv", "classes.json", "quarantine.csv", "digests.json", "shards/00001/late__mean.npy"]
)
def test_a_missing_file_is_named(without_pictures, tmp_path, name):
    store = shutil.copytree(without_pictures, tmp_path / "store")
    (store / name).unlink()
    found = verify_store(store)
    assert name in {fault.where for fault in found.faults}


def test_a_missing_shard_is_damage(without_pictures, tmp_path):
    store = shutil.copytree(without_pictures, tmp_path / "store")
    shutil.rmtree(store / "shards" / "00002")
    (fault,) = verify_store(store).faults
    assert (fault.where, fault.what) == ("shards", "holds 10 of 12 rows; the extraction was not finished")
    shutil.rmtree(store / "shards" / "00000")
    (fault,) = verify_store(store).faults
    assert fault.what == "holds 0 of 12 rows; the extraction was not finished"


def test_arrays_of_another_shape_or_not_finite_are_damage_whatever_their_digest(without_pictures, tmp_path):
    store = shutil.copytree(without_pictures, tmp_path / "store")
    rewrite(store, "late", lambda column: column.__setitem__((0, 0), np.nan))
    (fault,) = verify_store(store).faults
    assert (fault.where, fault.what) == ("shards/00000/late__mean.npy", "holds numbers that are not finite")
    rewrite(store, "late", lambda column: column.resize((4, 10), refcheck=False))
    (fault,) = verify_store(store).faults
    assert "cannot be read: it is of shape (4, 10), (5, 10) was expected. Delete" in fault.what


def test_an_array_of_another_type_is_damage_whatever_its_digest(without_pictures, tmp_path):
    store = shutil.copytree(without_pictures, tmp_path / "store")
    path, record = FeatureStore(store).shards[0]
    arrays = {Path(name).stem: np.load(path / name).astype(np.float16) for name in record.files}
    write_shard(path, start=record.start, stop=record.stop, arrays=arrays, failed={}, recipe=record.recipe)
    faults = verify_store(store).faults
    assert {fault.where for fault in faults} == {f"shards/00000/{name}" for name in record.files}
    assert all("it is of type float16, float32 was expected" in fault.what for fault in faults)


def test_a_recipe_that_was_altered_is_damage(without_pictures, tmp_path):
    store = shutil.copytree(without_pictures, tmp_path / "store")
    recipe = json.loads((store / "recipe.json").read_text())
    (store / "recipe.json").write_text(json.dumps({**recipe, "dtype": "float16"}))
    (fault,) = verify_store(store).faults
    assert fault.where == "recipe.json"
    assert "was altered: its SHA-256 is not the one in digests.json" in fault.what


def test_the_command_line_tells_unchecked_damaged_and_no_store_apart(without_pictures, tmp_path, capsys):
    store = shutil.copytree(without_pictures, tmp_path / "store")
    assert main(["verify", str(store)]) == 1
    assert ": no fault found, but only digests were checked: 16 files" in capsys.readouterr().out
    flip(store / "shards" / "00001" / "early__mean.npy", 1601)
    assert main(["verify", str(store), "--json"]) == 3
    facts = json.loads(capsys.readouterr().out)
    assert (facts["sound"], facts["faults"][0]["where"]) == (False, "shards/00001/early__mean.npy")
    assert main(["verify", str(store)]) == 3
    assert "damaged: shards/00001/early__mean.npy: " in capsys.readouterr().out
    assert main(["verify", str(tmp_path)]) == 2
    assert "is no feature store" in capsys.readouterr().err
    assert main(["verify", str(store), "--rows", "-1"]) == 2
    assert main(["verify", str(store), "--images", str(tmp_path / "nowhere")]) == 2
