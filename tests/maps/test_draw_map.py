import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tfcells.images.sources import ArraySource
from tfcells.steps.maps import build_projector, draw_map


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def store(make_store):
    return make_store(labels=np.array([-1, 0, 1, 2] * 30))


@pytest.fixture
def pictures(store, tmp_path):
    """Gives every row of the store a picture of its own."""

    class Pictures(ArraySource):
        def read(self, id):
            return np.full((9, 12, 3), store.rows.ids.index(id), dtype=np.uint8)

    return Pictures({}, path=tmp_path)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_is_a_table_a_figure_and_its_quality(store, pictures, tmp_path, method):
    out = tmp_path / "map"
    drawn = draw_map(
        store, taps=["late"], method=method, out=out, source=pictures, columns={"said": ["x"] * 120}, max_rows=50
    )
    rows = read_csv(out / "map.csv")
    assert list(rows[0]) == ["id", "x", "y", "label", "said", "group", "site"]
    assert [row["id"] for row in rows] == [store.rows.ids[row] for row in drawn.rows]
    np.testing.assert_allclose([[float(row["x"]), float(row["y"])] for row in rows], drawn.points, rtol=1e-5)
    assert {row["label"] for row in rows} == {"unlabelled", "class 0", "class 1", "class 2"}
    assert json.loads((out / "map.json").read_text()) == drawn.facts
    assert (drawn.facts["rows"], drawn.facts["of"]) == (50, 120)
    assert 0 <= drawn.facts["trustworthiness"] <= 1
    assert (out / "variance.png").exists() == (method == "pca")
    with Image.open(out / "mosaic.png") as mosaic:
        assert mosaic.size == (4000, 3000)


def test_without_pictures_there_is_no_mosaic_and_no_sprite(store, tmp_path):
    draw_map(store, taps=["late"], method="pca", out=tmp_path / "map", source=None)
    build_projector(store, taps=["late"], out=tmp_path / "projector", source=None)
    assert not (tmp_path / "map" / "mosaic.png").exists()
    assert not (tmp_path / "projector" / "sprite.png").exists()


def test_a_map_without_labels_says_null_where_a_number_would_mean_nothing(make_store, tmp_path):
    store = make_store(labels=np.array([0] + [-1] * 119))
    unlabelled = draw_map(store, taps=["late"], method="pca", out=tmp_path / "map", source=None).facts
    assert unlabelled["same_class"] is not None
    store.rows.labels[:] = -1
    facts = draw_map(store, taps=["late"], method="pca", out=tmp_path / "none", source=None).facts
    assert facts["same_class"] is None
    json.dumps(facts, allow_nan=False)


def test_the_projector_names_the_class_first_and_shows_every_row_s_picture(store, pictures, tmp_path):
    folder = build_projector(store, taps=["early", "late"], out=tmp_path, source=pictures, thumbnail=6)
    lines = (tmp_path / "metadata.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["label", "id", "group", "site"]
    assert [line.split("\t")[1] for line in lines[1:]] == list(store.rows.ids)
    assert (folder.rows, folder.cell) == (120, 6)
    sprite = np.asarray(Image.open(tmp_path / "sprite.png"))
    middles = sprite[3::6, 3::6, 0].reshape(-1)[:120]
    np.testing.assert_array_equal(middles, np.arange(120))


def test_columns_of_a_manifest_do_not_take_the_place_of_identities_and_coordinates(make_store, tmp_path):
    store = make_store(images=30)
    names = ("id", "x", "label", "site")
    metadata = {name: tuple(f"{name} {row}" for row in range(30)) for name in names}
    store.__dict__["rows"] = replace(store.rows, metadata=metadata)
    draw_map(store, taps=["late"], method="pca", out=tmp_path / "map", source=None)
    with (tmp_path / "map" / "map.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert len(set(reader.fieldnames)) == len(reader.fieldnames)
    assert [row["id"] for row in rows] == list(store.rows.ids)
    assert [row["id (given)"] for row in rows] == list(metadata["id"])
    assert rows[0]["x (given)"] == "x 0" and rows[0]["label (given)"] == "label 0" and rows[0]["site"] == "site 0"
    float(rows[0]["x"])


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_layer_wider_than_its_rows_is_drawn_as_if_it_were_held(make_store, tmp_path, method, monkeypatch):
    store = make_store(images=60, widths=(6, 500))
    streamed = draw_map(store, taps=["late"], method=method, out=tmp_path / "streamed", source=None)
    monkeypatch.setattr("tfcells.steps.maps.LARGEST_TURNED", 10)
    held = draw_map(store, taps=["late"], method=method, out=tmp_path / "held", source=None)
    for name in ("trustworthiness", "taps", "pooling", "rows", "of"):
        assert streamed.facts[name] == pytest.approx(held.facts[name], abs=1e-9 if method == "pca" else 0.05)
    if method == "pca":
        signs = np.sign((streamed.points * held.points).sum(axis=0))
        np.testing.assert_allclose(streamed.points * signs, held.points, atol=1e-6 * np.abs(held.points).max())
        assert streamed.facts["variance_ratio"] == pytest.approx(held.facts["variance_ratio"], abs=1e-9)


def test_wide_features_of_pictures_that_are_all_alike_are_drawn_at_one_place(make_store, tmp_path):
    store = make_store(images=30, widths=(6, 100))
    for path in store.path.glob("shards/*/late__mean.npy"):
        np.save(path, np.ones_like(np.load(path)))
    drawn = draw_map(store, taps=["late"], method="pca", out=tmp_path / "map", source=None)
    assert not drawn.points.any()
