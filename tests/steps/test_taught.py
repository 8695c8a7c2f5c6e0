"""Who teaches, who chooses, who is asked: groups never parted, nobody asked who taught."""

import numpy as np
import pytest
from made_tables import made_table

from tfcells.config import TaughtImagesConfig
from tfcells.errors import RequestError
from tfcells.steps.taught import deal_rows


def grouped_table(images=240, classes=3):
    labels = np.arange(images) % classes
    # Groups of one, two and three pictures of one class.
    groups = [f"{label}-{number // 2 if number % 3 else number // 7}" for number, label in enumerate(labels)]
    return made_table(labels, groups=groups)


@pytest.mark.parametrize(("folds", "validation"), [(1, 0.1), (1, 0.0), (4, 0.1), (4, 0.0)])
def test_no_group_is_on_two_sides_and_every_row_is_on_one(folds, validation):
    taught = deal_rows(grouped_table(), TaughtImagesConfig(root="x", folds=folds, validation=validation), seed=3)
    assert len(taught.folds) == folds
    for fold in taught.folds:
        sides = [fold.training, fold.validation, fold.asked]
        assert np.array_equal(np.sort(np.concatenate(sides)), np.arange(len(taught.labels)))
        groups = [set(taught.groups[rows].tolist()) for rows in sides]
        assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
        assert len(fold.validation) == pytest.approx(validation * 240, abs=9)
        assert np.array_equal(fold.learning, np.sort(np.concatenate(sides[:2])))
        assert set(taught.labels[fold.training]) == {0, 1, 2}


def test_folds_ask_every_row_once():
    taught = deal_rows(grouped_table(), TaughtImagesConfig(root="x", folds=4), seed=0)
    asked = np.concatenate([fold.asked for fold in taught.folds])
    assert np.array_equal(np.sort(asked), np.arange(240))
    assert np.array_equal(taught.asked, np.arange(240))


def test_a_holdout_has_the_share_that_was_asked_for_and_is_in_the_split():
    taught = deal_rows(grouped_table(), TaughtImagesConfig(root="x", holdout=0.25, validation=0.1), seed=0)
    (fold,) = taught.folds
    assert len(fold.asked) == pytest.approx(60, abs=3)
    assert taught.split.parts.count("holdout") == len(fold.asked)
    assert taught.split.parts.count("validation") == len(fold.validation)


def test_where_nothing_is_kept_to_choose_by_the_asked_rows_are_looked_at():
    (fold,) = deal_rows(grouped_table(), TaughtImagesConfig(root="x", validation=0.0), seed=0).folds
    assert np.array_equal(fold.watched, fold.asked)
    (fold,) = deal_rows(grouped_table(), TaughtImagesConfig(root="x"), seed=0).folds
    assert np.array_equal(fold.watched, fold.validation)


def test_the_seed_decides_and_a_class_too_small_is_left_out_by_name():
    config = TaughtImagesConfig(root="x", folds=3)
    table = grouped_table()
    first, same, other = (deal_rows(table, config, seed=seed) for seed in (1, 1, 2))
    for one, again in zip(first.folds, same.folds, strict=True):
        assert np.array_equal(one.training, again.training)
    assert not all(np.array_equal(one.asked, two.asked) for one, two in zip(first.folds, other.folds, strict=True))
    labels = np.array([0, 1] * 30 + [2])
    taught = deal_rows(made_table(labels), config, seed=0)
    assert taught.class_names == ("class 0", "class 1")
    assert set(taught.split.left_out) == {"class 2"}
    assert len(taught.labels) == 60


def test_shares_that_leave_nobody_to_teach_are_refused():
    with pytest.raises(RequestError, match=r"images.validation = 0.6 was asked for with 2 folds, which leaves no row"):
        deal_rows(grouped_table(), TaughtImagesConfig(root="x", folds=2, validation=0.6), seed=0)
