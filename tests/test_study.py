"""The main path, once, on drawn cells, with a small network and faults among the files."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

import tfcells
from tfcells.config import StudyConfig, parse_config
from tfcells.errors import DamageError, RequestError, StaleStoreError
from tfcells.images.decode import decode_image
from tfcells.study import Study, run_study

SCHEMA = Path(tfcells.__file__).parent / "report" / "results.schema.json"
TAPS = ["block_1_expand_relu", "block_3_expand_relu"]

pytestmark = pytest.mark.slow


def study_config(root: Path, *, kinds: tuple[str, ...] = ("logistic", "knn"), **images: object) -> StudyConfig:
    return parse_config(
        {
            "name": "drawn",
            "images": {"root": str(root), "folds": 3, "holdout": 0.25, **images},
            "backbone": {"name": "mobilenet_v2", "weights": "none", "size": 96, "taps": TAPS, "batch_size": 8},
            "probes": {
                "kinds": list(kinds),
                "grids": {"logistic": {"C": [0.01, 1.0]}, "knn": {"neighbors": [9, 3]}},
                "inner_folds": 2,
                "workers": 1,
            },
        }
    )


@pytest.fixture(scope="module")
def pictures(cell_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn cells, and two files that are none."""
    root = tmp_path_factory.mktemp("study") / "pictures"
    shutil.copytree(cell_folder, root)
    (root / "platelet" / "empty.png").write_bytes(b"")
    (root / "lymphocyte" / "note.jpg").write_text("this is not a picture")
    return root


@pytest.fixture(scope="module")
def study(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run_study(study_config(pictures), out=tmp_path_factory.mktemp("run") / "run")


def test_every_promised_file_is_there(study: Study) -> None:
    for name in (
        "report.html",
        "results.json",
        "predictions.csv",
        "review.csv",
        "split.csv",
        "split.json",
        "audit/audit.json",
        "audit/groups.csv",
        "audit/pairs.csv",
        "maps/tsne/mosaic.png",
        "maps/pca/variance.png",
        "projector/sprite.png",
        "export/1/saved_model.pb",
        "export/card.json",
    ):
        assert (study.out / name).is_file(), name


def test_results_follow_their_schema(study: Study) -> None:
    results = json.loads((study.out / "results.json").read_text())
    jsonschema.validate(results, json.loads(SCHEMA.read_text()))


def test_the_export_says_which_parameters_were_chosen(study: Study) -> None:
    card = json.loads((study.out / "export" / "card.json").read_text())
    assert card["parameters"] == study.results["export"]["parameters"]
    assert card["probe"] == study.results["best"]["probe"]


def test_an_export_that_does_not_answer_as_measured_costs_the_study_the_export_alone(
    study: Study, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(study.out, run, ignore=shutil.ignore_patterns("export", "report.html", "results.json"))

    def refuse(*_: object, **__: object) -> None:
        raise DamageError("The export's features differ.")

    monkeypatch.setattr("tfcells.study.make_export", refuse)
    with pytest.raises(DamageError, match=r"^The export's features differ\. Everything but the export is in .*run\.$"):
        run_study(study_config(pictures), out=run)
    results = json.loads((run / "results.json").read_text())
    jsonschema.validate(results, json.loads(SCHEMA.read_text()))
    assert results == {**study.results, "export": None}
    assert "None was made: the one tried did not answer as measured" in (run / "report.html").read_text()


def test_an_export_of_files_that_do_not_belong_together_is_refused(study: Study, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "features").symlink_to(study.out / "features")
    shutil.copy(study.out / "results.json", run)
    lines = (study.out / "split.csv").read_text().splitlines()
    (run / "split.csv").write_text("\n".join(line.replace(",holdout,,", ",train,0,") for line in lines) + "\n")
    with pytest.raises(DamageError, match="a later run was stopped before its end"):
        tfcells.export_run(run, into=tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_bad_files_are_named_and_the_exit_code_says_so(study: Study) -> None:
    found = {entry["id"]: entry["reason"] for entry in study.results["data"]["quarantined"]}
    assert found == {
        "platelet/empty.png": "the file is empty (0 bytes)",
        "lymphocyte/note.jpg": "not a picture: it holds text",
    }
    assert study.exit_code == 1


def test_the_best_candidate_beats_chance(study: Study) -> None:
    chance = next(entry for entry in study.results["baselines"] if entry["probe"] == "chance")
    assert study.results["best"]["accuracy"]["low"] > chance["accuracy"]["value"]


def test_the_interval_of_holdout_minus_cross_validated_accuracy_covers_zero(study: Study) -> None:
    difference = study.results["holdout"]["accuracy_minus_cross_validated"]
    assert difference["low"] <= 0 <= difference["high"]


def test_a_second_run_does_no_forward_pass_and_keeps_the_export(study: Study, pictures: Path) -> None:
    before = (study.out / "export" / "1" / "saved_model.pb").stat().st_mtime_ns
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_study import study_config\n"
        "from pathlib import Path\n"
        "from tfcells.study import run_study\n"
        "run_study(study_config(Path(sys.argv[2])), out=Path(sys.argv[3]))\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(Path(__file__).parent), str(pictures), str(study.out)]
    assert subprocess.run(words, check=False).returncode == 0
    assert (study.out / "export" / "1" / "saved_model.pb").stat().st_mtime_ns == before
    assert json.loads((study.out / "results.json").read_text()) == study.results


def test_the_export_gives_the_reports_holdout_figure_on_the_held_out_pictures(
    study: Study, pictures: Path, tmp_path: Path
) -> None:
    from tfcells.serving.export import ServedModel
    from tfcells.serving.predict import predict_folder

    held = [row["id"] for row in read_csv(study.out / "split.csv") if row["split"] == "holdout"]
    for id in held:
        (tmp_path / id).parent.mkdir(exist_ok=True)
        shutil.copy(pictures / id, tmp_path / id)
    answers = predict_folder(ServedModel(study.out), tmp_path)
    hits = [id.split("/")[0] == guess for id, guess in zip(answers.ids, answers.predicted, strict=True)]
    assert np.mean(hits) == pytest.approx(study.results["holdout"]["accuracy"]["value"])


def test_the_report_says_that_weights_are_random(study: Study) -> None:
    assert "Random weights." in (study.out / "report.html").read_text()


def test_another_recipe_in_the_same_folder_is_refused_by_naming_the_difference(study: Study, pictures: Path) -> None:
    config = study_config(pictures)
    other = parse_config({**config.as_json(), "backbone": {**config.as_json()["backbone"], "dtype": "float16"}})
    with pytest.raises(StaleStoreError, match=r"dtype is float32 in the store, float16 was asked for"):
        run_study(other, out=study.out)


def test_a_folder_that_is_no_run_is_refused(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RequestError, match="is no run of tfcells"):
        run_study(study_config(pictures), out=tmp_path)


def test_one_class_only_is_refused_before_anything_is_written(cell_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(cell_folder / "platelet", tmp_path / "cells" / "platelet")
    with pytest.raises(RequestError, match="1 usable classes"):
        run_study(study_config(tmp_path / "cells"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_with_a_single_image_is_left_out_by_name(
    cell_folder: Path, tmp_path: Path, copy_few: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfcells.study._export", lambda *_: None)  # half of the time, and not what is asked here
    copy_few(cell_folder, tmp_path / "cells")
    (tmp_path / "cells" / "rare").mkdir()
    shutil.copy(next((cell_folder / "platelet").iterdir()), tmp_path / "cells" / "rare" / "one.jpg")
    (tmp_path / "cells" / "platelet" / next((cell_folder / "platelet").iterdir()).name).unlink()
    rare = run_study(study_config(tmp_path / "cells", kinds=("knn",), holdout=0.0), out=tmp_path / "run")
    assert "rare" in rare.results["data"]["left_out"]
    assert "rare" not in rare.results["confusion"]["classes"]
    assert rare.exit_code == 1


def test_what_only_the_audit_forbids_says_that_the_features_are_kept(
    cell_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, out = tmp_path / "cells", tmp_path / "run"
    for name in ("eosinophil", "platelet"):
        (cells / name).mkdir(parents=True)
        pictures = [decode_image(path.read_bytes()) for path in sorted((cell_folder / name).iterdir())[:4]]
        if name == "platelet":
            pictures = [np.rot90(pictures[0], turns) for turns in range(4)]
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(cells / name / f"{number}.png")
    message = (
        r"^With the groups of copies that the audit found: 1 usable classes .*Left out: platelet: 4 images in 1 group.*"
        rf"Ask for fewer folds.* kept in {out}; the next run over the same images there extracts nothing again\.$"
    )
    with pytest.raises(RequestError, match=message):
        run_study(study_config(cells, holdout=0.0), out=out)
    monkeypatch.setattr("tfcells.features.forward.prepare", lambda *_, **__: pytest.fail("it extracts again"))
    with pytest.raises(RequestError, match=message):
        run_study(study_config(cells, holdout=0.0), out=out)
    monkeypatch.setattr("tfcells.study.probe_layers", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # it came to the sweep
        run_study(study_config(cells, holdout=0.0, audit=False), out=out)


@pytest.fixture
def copy_few() -> Callable[[Path, Path], None]:
    def copy(source: Path, target: Path) -> None:
        for path in sorted(source.rglob("*.jpg")):
            if int(path.stem.rsplit("_", 1)[1]) <= 6:
                (target / path.parent.name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / path.parent.name / path.name)

    return copy


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_export_does_not_write_over_what_is_none(study: Study, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "mine.txt").write_text("precious")
    with pytest.raises(RequestError, match="that is no export of tfcells"):
        tfcells.export_run(study.out, into=tmp_path)
    assert (tmp_path / "1" / "mine.txt").read_text() == "precious"
