import copy
from dataclasses import replace

import pytest

from tfcells.report.explanations import Explanations, add_explanations, kept_explanations, write_explanations
from tfcells.report.words import difference_words, mean_words

MEAN = {"value": 0.42, "low": 0.3, "high": 0.55}
ALONE = {"value": 0.42, "low": None, "high": None}
CURVE = {"map": MEAN, "random_order": ALONE, "map_minus_random_order": {"value": -0.1, "low": -0.2, "high": 0.05}}
FACTS = {
    "study": "drawn <cells>",
    "backbone": "tiny",
    "weights": "none",
    "reads": {"taps": ["late"], "probe": "logistic"},
    "refused": {"ig": "No gradient reaches the pixels."},
    "methods": {
        "exact": {
            "deletion": CURVE,
            "insertion": CURVE,
            "randomisation": {
                "median_absolute_rank_correlation": 0.31,
                "of_sizes": 0.77,
                "allowed": 0.2,
                "networks": 3,
            },
            "completeness": {"reached": 2, "images": 2},
            "mass_inside": None,
            "flat": 0,
            "images": 2,
            "verdict": "untrustworthy",
            "reasons": ["its maps stay alike when the weights are randomised"],
            "evidence": [],
        }
    },
    "images": [
        {
            "id": "a/<script>.png",
            "shown": shown,
            "label": "a",
            "predicted": "b",
            "fold": 1,
            "tested_as": "b",
            "explained": "b rather than a",
            "methods": {
                "exact": {
                    "flat": False,
                    "deletion": {"map": 0.1, "random_order": 0.4},
                    "insertion": {"map": 0.9, "random_order": 0.5},
                    "completeness": {"found": 1.5, "claimed": 1.5, "reached": True},
                    "mass_inside": {"map": 0.8, "centred_disc": 0.7},
                }
            },
        }
        for shown in (True, False)
    ],
}
TITLES = {"exact": "exact map", "ig": "integrated gradients"}
PICTURES = {"a/<script>.png": {"picture": "data:image/jpeg;base64,AA", "exact": "data:image/jpeg;base64,BB"}}
EXPLANATIONS = Explanations(facts=FACTS, pictures=PICTURES, titles=TITLES)
RESULTS = {
    "store": {"digest": "1" * 64},
    "split": {"digest": "2" * 64},
    "best": {"taps": ["late"], "scaler": "none", "reduction": "none", "probe": "ridge", "parameters": [{"alpha": 1.0}]},
}
OTHERS = [
    {**RESULTS, "store": {"digest": "3" * 64}},
    {**RESULTS, "split": {"digest": "3" * 64}},
    {**RESULTS, "best": {**RESULTS["best"], "parameters": [{"alpha": 2.0}]}},
]


@pytest.fixture
def report(tmp_path):
    """A report as a study leaves it, with the place for explanations."""
    path = tmp_path / "report.html"
    path.write_text(f"<p>before</p>{kept_explanations(path, RESULTS)}<p>after</p>")
    return path


@pytest.fixture
def page(tmp_path) -> str:
    write_explanations(tmp_path / "page.html", EXPLANATIONS)
    return (tmp_path / "page.html").read_text()


def test_a_method_that_must_not_be_trusted_is_said_first_and_at_every_map(page):
    assert page.index("exact map is untrustworthy here:") < page.index("<h2>")
    assert page.count("(untrustworthy)") == 1
    assert "integrated gradients was not made:</b> No gradient reaches the pixels." in page


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (
            "undecided",
            "exact map is undecided here:</b> nothing speaks against it, and it is not shown to be trustworthy",
        ),
        ("trustworthy", "exact map is trustworthy here:</b> deletion by its order is better"),
    ],
)
def test_what_is_not_shown_is_undecided_and_what_is_shown_has_its_evidence(verdict, said, tmp_path):
    facts = copy.deepcopy(FACTS)
    facts["methods"]["exact"] |= {"verdict": verdict, "evidence": ["deletion by its order is better"]}
    write_explanations(tmp_path / "page.html", replace(EXPLANATIONS, facts=facts))
    page = (tmp_path / "page.html").read_text()
    assert said in page and "is untrustworthy here" not in page
    assert page.count("(undecided)") == (1 if verdict == "undecided" else 0)
    assert f">{verdict}</td>" in page and "same everywhere</th>" not in page


def test_maps_that_are_the_same_everywhere_are_said_to_say_nothing(tmp_path):
    facts = copy.deepcopy(FACTS)
    facts["methods"]["exact"] |= {"flat": 2}
    facts["methods"]["exact"]["randomisation"]["median_absolute_rank_correlation"] = None
    facts["images"][0]["methods"]["exact"]["flat"] = True
    write_explanations(tmp_path / "page.html", replace(EXPLANATIONS, facts=facts))
    page = (tmp_path / "page.html").read_text()
    assert "same everywhere</th>" in page and ">2 of 2</td>" in page and ">not known</td>" in page
    assert "the same everywhere: says nothing of this image" in page and "deletion 0.10" not in page


def test_maps_that_are_strong_whatever_the_weights_are_told_of(page):
    assert "0.31<br>(no signs 0.77)" in page


def test_random_weights_are_said_aloud(tmp_path, page):
    assert "<b>Random weights.</b>" in page
    write_explanations(tmp_path / "other.html", replace(EXPLANATIONS, facts={**FACTS, "weights": "cells"}))
    assert "Random weights" not in (tmp_path / "other.html").read_text()


def test_names_are_escaped_and_nothing_is_loaded(page):
    assert "<script>" not in page and "a/&lt;script&gt;.png" in page
    assert "drawn &lt;cells&gt;" in page and "http://" not in page and "https://" not in page


def test_images_that_only_checked_are_counted_and_not_shown(page):
    assert page.count("<h3>") == 1
    assert "Means over 2 images with 95 % intervals where there are six groups or more, 1 of them not shown" in page


def test_masks_have_columns_only_where_there_are_some(tmp_path, page):
    assert "inside the cell</th>" not in page
    facts = copy.deepcopy(FACTS)
    facts["methods"]["exact"]["mass_inside"] = {"images": 2, "map": MEAN, "centred_disc": MEAN}
    write_explanations(tmp_path / "other.html", replace(EXPLANATIONS, facts=facts))
    assert "inside the cell</th>" in (tmp_path / "other.html").read_text()


def test_a_mean_has_its_interval_where_there_is_one():
    assert mean_words(MEAN) == "0.42 (0.30\u00a0to\u00a00.55)"
    assert mean_words(ALONE) == "0.42"
    assert difference_words(CURVE["map_minus_random_order"]) == "-0.10 (-0.20\u00a0to\u00a0+0.05)"
    assert difference_words(ALONE) == "+0.42"


def test_a_report_gets_explanations_and_later_ones_take_their_place(report):
    empty = report.read_text()
    assert add_explanations(report, EXPLANATIONS, RESULTS)
    first = report.read_text()
    assert first.startswith("<p>before</p>") and first.endswith("<p>after</p>") and len(first) > len(empty)
    assert first.count("<h2>What it looked at</h2>") == 1 and first.count("(untrustworthy)") == 1
    assert "<script>" not in first and "a/&lt;script&gt;.png" in first
    renamed = replace(EXPLANATIONS, titles={**TITLES, "exact": "another map <!-- explained end -->"})
    assert add_explanations(report, renamed, RESULTS)
    assert add_explanations(report, EXPLANATIONS, RESULTS)
    assert report.read_text() == first


def test_a_report_made_anew_keeps_explanations_of_the_same_results_alone(report):
    add_explanations(report, EXPLANATIONS, RESULTS)
    text = report.read_text()
    assert str(kept_explanations(report, RESULTS)) in text
    assert "exact map is untrustworthy here" in kept_explanations(report, copy.deepcopy(RESULTS))
    for other in OTHERS:
        kept = kept_explanations(report, other)
        assert "exact map" not in kept and "Explanations of an earlier state of this study stood here" in kept
        report.write_text(f"<p>anew</p>{kept}")
        assert "stood here" not in kept_explanations(report, other)  # said once
        assert add_explanations(report, EXPLANATIONS, other)
        assert str(kept_explanations(report, other)) in report.read_text()
        report.write_text(text)


def test_explanations_that_were_judged_by_other_rules_are_left_out(report, monkeypatch):
    add_explanations(report, EXPLANATIONS, RESULTS)
    monkeypatch.setattr("tfcells.report.explanations._JUDGED", 0)
    kept = kept_explanations(report, RESULTS)
    assert "exact map" not in kept and "or the rules by which maps are judged are others now" in kept


def test_a_report_without_a_place_for_explanations_is_left_as_it_is(tmp_path):
    assert not add_explanations(tmp_path / "none.html", EXPLANATIONS, RESULTS)
    (tmp_path / "old.html").write_text("<p>old</p>")
    assert not add_explanations(tmp_path / "old.html", EXPLANATIONS, RESULTS)
    assert (tmp_path / "old.html").read_text() == "<p>old</p>"
