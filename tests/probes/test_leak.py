import json

import numpy as np
import pytest

from tfcells.errors import RequestError
from tfcells.probes.leak import leak_tax, leak_tax_json, no_leak_tax
from tfcells.probes.reading import usual_reading


def copies(seed=0, *, groups=45, size=3, noise=0.1, signal=0.0):
    """Normal features, `size` near copies of each group's centre; classes `signal` apart."""
    generator = np.random.default_rng(seed)
    codes = np.repeat(np.arange(groups), size)
    of_group = generator.permutation(np.arange(groups) % 3)
    centres = generator.normal(size=(groups, 6)) + signal * np.eye(3, 6)[of_group]
    return centres[codes] + noise * generator.normal(size=(len(codes), 6)), of_group[codes], codes


def test_copies_of_cells_that_cannot_be_told_apart_are_all_leak():
    found = leak_tax(*copies(), reading=usual_reading("knn"), repeats=3)
    assert found.random > 0.8  # a copy's nearest neighbours are its siblings
    assert found.grouped < 0.5
    assert found.tax.value == pytest.approx(found.random - found.grouped)
    assert found.tax.low > 0.3
    assert (found.groups, found.shared) == (45, 135)


def test_groups_that_share_nothing_cost_nothing():
    vectors, _, codes = copies(noise=5.0)
    labels = np.random.default_rng(1).permutation(np.arange(len(codes)) % 3)
    found = leak_tax(vectors, labels, codes, reading=usual_reading("knn"), repeats=3)
    assert found.tax.low <= 0 <= found.tax.high


def test_dealings_in_which_a_probe_cannot_be_calibrated_measure_nothing_and_say_why():
    """Each class is two groups: a training set of grouped folds holds one of them."""
    labels, groups = np.repeat([0, 1], 12), np.repeat(np.arange(4), 6)
    vectors = np.random.default_rng(0).normal(size=(24, 3))
    found = leak_tax(vectors, labels, groups, reading=usual_reading("svm"), folds=2, repeats=2)
    assert (found.random, found.grouped, found.tax, len(found.per_repeat)) == (None, None, None, 0)
    assert found.reason.startswith("folds that were dealt for it could not be probed: Class ")
    assert leak_tax(vectors, labels, groups, reading=usual_reading("knn"), folds=2, repeats=2).tax is not None


def test_the_value_is_the_mean_over_dealings():
    found = leak_tax(*copies(noise=1.0), reading=usual_reading("knn"), repeats=4)
    assert found.per_repeat.shape == (4,)
    assert found.tax.value == pytest.approx(found.per_repeat.mean())
    assert found.tax.low <= found.tax.value <= found.tax.high


def test_without_shared_groups_there_is_nothing_to_measure():
    vectors, labels, _ = copies()
    found = leak_tax(vectors, labels, np.arange(len(labels)), reading=usual_reading("knn"))
    assert (found.tax, found.random, found.grouped, found.shared) == (None, None, None, 0)
    assert found.reason == "no group has more than one row, so random folds part none"
    assert leak_tax_json(found)["tax"] is None


@pytest.mark.usefixtures("unchecked_shapes")
def test_the_interval_holds_the_mean_tax_of_many_data_sets():
    draws = [copies(seed, noise=0.5, signal=1.5) for seed in range(16)]
    found = [
        leak_tax(*draw, reading=usual_reading("tree"), folds=3, repeats=3, seed=seed).tax
        for seed, draw in enumerate(draws)
    ]
    truth = np.mean([tax.value for tax in found])
    assert sum(tax.low <= truth <= tax.high for tax in found) >= 13


def test_names_of_groups_and_numbers_of_classes_do_not_matter():
    vectors, labels, codes = copies()
    once = leak_tax(vectors, labels, codes, reading=usual_reading("knn"), repeats=2)
    again = leak_tax(vectors, labels * 2, codes + 1000, reading=usual_reading("knn"), repeats=2)
    assert leak_tax_json(again) == leak_tax_json(once)


def test_progress_and_workers_do_not_change_the_answer():
    told = []
    once = leak_tax(
        *copies(),
        reading=usual_reading("knn"),
        repeats=2,
        progress=lambda stage, done, total: told.append((done, total)),
    )
    assert told == [(done, 20) for done in range(21)]
    assert leak_tax_json(leak_tax(*copies(), reading=usual_reading("knn"), repeats=2)) == leak_tax_json(once)


def test_json_can_be_written():
    found = json.loads(json.dumps(leak_tax_json(leak_tax(*copies(), reading=usual_reading("knn"), repeats=2))))
    assert set(found["tax"]) == {"value", "low", "high"}
    assert (found["rows_that_share_a_group"], found["reason"]) == (135, "")


def test_what_cannot_be_compared_is_refused():
    vectors, labels, codes = copies()
    reading = usual_reading("knn")
    with pytest.raises(RequestError, match="1 folds and 5 repeats were asked for"):
        leak_tax(vectors, labels, codes, reading=reading, folds=1)
    with pytest.raises(RequestError, match="5 folds and 1 repeats were asked for"):
        leak_tax(vectors, labels, codes, reading=reading, repeats=1)
    with pytest.raises(RequestError, match="Rows of 3 classes came, 1 rows of none"):
        leak_tax(vectors, np.where(np.arange(len(labels)) == 0, -1, labels), codes, reading=reading)
    with pytest.raises(RequestError, match="Rows of 1 classes came, 0 rows of none"):
        leak_tax(vectors, np.zeros_like(labels), codes, reading=reading)
    with pytest.raises(RequestError, match=r"Class 1 lies in 3 groups, fewer than the 5 folds: .*Leave the class out"):
        leak_tax(vectors, (codes < 3).astype(np.int64), codes, reading=reading)


def test_rows_that_all_come_out_alike_are_no_certainty():
    labels, codes = np.arange(90) % 3, np.repeat(np.arange(30), 3)
    labels = labels[codes]
    found = leak_tax(10.0 * np.eye(3)[labels], labels, codes, reading=usual_reading("knn"), repeats=2)
    assert (found.random, found.grouped, found.tax.value) == (1.0, 1.0, 0.0)
    assert -0.3 < found.tax.low < -0.02
    assert 0.02 < found.tax.high < 0.3


def test_the_largest_seed_there_is_serves_every_dealing():
    assert leak_tax(*copies(), reading=usual_reading("tree"), repeats=3, seed=2**32 - 1).tax is not None


def test_what_could_not_be_measured_says_why():
    found = leak_tax_json(no_leak_tax(usual_reading("knn", ("late",)), np.array([0, 0, 1]), reason="too few"))
    assert (found["tax"], found["reason"], found["reading"]) == (None, "too few", "late, knn")
    assert (found["groups"], found["rows_that_share_a_group"]) == (2, 2)
