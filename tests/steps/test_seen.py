import pytest
from made_tables import made_store

from tfcells.backbones.seen import SeenPictures, list_beside, seen_by_file, write_seen
from tfcells.backbones.weights import file_digest, find_weights
from tfcells.features.pieces import SEEN
from tfcells.steps.seen import seen_by, seen_json


@pytest.fixture
def store(tmp_path):
    return made_store(tmp_path / "store", images=20)


def test_pictures_that_the_weights_of_a_store_have_seen_are_counted(store):
    assert seen_json(store) is None
    write_seen(store.path / SEEN, SeenPictures.of([*store.rows.digests[:7], "f" * 64]))
    assert seen_json(store) == {"images": 7, "of": 20}


def test_weights_that_ship_are_known_by_their_digest_where_a_store_has_no_list(store, monkeypatch):
    shipped = find_weights("mobilenet_v2", "cells")
    monkeypatch.setattr(store, "recipe", {**store.recipe, "weights": {"name": "mine", "sha256": shipped.sha256}})
    assert seen_json(store) == {"images": 0, "of": 20}
    assert seen_by("mobilenet_v2", "cells", sha256=shipped.sha256) == seen_by_file(shipped)
    assert seen_by("mobilenet_v2", "none", sha256=shipped.sha256) == seen_by_file(shipped)


def test_the_list_of_another_file_is_not_asked(tmp_path):
    path = tmp_path / "tiny_mine.weights.h5"
    path.write_bytes(b"weights")
    write_seen(list_beside(path), SeenPictures.of(["f" * 64]))
    digest = file_digest(path)
    assert seen_by("tiny", path, sha256=digest) == SeenPictures.of(["f" * 64])
    path.write_bytes(b"trained on since")
    assert seen_by("tiny", path, sha256=digest) is None
