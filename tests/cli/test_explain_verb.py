"""`tfcells explain` on a small study, from the command line to its files."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.backbones.weights import SEARCH_VARIABLE
from tfcells.cli.main import main
from tfcells.errors import DamageError, RequestError
from tfcells.explain import checked
from tfcells.explain.methods import METHODS as KNOWN
from tfcells.images.sources import FolderSource
from tfcells.steps import subjects
from tfcells.steps.finished import open_run

CONFIG = """
images: {{root: {root}, folds: 3, audit: false}}
backbone: {{name: small, weights: none, taps: [late], batch_size: 8}}
probes: {{kinds: [ridge], workers: 1}}
"""
METHODS = {"exact", "gradcam", "occlusion"}


def build_small(*, weights: None, include_top: bool, input_shape: tuple[int | None, ...]) -> keras.Model:
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, name="early")(pixels)
    maps = keras.layers.ReLU(name="early_relu")(keras.layers.BatchNormalization()(maps))
    maps = keras.layers.Conv2D(16, 3, strides=2, use_bias=False)(maps)
    return keras.Model(pixels, keras.layers.ReLU(name="late")(keras.layers.BatchNormalization()(maps)), name="small")


@pytest.fixture(scope="module")
def small_backbone() -> Iterator[None]:
    """A backbone of two convolutions in the catalog: a study of it takes a third of the time."""
    unit = Preprocessing("rgb", (1 / 127.5,) * 3, (-1.0,) * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "small", Backbone("small", "Small", "small", unit, 64, "early", "early_relu", "late"))
        patch.setattr(keras.applications, "Small", build_small, raising=False)
        patch.delenv(SEARCH_VARIABLE, raising=False)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, cell_folder: Path, small_backbone: None) -> Path:
    """A finished study of drawn cells; not to be changed, but for the explanations that its report is given."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(CONFIG.format(root=cell_folder))
    assert main(["run", str(folder / "study.yaml"), "--out", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


def write_masks(folder: Path, study: Path, cell_folder: Path, *, empty: int = 0, rows: slice = slice(12)) -> list[str]:
    """Masks of the middle of some pictures; the first few are empty."""
    ids = open_run(study).store.rows.ids[rows]
    for number, row in enumerate(ids):
        with Image.open(cell_folder / row) as picture:
            mask = np.zeros((picture.height, picture.width), dtype=np.uint8)
        if number >= empty:
            mask[mask.shape[0] // 4 : -(mask.shape[0] // 4), mask.shape[1] // 4 : -(mask.shape[1] // 4)] = 255
        path = (folder / row).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    return list(ids)


def test_the_probe_of_a_fold_answers_as_it_did_when_it_was_tested(study: Path) -> None:
    run = open_run(study)
    with (study / "predictions.csv").open(newline="") as file:
        answers = list(csv.DictReader(file))
    for fold in (0, 2):
        final = run.fold_probe(fold)
        mine = [answer for answer in answers if int(answer["fold"]) == fold]
        told = final.probabilities(run.store, np.array([run.store.row_of[answer["id"]] for answer in mine]))
        kept = [[float(answer[f"p_{name}"]) for name in final.class_names] for answer in mine]
        np.testing.assert_allclose(told, kept, atol=1e-5)  # of ridge: a logistic regression stops near its optimum
        learned = run.final_probe().probabilities(run.store, np.array([run.store.row_of[row["id"]] for row in mine]))
        assert np.abs(learned - kept).max() > 0.05  # the final probe has learned from these rows
    with pytest.raises(RequestError, match=r"There is no fold 3\. Expected one of 0, 1, 2"):
        run.fold_probe(3)


@pytest.mark.slow
def test_one_image_is_explained_with_its_mask(
    study: Path, cell_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id, *_ = write_masks(tmp_path / "masks", study, cell_folder)
    out = tmp_path / "told"
    words = ["explain", str(study), id, "--out", str(out), "--methods", "exact,gradcam,occlusion", "--checks", "3"]
    assert main([*words, "--masks", str(tmp_path / "masks"), "--json", "--quiet"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == json.loads((out / "explain.json").read_text())
    assert set(facts["methods"]) == METHODS and facts["methods"]["exact"]["completeness"]["reached"] == 3
    (shown,) = [image for image in facts["images"] if image["shown"]]
    assert shown["id"] == id and shown["predicted"] == shown["tested_as"] and len(facts["images"]) == 3
    assert 0 < shown["methods"]["exact"]["mass_inside"]["map"] < 1
    page = (out / "explain.html").read_text()
    assert "http" not in page.replace("http-equiv", "") and page.count("data:image/jpeg") == 4
    with Image.open(out / "explain.png") as sheet:
        assert sheet.width > 400
    report = (study / "report.html").read_text()
    section = report[report.index("<h2>What it looked at</h2>") : report.index('<h2 id="map">')]
    assert section.count("data:image/jpeg") == 4 and id in section
    assert section.count("deletion 0.") == len(METHODS)
    for name, summary in facts["methods"].items():
        assert summary["verdict"] != "trustworthy"  # of three images nothing is shown
        assert f"{KNOWN[name].title} is {summary['verdict']} here" in section


@pytest.mark.slow
def test_masks_that_are_missing_or_empty_are_left_out_by_name(
    study: Path, cell_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (study / "predictions.csv").open(newline="") as file:
        answers = [(answer["id"], answer["label"] != answer["prediction"]) for answer in csv.DictReader(file)]
    wrong = [id for id, missed in answers if missed]
    assert len(wrong) > 1  # drawn convolutions cannot tell all of the drawn cells
    every = open_run(study).store.rows.ids
    write_masks(tmp_path / "masks", study, cell_folder, rows=slice(len(every)))
    ((tmp_path / "masks" / wrong[0]).with_suffix(".png")).unlink()
    words = ["explain", str(study), "--errors", str(len(wrong)), "--checks", "1", "--methods", "exact", "--quiet"]
    assert main([*words, "--masks", str(tmp_path / "masks"), "--out", str(tmp_path / "told"), "--json"]) == 1
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert facts["no_mask"] == [wrong[0]] and f"{wrong[0]} has no mask in" in told.err
    assert facts["methods"]["exact"]["mass_inside"]["images"] == len(wrong) - 1
    insides = {image["id"]: image["methods"]["exact"]["mass_inside"] for image in facts["images"]}
    assert insides[wrong[0]] is None and insides[wrong[1]] is not None
    ids = write_masks(tmp_path / "empty", study, cell_folder, empty=2, rows=slice(2))
    words = ["explain", str(study), ids[0], "--checks", "1", "--methods", "exact", "--quiet"]
    for folder in ("empty", "nowhere"):
        assert main([*words, "--masks", str(tmp_path / folder), "--out", str(tmp_path / "other")]) == 2
        assert f"No mask in {tmp_path / folder} shows a cell of {ids[0]}" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_file_with_the_pixels_of_a_tested_image_is_explained_as_it_was_tested(
    study: Path, cell_folder: Path, tmp_path: Path
) -> None:
    id = open_run(study).store.rows.ids[5]
    outside, strange = tmp_path / "copy.png", tmp_path / "strange.png"
    with Image.open(cell_folder / id) as picture:
        picture.convert("RGB").save(outside)
        picture.convert("RGB").rotate(90).save(strange)
    words = ["--methods", "exact", "--checks", "1", "--quiet", "--out", str(tmp_path / "told")]
    found = {}
    for path in (outside, strange):
        assert main(["explain", str(study), str(path), *words]) == 0
        (found[path],) = json.loads((tmp_path / "told" / "explain.json").read_text())["images"]
    assert found[outside]["id"] == id and found[outside]["fold"] is not None and found[outside]["label"] is not None
    assert found[strange]["id"] == str(strange) and found[strange]["fold"] is None


@pytest.mark.slow
def test_a_picture_that_was_changed_or_moved_is_not_taken_for_the_one_that_was_tested(
    study: Path, cell_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "cells"
    shutil.copytree(cell_folder, root)
    monkeypatch.setattr(subjects, "open_source", lambda store: FolderSource(root) if root.is_dir() else None)
    ids = open_run(study).store.rows.ids
    with Image.open(root / ids[0]) as picture:
        whole = np.asarray(picture.convert("RGB"))
    Image.fromarray(255 - whole).save(root / ids[0])
    (root / ids[1]).unlink()
    words = ["--methods", "exact", "--quiet", "--out", str(tmp_path / "told")]
    for id, message in ((ids[0], "has other pixels than when the study was made"), (ids[1], "can no longer be read")):
        assert main(["explain", str(study), id, *words]) == 2
        assert f"{id} {message}" in capsys.readouterr().err
    told = subjects.subjects_of(open_run(study), image=ids[2], checks=500)
    assert {subject.id for subject in told} == {*ids[2:]}
    assert f"another image is taken to check methods on: {ids[0]}" in capsys.readouterr().err
    root.rename(tmp_path / "moved")
    assert main(["explain", str(study), ids[2], *words]) == 2
    assert "The images are no longer at" in capsys.readouterr().err
    assert main(["explain", str(study), str(tmp_path / "moved" / ids[2]), *words]) == 0
    (alone,) = json.loads((tmp_path / "told" / "explain.json").read_text())["images"]
    assert alone["id"] == ids[2] and "no other image to check methods on" in capsys.readouterr().err


def test_others_of_all_folds_are_checked_on_where_one_has_too_few(
    study: Path, cell_folder: Path, tmp_path: Path
) -> None:
    run = open_run(study)
    id = run.store.rows.ids[0]
    alone = subjects.subjects_of(run, image=id, checks=12)
    assert len(alone) == 12 and {subject.fold for subject in alone} == {alone[0].fold}
    every = subjects.subjects_of(run, image=id, checks=500)
    assert {subject.id for subject in every} == {*run.store.rows.ids} and {subject.fold for subject in every} == {
        0,
        1,
        2,
    }
    assert [subject.id for subject in every if subject.shown] == [id]
    masked = {subject.id for subject in alone[-3:]}
    for other in masked:
        (tmp_path / other).parent.mkdir(exist_ok=True)
        shutil.copy(cell_folder / other, tmp_path / other)
    assert {subject.id for subject in subjects.subjects_of(run, image=id, checks=4, masks=tmp_path)} == {id, *masked}


@pytest.mark.slow
def test_errors_are_explained_against_the_true_class(study: Path, tmp_path: Path) -> None:
    with (study / "predictions.csv").open(newline="") as file:
        wrong = [answer for answer in csv.DictReader(file) if answer["label"] != answer["prediction"]]
    words = ["explain", str(study), "--errors", "2", "--methods", "exact", "--out", str(tmp_path / "told")]
    if not wrong:  # then there is nothing to explain, which is said
        assert main(words) == 2
        return
    assert main([*words, "--checks", "2", "--quiet"]) == 0
    facts = json.loads((tmp_path / "told" / "explain.json").read_text())
    for image in facts["images"]:
        assert image["explained"] == f"{image['predicted']} rather than {image['label']}"


@pytest.mark.slow
def test_a_method_that_cannot_be_is_left_out_by_name(study: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    shutil.copytree(study, run)
    results = json.loads((run / "results.json").read_text())
    results["best"] |= {"probe": "tree", "scaler": "none", "parameters": [{"min_samples_leaf": 5}] * 3}
    (run / "results.json").write_text(json.dumps(results))
    id = open_run(run).store.rows.ids[0]
    words = ["explain", str(run), id, "--checks", "1", "--quiet", "--out", str(tmp_path / "told")]
    assert main([*words, "--methods", "exact,occlusion"]) == 1
    told = capsys.readouterr()
    assert "DecisionTreeClassifier has no exact map" in told.err and "occlusion" in told.out
    assert main([*words[:-1], str(tmp_path / "other"), "--methods", "exact"]) == 2
    assert "No method can explain" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_method_that_fails_takes_no_other_with_it(study: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("shapes (2, 3) and (4,) do not fit")

    monkeypatch.setattr(checked, "METHODS", {**KNOWN, "occlusion": replace(KNOWN["occlusion"], make=fails)})
    id = open_run(study).store.rows.ids[0]
    words = ["explain", str(study), id, "--checks", "1", "--quiet", "--out", str(tmp_path / "told")]
    assert main([*words, "--methods", "occlusion,exact"]) == 1
    assert "occlusion failed with ValueError: shapes (2, 3) and (4,) do not fit" in capsys.readouterr().err
    facts = json.loads((tmp_path / "told" / "explain.json").read_text())
    assert list(facts["methods"]) == ["exact"] and "ValueError" in facts["refused"]["occlusion"]
    assert "occlusion was not made:" in (tmp_path / "told" / "explain.html").read_text()
    assert main([*words[:-1], str(tmp_path / "other"), "--methods", "occlusion"]) == 3
    assert "No method can explain" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Expected one image to explain, by its id or file, or `--errors N`"),
        (["nobody.png"], "Unknown image of the study, and no file 'nobody.png'"),
        (["--errors", "1", "--checks", "0"], "checks is 0. Expected 1 or more images to check methods on."),
        (["--errors", "1", "--methods", "exat"], "Unknown method of explanation 'exat'. Did you mean 'exact'"),
    ],
)
def test_what_cannot_be_explained_exits_2_and_writes_nothing(words, message, study, tmp_path, capsys) -> None:
    assert main(["explain", str(study), *words, "--out", str(tmp_path / "told"), "--quiet"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "told").exists()


def test_a_folder_of_something_else_is_not_written_to(study: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["explain", str(study), "--errors", "1", "--out", str(tmp_path), "--quiet"]) == 2
    assert "holds no explanations of tfcells" in capsys.readouterr().err


def test_a_folder_of_a_fine_tuned_network_is_refused_with_the_way_to_a_study(tmp_path: Path, capsys) -> None:
    (tmp_path / "finetune.json").write_text("{}")
    assert main(["explain", str(tmp_path), "a.png", "--out", str(tmp_path / "told")]) == 2
    told = capsys.readouterr().err
    assert "holds a fine-tuned network, no study" in told and "--backbone.weights FILE" in told


def test_a_study_whose_split_was_changed_is_not_explained(study: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(study, run)
    results = json.loads((run / "results.json").read_text())
    results["split"]["digest"] = "0" * 64
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(DamageError, match=r"a split or features that its results\.json was not made with"):
        open_run(run)
