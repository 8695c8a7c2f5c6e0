"""The demo, made small: it ends with everything promised, finds exactly what was planted, and goes on when killed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tfcells.demo
from tfcells.backbones.weights import SEARCH_VARIABLE, find_weights
from tfcells.config import ProbesConfig, StudyConfig
from tfcells.demo import check_faults, run_demo
from tfcells.errors import DamageError, RequestError
from tfcells.images.synthetic.plant import Plants
from tfcells.images.synthetic.truth import SampleTruth, TruthRow
from tfcells.study import Study, run_study

NO_FAULTS = {"data": {"quarantined": []}}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfcells.demo, "IMAGES_PER_CLASS", 8)
    monkeypatch.setattr(tfcells.demo, "PLANTS", Plants(copies=4, corrupt=3))
    monkeypatch.setattr(tfcells.demo, "run_study", run_small_study)


def run_small_study(config: StudyConfig, **options: Any) -> Study:
    """The demo's study but for what costs: smaller pictures, two probes of one parameter each."""
    probes = ProbesConfig(
        kinds=("ridge", "knn"), grids={"ridge": {"alpha": (100.0,)}, "knn": {"neighbors": (5,)}}, inner_folds=2
    )
    return run_study(replace(config, backbone=replace(config.backbone, size=96), probes=probes), **options)


@pytest.mark.slow
def test_the_demo_ends_with_everything_and_finds_exactly_the_planted_faults(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SEARCH_VARIABLE, raising=False)
    study = run_demo(tmp_path / "demo")
    for name in ("report.html", "results.json", "projector/projector_config.pbtxt", "export/1/saved_model.pb"):
        assert (tmp_path / "demo" / name).is_file(), name
    assert len(study.results["data"]["quarantined"]) == 3
    assert study.results["data"]["groups"] == 64  # copies are in the groups of their originals
    shipped = find_weights("mobilenet_v2", "cells")
    assert study.results["backbone"]["sha256"] == shipped.sha256
    assert "mobilenet_v2_cells.md, which ships with tfcells" in (tmp_path / "demo" / "report.html").read_text()
    first = json.loads((tmp_path / "demo" / "results.json").read_text())
    run_demo(tmp_path / "demo")
    assert json.loads((tmp_path / "demo" / "results.json").read_text()) == first


def test_a_folder_that_holds_something_else_is_refused(small: None, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").write_bytes(b"precious")
    with pytest.raises(RequestError, match="holds something else than a demo"):
        run_demo(tmp_path)
    assert (tmp_path / "images" / "mine.jpg").read_bytes() == b"precious"


def test_a_demo_killed_while_drawing_draws_again(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images.part" / "platelet").mkdir(parents=True)
    (tmp_path / "images.part" / "platelet" / "half.jpg").write_bytes(b"")
    monkeypatch.setattr(tfcells.demo, "run_study", lambda *_, **__: Study(out=tmp_path, results=NO_FAULTS))
    with pytest.raises(DamageError, match="The demo planted 3 faults"):
        run_demo(tmp_path)
    assert len(list((tmp_path / "images").rglob("*.jpg"))) == 8 * 8 + 4 + 3
    assert not (tmp_path / "images.part").exists()


def test_faults_that_were_not_planted_or_not_found_are_named() -> None:
    rows = [
        TruthRow(id=id, true_class="a", filed_class="a", group=0, site="s", fault=fault)
        for id, fault in (("a/1.jpg", "zero bytes"), ("a/2.jpg", ""))
    ]
    truth = SampleTruth(tuple(rows))
    check_faults(truth, {"data": {"quarantined": [{"id": "a/1.jpg", "reason": "empty"}]}})
    with pytest.raises(DamageError, match=r"Not found: a/1.jpg. Found without being planted: a/2.jpg"):
        check_faults(truth, {"data": {"quarantined": [{"id": "a/2.jpg", "reason": "?"}]}})
