"""Laws of one generated picture, and of many: the classes can be told apart, but not by colour alone."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.synthetic.cells import HEIGHT, WIDTH, draw_cell
from tfcells.images.synthetic.recipes import CLASSES
from tfcells.images.synthetic.stain import OTHER_SITE

PER_CLASS = 40


@pytest.fixture(scope="module")
def pictures():
    return np.stack([draw_cell(kind, seed=11, index=index) for kind in CLASSES for index in range(PER_CLASS)])


@pytest.fixture(scope="module")
def labels():
    return np.repeat(np.arange(len(CLASSES)), PER_CLASS)


def balanced_accuracy(features, labels):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_score(model, features, labels, cv=folds, scoring="balanced_accuracy").mean()


def colour_statistics(pictures):
    # Every seventh pixel: 7 does not divide the width, so all columns are seen.
    flat = pictures.reshape(len(pictures), -1, 3)[:, ::7].astype(np.float32)
    quantiles = np.percentile(flat, [1, 5, 25, 50, 75, 95], axis=1).transpose(1, 0, 2)
    return np.concatenate([flat.mean(1), flat.std(1), quantiles.reshape(len(pictures), -1)], axis=1)


def middle(pictures, half=60):
    rows, columns = HEIGHT // 2, WIDTH // 2
    return pictures[:, rows - half : rows + half, columns - half : columns + half]


def test_there_are_the_eight_classes_of_pbc():
    assert CLASSES == (
        "basophil",
        "eosinophil",
        "erythroblast",
        "ig",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    )


@pytest.mark.parametrize("kind", CLASSES)
def test_a_picture_has_the_size_of_a_pbc_picture(kind):
    picture = draw_cell(kind, seed=0)
    assert picture.shape == (HEIGHT, WIDTH, 3) == (363, 360, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous


@pytest.mark.parametrize("kind", CLASSES)
def test_the_same_numbers_give_the_same_picture(kind):
    np.testing.assert_array_equal(draw_cell(kind, seed=3, index=5), draw_cell(kind, seed=3, index=5))


def test_a_picture_does_not_depend_on_what_was_drawn_before():
    alone = draw_cell("neutrophil", seed=3, index=2)
    for kind, index in [("monocyte", 0), ("neutrophil", 0), ("neutrophil", 1)]:
        draw_cell(kind, seed=3, index=index)
    np.testing.assert_array_equal(draw_cell("neutrophil", seed=3, index=2), alone)


def test_seed_index_class_and_site_each_change_the_picture():
    base = draw_cell("ig", seed=1, index=1)
    others = [
        draw_cell("ig", seed=2, index=1),
        draw_cell("ig", seed=1, index=2),
        draw_cell("monocyte", seed=1, index=1),
        draw_cell("ig", seed=1, index=1, site=OTHER_SITE),
    ]
    assert all((base != other).any() for other in others)


def test_drawing_leaves_the_global_random_state_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    draw_cell("basophil", seed=1)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_an_unknown_class_is_named_with_a_suggestion():
    with pytest.raises(
        UnknownNameError, match=r"Unknown class of generated cells 'monocyt'\. Did you mean 'monocyte'\?"
    ):
        draw_cell("monocyt", seed=0)


@pytest.mark.parametrize("numbers", [{"seed": -1}, {"seed": 0, "index": -1}])
def test_negative_numbers_are_refused(numbers):
    with pytest.raises(RequestError, match="Expected 0 or more for both"):
        draw_cell("ig", **numbers)


def test_background_is_peach_at_home_and_bluish_elsewhere():
    here = np.median([np.median(draw_cell("platelet", seed=5, index=k), axis=(0, 1)) for k in range(8)], axis=0)
    there = np.median(
        [np.median(draw_cell("platelet", seed=5, index=k, site=OTHER_SITE), axis=(0, 1)) for k in range(8)], axis=0
    )
    assert here[0] - here[2] > 20
    assert there[2] > there[0]


def test_a_nucleus_is_dark_and_a_platelet_has_none(pictures, labels):
    dark = (middle(pictures)[..., 1] < 60).mean(axis=(1, 2))
    share = {kind: np.median(dark[labels == number]) for number, kind in enumerate(CLASSES)}
    assert share["platelet"] < 0.06
    assert min(share[kind] for kind in CLASSES if kind != "platelet") > 0.1
    assert share["erythroblast"] < share["lymphocyte"] < share["basophil"]


def test_eosinophils_are_the_most_orange(pictures, labels):
    crop = middle(pictures).astype(float)
    red_over_blue = (crop[..., 0] - crop[..., 2]) * (crop[..., 1] < 150)
    mean = [red_over_blue[labels == number].mean() for number in range(len(CLASSES))]
    assert CLASSES[int(np.argmax(mean))] == "eosinophil"


def test_crude_features_tell_the_classes_apart(pictures, labels):
    blocks = middle(pictures).reshape(len(pictures), 6, 20, 6, 20, 3).astype(np.float32)
    crude = np.concatenate([blocks.mean((2, 4)), blocks.std((2, 4))], axis=-1).mean((1, 2))
    edges = np.abs(np.diff(middle(pictures).astype(np.float32), axis=1)).mean((1, 2))
    score = balanced_accuracy(np.concatenate([crude, edges, colour_statistics(middle(pictures))], axis=1), labels)
    assert score > 0.7


def test_colour_statistics_alone_do_not_solve_the_task(pictures, labels):
    # On real PBC pictures they reach 0.76: a generator on which they reach 1 would flatter every method.
    score = balanced_accuracy(colour_statistics(pictures), labels)
    assert 0.5 < score < 0.9
