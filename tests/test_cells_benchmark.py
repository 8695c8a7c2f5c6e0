"""What makes, scores and describes the weights `cells`: sets, gains and the card."""

import copy
import csv
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import cells_card  # noqa: E402
import cells_scored  # noqa: E402
import cells_shipped  # noqa: E402

from tfcells.backbones.weights import file_digest  # noqa: E402

FAMILIES = ["pbc", "bccd"]


@pytest.mark.parametrize(
    ("text", "family"), [("cells={file}:pbc", "pbc"), ("cells={file}", None), ("half={file}:bccd", "bccd")]
)
def test_weights_say_which_family_they_have_not_seen(tmp_path, text, family):
    file = tmp_path / "a.weights.h5"
    file.touch()
    found = cells_scored.parse_candidate(text.format(file=file), FAMILIES)
    assert (found.weights, found.without) == (file, family)


@pytest.mark.parametrize("text", ["cells", "={file}", "imagenet={file}", "cells={file}:nowhere", "cells=none.h5:pbc"])
def test_weights_that_are_named_otherwise_are_refused(tmp_path, text):
    (tmp_path / "a.weights.h5").touch()
    with pytest.raises(SystemExit, match=r"Expected NAME=FILE or NAME=FILE:FAMILY.* one of: pbc, bccd\."):
        cells_scored.parse_candidate(text.format(file=tmp_path / "a.weights.h5"), FAMILIES)


@pytest.fixture
def data(tmp_path, cell_folder) -> Path:
    """Drawn cells as two sets; one class of the first is in three groups, its pictures pairwise alike."""
    rows = []
    for folder in sorted(cell_folder.iterdir()):
        for number, path in enumerate(sorted(folder.iterdir())):
            group = f"{folder.name}-{number % 3 if folder.name == 'platelet' else number // 2}"
            rows.append(["drawn", folder.name, path.name, group])
            rows.append(["other", folder.name, path.name, group])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "drawn").symlink_to(cell_folder)
    with (tmp_path / "data" / "groups.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["set", "class", "file", "group"], *rows])
    return tmp_path / "data"


def test_classes_of_too_few_groups_are_left_out_by_name(data, tmp_path):
    table = tmp_path / "drawn.csv"
    reasons = cells_scored.write_table(data, "drawn", table, left_out=frozenset({("other", "eosinophil")}))
    assert reasons == {"platelet": "3 of 5 groups needed"}
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == {"eosinophil", "lymphocyte"}
    assert len(rows) == 24
    assert all(Path(row["path"]).is_file() for row in rows)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras 3.15 under NumPy 2
def test_weights_gain_nothing_over_themselves_and_the_reading_that_counts_is_the_baselines_best(data, tmp_path):
    from tfcells.backbones.open import open_backbone

    same = tmp_path / "same.weights.h5"
    open_backbone("mobilenet_v2", weights="none", size=32).model.save_weights(same)
    table = tmp_path / "drawn.csv"
    cells_scored.write_table(data, "drawn", table, left_out=frozenset())
    candidate = cells_scored.Candidate(name="same", weights=same, without=None)
    baseline, found = cells_scored.score_set(table, [candidate], work=tmp_path, size=32, baseline="none")
    assert found["sha256"] == file_digest(same)
    assert found["groups"] == 12
    assert [entry["taps"] for entry in found["readings"]] == [entry["taps"] for entry in baseline["readings"]]
    for entry in found["readings"]:
        gain = entry["gain"]["balanced_accuracy"]
        assert (gain["difference"]["value"], gain["p_value"]) == (0, 1)
        assert "path" not in json.dumps(entry)
    best = max(baseline["readings"], key=lambda entry: (entry["balanced_accuracy"]["value"], -len(entry["taps"])))
    assert [entry["taps"] for entry in found["readings"] if entry["headline"]] == [best["taps"]]


def score_line(name, set_, *, without, sha256, gain=0.03, p_value=0.001):
    def interval(value):
        return {"value": value, "low": value - 0.02, "high": value + 0.02}

    reading = {"taps": ["out_relu"], "headline": True, "balanced_accuracy": interval(0.9), "accuracy": interval(0.91)}
    if name != cells_scored.BASELINE:
        test = {"difference": interval(gain), "p_value": p_value, "method": "made up"}
        reading["gain"] = {"balanced_accuracy": test, "accuracy": test}
    other = {**reading, "taps": ["a", "b"], "headline": False}
    return {
        "benchmark": "cells",
        "set": set_,
        "without": without,
        "size": None,
        "left_out": {"basophil": "1 of 5 groups needed"},
        "weights": name,
        "sha256": sha256,
        "images": 1234,
        "readings": [reading, other],
    }


@pytest.fixture
def made(tmp_path):
    """A file, and lines of its making and its scores."""
    file = tmp_path / "mobilenet_v2_cells.weights.h5"
    file.write_bytes(b"abc")
    digest = file_digest(file)
    from tfcells.config import read_finetune_config

    config = read_finetune_config(BENCHMARKS.parent / "configs" / "finetune_cells.yaml").as_json()
    interval = {"value": 0.9, "low": 0.85, "high": 0.93}
    shipped = {
        "benchmark": "cells shipped",
        "file": file.name,
        "sha256": digest,
        "bytes": 3,
        "began_with": "f" * 64,
        "config": config,
        "versions": {"keras": "3", "numpy": "2", "tensorflow": "2"},
        "minutes": 12.3,
        "cores": 2,
        "precision": {"asked": "auto", "begun": "float32", "ended": "float32"},
        "best": {"phase": 2, "epoch": 6, "value": 0.7},
        "rows": {"training": 1870, "validation": 104, "asked": 105},
        "groups": 598,
        "taught": [{"set": "pbc", "label": "white/ig", "images": 240, "groups": 239}],
        "accuracy": interval,
        "balanced_accuracy": interval,
        "asked": {"images": 105, "groups": 33},
    }
    scores = [
        score_line(name, set_, without=family, sha256=digest if family is None else "e" * 64, **more)
        for set_, family, more in (("one", "pbc", {}), ("two", None, {"gain": -0.01, "p_value": 0.4}))
        for name in ("imagenet", "cells")
    ]
    left_out = {**shipped, "sha256": "e" * 64, "taught": [{**shipped["taught"][0], "set": "three"}]}
    return file, [shipped, left_out, *scores]


SETS = {"one": "pbc", "two": None}
SETS_OF_FAMILY = {"pbc": ["one"]}


def test_the_card_holds_digest_counts_recipe_and_every_verdict(made):
    file, lines = made
    text = cells_card.written(lines, weights=file, name="cells", sets=SETS, families=SETS_OF_FAMILY)
    assert f"`{file_digest(file)}`" in text
    assert "| `pbc` | white/ig | 240 | 239 |" in text
    assert "- `one`: better than ImageNet's, +3.0 (+1.0 to +5.0) points of balanced accuracy, p = 0.001." in text
    assert "- `two`: **not told from ImageNet's**, -1.0 (-3.0 to +1.0) points of balanced accuracy, p = 0.4." in text
    assert "- `one`: basophil is left out: 1 of 5 groups needed." in text
    assert "CC BY 4.0" in text and "Copyright (c) 2021 Chula PIC Lab" in text
    assert "Other weights were scored" not in text


def test_the_card_takes_the_newest_scores_and_names_what_else_was_tried(made):
    file, lines = made
    newer = score_line("cells", "one", without="pbc", sha256="e" * 64, gain=-0.04)
    tried = score_line("whole", "one", without="pbc", sha256="d" * 64)
    text = cells_card.written([*lines, newer, tried], weights=file, name="cells", sets=SETS, families=SETS_OF_FAMILY)
    assert "- `one`: **worse than ImageNet's**, -4.0 (-6.0 to -2.0)" in text
    assert "Other weights were scored on the same cells (whole)." in text


def test_a_card_of_weights_that_were_not_scored_or_not_made_here_is_refused(made):
    file, lines = made
    with pytest.raises(SystemExit, match="Weights 'cells' were not scored on two"):
        cells_card.written(lines[:-2], weights=file, name="cells", sets=SETS, families=SETS_OF_FAMILY)
    with pytest.raises(SystemExit, match=r"Nothing is kept of how .* was made"):
        cells_card.written(lines[2:], weights=file, name="cells", sets=SETS, families=SETS_OF_FAMILY)
    other = {**lines[-1], "sha256": "0" * 64}
    with pytest.raises(SystemExit, match=r"two was scored by 0{64}; .* ships\. Score what ships\."):
        cells_card.written([*lines, other], weights=file, name="cells", sets=SETS, families=SETS_OF_FAMILY)


def changed(line, **more):
    return {**copy.deepcopy(line), **more}


def test_scores_of_weights_that_were_made_otherwise_than_those_that_ship_are_refused(made):
    file, lines = made
    ours, left_out, *scores = lines

    def write(other):
        cells_card.written([ours, *other, *scores], weights=file, name="cells", sets=SETS, families=SETS_OF_FAMILY)

    write([changed(left_out, config={**left_out["config"], "name": "no_pbc"})])
    with pytest.raises(SystemExit, match=r"Nothing is kept of how weights e{64}, by which one was scored, were made"):
        write([])
    rates = changed(left_out)
    rates["config"]["phases"][1]["body_rate"] = 1e-3
    rates["config"]["images"]["root"] = "elsewhere.csv"
    with pytest.raises(SystemExit, match=r"The weights e{64}, .* otherwise than those that ship: config\.phases\. "):
        write([rates])
    with pytest.raises(SystemExit, match=r"otherwise than those that ship: began_with\."):
        write([changed(left_out, began_with="0" * 64)])
    with pytest.raises(SystemExit, match=r"were taught one of the same family\. Make them without it\."):
        write([changed(left_out, taught=[{**left_out["taught"][0], "set": "one"}])])


def test_a_run_of_several_networks_cannot_be_shipped(tmp_path):
    (tmp_path / "finetune.json").write_text(json.dumps({"folds": [{}, {}]}))
    with pytest.raises(SystemExit, match=r"holds 2 folds, that is as many networks\. Expected one\."):
        cells_shipped.write_shipped(tmp_path, tmp_path / "out.h5")
