"""Whether a probe that decides can be calibrated is known before a sweep, also where groups hold several classes."""

from dataclasses import replace

import numpy as np
import pytest

from tfcells.errors import RequestError
from tfcells.images.splits import assign_parts
from tfcells.probes.crossval import SweepRows
from tfcells.probes.reading import Space
from tfcells.probes.sweep import deal_outer_folds

NAMES = tuple("abcdefgh")
SVM = Space(probes=("logistic", "svm"))


def mixed_rows(seed, *, classes=8, per_class=3, mixing=0.05):
    """A few groups of ten rows for each class, in three folds; some of the labels drawn anew."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(classes * per_class), 10)
    labels = groups % classes
    labels = np.where(generator.random(len(labels)) < mixing, generator.integers(classes, size=len(labels)), labels)
    folds = assign_parts(labels, groups, shares=[1 / 3] * 3, seed=seed)
    return SweepRows(labels=labels, groups=groups, folds=folds, classes=classes, seed=seed)


def loses_a_class(rows, learning):
    training = rows.training(learning)
    return any(len(np.setdiff1d(training.labels, training.labels[kept])) for kept, _ in training.folds(3))


def folds_that_lose_a_class(rows):
    return [fold for fold in rows.fold_numbers if loses_a_class(rows, np.flatnonzero(rows.folds != fold))]


def test_a_sweep_is_refused_exactly_where_calibration_folds_would_lose_a_class():
    refused = []
    for seed in range(8):
        rows = mixed_rows(seed)
        if not folds_that_lose_a_class(rows):
            deal_outer_folds(rows, NAMES, space=SVM)
            continue
        refused.append(seed)
        words = (
            rf"^Every group of class '[a-h]' in the training rows of fold {folds_that_lose_a_class(rows)[0]} came into "
            r"one inner fold, since groups hold other classes too: svm could not be calibrated on groups that it did "
            r"not learn from\. Choose another seed or other numbers of folds, add images of '[a-h]', or leave "
            r"svm out\.$"
        )
        with pytest.raises(RequestError, match=words):
            deal_outer_folds(rows, NAMES, space=SVM)
        deal_outer_folds(rows, NAMES, space=Space(probes=("logistic", "knn")))  # whose own probabilities may stay
    assert 0 < len(refused) < 8


def test_what_is_served_is_also_calibrated_on_folds_of_all_rows():
    """Rows that lose a class together, and in no training set that lacks one of their groups."""
    rows = mixed_rows(30, classes=4, per_class=4, mixing=0.1)
    kept = np.flatnonzero(rows.folds != folds_that_lose_a_class(rows)[0])
    _, groups = np.unique(rows.groups[kept], return_inverse=True)
    rows = replace(rows, labels=rows.labels[kept], groups=groups, folds=groups)
    assert not folds_that_lose_a_class(rows)
    deal_outer_folds(rows, NAMES, space=SVM)
    with pytest.raises(RequestError, match=r"^Every group of class '[a-d]' in all training rows came into one inner"):
        deal_outer_folds(rows, NAMES, space=SVM, served=True)


def test_every_dealing_is_looked_at(monkeypatch):
    bad = mixed_rows(4)
    seeds = range(5, 50)
    others = (assign_parts(bad.labels, bad.groups, shares=[1 / 3] * 3, seed=seed) for seed in seeds)
    good = next(rows for folds in others if not folds_that_lose_a_class(rows := replace(bad, folds=folds)))
    deal_outer_folds(good, NAMES, space=SVM)
    monkeypatch.setattr("tfcells.probes.sweep.assign_parts", lambda *_, **__: bad.folds)
    with pytest.raises(RequestError, match="came into one inner fold"):
        deal_outer_folds(good, NAMES, space=SVM, repeats=2)
