"""A whole fine-tuning of a small network on drawn cells: its files, its numbers, and going on after a stop."""

import contextlib
import csv
import html
import io
import json
import os
import re
import shlex
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfcells.backbones.catalog import BACKBONES, Backbone, Preprocessing
from tfcells.backbones.seen import SeenPictures, list_beside, write_seen
from tfcells.backbones.weights import SEARCH_VARIABLE, file_digest
from tfcells.cli.main import main
from tfcells.config import parse_finetune_config, read_finetune_config
from tfcells.errors import RequestError, StaleStoreError, UnknownNameError
from tfcells.features.extract import Extraction, extract
from tfcells.images.readers import read_folder
from tfcells.report.training_page import write_training_report
from tfcells.report.training_words import parity_words
from tfcells.report.words import percent, points
from tfcells.steps.finetune import check_finetune_out, run_finetune
from tfcells.steps.rates import find_rates

ROW = Backbone(
    "small",
    "Small",
    "small",
    Preprocessing("rgb", (1 / 127.5,) * 3, (-1.0,) * 3),
    32,
    "block_1_conv",
    "block_1_bn",
    "block_2_conv",
)


def build_small(*, weights, include_top, input_shape):
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="block_1_conv")(pixels)
    maps = keras.layers.BatchNormalization(name="block_1_bn")(maps)
    return keras.Model(pixels, keras.layers.Conv2D(12, 3, strides=2, name="block_2_conv")(maps), name="small")


@pytest.fixture(scope="module")
def weights(tmp_path_factory, cell_folder):
    """The small network in the catalog, and a file of weights for it that are said to have seen all platelets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "small", ROW)
        patch.setattr(keras.applications, "Small", build_small, raising=False)
        patch.delenv(SEARCH_VARIABLE, raising=False)
        model = build_small(weights=None, include_top=False, input_shape=(32, 32, 3))
        generator = np.random.default_rng(0)
        for variable in model.weights:
            drawn = generator.normal(0, 0.2, tuple(variable.shape))
            variable.assign(np.abs(drawn) + 0.5 if "variance" in variable.path else drawn)
        path = tmp_path_factory.mktemp("weights") / "small_drawn.weights.h5"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
            model.save_weights(path)
        write_seen(list_beside(path), SeenPictures.of(read_folder(cell_folder / "platelet").digests))
        yield path


def config_of(root, weights, **more):
    raw = {
        "name": "mine",
        "images": {"root": str(root), "audit": False, "holdout": 0.34, "validation": 0.17},
        "network": {"name": "small", "weights": str(weights)},
        # The first phase learns next to nothing, so that the second one does better and its weights are the result.
        "phases": [
            {"epochs": 1, "train": "head", "head_rate": 1e-7},
            {"epochs": 2, "body_rate": 1e-4, "head_rate": 1e-3},
        ],
        "training": {"batch_size": 8, "precision": "float32", "augmentation": "none", "monitor": "loss"},
    }
    for key, value in more.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) else value
    return parse_finetune_config(raw)


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cell_folder, weights):
    out = tmp_path_factory.mktemp("finetune") / "run"
    return run_finetune(config_of(cell_folder, weights, compare=True), out=out)


def test_every_file_that_is_promised_is_there(finished):
    names = {path.name for path in finished.out.iterdir()}
    assert names >= {
        "config.json",
        "finetune.json",
        "report.html",
        "predictions.csv",
        "curve.csv",
        "curve.png",
        "split.csv",
        "split.json",
        "small_mine.weights.h5",
        "small_mine.seen.txt",
        "checkpoints",
        "tensorboard",
        "projector",
        "frozen",
    }
    assert json.loads((finished.out / "finetune.json").read_text()) == finished.results
    assert finished.exit_code == 0


def test_the_weights_have_seen_what_taught_them_and_what_they_began_with_had_seen(finished, cell_folder):
    table = read_folder(cell_folder)
    with (finished.out / "split.csv").open(newline="") as file:
        part = {row["id"]: row["split"] for row in csv.DictReader(file)}
    kept = {
        id: digest
        for id, digest in zip(table.ids, table.digests, strict=True)
        if part[id] in ("train", "validation") or id.startswith("platelet/")
    }
    assert set(part.values()) == {"train", "validation", "holdout"}
    listed = (finished.out / "small_mine.seen.txt").read_text().split()
    assert listed == sorted({digest[:16] for digest in kept.values()})
    asked = sum(value == "holdout" for value in part.values())
    platelets = sum(value == "holdout" and id.startswith("platelet/") for id, value in part.items())
    assert finished.results["folds"][0]["seen"] == {"images": platelets, "of": asked}
    assert any(f"have seen {platelets} of these {asked} images" in words for words in finished.results["warnings"])
    assert finished.results["comparison"]["frozen"]["seen"] == {"images": platelets, "of": asked}


def test_the_numbers_are_those_of_the_predictions_on_rows_that_taught_nothing(finished):
    results = finished.results
    with (finished.out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (finished.out / "split.csv").open(newline="") as file:
        split = {row["id"]: row["split"] for row in csv.DictReader(file)}
    assert {row["id"] for row in rows} == {id for id, part in split.items() if part == "holdout"}
    hits = [row["label"] == row["prediction"] for row in rows]
    assert results["accuracy"]["value"] == pytest.approx(np.mean(hits))
    assert results["accuracy"]["low"] <= np.mean(hits) <= results["accuracy"]["high"]
    assert results["asked"]["images"] == len(rows) == sum(map(sum, results["confusion"]["counts"]))
    for row in rows:
        chances = [float(row[f"p_{name}"]) for name in results["confusion"]["classes"]]
        assert sum(chances) == pytest.approx(1, abs=1e-6)
        assert float(row["confidence"]) == max(chances)
    assert [entry["class"] for entry in results["per_class"]] == results["confusion"]["classes"]


def test_answers_of_a_mixed_precision_are_compared_with_float32(tmp_path, cell_folder, weights, finished, capsys):
    assert finished.results["folds"][0]["parity"] is None
    mixed = "mixed_bfloat16"
    config = config_of(cell_folder, weights, phases=[{"epochs": 1, "train": "head"}], training={"precision": mixed})
    (tmp_path / "mixed.yaml").write_text(json.dumps(config.as_json()))
    assert main(["finetune", str(tmp_path / "mixed.yaml"), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    said, warned = capsys.readouterr()
    fold = json.loads((tmp_path / "run" / "finetune.json").read_text())["folds"][0]
    assert f"have seen {fold['seen']['images']} of these {fold['seen']['of']} images that will be asked in" in warned
    assert fold["precision"] == {"asked": mixed, "begun": mixed, "ended": mixed}
    assert fold["parity"]["precision"] == mixed
    assert fold["parity"]["images"] == fold["rows"]["asked"]
    assert 0 < fold["parity"]["relative_difference"] < 0.2
    assert fold["parity"]["cosine"] > 0.98
    page = html.unescape((tmp_path / "run" / "report.html").read_text())
    assert f"<th>parity with float32</th><td>{parity_words(fold['parity'])}</td>" in page
    assert f"{mixed}: {parity_words(fold['parity'])}" in said
    assert "parity with float32" not in (finished.out / "report.html").read_text()


def test_the_curve_the_cost_and_the_precision_are_said(finished):
    (fold,) = finished.results["folds"]
    assert [(row["phase"], row["epoch"]) for row in fold["curve"]] == [(1, 1), (2, 1), (2, 2)]
    assert finished.results["minutes"] == pytest.approx(sum(row["seconds"] for row in fold["curve"]) / 60)
    assert fold["precision"] == {"asked": "float32", "begun": "float32", "ended": "float32"}
    assert fold["fallbacks"] == []
    assert fold["best"]["value"] == min(row["loss"] for row in fold["curve"])
    assert fold["best"]["phase"] == 2
    assert sum(fold["rows"].values()) == 36
    assert finished.results["chosen_by"] == "loss"


def test_the_weights_are_opened_by_an_extraction_and_have_moved(finished, cell_folder, weights, tmp_path):
    (fold,) = finished.results["folds"]
    path = finished.out / fold["weights"]["file"]
    assert file_digest(path) == fold["weights"]["sha256"] != file_digest(weights)
    table = read_folder(cell_folder)
    taps = ("block_1_conv", "block_2_conv")
    request = {"backbone": "small", "taps": taps, "engine": "tensorflow", "precision": "float32"}
    store = extract(table, Extraction(weights=str(path), **request), into=tmp_path / "tuned")
    before = extract(table, Extraction(weights=str(weights), **request), into=tmp_path / "before")
    assert store.recipe["weights"]["name"] == "mine"
    assert not np.allclose(store.array("block_2_conv"), before.array("block_2_conv"))
    assert set(fold["drift"]["cka"]) == set(ROW.taps)
    assert all(0.1 < value <= 1.0 for value in fold["drift"]["cka"].values())
    assert fold["drift"]["images"] == fold["rows"]["asked"]


def test_the_frozen_backbone_is_compared_on_the_same_rows(finished):
    comparison = finished.results["comparison"]
    gain = comparison["gain"]["accuracy"]["difference"]["value"]
    frozen = comparison["frozen"]["accuracy"]["value"]
    assert finished.results["accuracy"]["value"] - frozen == pytest.approx(gain)
    assert comparison["frozen"]["chosen"][0]["tap"] in ROW.taps
    assert comparison["minutes"]["fine_tuned"] == finished.results["minutes"]


def test_the_report_tells_all_that_a_reader_must_know(finished):
    results, page = finished.results, html.unescape((finished.out / "report.html").read_text())
    (fold,) = results["folds"]
    for metric in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert percent(results[metric]) in page
    assert f"{results['asked']['images']} images in {results['asked']['groups']} groups were asked, once" in page
    assert f"phase {fold['best']['phase']}, epoch {fold['best']['epoch']} (loss {fold['best']['value']:.4g})" in page
    for row in fold["curve"]:
        assert f"{row['loss']:.4f}" in page and f"{row['training_loss']:.4f}" in page
    for row in results["per_class"]:
        assert f"<td>{row['class']}</td>" in page
    for name, test in results["comparison"]["gain"].items():
        assert points(test["difference"]) in page and percent(results["comparison"]["frozen"][name]) in page
    for tap, alike in fold["drift"]["cka"].items():
        assert f"{tap}</td>" in page and f"{alike:.3f}" in page
    for digest in (fold["weights"]["sha256"], fold["network"]["sha256"], results["split"]["digest"]):
        assert digest in page
    assert {"albumentations", "opencv-python-headless", "keras", "tensorflow"} <= set(results["versions"])
    for package, version in results["versions"].items():
        assert f"{package} {version}" in page
    for words in ("the head alone", "batch norm", "float32 asked for", "no fallback", "cross-entropy", "keras"):
        assert words in page
    assert f"--weights {finished.out / fold['weights']['file']} --size 32" in page
    assert f"tfcells finetune {finished.out / 'config.json'}" in page
    assert page.count("<svg") == 4  # curve, confusion, drift, classes
    assert page.count("data:image/jpeg") == sum(map(sum, results["confusion"]["counts"])) - sum(
        row[place] for place, row in enumerate(results["confusion"]["counts"])
    )


def test_the_configuration_in_the_folder_makes_the_same_training_again(finished, cell_folder, weights):
    assert read_finetune_config(finished.out / "config.json") == config_of(cell_folder, weights, compare=True)


def test_the_report_escapes_names_and_loads_nothing(finished, tmp_path):
    hostile = "<script>alert('1')</script> & $x^2$ {{ 7*7 }}\t"
    text = json.dumps(finished.results).replace("lymphocyte", json.dumps(hostile)[1:-1])
    write_training_report(tmp_path / "report.html", json.loads(text), misses=[], sheets=[])
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(&#39;1&#39;)" in page and "{{ 7*7 }}" in page
    for path in (tmp_path / "report.html", finished.out / "report.html"):
        text = path.read_text()
        targets = re.findall(r"""(?:src|href|action)\s*=\s*["']([^"']*)""", text)
        assert targets and all(target.startswith(("#", "data:")) for target in targets)
        assert not re.search(r"<(?:script|link|iframe|object)\b|@import|url\((?!#)", text)
        assert "default-src 'none'" in text


def test_the_projector_shows_the_epochs(finished):
    text = (finished.out / "projector" / "projector_config.pbtxt").read_text()
    for name in ("epoch-0001", "epoch-0002", "epoch-0003"):
        assert f'tensor_name: "{name}"' in text
    assert text.index("epoch-0003") < text.index("epoch-0001")  # the last is shown first
    metadata = (finished.out / "projector" / "metadata.tsv").read_text().splitlines()
    assert metadata[0].split("\t") == ["label", "prediction", "outcome", "id"]
    assert len(metadata) == 1 + finished.results["folds"][0]["rows"]["validation"]


def test_again_nothing_is_trained_and_the_answer_is_the_same(finished, cell_folder, weights):
    told = []
    again = run_finetune(
        config_of(cell_folder, weights, compare=True),
        out=finished.out,
        progress=lambda stage, done, total: told.append(stage),
    )
    assert not [stage for stage in told if stage.startswith("phase")]
    for key in ("accuracy", "confusion", "folds", "minutes"):
        assert again.results[key] == finished.results[key]


def test_the_configuration_in_the_folder_is_the_one_that_was_asked_last(finished, cell_folder, weights, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished.out, copy)
    against = config_of(cell_folder, weights, against=str(finished.out / "frozen"))
    run_finetune(against, out=copy)
    assert read_finetune_config(copy / "config.json") == against
    before = (copy / "config.json").read_bytes()
    with pytest.raises(StaleStoreError):
        run_finetune(config_of(cell_folder, weights, seed=1), out=copy)
    (tmp_path / "cells").mkdir()
    other = shutil.copytree(cell_folder, tmp_path / "cells" / "other")
    next(other.glob("*/*.jpg")).unlink()
    with pytest.raises(StaleStoreError):
        run_finetune(config_of(other, weights), out=copy)
    assert (copy / "config.json").read_bytes() == before  # what was refused was not asked


def test_other_settings_in_the_same_folder_are_refused_by_name(finished, cell_folder, weights, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished.out, copy)
    before = content(copy)
    other = config_of(cell_folder, weights, training={"batch_size": 4})
    with pytest.raises(StaleStoreError, match=r"training.batch_size is 8 in the store, 4 was asked for"):
        run_finetune(other, out=copy)
    with pytest.raises(StaleStoreError, match=r"seed is 0 in the store, 1 was asked for"):
        run_finetune(config_of(cell_folder, weights, seed=1), out=copy)
    assert content(copy) == before


def test_other_pictures_under_the_same_settings_are_refused(finished, cell_folder, weights, tmp_path):
    copy, cells = tmp_path / "copy", tmp_path / "cells"
    shutil.copytree(finished.out, copy)
    shutil.copytree(cell_folder, cells)
    again = run_finetune(config_of(cells, weights, compare=True), out=copy)  # the same ones, elsewhere
    assert again.results["accuracy"] == finished.results["accuracy"]
    next(cells.glob("*/*.jpg")).unlink()
    with pytest.raises(
        StaleStoreError, match=r"holds another training: .*images.count is 36 in the store, 35 was asked"
    ):
        run_finetune(config_of(cells, weights), out=copy)


@pytest.mark.parametrize(
    "text", ["[]", "7", "null", '"images"', "{}", '{"images": [], "phases": []}', '{"images": {}, "phases": [1]}']
)
def test_a_configuration_that_is_none_is_refused_by_what_it_is(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    config = config_of("cells", "none")
    with pytest.raises(RequestError) as refused:
        check_finetune_out(config, tmp_path)
    assert f"{tmp_path / 'config.json'} holds {text}, which is no configuration" in str(refused.value)
    assert "Choose another --out, or empty it." in str(refused.value)


def test_features_of_other_pictures_are_refused_before_anything_is_trained(finished, cell_folder, weights, tmp_path):
    cells = tmp_path / "cells"
    shutil.copytree(cell_folder, cells)
    first, second = sorted(cells.glob("eosinophil/*.jpg"))[:2]
    first.write_bytes(second.read_bytes())
    config = config_of(cells, weights, against=str(finished.out / "frozen"))
    with pytest.raises(RequestError, match=r"other pictures under the names of 1 of 36 rows, the first is eosinophil/"):
        run_finetune(config, out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_folder_of_something_else_and_a_comparison_with_nothing_are_refused_at_once(tmp_path, cell_folder, weights):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RequestError, match="exists and is no fine-tuning of tfcells"):
        run_finetune(config_of(cell_folder, weights), out=tmp_path)
    config = config_of(cell_folder, "none", network={"name": "light_cnn", "size": 32}, compare=True)
    with pytest.raises(RequestError, match="compare was asked for, but light_cnn with weights 'none' has no frozen"):
        run_finetune(config, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_command_line_trains_folds_without_choosing_and_says_what_came_of_it(
    cell_folder, weights, finished, tmp_path, capsys
):
    config = tmp_path / "small.yaml"
    config.write_text(
        f"images: {{root: {cell_folder}, audit: false, folds: 2, validation: 0}}\n"
        "network: {name: light_cnn, weights: none, size: 32}\n"
        "phases: [{epochs: 1}]\ntraining: {batch_size: 8, precision: float32}\n"
    )
    out = tmp_path / "out"
    words = ["finetune", str(config), "--out", str(out), "--against", str(finished.out / "frozen")]
    assert main([*words, "--phases.1.head_rate", "0.01", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "asked 36 images in 36 groups" in said
    assert "fine-tuned minus frozen:" in said
    assert "fold-1/light_cnn_small.weights.h5" in said
    results = json.loads((out / "finetune.json").read_text())
    assert results["config"]["phases"][0]["head_rate"] == 0.01
    assert results["chosen_by"] == "nothing: the last epoch counts"
    assert [fold["drift"] for fold in results["folds"]] == [None, None]
    assert (out / "fold-0" / "contact_sheet.png").is_file()
    with (out / "predictions.csv").open(newline="") as file:
        assert {row["fold"] for row in csv.DictReader(file)} == {"0", "1"}
    page = html.unescape((out / "report.html").read_text())
    assert "<h3>Fold 0</h3>" in page and "<h3>Fold 1</h3>" in page and "Every epoch of fold 1" in page
    assert page.count('class="tall"') == 1 and "They chose nothing: the last epoch's weights were kept." in page
    # The lines that say how to use a whole network's weights do what they say.
    (lines,) = [block for block in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL) if "load_weights" in block]
    made: dict[str, Any] = {}
    exec(lines, made)
    assert made["network"].model.output_shape == (None, 3)
    assert main([*words, "--phases.1.head_rate", "0.02", "--quiet"]) == 2
    assert "phases.1.head_rate is 0.01 in the store, 0.02 was asked for" in capsys.readouterr().err
    assert Path(out / "finetune.json").is_file()


@pytest.fixture(scope="module")
def of_families(tmp_path_factory, cell_folder, finished):
    """A small network without a body, taught two families of classes without rows that choose, by the command line."""
    root = tmp_path_factory.mktemp("families")
    shutil.copytree(cell_folder, root / "cells")
    family = {"eosinophil": "lab/eosinophil", "lymphocyte": "lab/lymphocyte", "platelet": "other/platelet"}
    ids = sorted(str(path.relative_to(root / "cells")) for path in (root / "cells").glob("*/*.jpg"))
    lines = [f"{id},{family[id.split('/')[0]]}" for id in ids]
    (root / "cells" / "cells.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    (root / "small.yaml").write_text(
        "images: {root: cells/cells.csv, audit: false, folds: 2, validation: 0}\n"
        "network: {name: light_cnn, weights: none, size: 32}\nphases: [{epochs: 1}]\nloss: {families: true}\n"
        "training: {batch_size: 8, precision: float32, augmentation: none}\n"
    )
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.chdir(root):
        words = ["finetune", "small.yaml", "--out", "my out", "--quiet"]
        assert main([*words, "--against", str(finished.out / "frozen")]) == 0
    return root / "my out", said.getvalue()


def test_what_is_said_to_lie_somewhere_is_found_from_any_folder(of_families):
    out, said = of_families
    told = {name: line for name, _, line in (line.partition(":") for line in said.splitlines())}
    lines = {name: shlex.split(told[name].replace(";", "")) for name in ("report", "weights", "curve")}
    assert Path(*lines["report"]) == out / "report.html"
    assert Path(*lines["weights"]).is_absolute() and Path(*lines["weights"]).is_file()
    curve, *command = lines["curve"]
    assert Path(curve) == out / "fold-1" / "curve.png"
    assert command == ["tensorboard", "--logdir", str(out / "fold-1" / "tensorboard")]
    page = html.unescape((out / "report.html").read_text())
    assert (
        f"tfcells finetune '{out}/config.json' --images.root {out.parent}/cells/cells.csv --out '{out}-again'" in page
    )


def test_families_are_told_to_the_probe_as_to_the_network_and_it_is_said_so(of_families):
    out, said = of_families
    results = json.loads((out / "finetune.json").read_text())
    assert results["families"] == {
        "names": ["lab", "other"],
        "of_one_class": [{"family": "other", "class": "other/platelet", "asked": 12}],
    }
    assert results["comparison"]["frozen"]["told_family"] is True
    recall = {row["class"]: row["recall"]["value"] for row in results["per_class"]}
    assert recall["other/platelet"] == 1.0 > min(recall.values())
    page = html.unescape((out / "report.html").read_text())
    for words in (
        "The network and the frozen probe were both told the family of every image",
        "Right by construction: 12 of the 36 images that were asked",
    ):
        assert words in page and words in said
    # Who looks at nothing is right about half of one family, and about all of the other.
    assert results["chance"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    beaten = results["balanced_accuracy"]["low"] > results["chance"]
    for words in (page, said):
        assert ("chance, 66.7\u00a0%." in words) == (not beaten)
    assert "kept back for that alone, since no rows chose an epoch" in page
    assert "chosen on the rows that chose the epoch" not in page
    assert any("Right by construction: 12 of" in warning for warning in results["warnings"])


def test_rates_are_found_from_the_command_line_and_nothing_is_trained(
    cell_folder, weights, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("tfcells.steps.rates.find_rates", partial(find_rates, steps=24))
    config = tmp_path / "small.yaml"
    # Large batches, whose losses differ less than what the rates change.
    config.write_text(json.dumps(config_of(cell_folder, weights, training={"batch_size": 24}).as_json()))
    told = []
    for name in ("one", "two"):
        out = tmp_path / name
        assert main(["finetune", str(config), "--find-rate", "--out", str(out), "--quiet"]) == 0
        assert {path.name for path in out.iterdir()} == {"rate_finder.json", "rate_finder.png"}
        told.append((out / "rate_finder.json").read_text())
        said = capsys.readouterr().out
    assert told[0] == told[1]
    head, both = json.loads(told[0])["phases"]
    assert set(head["suggested"]["settings"]) == {"head_rate"}
    assert set(both["suggested"]["settings"]) == {"body_rate", "head_rate"}
    assert both["asked"]["settings"] == {"body_rate": 1e-4, "head_rate": 1e-3}
    kept = both["suggested"]["settings"]
    assert kept["head_rate"] / kept["body_rate"] == pytest.approx(10)
    assert kept["head_rate"] == pytest.approx(both["suggested"]["fastest"])
    assert len(both["rates"]) == len(both["losses"]) <= 24 and json.loads(told[0])["batches"] == 24
    # What is printed can be given back.
    (line,) = [line for line in said.splitlines() if line.startswith("phase 2")]
    words = line.split(": ", 1)[1].split()
    overrides = dict(zip([word.removeprefix("--") for word in words[::2]], words[1::2], strict=True))
    changed = read_finetune_config(config, overrides)
    assert changed.phases[1].head_rate == pytest.approx(kept["head_rate"], rel=0.05)


def test_where_no_rate_lowers_the_loss_the_command_line_says_so(cell_folder, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tfcells.steps.rates.find_rates", partial(find_rates, steps=20))
    phases = [{"epochs": 1, "train": "head", "accumulate": 30}]
    config = tmp_path / "small.yaml"
    config.write_text(json.dumps(config_of(cell_folder, weights).as_json() | {"phases": phases}))
    assert main(["finetune", str(config), "--find-rate", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert (
        "phase 1 (head): no rate lowered the loss within 20 batches, so none is suggested; averaged gradients made 0 "
        "steps of them: test accumulate 1\n"
    ) in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "rate_finder.json").read_text())["phases"][0]["suggested"] is None


def test_rates_are_not_tested_beside_something_else(finished, cell_folder, weights, tmp_path, capsys):
    with pytest.raises(RequestError, match="holds something other than a test of rates"):
        find_rates(config_of(cell_folder, weights), out=finished.out)
    config = tmp_path / "small.yaml"
    config.write_text(json.dumps(config_of(cell_folder, weights).as_json()))
    assert main(["finetune", str(config), "--find-rate", "--against", str(finished.out), "--quiet"]) == 2
    assert "--find-rate and --against given" in capsys.readouterr().err


@pytest.mark.parametrize("later", [{"train": "block9"}, {"train": "last:99"}, {"head_rate": 0.0, "body_rate": 0.0}])
def test_a_later_phase_that_cannot_be_is_refused_before_the_first(cell_folder, weights, tmp_path, later):
    phases = [{"epochs": 1, "train": "head"}, {"epochs": 1, **later}]
    with pytest.raises((UnknownNameError, RequestError), match=r"block9|99|Nothing would learn"):
        run_finetune(config_of(cell_folder, weights, phases=phases), out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    mended = config_of(cell_folder, weights, phases=[phases[0]])
    check_finetune_out(mended, tmp_path / "run")  # nothing was trained: the folder may be taken


def test_a_folder_whose_name_is_no_text_is_learned_from(cell_folder, weights, tmp_path):
    root = Path(os.fsdecode(bytes(tmp_path) + b"/cells\xff"))
    shutil.copytree(cell_folder, root)
    phases = [{"epochs": 1, "train": "head"}]
    done = run_finetune(config_of(root, weights, phases=phases), out=tmp_path / "run")
    assert "cells\\udcff" in (done.out / "finetune.json").read_text(encoding="utf-8")
