"""What the report of a fine-tuning says in words, and its figures; no TensorFlow."""

import dataclasses
import io
from pathlib import Path

import pytest

from tfcells.finetune.settings import PhaseSettings
from tfcells.report.training_figures import plot_drift, plot_rates, plot_training
from tfcells.report.training_page import commands, config_words, minutes_words, phase_words, verdict, warnings
from tfcells.report.training_words import frozen_choice_words, parity_words


def phase(**changes):
    return dataclasses.asdict(PhaseSettings(**{"epochs": 1, **changes}))


def number(value, low, high):
    return {"value": value, "low": low, "high": high}


def results_of(*, gain=None, best=(1, 2), validation=8, **changes):
    rows = [{"phase": 1, "epoch": epoch, "trained": "all"} for epoch in (1, 2, 3)]
    fold = {
        "fold": 0,
        "rows": {"training": 40, "validation": validation, "asked": 20},
        "network": {"name": "mobilenet_v2", "weights": "imagenet", "size": 96, "backbone": True, "catalog": True},
        "weights": {"file": "mobilenet_v2_mine.weights.h5"},
        "best": None if best is None else {"phase": best[0], "epoch": best[1], "value": 0.5},
        "curve": rows,
        "fallbacks": [],
        "seen": None,
    }
    comparison = None
    if gain is not None:
        comparison = {
            "gain": {"accuracy": {"difference": number(*gain)}},
            "frozen": {
                "probe": "logistic",
                "accuracy": number(0.8, 0.7, 0.9),
                "chosen": [{"tap": "late", "chosen_on": 4}],
                "store": {"weights": {"name": "cells"}},
                "seen": None,
            },
            "minutes": {"fine_tuned": 12.0},
        }
    return {
        "folds": [fold],
        "asked": {"images": 20, "groups": 9},
        "confusion": {"classes": ["a", "b"]},
        "accuracy": number(0.9, 0.85, 0.95),
        "balanced_accuracy": number(0.8, 0.7, 0.9),
        "chance": 0.5,
        "data": {"images": 68, "groups": 30, "quarantined": [], "left_out": {}},
        "split": {"unlike_asked": []},
        "config": {
            "images": {"root": "s3://bucket/cells", "groups": None},
            "network": {"weights": "imagenet"},
            "phases": [{"schedule": "constant"}],
            "against": None,
        },
        "audit": None,
        "families": None,
        "comparison": comparison,
    } | changes


@pytest.mark.parametrize(
    ("settings", "backbone", "words"),
    [
        ({"train": "head"}, True, "1 epoch: the head alone (the head at 0.0008; rising over 0.5 epochs, then falling"),
        ({"train": "head", "warmup": 1.0}, True, "(the head at 0.0008; rising over 1 epoch, then falling"),
        ({"epochs": 8}, True, "8 epochs at most: all layers (the backbone at 3e-05, the head at 0.0008; "),
        ({"epochs": 2}, False, "2 epochs at most: all layers (all at 0.0008; "),
        ({"train": "last:1"}, True, "the last block and the head (the backbone at 3e-05"),
        ({"train": "last:6"}, True, "the last 6 blocks and the head ("),
        ({"train": "block_3_conv"}, True, "everything from layer block_3_conv on ("),
        ({"rates": {"block_9": 1e-4}}, True, "the head at 0.0008, from block_9 on at 0.0001; "),
        ({"warmup": 0.0, "schedule": "constant"}, True, "the head at 0.0008; constant). AdamW, weight decay 0.0001; "),
        ({"optimiser": "sgd", "clip_norm": 0.0}, True, "SGD with Nesterov momentum, weight decay 0.0001."),
        ({"accumulate": 4}, True, "clipped to a norm of 1; gradients of 4 batches averaged."),
    ],
)
def test_a_phase_is_told_in_words(settings, backbone, words):
    assert words in phase_words(phase(**settings), backbone=backbone)


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ((0.05, 0.01, 0.09), "fine-tuning gained +5.0 (+1.0\u00a0to\u00a0+9.0) points for 12.0 minutes of training."),
        ((0.01, -0.02, 0.04), "fine-tuning cannot be told from them (+1.0 (-2.0\u00a0to\u00a0+4.0) points) for"),
        ((-0.05, -0.09, -0.01), "fine-tuning lost 5.0 (1.0\u00a0to\u00a09.0) points"),
    ],
)
def test_the_gain_is_called_one_only_where_its_interval_says_so(gain, words):
    results = results_of(gain=gain)
    assert words in verdict(results)
    assert any("made the network worse" in warning for warning in warnings(results)) == (gain[2] < 0)


def test_the_verdict_says_who_was_asked_and_that_nothing_was_compared():
    assert "on 20 images in 9 groups that neither taught it nor chose its epoch." in verdict(results_of())
    assert "that did not teach it." in verdict(results_of(validation=0))
    assert "It was not compared with frozen features" in verdict(results_of())


def test_the_layer_was_chosen_on_rows_that_are_there():
    assert frozen_choice_words(results_of()) is None
    gain = (0.05, 0.01, 0.09)
    assert frozen_choice_words(results_of(gain=gain)) == "the rows that chose the epoch"
    assert frozen_choice_words(results_of(gain=gain, validation=0)) == (
        "4 of the rows that taught, kept back for that alone, since no rows chose an epoch"
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            (0.55, 0.45, 0.65),
            "Its balanced accuracy, 55.0\u00a0% (45.0\u00a0to\u00a065.0), cannot be told from chance, 50.0",
        ),
        ((0.55, 0.5, 0.65), "cannot be told from chance, 50.0\u00a0%."),
        ((0.2, 0.1, 0.3), "Its balanced accuracy, 20.0\u00a0% (10.0\u00a0to\u00a030.0), is below chance, 50.0\u00a0%."),
    ],
)
def test_a_network_that_is_not_better_than_chance_is_said_to_be_so(found, words):
    assert words in verdict(results_of(balanced_accuracy=number(*found)))
    assert "chance" not in verdict(results_of(balanced_accuracy=number(0.6, 0.501, 0.7)))


def test_who_was_told_families_is_said_and_of_which_it_was_all_there_was_to_know():
    families = {"names": ["lab", "other"], "of_one_class": [{"family": "other", "class": "other/c", "asked": 7}]}
    told = verdict(results_of(families=families))
    assert "The network was told the family of every image that was asked: classes competed" in told
    both = verdict(results_of(families=families, gain=(0.05, 0.01, 0.09)))
    assert "The network and the frozen probe were both told the family of every image" in both
    (warning,) = warnings(results_of(families=families))
    assert warning.startswith("Right by construction: 7 of the 20 images that were asked")
    assert "other (other/c, 7 images)" in warning
    assert warnings(results_of(families=families | {"of_one_class": []})) == []
    assert "told" not in verdict(results_of())


def test_what_makes_numbers_doubtful_is_warned_of():
    assert warnings(results_of()) == []
    data = {"images": 9, "groups": 9, "quarantined": [{"id": "x"}], "left_out": {"rare": "1 group"}}
    found = warnings(
        results_of(
            best=(1, 3),
            data=data,
            split={"unlike_asked": ["the holdout has 30 % instead of 20 %"]},
            accuracy=number(0.8, 0.6, 0.9),
            audit={"label_conflicts": [{}]},
        )
    )
    for words in (
        "1 files were quarantined",
        "Class rare is left out: 1 group.",
        "The holdout has 30 % instead of 20 %.",
        "Every image is its own group",
        "more than one class: 1.",
        "wider than 15 points: 9 groups were asked",
        "The last epoch was the best: more epochs may do better.",
    ):
        assert any(words in warning for warning in found), words
    assert any("nothing was learned" in warning for warning in warnings(results_of(best=None)))
    assert warnings(results_of(best=(1, 3), validation=0)) == []


def test_answers_of_a_mixed_precision_are_told_beside_those_of_float32():
    parity = {
        "precision": "mixed_bfloat16",
        "images": 64,
        "cosine": 0.99912,
        "max_difference": 0.0312,
        "relative_difference": 0.021,
        "agreement": 63 / 64,
    }
    assert parity_words(parity) == (
        "98.4 % of 64 asked images get the same answer from the same weights in float32; logits differ by 0.031 at "
        "most (2.1 % of their standard deviation), and their cosine is 0.9991 or more"
    )


def test_the_end_of_a_cosine_is_no_sign_that_more_epochs_would_do_better():
    (warning,) = warnings(results_of(best=(1, 3)))
    assert warning == "The last epoch was the best: more epochs may do better."
    assert warnings(results_of(best=(1, 3), config={"phases": [{"schedule": "cosine"}]})) == []


def test_a_fall_of_precision_is_warned_of_with_its_reason():
    results = results_of()
    entry = {"phase": 1, "epoch": 2, "from": "mixed_float16", "to": "float32", "reason": "the loss is inf"}
    results["folds"][0]["fallbacks"] = [entry]
    (warning,) = warnings(results)
    assert warning == "Precision fell from mixed_float16 to float32 in phase 1, epoch 2: the loss is inf."


def test_commands_are_quoted_and_of_networks_without_a_backbone_fewer(tmp_path):
    told = commands(results_of(), tmp_path / "my runs")
    assert f"--weights '{tmp_path}/my runs/mobilenet_v2_mine.weights.h5' --size 96" in told["extract"]
    assert told["study"].endswith("--backbone.size 96")
    results = results_of()
    network = results["folds"][0]["network"]
    network["catalog"] = False  # of keras-hub: what extracts features does not know it
    assert set(commands(results, tmp_path)) == {"file", "tensorboard", "projector", "again", "further"}
    network["backbone"] = False
    assert set(commands(results, tmp_path)) == {"file", "tensorboard", "projector", "again"}


def test_commands_do_the_same_in_any_folder(tmp_path, monkeypatch):
    for name in ("my cells", "weights", "runs", "imagenet"):
        (tmp_path / name).mkdir()
    (tmp_path / "weights" / "a.weights.h5").touch()
    monkeypatch.chdir(tmp_path)
    results = results_of()
    assert commands(results, Path("runs/one"))["again"] == (
        f"tfcells finetune {tmp_path}/runs/one/config.json --out {tmp_path}/runs/one-again"
    )
    results["config"] |= {
        "images": {"root": "my cells", "groups": str(tmp_path / "groups.csv")},
        "network": {"weights": "weights/a.weights.h5"},
        "against": "runs",
    }
    told = commands(results, Path("runs/one"))
    assert told["again"] == (
        f"tfcells finetune {tmp_path}/runs/one/config.json --images.root '{tmp_path}/my cells' "
        f"--network.weights {tmp_path}/weights/a.weights.h5 --against {tmp_path}/runs --out {tmp_path}/runs/one-again"
    )
    for name, line in told.items():
        assert f"{tmp_path}/runs/one" in line, name


def test_a_configuration_keeps_its_lines_and_escapes_names():
    words = config_words({"name": "mine", "images": {"root": "<b>\x07\u2028"}})
    assert words == "name: mine\nimages:\n  root: &#34;&lt;b&gt;\\a\\L&#34;\n"


def test_times_are_said_in_the_unit_a_person_would_choose():
    assert [minutes_words(value) for value in (0.5, 1 / 60, 12.34, None)] == [
        "30 seconds",
        "1 second",
        "12.3 minutes",
        "not known",
    ]


def test_images_that_the_first_weights_have_seen_are_counted_in_a_warning():
    results = results_of()
    for seen in (None, {"images": 0, "of": 20}):
        results["folds"][0]["seen"] = seen
        assert warnings(results) == []
    results["folds"][0]["seen"] = {"images": 3, "of": 20}
    (found,) = warnings(results)
    assert found.startswith(
        "The weights imagenet have seen 3 of these 20 images that were asked in their own training, so the numbers"
    )


def test_figures_are_drawn_whatever_is_missing():
    share = dict.fromkeys(("accuracy", "weighted_precision", "weighted_f1", "balanced_accuracy"), 0.5)
    row = {"epoch": 1, "training_loss": 1.0, "loss": 1.0, "head_rate": 0.1, **share}
    curve = [{"phase": place, **row} for place in (1, 2)]
    asked = {"fastest": 1e-3}
    tested = {"phase": 1, "train": "a $layer$", "rates": [1e-4, 1e-3], "losses": [1.0, 0.5], "asked": asked}
    figures = [
        plot_training(curve, best=None, looked_at="held-out", title="a $study$"),
        plot_training(curve, best={"phase": 2, "epoch": 1}, looked_at="validation"),
        plot_drift({0: {"early": 0.9, "late": None}, 1: {"early": 0.8, "late": None}}),
        plot_rates([tested | {"suggested": {"fastest": 1e-4}}, tested | {"suggested": None}]),
    ]
    for figure in figures:
        figure.savefig(io.BytesIO(), format="svg")
    labels = figures[1].axes[0].get_legend_handles_labels()[1]
    assert "weights kept" in labels and "weights kept" not in figures[0].axes[0].get_legend_handles_labels()[1]
    assert [text.get_text() for text in figures[2].axes[0].texts] == ["cannot be told"]
    assert [len(area.get_legend_handles_labels()[1]) for area in figures[3].axes] == [2, 1]


def test_frozen_features_that_have_seen_what_the_network_has_not_are_no_fair_rival():
    results = results_of(gain=(-0.05, -0.09, -0.01))
    frozen = results["comparison"]["frozen"]
    for seen, ours in ((None, None), ({"images": 0, "of": 20}, None), ({"images": 3, "of": 20},) * 2):
        frozen["seen"], results["folds"][0]["seen"] = seen, ours
        assert any("made the network worse" in warning for warning in warnings(results))
        assert not any("The frozen features are of the weights" in warning for warning in warnings(results))
    for ours, words in ((None, "none"), ({"images": 1, "of": 20}, "1")):
        frozen["seen"], results["folds"][0]["seen"] = {"images": 3, "of": 20}, ours
        (warned,) = [warning for warning in warnings(results) if "The frozen features are" in warning]
        assert "of the weights cells, which have seen 3 of these 20 images that were asked" in warned
        assert f"began with weights that have seen {words}: " in warned and "the gain over them is too small" in warned
        assert not any("made the network worse" in warning for warning in warnings(results))
