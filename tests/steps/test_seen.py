import pytest
from made_tables import made_store

from tfcells.backbones.seen import SeenPictures, write_seen
from tfcells.backbones.weights import file_digest, find_weights
from tfcells.steps.seen import seen_by, seen_json


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return made_store(tmp_path_factory.mktemp("seen") / "store", images=20)


def made_with(store, sha256, monkeypatch):
    recipe = {**store.recipe, "weights": {"name": "mine", "sha256": sha256}}
    monkeypatch.setattr(store, "recipe", recipe)
    return store


@pytest.fixture
def weights(tmp_path, store):
    """A file that has seen seven of the store's pictures."""
    path = tmp_path / "tiny_mine.weights.h5"
    path.write_bytes(b"weights")
    write_seen(path, SeenPictures.of([*store.rows.digests[:7], "f" * 64]))
    return path


def test_pictures_that_the_weights_have_seen_are_counted(store, weights, monkeypatch):
    made_with(store, file_digest(weights), monkeypatch)
    assert seen_json(store, weights=weights) == {"images": 7, "of": 20}


def test_without_a_list_nobody_knows(store, weights, monkeypatch):
    assert seen_json(store) is None  # of a store alone, whose weights do not ship
    made_with(store, file_digest(weights), monkeypatch)
    weights.with_name("tiny_mine.seen.txt").unlink()
    assert seen_json(store, weights=weights) is None


def test_the_list_of_another_file_is_not_asked(store, weights, monkeypatch):
    made_with(store, file_digest(weights), monkeypatch)
    weights.write_bytes(b"trained on since")
    assert seen_json(store, weights=weights) is None
    weights.unlink()
    assert seen_json(store, weights=weights) is None


def test_weights_that_ship_are_known_by_their_digest_whatever_they_are_called():
    shipped = find_weights("mobilenet_v2", "cells")
    known = seen_by("mobilenet_v2", None, sha256=shipped.sha256)
    assert known is not None
    assert known == seen_by("mobilenet_v2", "cells", sha256=shipped.sha256)
    assert known == seen_by("mobilenet_v2", "elsewhere.weights.h5", sha256=shipped.sha256)
