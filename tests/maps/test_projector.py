import io

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from tfcells.errors import RequestError
from tfcells.maps import projector
from tfcells.maps.projector import MAX_AXES, MAX_ROWS, MAX_SPRITE, make_sprite, sprite_cell, write_projector

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def columns_of(rows):
    return {"label": ["a"] * rows, "id": [f"cell {row}" for row in range(rows)]}


def drawn(rows, cell=4):
    return np.random.default_rng(rows).integers(0, 256, (rows, cell, cell, 3), dtype=np.uint8)


def written(folder, rows=7, axes=5, **options):
    points = np.random.default_rng(0).normal(size=(rows, axes))
    write_projector(folder, **{"coordinates": {"pca": points}, "columns": columns_of(rows), **options})
    return points


def config_of(folder):
    from tensorboard.plugins.projector import projector_config_pb2

    text = (folder / "projector_config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, projector_config_pb2.ProjectorConfig())


def test_the_configuration_is_one_that_tensorboard_parses(tmp_path):
    points = {"pca": np.zeros((7, 5)), "tsne": np.zeros((7, 3))}
    found = write_projector(tmp_path / "log", coordinates=points, columns=columns_of(7), thumbnails=drawn(7))
    pca, tsne = config_of(tmp_path / "log").embeddings
    assert (pca.tensor_name, pca.tensor_path, list(pca.tensor_shape)) == ("pca", "pca.tsv", [7, 5])
    assert (tsne.tensor_name, tsne.tensor_path, list(tsne.tensor_shape)) == ("tsne", "tsne.tsv", [7, 3])
    for entry in (pca, tsne):
        assert entry.metadata_path == "metadata.tsv"
        assert (entry.sprite.image_path, list(entry.sprite.single_image_dim)) == ("sprite.png", [4, 4])
    assert (found.path, found.rows, found.cell) == (tmp_path / "log", 7, 4)


def test_without_thumbnails_there_is_no_sprite(tmp_path):
    written(tmp_path)
    assert not config_of(tmp_path).embeddings[0].HasField("sprite")
    assert not (tmp_path / "sprite.png").exists()


@settings(max_examples=40)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(3, 6)), elements=FLOATS))
def test_coordinates_are_read_back_exactly(tmp_path_factory, points):
    folder = tmp_path_factory.mktemp("log")
    write_projector(folder, coordinates={"pca": points}, columns=columns_of(len(points)))
    lines = (folder / "pca.tsv").read_text().splitlines()
    read = np.array([[float(cell) for cell in line.split("\t")] for line in lines]).astype(np.float32)
    np.testing.assert_array_equal(read, points)


def test_flat_maps_get_a_third_axis_that_says_nothing(tmp_path):
    points = written(tmp_path, axes=2)
    read = np.loadtxt(tmp_path / "pca.tsv", delimiter="\t", dtype=np.float32)
    np.testing.assert_array_equal(read[:, :2], points.astype(np.float32))
    np.testing.assert_array_equal(read[:, 2:], np.zeros((7, 1)))
    assert list(config_of(tmp_path).embeddings[0].tensor_shape) == [7, 3]


def test_axes_that_a_browser_cannot_take_in_are_left_out_from_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "_MAX_NUMBERS", 30)
    points = written(tmp_path, axes=8)
    read = np.loadtxt(tmp_path / "pca.tsv", delimiter="\t", dtype=np.float32)
    np.testing.assert_array_equal(read, points[:, :4].astype(np.float32))


def test_metadata_have_a_header_and_a_line_for_every_row(tmp_path):
    written(tmp_path, rows=3)
    text = (tmp_path / "metadata.tsv").read_text(encoding="utf-8")
    assert text == "label\tid\na\tcell 0\na\tcell 1\na\tcell 2\n"


@settings(max_examples=40)
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5), st.text())
def test_no_value_breaks_a_line_or_a_column(tmp_path_factory, values, name):
    folder = tmp_path_factory.mktemp("log")
    columns = {"label": [first for first, _ in values], f"n{name}": [second for _, second in values]}
    columns = {key: [value.encode("utf-8", "replace").decode() for value in cells] for key, cells in columns.items()}
    columns = {key.encode("utf-8", "replace").decode(): cells for key, cells in columns.items()}
    write_projector(folder, coordinates={"pca": np.zeros((len(values), 3))}, columns=columns)
    lines = (folder / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(values) + 1
    assert all(len(line.split("\t")) == 2 and all(line.split("\t")) for line in lines)


def test_separators_become_spaces_and_nothing_becomes_a_dash(tmp_path):
    columns = {"label": ["a\tb", "", "\n"], "id": ["x\r\ny", " z ", 3]}
    write_projector(tmp_path, coordinates={"pca": np.zeros((3, 3))}, columns=columns)
    assert (tmp_path / "metadata.tsv").read_text().splitlines()[1:] == ["a b\tx y", "-\tz", "-\t3"]


@settings(deadline=None)
@given(st.integers(1, 150), st.integers(1, 5))
def test_a_sprite_cell_is_the_thumbnail_bit_for_bit(count, cell):
    thumbnails = drawn(count, cell)
    sheet = make_sprite(thumbnails)
    per_row = sheet.shape[1] // cell  # as the Projector counts
    assert sheet.shape[0] == sheet.shape[1]
    assert (per_row - 1) ** 2 < count <= per_row**2
    for index, thumbnail in enumerate(thumbnails):
        top, left = cell * (index // per_row), cell * (index % per_row)
        np.testing.assert_array_equal(sheet[top : top + cell, left : left + cell], thumbnail)


def test_the_sprite_is_stored_without_loss(tmp_path):
    written(tmp_path, rows=10, thumbnails=drawn(10))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "sprite.png")), make_sprite(drawn(10)))


@given(st.integers(1, MAX_ROWS), st.integers(1, 200))
def test_a_sprite_cell_is_as_large_as_wanted_or_as_fits(rows, wanted):
    cell, grid = sprite_cell(rows, wanted=wanted), int(np.ceil(np.sqrt(rows)))
    assert 1 <= cell <= wanted
    assert cell * grid <= MAX_SPRITE
    assert cell == wanted or (cell + 1) * grid > MAX_SPRITE


def test_the_largest_projector_has_thumbnails_that_can_be_seen():
    assert sprite_cell(MAX_ROWS) == 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, r"0 rows given\. Expected 1 to 100,000"),
        ({"axes": MAX_AXES + 1}, r"have 201 axes\. Expected 1 to 200"),
        ({"axes": 0}, r"have 0 axes\. Expected 1 to 200"),
        ({"columns": columns_of(6)}, "differ in length or are missing"),
        ({"columns": {"id": ["a"] * 7}}, "two or more metadata columns"),
        ({"coordinates": {}}, "differ in length or are missing"),
        ({"thumbnails": np.zeros((7, 2731, 1, 3), np.uint8)}, r"larger than 8192 pixels\. Expected 64 pixels at most"),
        ({"coordinates": {"metadata": np.zeros((7, 3))}}, "not `metadata`"),
        ({"coordinates": {"../pca": np.zeros((7, 3))}}, "named '../pca'"),
        ({"coordinates": {'a"b': np.zeros((7, 3))}}, "Expected letters, digits"),
    ],
)
def test_what_the_projector_cannot_show_is_refused_and_nothing_is_written(tmp_path, options, message):
    with pytest.raises(RequestError, match=message):
        written(tmp_path / "log", **options)
    assert not (tmp_path / "log").exists()


def test_more_rows_than_the_projector_shows_are_refused(tmp_path):
    rows = MAX_ROWS + 1
    points = np.zeros((rows, 3), dtype=np.float32)
    with pytest.raises(RequestError, match=r"100,001 rows given.*draw a sample"):
        write_projector(tmp_path, coordinates={"pca": points}, columns={"a": range(rows), "b": range(rows)})


def test_tensorboard_serves_what_was_written(tmp_path):
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    points = written(tmp_path, rows=10, thumbnails=drawn(10))
    apps = ProjectorPlugin(TBContext(logdir=str(tmp_path))).get_plugin_apps()

    def get(route):
        response = Client(apps[route]).get("/", query_string={"run": ".", "name": "pca"})
        assert response.status_code == 200, response.text
        return response

    assert get("/runs").json == ["."]
    assert get("/info").json["embeddings"][0]["tensorShape"] == [10, 5]
    np.testing.assert_array_equal(
        np.frombuffer(get("/tensor").data, np.float32).reshape(10, 5), points.astype(np.float32)
    )
    assert get("/metadata").text == (tmp_path / "metadata.tsv").read_text()
    sprite = Image.open(io.BytesIO(get("/sprite_image").data))
    np.testing.assert_array_equal(np.asarray(sprite), make_sprite(drawn(10)))
