import csv
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tfcells.errors import EmptyDataError, RequestError
from tfcells.images.decode import decode_image
from tfcells.serving import predict
from tfcells.serving.predict import predict_folder, quarantine_path


@pytest.fixture
def folder(cell_folder, cells, tmp_path):
    """Pictures in folders that are named after wrong classes, beside them, and below; two that are no pictures."""
    root = tmp_path / "new"
    for place, id in zip(("platelet/a.png", "lymphocyte/deep/b.png", "c.png"), cells.ids[::12], strict=True):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cell_folder / id, root / place)
    with Image.open(root / "c.png") as picture:
        picture.save(root / "platelet" / "d.tif")
    (root / "broken.jpg").write_text("no picture")
    (root / "platelet" / "empty.png").touch()
    (root / "notes.txt").write_text("passed over")
    return root


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_picture_is_answered_wherever_it_lies(served, folder):
    found = predict_folder(served, folder)
    assert found.ids == ("c.png", "lymphocyte/deep/b.png", "platelet/a.png", "platelet/d.tif")
    pixels = [decode_image((folder / id).read_bytes()) for id in found.ids]
    np.testing.assert_allclose(found.probabilities, served.classify_pixels(pixels), atol=1e-6)


def test_what_is_no_picture_is_quarantined_by_name(served, folder):
    reasons = dict(predict_folder(served, folder).quarantine)
    assert reasons == {
        "broken.jpg": "not a picture: it holds text",
        "platelet/empty.png": "the file is empty (0 bytes)",
    }


def test_the_files_hold_predictions_and_never_the_folder_s_class(served, folder, tmp_path):
    found = predict_folder(served, folder)
    found.write(tmp_path / "said.csv")
    rows = read_csv(tmp_path / "said.csv")
    names = served.class_names
    assert list(rows[0]) == ["id", "prediction", "confidence", *(f"p_{name}" for name in names)]
    assert [row["id"] for row in rows] == list(found.ids)
    read = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    np.testing.assert_allclose(read, found.probabilities, atol=5.1e-9)
    assert [row["prediction"] for row in rows] == [names[index] for index in read.argmax(axis=1)] == found.predicted
    np.testing.assert_array_equal([float(row["confidence"]) for row in rows], read.max(axis=1))
    quarantined = read_csv(quarantine_path(tmp_path / "said.csv"))
    assert [tuple(row) for row in quarantined] == [("id", "reason")] * 2
    assert [row["id"] for row in quarantined] == ["broken.jpg", "platelet/empty.png"]


def test_the_quarantine_lies_beside_the_predictions(tmp_path):
    assert quarantine_path(tmp_path / "said.csv") == tmp_path / "said.quarantine.csv"


def test_renaming_the_folders_changes_no_answer(served, folder):
    before = predict_folder(served, folder)
    (folder / "platelet").rename(folder / "eosinophil")
    after = predict_folder(served, folder)
    renamed = [id.replace("platelet", "eosinophil") for id in before.ids]
    order = [after.ids.index(id) for id in renamed]
    np.testing.assert_allclose(after.probabilities[order], before.probabilities, atol=1e-6)


def test_answers_do_not_depend_on_the_size_of_a_batch(served, folder, monkeypatch):
    before = predict_folder(served, folder)
    monkeypatch.setattr(predict, "_BATCH", 1)
    after = predict_folder(served, folder)
    assert (after.ids, after.quarantine) == (before.ids, before.quarantine)
    np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-6)


def test_progress_is_told_up_to_the_end(served, folder):
    told = []
    predict_folder(served, folder, progress=lambda *step: told.append(step))
    assert told == [("predicting", 0, 6), ("predicting", 6, 6)]


def test_a_name_that_is_not_utf_8_is_quarantined_in_letters_that_can_be_written(served, folder, tmp_path):
    shutil.copy(folder / "c.png", os.fsdecode(os.fsencode(folder) + b"/\xff.png"))
    found = predict_folder(served, folder)
    assert dict(found.quarantine)[r"\udcff.png"] == "its name is not valid UTF-8; rename it"
    found.write(tmp_path / "said.csv")


def test_a_folder_that_cannot_be_listed_is_quarantined_by_name(served, folder, monkeypatch):
    listed = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("platelet"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)  # the superuser may list everything
    assert dict(predict_folder(served, folder).quarantine)["platelet"] == "cannot be listed: Permission denied"


def test_names_of_any_kind_are_read_back(served, folder, tmp_path):
    strange = {'say "x", please.png', "line\nbreak.png", "lone\rreturn.png"}
    for name in strange:
        shutil.copy(folder / "c.png", folder / name)
        (folder / f"bad {name}").touch()
    predict_folder(served, folder).write(tmp_path / "said.csv")
    assert strange < {row["id"] for row in read_csv(tmp_path / "said.csv")}
    assert {f"bad {name}" for name in strange} < {row["id"] for row in read_csv(tmp_path / "said.quarantine.csv")}


def test_a_folder_without_a_picture_is_an_error_that_says_what_was_there(served, tmp_path):
    with pytest.raises(EmptyDataError, match="No usable picture in"):
        predict_folder(served, tmp_path)
    (tmp_path / "a.png").touch()
    with pytest.raises(EmptyDataError, match=r"a\.png: the file is empty"):
        predict_folder(served, tmp_path)


def test_what_is_no_folder_is_refused(served, tmp_path):
    with pytest.raises(RequestError, match=r"is no folder\. Expected a folder of images"):
        predict_folder(served, tmp_path / "missing")
