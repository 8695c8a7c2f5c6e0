import io

import numpy as np
import pytest

from tfcells.report.figures import plot_candidates, plot_class_counts, plot_confusion
from tfcells.report.words import title_of

NAMES = ["a", "_b", "$x$", r"$\frac$", "<script>", "7"]


def saved(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=30)
    return buffer.getvalue()


def labels_of(axis):
    return [text.get_text().replace(r"\$", "$") for text in axis.get_ticklabels()]


def test_candidates_stand_in_order_with_baselines_below(results):
    figure = plot_candidates(results["probes"], results["baselines"])
    titles = [title_of(entry) for entry in results["probes"] + results["baselines"]]
    assert labels_of(figure.axes[0].yaxis) == titles
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # the first is at the top
    assert saved(figure).startswith(b"\x89PNG")


def test_intervals_ties_and_baselines_are_drawn_as_they_are(results):
    results["probes"][1]["tied_with_best"], results["probes"][2]["tied_with_best"] = True, False
    lines = plot_candidates(results["probes"], results["baselines"]).axes[0].lines
    colours = [line.get_color() for line in lines[::2]]
    assert colours[0] == colours[1] != colours[2]
    assert len(set(colours[len(results["probes"]) : -1])) == 1
    number = results["probes"][2]["balanced_accuracy"]
    assert list(lines[4].get_xdata()) == [number["low"], number["high"]]
    assert list(lines[5].get_xdata()) == [number["value"]]


def test_a_confusion_of_hundreds_of_classes_is_bounded_and_of_some_has_numbers():
    many = plot_confusion(np.eye(400, dtype=int).tolist(), [f"c{number}" for number in range(400)], title="t")
    assert max(many.get_size_inches()) < 34 and not many.axes[0].texts
    assert len(many.axes[0].get_xticklabels()) == 400
    some = plot_confusion(np.eye(57, dtype=int).tolist(), [f"c{number}" for number in range(57)], title="t")
    assert len(some.axes[0].texts) == 57


def test_a_confusion_says_how_many_and_colours_by_share_of_the_true_class():
    figure = plot_confusion([[8, 2], [0, 0]], ["a", "b"], title="t")
    area = figure.axes[0]
    assert [text.get_text() for text in area.texts] == ["8", "2"]
    np.testing.assert_allclose(area.images[0].get_array(), [[0.8, 0.2], [0, 0]])
    saved(figure)


def test_names_are_drawn_letter_by_letter():
    counts = dict.fromkeys(NAMES, 3)
    figure = plot_class_counts(counts, {"_b": "too few"})
    assert labels_of(figure.axes[0].yaxis) == NAMES
    saved(figure)
    figure = plot_confusion(np.eye(6, dtype=int).tolist(), NAMES, title="t")
    assert labels_of(figure.axes[0].xaxis) == labels_of(figure.axes[0].yaxis) == NAMES
    saved(figure)


def test_control_characters_are_drawn_as_escapes():
    figure = plot_class_counts({"a\tb": 3, "c\nd": 4}, {})  # a missing glyph would warn
    assert labels_of(figure.axes[0].yaxis) == [r"a\tb", r"c\nd"]
    saved(figure)


def test_classes_that_are_left_out_have_another_colour():
    bars = plot_class_counts({"a": 5, "b": 1, "c": 1200}, {"b": "too few"}).axes[0].patches
    colours = [bar.get_facecolor() for bar in bars]
    assert colours[0] == colours[2] != colours[1]
    assert [bar.get_width() for bar in bars] == [5, 1, 1200]


@pytest.mark.parametrize("classes", [1, 16])
def test_any_number_of_classes_fits(classes):
    names = [f"a long name of class {index}" for index in range(classes)]
    saved(plot_class_counts(dict.fromkeys(names, 10), {}))
    saved(plot_confusion(np.eye(classes, dtype=int).tolist(), names, title="t"))


def test_a_candidate_is_called_by_its_layers_and_its_probe():
    usual = {"taps": ["a", "b"], "scaler": "standard", "reduction": "none", "probe": "knn"}
    assert title_of(usual) == "a + b · knn"
    assert title_of(usual | {"scaler": "minmax", "reduction": "pca:0.8"}) == "a + b · minmax, PCA 80 %, knn"
    assert title_of(usual | {"reduction": "pca:50"}) == "a + b · PCA 50, knn"
    assert title_of(usual | {"taps": [], "probe": "chance"}) == "chance"
