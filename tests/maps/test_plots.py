import io

import numpy as np
import pytest

from tfcells.maps.plots import plot_points, plot_variance


def drawn(rows):
    return np.random.default_rng(0).normal(size=(rows, 2))


def legend_of(figure):
    return [text.get_text().replace(r"\$", "$") for text in figure.axes[0].get_legend().get_texts()]


def saved(figure):
    """The bytes of its picture: names are drawn only now."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=40)
    return buffer.getvalue()


def test_classes_and_unlabelled_rows_are_counted_in_the_legend():
    figure = plot_points(
        drawn(10), np.array([0, 0, 0, 2, 2, -1, -1, -1, -1, 0]), ["a", "b", "c"], title="t", axes=("x", "y")
    )
    assert legend_of(figure) == ["a (4)", "c (2)", "unlabelled"]
    assert saved(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("classes", [1, 12, 25])
def test_any_number_of_classes_is_drawn_in_colours_of_their_own(classes):
    labels = np.arange(4 * classes) % classes
    names = [f"class {index}" for index in range(classes)]
    figure = plot_points(drawn(4 * classes), labels, names, title="t", axes=("x", "y"))
    colours = [tuple(dots.get_facecolor()[0]) for dots in figure.axes[0].collections]
    assert len(set(colours)) == len(legend_of(figure)) == classes
    saved(figure)


def test_names_stand_in_the_legend_letter_by_letter():
    names = ["_hidden", "$x^2$", r"$\frac$", "a$b", "<script>"]
    figure = plot_points(drawn(10), np.arange(10) % 5, names, title="t", axes=("x", "y"))
    assert legend_of(figure) == [f"{name} (2)" for name in names]
    saved(figure)


def test_control_characters_stand_in_the_legend_as_escapes():
    figure = plot_points(drawn(4), np.arange(4) % 2, ["a\tb", "c\x1b"], title="t", axes=("x", "y"))
    assert legend_of(figure) == [r"a\tb (2)", r"c\x1b (2)"]
    saved(figure)


def test_a_map_without_any_class_is_drawn():
    assert legend_of(plot_points(drawn(3), np.full(3, -1), [], title="t", axes=("x", "y"))) == ["unlabelled"]


def test_points_that_lie_in_one_place_are_drawn():
    saved(plot_points(np.zeros((5, 2)), np.zeros(5, dtype=np.int64), ["a"], title="t", axes=("x", "y")))


def test_variance_says_how_many_components_reach_a_share():
    figure = plot_variance(np.array([0.7, 0.2, 0.06, 0.02]), title="t")
    assert [note.get_text() for note in figure.axes[0].texts] == ["80% at 2", "95% at 3", "99%"]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [0.7, 0.9, 0.96, 0.98])
    saved(figure)


def test_variance_of_one_component_is_drawn():
    saved(plot_variance(np.ones(1), title="t"))
