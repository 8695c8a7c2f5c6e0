import html
import re
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError
from test_explanations_page import EXPLANATIONS

from tfcells.backbones.weights import SEARCH_VARIABLE, find_weights
from tfcells.report.explanations import add_explanations
from tfcells.report.page import verdict, warnings, write_report
from tfcells.report.words import percent, points, probability

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = '<script>alert("1")</script>\'& $\\frac$ {{ 7*7 }}'


@dataclass(frozen=True)
class Shown:
    id: str = "a/b.png"
    truth: str = "class 0"
    predicted: str = "class 1"
    confidence: float = 0.876
    picture: str = "data:image/jpeg;base64,AAAA"


class Page(HTMLParser):
    """Tags that were left open or closed twice, attributes, and the text a person reads."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.wrong, self.tags, self.attributes, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.text += " "
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.fixture
def write(tmp_path, maps):
    def written(results, *, hits=(Shown(),), misses=(Shown(),)):
        path = tmp_path / "report.html"
        write_report(path, results, hits=hits, misses=misses, doubted={}, maps=maps)
        return path.read_text(encoding="utf-8")

    return written


def test_who_reads_a_page_while_it_is_written_anew_reads_the_one_of_before_to_its_end(write, results, tmp_path):
    before = write(results)
    with (tmp_path / "report.html").open(encoding="utf-8") as page:
        after = write(results, hits=())
        assert page.read() == before != after
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["report.html"]


def test_a_study_without_an_export_says_why(write, results):
    engine = {**results["store"]["engine"], "name": "openvino"}
    page = Page(write({**results, "export": None, "store": {**results["store"], "engine": engine}}))
    assert not page.wrong
    assert "None was made: the features are of openvino in float32" in page.text
    assert "saved_model.load" not in page.text


def numbers_in(value):
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers_in(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in numbers_in(inner)]
    return [value] if isinstance(value, float) else []


def test_cues_that_were_not_read_are_named_with_the_reason(write, results):
    assert "Not read: jpeg (the images are arrays)." in Page(write(results)).text


def rename(value, old, new):
    """The same results of a class by another name."""
    if isinstance(value, dict):
        return {rename(key, old, new): rename(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [rename(inner, old, new) for inner in value]
    return new if value == old else value


@pytest.fixture
def text(write, results, kept):
    """The page of unchanged results, written once."""
    if "page" not in kept:
        kept["page"] = write(results)
    return kept["page"]


def test_every_tag_is_closed_once_and_in_order(text):
    page = Page(text)
    assert (page.open, page.wrong) == ([], [])
    assert page.tags.count("svg") == 9
    assert page.tags.count("h1") == 1


def test_the_page_loads_nothing(text):
    page = Page(text)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert ("meta", "content", policy) in page.attributes
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    loads = [value for _, name, value in page.attributes if name.split(":")[-1] in ("src", "href", "srcset", "data")]
    assert loads
    assert all(value.startswith(("data:image/", "#")) for value in loads)
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}


def test_the_links_within_the_page_lead_somewhere(text):
    page = Page(text)
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for tag, name, value in page.attributes if tag == "a" and name == "href"} <= ids


def test_hostile_names_are_shown_and_not_obeyed(write, results):
    results = rename(results, "class 1", HOSTILE)
    results["data"]["quarantined"] = [{"id": HOSTILE, "reason": HOSTILE}]
    results["data"]["left_out"] = {HOSTILE: "too few"}
    results["data"]["source"] = results["study"] = HOSTILE
    shown = Shown(id=HOSTILE, truth=HOSTILE, predicted=HOSTILE)
    text = write(results, hits=[shown], misses=[shown])
    page = Page(text)
    assert (page.open, page.wrong) == ([], [])
    assert "script" not in page.tags
    assert "<script" not in text
    assert page.text.count(HOSTILE) >= 10
    assert "49" not in re.findall(r"\{\{ (.*?) \}\}", page.text)


def test_control_characters_are_shown_as_escapes(write, results):
    name = "a\tb\nc\x1b[2J"
    results = rename(results, "class 1", name)
    results["data"]["quarantined"] = [{"id": name, "reason": name}]
    shown = Shown(id=name, truth=name, predicted=name)
    text = write(results, hits=[shown], misses=[shown])
    assert Page(text).text.count(r"a\tb\nc\x1b[2J") >= 10
    assert not set(text) & set("\t\x1b")


def test_class_names_stand_in_the_figures_too(write, results):
    text = write(rename(results, "class 1", "Zelle $\\frac$ & <b>"))
    figures = "".join(re.findall(r"<svg.*?</svg>", text, re.S))
    assert (
        figures.count(html.escape("Zelle $\\frac$ & <b>", quote=False)) == 7
    )  # counts, ROC, thresholds, and twice per confusion


def test_every_percentage_comes_from_the_results(text, results):
    text = " ".join(Page(text).text.split())
    shown = re.findall(r"([+-]?\d+(?:\.\d+)?)\s?%", text) + re.findall(r"(\d+\.\d) to (\d+\.\d)", text)
    shown = {number for match in shown for number in ([match] if isinstance(match, str) else match)}
    known = {f"{100 * number:.{digits}f}" for number in [*numbers_in(results), 0.876] for digits in (0, 1)}
    assert len(shown) > 40
    assert shown <= known | {"95", "5"}


def test_every_score_of_the_results_is_on_the_page(text, results):
    text = Page(text).text
    for entry in results["probes"] + results["baselines"] + [results["holdout"]]:
        for name in ("accuracy", "balanced_accuracy", "macro_f1"):
            assert percent(entry[name]) in text
    for row in results["per_class"] + [results["export"], results["data"]]:
        assert any(f"{value:,}" in text for value in row.values() if isinstance(value, int))


def test_dealings_are_joined_on_the_page_and_a_single_one_is_not_spoken_of(write, results, text):
    joined = results["selection"]["joined"]
    page = " ".join(Page(text).text.split("\n"))
    assert "Over 2 dealings" in page and "the same, mean of 2 dealings" in page
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert percent(joined[name]) in page
    assert [entry["probe"] for entry in joined["minus_baselines"]] == ["logistic", "tree"]
    for entry in joined["minus_baselines"]:
        assert points(entry["difference"]) in page
    assert "undecided" not in page
    joined["minus_baselines"][0] |= {"undecided": True, "p_adjusted": 0.4567}
    said = Page(write(results)).text
    assert said.count("undecided: the dealings do not differ") == 1 and "0.457" not in said
    results["selection"]["joined"] = None
    assert "dealings" not in Page(write(results)).text


def test_a_seed_that_nobody_knows_and_shares_that_groups_do_not_allow_are_said(write, results, text):
    assert "stratified by class, seed 0" in Page(text).text
    results["split"] |= {"seed": None, "unlike_asked": ["holdout: 95.0% were asked for"]}
    assert "stratified by class, dealt with a seed that is not known" in Page(write(results)).text
    assert found(results, "asked for") == ["Holdout: 95.0% were asked for."]


def test_random_weights_are_said_loudly_at_the_top(write, results, text):
    assert results["backbone"]["weights"] == "none"
    warned = re.findall(r'<p class="warning">(.*?)</p>', text, re.S)
    assert warned[0].startswith("Random weights. This backbone has never seen a picture")
    assert text.index("Random weights.") < text.index('id="data"')
    results["backbone"]["weights"] = "imagenet"
    assert "Random weights" not in write(results)


def test_the_same_results_give_the_same_page_byte_for_byte(write, results, text):
    assert write(results) == text


def test_a_study_without_holdout_mistakes_or_quarantine_has_no_empty_parts(write, results):
    results["holdout"] = results["concatenation"] = None
    page = Page(write(results, misses=[]))
    assert "There is none." in page.text
    assert "Holdout" not in page.text
    assert "Quarantined" not in page.text
    assert (page.open, page.wrong) == ([], [])


def test_a_long_quarantine_is_shown_in_part_and_counted_in_full(write, results):
    results["data"]["quarantined"] = [{"id": f"{number}.png", "reason": "empty"} for number in range(70)]
    page = Page(write(results))
    assert "Quarantined (70)" in page.text
    assert "and 20 more in results.json" in page.text
    assert "49.png" in page.text
    assert "50.png" not in page.text


def test_results_that_lack_something_are_an_error_and_no_empty_cell(write, results):
    del results["split"]["seed"]
    with pytest.raises(UndefinedError, match="seed"):
        write(results)


def test_maps_are_shown_with_the_numbers_that_judge_them(write, results, text):
    assert text.count('alt="tsne map"') == text.count('alt="pca mosaic"') == 1
    assert f"Trustworthiness {results['maps']['tsne']['trustworthiness']:.3f}" in text
    results["maps"]["tsne"] |= dict.fromkeys(("trustworthiness", "kept_neighbors", "same_class"))
    assert write(results).count("Trustworthiness") == 1


def test_the_verdict_names_the_best_its_rival_and_its_ties(results):
    results["best"] |= {"taps": ["early", "late"], "probe": "svm"}
    results["best"]["balanced_accuracy"] = {"value": 0.916, "low": 0.903, "high": 0.928}
    for entry in results["probes"]:
        entry["tied_with_best"] = False
    results["probes"][0]["tied_with_best"] = True
    text = verdict(results)
    assert text.startswith(
        "early + late of tiny (none), read by svm, tells 3 classes apart with 91.6\u00a0% (90.3\u00a0to\u00a092.8) "
        "balanced "
        "accuracy on 120 images in 120 groups."
    )
    nested = percent(results["selection"]["balanced_accuracy"])
    flattered = f"Being the best of {len(results['probes'])} flatters it; chosen anew in every fold, {nested} are"
    assert flattered in text
    assert "Colour statistics alone reach" in text
    assert text.endswith("Every other candidate is distinguishably worse.")
    results["probes"][1]["tied_with_best"] = True
    assert verdict(results).endswith("1 other candidate cannot be told from it.")
    results["probes"][2]["tied_with_best"] = True
    assert verdict(results).endswith("2 other candidates cannot be told from it.")


def test_a_verdict_on_one_candidate_speaks_of_no_other(results):
    results["probes"] = results["probes"][:1]
    assert "candidate" not in verdict(results)
    assert "flatters" not in verdict(results)


def test_the_rival_is_the_best_reader_of_colour_and_never_chance(results):
    for number, entry in enumerate(results["baselines"]):
        entry["balanced_accuracy"] = {"value": 0.9 - 0.1 * number, "low": 0.1, "high": 0.95}
    assert "Colour statistics alone reach 80.0\u00a0% (10.0\u00a0to\u00a095.0)" in verdict(results)


def test_other_hand_made_features_are_called_by_their_name(write, results):
    rival = max(results["baselines"], key=lambda entry: (bool(entry["taps"]), entry["balanced_accuracy"]["value"]))
    rival |= {"taps": ["hog"], "tied_with_best": True}
    rival["balanced_accuracy"] = {"value": 0.99, "low": 0.98, "high": 1.0}
    assert "Hand-made hog features alone reach 99.0" in verdict(results)
    assert len(found(results, "what is measured may be what hand-made features see alone")) == 1
    rival["tied_with_best"] = False
    rival["best_minus_this"]["difference"] = {"value": -0.2, "low": -0.3, "high": -0.1}
    assert len(found(results, "is distinguishably better than every layer: the network adds nothing here")) == 1
    assert "hand-made hog features alone" in Page(write(results)).text


def found(results, word):
    return [warning for warning in warnings(results) if word in warning]


def test_warnings_say_what_must_be_known_and_nothing_else(results):
    results["backbone"]["weights"] = "imagenet"
    results["data"]["groups"] = 100
    results["best"] |= {name: {"value": 0.9, "low": 0.85, "high": 0.95} for name in ("accuracy", "balanced_accuracy")}
    for entry in results["baselines"]:
        entry["tied_with_best"] = False
    assert warnings(results) == []
    results["data"] |= {"quarantined": [{"id": "a", "reason": "b"}], "left_out": {"rare": "2 images"}}
    assert found(results, "quarantined") == ["1 files were quarantined; they are named below."]
    assert found(results, "left out") == ["Class rare is left out of the probes: 2 images."]
    results["backbone"] |= {"weights": "cells", "seen": {"images": 0, "of": 150}}
    assert found(results, "have seen") == []
    results["backbone"]["seen"] = {"images": 90, "of": 150}
    (seen,) = found(results, "have seen")
    assert seen.startswith("The weights cells have seen 90 of these 150 images in their own training, so the numbers")
    results["data"]["groups"] = results["data"]["images"]
    assert len(found(results, "Every image is its own group")) == 1
    results["best"]["balanced_accuracy"] = {"value": 0.9, "low": 0.79, "high": 0.95}
    assert len(found(results, "wider than 15 points")) == 1


def test_colour_that_cannot_be_told_from_the_best_is_warned_of(results):
    best_probe = max(results["baselines"][1:], key=lambda entry: entry["balanced_accuracy"]["value"])
    best_probe["tied_with_best"] = False
    assert found(results, "colour alone") == []
    best_probe["tied_with_best"] = True
    (warning,) = found(results, "colour alone")
    assert warning.startswith(f"colour · {best_probe['probe']} cannot be told from the best candidate")


def test_a_shortcut_a_leak_and_a_contradiction_are_warned_of(results):
    assert (
        not found(results, "Shortcut") and not found(results, "Leak tax") and not found(results, "more than one class")
    )
    number = {"value": 0.7, "low": 0.6, "high": 0.8}
    results["shortcuts"]["cues"][0] |= {"cue": "size", "warns": True, "balanced_accuracy": number, "share": number}
    (warning,) = found(results, "Shortcut")
    assert warning.startswith(
        "Shortcut: size alone tells classes apart with 70.0\u00a0% (60.0\u00a0to\u00a080.0) balanced accuracy, at "
        "least 70.0\u00a0% (60.0\u00a0to\u00a080.0) of what the features tell above chance (a lower bound: a stronger "
        "reader may find more). "
    )
    results["leak_tax"] |= {"tax": {"value": 0.1, "low": 0.05, "high": 0.15}}
    (warning,) = found(results, "Leak tax")
    assert "+10.0 (+5.0\u00a0to\u00a0+15.0) points more accuracy" in warning
    results["audit"] = {"label_conflicts": [{"group": "a", "labels": {}, "exact": True}]}
    assert found(results, "more than one class")[0].startswith("1 group of copies holds more than one class")


def test_what_can_be_trusted_is_on_the_page(text):
    for words in (
        "Without looking at the cell",
        "a lower bound, a stronger reader may find more",
        "Leak tax",
        "Prediction sets that promise 90 %",
        "More labels",
    ):
        assert words in text


def test_numbers_are_written_for_people():
    assert percent({"value": 0.9164, "low": 0.9, "high": 1.0}) == "91.6\u00a0% (90.0\u00a0to\u00a0100.0)"
    assert points({"value": -0.0125, "low": -0.03, "high": 0.004}) == "-1.2 (-3.0\u00a0to\u00a0+0.4)"
    assert [probability(value) for value in (1.0, 0.0512, 0.001, 0.00099)] == ["1.000", "0.051", "0.001", "< 0.001"]


def test_the_model_card_of_shipped_weights_is_named(write, results, monkeypatch):
    assert "model card" not in write(results)
    monkeypatch.delenv(SEARCH_VARIABLE, raising=False)
    results["backbone"]["sha256"] = find_weights("mobilenet_v2", "cells").sha256
    assert "<td>mobilenet_v2_cells.md, which ships with tfcells" in write(results)


def test_explanations_stay_in_a_page_of_the_same_results_alone(write, results, tmp_path):
    empty = write(results)
    assert "<h2>What it looked at</h2>" not in empty
    assert add_explanations(tmp_path / "report.html", EXPLANATIONS, results)
    explained = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(explained)
    assert not page.wrong and not page.open
    assert "exact map is untrustworthy here" in page.text
    assert write(results) == explained
    results["store"]["digest"] = "5" * 64
    assert "Explanations of an earlier state of this study stood here" in write(results)
