"""The command line: exit codes, messages, streams. Verbs that need a network use a small one with random weights."""

import csv
import json
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tfcells.cli.main import build_parser, main
from tfcells.cli.show import print_scores
from tfcells.errors import RequestError
from tfcells.features.store import FeatureStore
from tfcells.images.splits import read_split
from tfcells.probes.views import views
from tfcells.steps.probe import probe_store

CONFIG = """
images: {{root: {root}, folds: 3}}
backbone: {{name: mobilenet_v2, weights: none, size: 96, taps: [{tap}], batch_size: 8}}
probes: {{kinds: [logistic], workers: 1}}
"""


@pytest.fixture
def write_config(tmp_path: Path, cell_folder: Path) -> Callable[..., Path]:
    def write(*, root: Path = cell_folder, tap: str = "block_1_expand_relu", more: str = "") -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(CONFIG.format(root=root, tap=tap) + more)
        return path

    return write


def test_help_answers_in_half_a_second() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "tfcells", "--help"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Time on the processor: on a busy machine the clock on the wall measures the others.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_every_verb_has_help_and_a_json_option(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (
        "demo",
        "run",
        "finetune",
        "audit",
        "split",
        "layers",
        "extract",
        "verify",
        "bench",
        "probe",
        "map",
        "projector",
        "explain",
        "export",
        "predict",
    ):
        with pytest.raises(SystemExit, match="0"):
            build_parser().parse_args([verb, "--help"])
        assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["layers", "vgg1"], "Unknown backbone 'vgg1'. Did you mean 'vgg19'?"),
        (["run", "nowhere.yaml"], "Config nowhere.yaml cannot be read"),
        (["finetune", "nowhere.yaml"], "Config nowhere.yaml cannot be read"),
        (["finetune", "."], ". is a folder. Expected a config: tfcells finetune CONFIG --section.field VALUE ..."),
        (["extract", "nowhere", "--backbone", "vgg16", "--out", "s"], "No such file or folder: nowhere"),
        (["extract", ".", "--backbone", "vgg16"], "--out STORE is missing"),
        (["extract", ".", "--backbone", "vgg16", "--pooling", "meen", "--out", "s"], "Did you mean 'mean'?"),
        (["probe", ".", "--out", "p"], "is no feature store"),
        (["probe", ".", "--out", "p", "--probes", "logistik"], "Did you mean 'logistic'?"),
        (["map", ".", "--method", "tsnee", "--out", "m"], "Unknown map method 'tsnee'. Did you mean 'tsne'?"),
        (["projector", ".", "--out", "p"], "is no feature store"),
        (["explain", ".", "a.png", "--out", "e"], "is no finished run"),
        (["export", "."], "is no finished run"),
        (["predict", ".", ".", "--out", "p.csv"], "holds no export"),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_a_request_that_cannot_be_met_exits_2_with_a_sentence_and_writes_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_exits_2_and_says_what_was_expected(
    tmp_path: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["run", str(write_config(root=tmp_path / "empty")), "--out", str(tmp_path / "run")]) == 2
    assert "No image in" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_misspelt_config_key_exits_2_with_a_suggestion(
    tmp_path: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(write_config(more="sead: 1\n")), "--out", str(tmp_path / "run")]) == 2
    assert "Unknown config key 'sead'. Did you mean 'seed'?" in capsys.readouterr().err


def test_a_misspelt_override_exits_2_with_a_suggestion(
    write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(write_config()), "--images.hold_out", "0.2"]) == 2
    assert "Did you mean 'holdout'?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["stray"], ["--images.root"], ["--images.root", "--seed", "1"]])
def test_an_override_without_name_or_value_exits_2(words: list[str], write_config: Callable[..., Path]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run", str(write_config()), *words])


def test_one_class_only_exits_2_and_writes_nothing(
    tmp_path: Path, cell_folder: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cell_folder / "platelet", tmp_path / "cells" / "platelet")
    assert main(["run", str(write_config(root=tmp_path / "cells")), "--out", str(tmp_path / "run")]) == 2
    assert "a probe tells classes apart" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_there_exit_2_with_three_ways_out(
    tmp_path: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(write_config()), "--backbone.weights", "imagnet", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "Three ways out" in said and "TFCELLS_WEIGHTS_DIR" in said and "--weights none" in said
    assert not (tmp_path / "run").exists()


def test_a_class_that_cannot_be_calibrated_stops_a_study_before_anything_is_extracted(
    tmp_path: Path, cell_folder: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cell_folder, tmp_path / "cells")
    for extra in sorted((tmp_path / "cells" / "platelet").iterdir())[2:]:
        extra.unlink()
    words = ["run", str(write_config(root=tmp_path / "cells")), "--images.folds", "2", "--probes.kinds", "[svm]"]
    assert main([*words, "--images.holdout", "0", "--out", str(tmp_path / "run")]) == 2
    assert "Class 'platelet' has 1 group in the training rows of fold" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_repeats_that_cannot_be_made_stop_a_study_before_anything_is_extracted(
    tmp_path: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(write_config()), "--probes.repeats=0", "--out", str(tmp_path / "run")]) == 2
    assert "0 repeats were asked for. Expected 1 or more." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_misspelt_tap_exits_2_with_a_suggestion_and_writes_nothing(
    tmp_path: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tap="blok_1_expand_relu")
    assert main(["run", str(config), "--out", str(tmp_path / "run")]) == 2
    assert "Did you mean 'block_1_expand_relu'?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_layers_are_too_narrow_for_stops_a_study_before_anything_is_extracted(
    tmp_path: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(write_config()), "--probes.reductions", "[none, pca:5000]", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "pca:5000 asks for 5,000 components. block_1_expand_relu has 96 features" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_bad_files_are_named_on_stderr_and_the_rest_is_extracted(
    tmp_path: Path, cell_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "cells"
    shutil.copytree(cell_folder, root)
    good = next((root / "platelet").iterdir()).read_bytes()
    (root / "platelet" / "cut.jpg").write_bytes(good[: len(good) // 2])
    (root / "platelet" / "note.jpg").write_text("not a picture")
    (root / "platelet" / "zero.png").write_bytes(b"")
    (root / "platelet" / "bomb.png").write_bytes(png_header(30_000, 30_000))
    words = ["extract", str(root), "--backbone", "mobilenet_v2", "--weights", "none", "--size", "96", "--layers"]
    assert main([*words, "block_1_expand_relu", "--out", str(tmp_path / "store"), "--json"]) == 1
    out, err = capsys.readouterr()
    named = {entry["id"] for entry in json.loads(out)["quarantined"]}
    assert named == {f"platelet/{name}" for name in ("cut.jpg", "note.jpg", "zero.png", "bomb.png")}
    assert all(id in err for id in named)
    assert "plan:" in err
    assert len(FeatureStore(tmp_path / "store").rows.ids) == 36


@pytest.mark.slow
def test_layers_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "mobilenet_v2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    last = facts["layers"][-1]
    assert (last["name"], last["shape"], last["default"]) == ("out_relu", [7, 7, 1280], True)
    assert last["bytes"]["mean"] == 4 * 1280 and last["bytes"]["flatten"] == 4 * 7 * 7 * 1280


def test_probe_writes_results_and_prints_a_table(
    make_store: Callable[..., FeatureStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store()
    assert main(["probe", str(store.path), "--out", str(tmp_path / "p"), "--probes", "logistic", "--workers", "1"]) == 0
    assert "best" in capsys.readouterr().out
    first = json.loads((tmp_path / "p" / "results.json").read_text())
    assert first["best"]["probe"] == "logistic"
    facts = json.loads((tmp_path / "p" / "split.json").read_text())
    assert (facts["seed"], facts["digest"]) == (0, first["split"]["digest"])
    again = ["probe", str(store.path), "--out", str(tmp_path / "q"), "--probes", "logistic", "--workers", "1"]
    assert main([*again, "--split", str(tmp_path / "p" / "split.csv"), "--json"]) == 0
    again_said = json.loads(capsys.readouterr().out)
    assert (again_said["best"], again_said["split"]["seed"]) == (first["best"], 0)
    assert json.loads((tmp_path / "q" / "split.json").read_text()) == facts


def test_an_audit_finds_copies_and_contradictions_and_a_split_keeps_them_together(
    tmp_path: Path, cell_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "cells"
    shutil.copytree(cell_folder, root)
    original = sorted((root / "lymphocyte").iterdir())[0]
    with Image.open(original) as picture:
        picture.transpose(Image.Transpose.ROTATE_90).save(root / "platelet" / "turned.png")
    (root / "platelet" / "note.jpg").write_text("not a picture")
    assert main(["audit", str(root), "--out", str(tmp_path / "audit"), "--json"]) == 1
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert "local features alone" in err
    copy, source = "platelet/turned.png", f"lymphocyte/{original.name}"
    with (tmp_path / "audit" / "pairs.csv").open(newline="") as file:
        assert {copy, source} in [{row["id_a"], row["id_b"]} for row in csv.DictReader(file)]
    assert any({copy, source} <= set(entry["labels"]) for entry in facts["label_conflicts"])
    with (tmp_path / "audit" / "groups.csv").open(newline="") as file:
        group_of = {row["id"]: row["group"] for row in csv.DictReader(file)}
    assert len(group_of) == 37 and group_of[copy] == group_of[source]
    words = ["split", str(root), "--groups", str(tmp_path / "audit" / "groups.csv"), "--folds", "3"]
    assert main([*words, "--holdout", "0.15", "--validation", "0.15", "--out", str(tmp_path / "split"), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts == json.loads((tmp_path / "split" / "split.json").read_text())
    with (tmp_path / "split" / "split.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert {row["split"] for row in rows.values()} == {"train", "validation", "holdout"}
    assert (rows[copy]["split"], rows[copy]["fold"]) == (rows[source]["split"], rows[source]["fold"])


def test_an_audit_compares_neighbours_among_features_too(
    make_store: Callable[..., FeatureStore], tmp_path: Path, cell_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", str(cell_folder), "--out", str(tmp_path / "audit"), "--store", str(make_store().path)]
    assert main(words) == 2  # features of other pictures
    assert not (tmp_path / "audit").exists()


def test_a_split_that_cannot_be_made_says_why(
    tmp_path: Path, cell_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["split", str(cell_folder), "--out", str(tmp_path / "split"), "--holdout", "0.6", "--validation", "0.5"]
    assert main(words) == 2
    assert "holdout + validation = 1.1 given. Expected a share from 0 to less than 1." in capsys.readouterr().err
    assert not (tmp_path / "split").exists()


def test_a_share_that_groups_do_not_allow_and_a_class_without_images_are_said_and_kept_in_files(
    tmp_path: Path, cell_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cell_folder, tmp_path / "cells")
    (tmp_path / "cells" / "none").mkdir()
    out = tmp_path / "split"
    assert main(["split", str(tmp_path / "cells"), "--out", str(out), "--holdout", "0.95", "--seed", "3"]) == 1
    said = capsys.readouterr().err
    assert "class folder none holds no image" in said
    assert "class none left out: it has no usable image" in said
    assert "holdout: 95.0% of the images were asked for, 58.3% came; whole groups, and every class in every" in said
    facts = json.loads((out / "split.json").read_text())
    assert facts["shares"] == {"holdout": {"asked": 0.95, "came": 21 / 36}}
    assert facts["left_out"] == {"none": "it has no usable image"}
    assert read_split(out / "split.csv").seed == facts["seed"] == 3


def test_control_characters_of_names_do_not_reach_the_terminal(
    tmp_path: Path, cell_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cell_folder, tmp_path / "cells")
    rare = tmp_path / "cells" / "rare\tcells"
    rare.mkdir()
    shutil.copy(next((cell_folder / "platelet").iterdir()), rare / "one.jpg")
    (rare / "bad\x1b[2J.png").write_bytes(b"")
    assert main(["split", str(tmp_path / "cells"), "--out", str(tmp_path / "split"), "--quiet"]) == 1
    said = capsys.readouterr().err
    assert r"quarantined rare\tcells/bad\x1b[2J.png: the file is empty" in said
    assert r"class rare\tcells left out: 1 image" in said
    with (tmp_path / "split" / "split.csv").open(newline="") as file:
        assert "rare\tcells/one.jpg" in {row["id"] for row in csv.DictReader(file)}  # files keep the true name


def test_groups_of_images_that_are_not_there_exit_2(
    make_store: Callable[..., FeatureStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "groups.csv").write_text("id,group\nelsewhere/class 0/0000.png,a\n")
    words = ["probe", str(make_store().path), "--groups", str(tmp_path / "groups.csv"), "--out", str(tmp_path / "p")]
    assert main(words) == 2
    assert "Unknown id in" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_a_class_that_a_split_file_leaves_out_is_named_and_exits_1(
    make_store: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    store = make_store()
    rows = [
        f"{id},{'left_out,' if label == 1 else f'train,{row % 3}'},{id}"
        for row, (id, label) in enumerate(zip(store.rows.ids, store.rows.labels.tolist(), strict=True))
    ]
    (tmp_path / "split.csv").write_text("\n".join(["id,split,fold,group", *rows]) + "\n")
    words = ["probe", str(store.path), "--out", str(tmp_path / "p"), "--probes", "knn", "--workers", "1"]
    assert main([*words, "--split", str(tmp_path / "split.csv")]) == 1
    left_out = json.loads((tmp_path / "p" / "results.json").read_text())["data"]["left_out"]
    assert left_out == {"class 1": "every image is marked 'left_out' in the split file"}
    split = json.loads((tmp_path / "p" / "results.json").read_text())["split"]
    assert (split["seed"], split["shares"]) == (None, {})  # nobody has said


def test_repeats_are_joined_in_the_table_and_compared_with_the_baselines(
    make_store: Callable[..., FeatureStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", str(make_store(signal=3.0).path), "--out", str(tmp_path / "p"), "--probes", "knn"]
    assert main([*words, "--workers", "1", "--folds", "3", "--repeats", "2"]) == 0
    said = capsys.readouterr().out
    joined = json.loads((tmp_path / "p" / "results.json").read_text())["selection"]["joined"]
    row = next(line for line in said.splitlines() if line.startswith("(the same, mean of 2 dealings)"))
    assert f"{100 * joined['accuracy']['value']:.1f} % (" in row
    difference = joined["minus_baselines"][0]["difference"]["value"]
    assert f"nested minus colour · knn, mean of 2 dealings: {100 * difference:+.1f} points of balanced" in said
    assert "p < 0.001 with all baselines counted" in said


def test_a_difference_that_is_equal_everywhere_is_said_to_be_undecided(capsys: pytest.CaptureFixture[str]) -> None:
    against = {
        "taps": ["colour"],
        "scaler": "standard",
        "reduction": "none",
        "probe": "knn",
        "difference": {"value": 0.5, "low": -1.0, "high": 1.0},
        "p_adjusted": 1.0,
    }
    scores = {name: {"value": 1.0, "low": 0.9, "high": 1.0} for name in ("balanced_accuracy", "accuracy", "macro_f1")}
    nested = {**scores, "inner_best": 1.0, "optimism": 0.0}
    for undecided in (True, False):
        joined = {**nested, "dealings": 2, "minus_baselines": [{**against, "undecided": undecided}]}
        trust = {"leak_tax": {"tax": None, "reason": "too few groups"}, "learning_curve": None}
        print_scores({"probes": [], "baselines": [], "selection": {**nested, "joined": joined}, **trust})
    said, usual = (line for line in capsys.readouterr().out.splitlines() if line.startswith("nested minus"))
    assert said.endswith("+50.0 points of balanced accuracy (-100.0 to +100.0), undecided: the dealings do not differ")
    assert usual.endswith("p 1.000 with all baselines counted")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--folds", "9"], "--folds 9 and --split split.csv were given, which says groups and folds too. Give one of"),
        (["--repeats", "0"], "0 repeats were asked for"),
    ],
)
def test_what_a_split_file_says_cannot_be_asked_for_beside_it(
    make_store: Callable[..., FeatureStore],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: list[str],
    said: str,
) -> None:
    store = make_store()
    monkeypatch.chdir(tmp_path)
    rows = [f"{id},train,{row % 3},{id}" for row, id in enumerate(store.rows.ids)]
    Path("split.csv").write_text("\n".join(["id,split,fold,group", *rows]) + "\n")
    assert main(["probe", str(store.path), "--out", "p", "--split", "split.csv", *option]) == 2
    assert said in capsys.readouterr().err
    assert not Path("p").exists()


def test_groups_beside_a_split_file_are_refused_in_python_too(
    make_store: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    words = r"^--groups g\.csv and --split s\.csv were given, which says groups and folds too\. Give one of them\.$"
    with pytest.raises(RequestError, match=words):
        probe_store(make_store(), out=tmp_path / "p", split_file="s.csv", groups_file="g.csv")


def test_help_says_what_other_dealings_ignore(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["probe", "--help"])
    assert "other dealings ignore what the folds of --split mean" in " ".join(capsys.readouterr().out.split())


def test_the_memory_that_is_allowed_reaches_whatever_is_fitted(
    make_store: Callable[..., FeatureStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[int]] = {"nested": set(), "refit": set()}
    for name, found in seen.items():

        def spy(*features: Any, found: set[int] = found, **how: Any) -> Any:
            found.add(how["memory"])
            return views(*features, **how)

        monkeypatch.setattr(f"tfcells.probes.{name}.views", spy)
    store = make_store(groups=[f"patient {row // 2}" for row in range(120)])
    words = ["probe", str(store.path), "--out", str(tmp_path / "p"), "--probes", "knn", "--workers", "1"]
    assert main([*words, "--folds", "3", "--memory", "0.5"]) == 0
    assert seen == {"nested": {2**29}, "refit": {2**29}}
    results = json.loads((tmp_path / "p" / "results.json").read_text())
    assert results["leak_tax"]["tax"] and results["learning_curve"]


def test_a_layer_that_the_memory_does_not_hold_is_refused_with_the_option_that_raises_it(
    make_store: Callable[..., FeatureStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", str(make_store(widths=(6, 4000)).path), "--out", str(tmp_path / "p"), "--probes", "knn"]
    assert main([*words, "--workers", "1", "--memory", "0.0003"]) == 2
    assert "Use fewer images, or allow 0.01 GiB: `probes.memory` of a config, `tfcells probe --memory`; in Python" in (
        capsys.readouterr().err
    )
    assert main([*words, "--workers", "1", "--memory", "0"]) == 2
    assert "A memory limit of 0 GiB was given. Expected a number above 0" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_a_memory_limit_that_cannot_be_stops_a_study_before_anything_is_read(
    tmp_path: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(write_config()), "--probes.memory=-1", "--out", str(tmp_path / "run")]) == 2
    assert "A memory limit of -1 GiB was given. Expected a number above 0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_layers_that_the_memory_does_not_hold_stop_a_study_before_anything_is_extracted(
    tmp_path: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(write_config()), "--probes.memory", "0.00001", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "10,737 bytes of memory were allowed. One Gram matrix of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_probe_does_not_write_over_a_study(
    make_store: Callable[..., FeatureStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text('{"config": {}}')
    assert main(["probe", str(make_store().path), "--out", str(tmp_path / "run")]) == 2
    assert "holds a study, whose results would be lost" in capsys.readouterr().err
    assert (tmp_path / "run" / "results.json").read_text() == '{"config": {}}'


def test_probe_that_cannot_write_says_so_before_the_sweep(
    make_store: Callable[..., FeatureStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["probe", str(make_store().path), "--out", str(tmp_path / "file" / "p")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["map", "STORE", "--perplexity", "0"], "Perplexity 0.0 was asked for. Expected a number from 1"),
        (["map", "STORE", "--perplexity", "nan"], "Perplexity nan was asked for"),
        (["projector", "STORE", "--thumbnail", "0"], "Thumbnails of 0 pixels were asked for. Expected 4 to 512."),
    ],
)
def test_numbers_that_no_map_can_be_drawn_with_exit_2(
    make_store: Callable[..., FeatureStore],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    words = [str(make_store().path) if word == "STORE" else word for word in words]
    assert main([*words, "--out", str(tmp_path / "map")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--maps.perplexity=-3", "Perplexity -3.0"),
        ("--maps.thumbnail=0", "Thumbnails of 0 pixels"),
        ("--maps.max_rows=1", "A map of 1 rows was asked for. Expected 2 or more."),
    ],
)
def test_numbers_that_no_map_can_be_drawn_with_stop_a_study_before_anything_is_read(
    tmp_path: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str], override: str, said: str
) -> None:
    assert main(["run", str(write_config()), override, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_where_the_config_should_stand_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tmp_path)]) == 2
    assert "Expected a config first: tfcells run CONFIG" in capsys.readouterr().err


def test_export_of_a_sweep_that_is_no_study_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.json").write_text("{}")
    assert main(["export", str(tmp_path)]) == 2
    assert "holds a sweep, not a study" in capsys.readouterr().err


def test_the_demo_does_not_draw_into_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "features").mkdir()
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "holds something else than a demo" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["features"]


def test_probe_of_an_unfinished_store_exits_2(
    make_store: Callable[..., FeatureStore], capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store()
    shutil.rmtree(store.path / "shards" / "00002")
    assert main(["probe", str(store.path), "--out", "p"]) == 2
    assert "holds 100 of 120 rows" in capsys.readouterr().err


def test_map_and_projector_work_without_the_pictures_and_say_so(
    make_store: Callable[..., FeatureStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store()
    assert main(["map", str(store.path), "--method", "pca", "--out", str(tmp_path / "m")]) == 0
    assert main(["projector", str(store.path), "--taps", "early,late", "--out", str(tmp_path / "j"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "no thumbnails" in err
    assert json.loads(out[out.index("{") :])["rows"] == 120
    assert (tmp_path / "m" / "map.csv").is_file() and not (tmp_path / "m" / "mosaic.png").exists()


def test_an_altered_store_exits_3(make_store: Callable[..., FeatureStore], capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store()
    (store.path / "rows.csv").write_text("nonsense")
    assert main(["probe", str(store.path), "--out", "p"]) == 3
    assert "Extract the store again" in capsys.readouterr().err


def test_a_system_fault_exits_3_in_words(
    make_store: Callable[..., FeatureStore],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "map.csv")

    monkeypatch.setattr("tfcells.steps.maps._write_csv", full)
    assert main(["map", str(make_store().path), "--method", "pca", "--out", str(tmp_path / "m")]) == 3
    assert "the system refused: No space left on device (map.csv)" in capsys.readouterr().err


def test_an_unforeseen_fault_exits_3(
    make_store: Callable[..., FeatureStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfcells.steps.maps.map_quality", lambda *_, **__: 1 / 0)
    assert main(["map", str(make_store().path), "--method", "pca", "--out", str(tmp_path / "m")]) == 3


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
