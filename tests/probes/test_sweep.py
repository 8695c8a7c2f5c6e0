from dataclasses import replace

import numpy as np
import pytest

from tfcells.errors import EmptyDataError, RequestError, UnknownNameError
from tfcells.images.splits import split_rows
from tfcells.probes.candidates import CHANCE
from tfcells.probes.reading import Space
from tfcells.probes.rows import rows_in_use
from tfcells.probes.sweep import probe_layers
from tfcells.stats.best import against_best
from tfcells.stats.paired import paired_balanced_difference

FAST = ("tree",)


def split_of(store, **options):
    rows = store.rows
    return split_rows(rows.ids, rows.labels, rows.class_names, rows.groups, **options)


def swept(store, **options):
    space = Space(probes=options.pop("probes", FAST), inner_folds=options.pop("inner_folds", 0))
    return probe_layers(store, split_of(store), space=space, **options)


def test_the_tap_with_the_signal_wins(make_store):
    store = make_store(widths=(2, 40), signal=0.9)
    assert swept(store, concatenate=False, probes=("logistic",)).best.taps == ("late",)


def test_candidates_come_best_first(make_store):
    sweep = swept(make_store(), probes=("logistic", "tree"))
    values = [entry.scores.balanced_accuracy.value for entry in sweep.candidates]
    assert values == sorted(values, reverse=True)
    assert len(values) == 3 * 2  # two taps and both together, two probes


def test_candidates_without_signal_are_ties_and_no_better_than_chance(make_store):
    sweep = swept(make_store(signal=0.0))
    assert all(entry.tied_with_best for entry in (*sweep.candidates, *sweep.baselines))


def test_a_candidate_with_signal_is_not_tied_with_colour_nor_with_chance(make_store):
    sweep = swept(make_store(signal=3.0), probes=("logistic",))
    assert sweep.best.tied_with_best
    assert not any(entry.tied_with_best for entry in sweep.baselines)


def test_comparisons_with_the_best_count_all_pairs(make_store):
    sweep = swept(make_store(signal=0.6))
    every = [*sweep.candidates, *sweep.baselines]
    hits = np.stack([entry.predictions.hits for entry in every])
    found = against_best(hits, sweep.rows.labels, sweep.rows.groups, best=0)
    assert sweep.best.against_best is None
    assert sweep.best.p_adjusted is None
    assert [entry.against_best for entry in every] == list(found.tests)
    assert [entry.p_adjusted for entry in every[1:]] == list(found.p_adjusted[1:])
    assert [entry.tied_with_best for entry in every[1:]] == [p >= 0.05 for p in found.p_adjusted[1:]]


def test_comparisons_are_paired_and_by_group(make_store):
    sweep = swept(make_store(groups=[f"patient {row // 2}" for row in range(120)]))
    hits = [entry.predictions.hits for entry in sweep.candidates[:2]]
    test = paired_balanced_difference(*hits, sweep.rows.labels, sweep.rows.groups)
    found = sweep.candidates[1].against_best
    assert (found.difference.value, found.p_value) == (test.difference.value, test.p_value)
    assert "groups" in found.method


def test_on_unbalanced_classes_nothing_is_called_worse_for_what_it_was_not_ranked_by(make_store):
    """Whoever always says the large class has the higher accuracy and the lower balanced accuracy."""
    labels = np.random.default_rng(0).permutation([0] * 150 + [1] * 30)
    sweep = swept(make_store(images=180, labels=labels, signal=0.35), probes=("logistic", "knn", "svm"))
    for entry in (*sweep.candidates[1:], *sweep.baselines):
        assert entry.against_best.difference.value >= -1e-12
        if not entry.tied_with_best:
            assert entry.scores.balanced_accuracy.value < sweep.best.scores.balanced_accuracy.value


def test_chance_says_the_most_frequent_class(make_store):
    labels = np.random.default_rng(0).permutation([0] * 60 + [1] * 35 + [2] * 25)
    sweep = swept(make_store(labels=labels))
    chance = sweep.baselines[0]
    assert (chance.probe, chance.taps) == (CHANCE, ())
    assert chance.predictions.predicted.tolist() == [0] * 120
    assert chance.scores.accuracy.value == 0.5
    assert chance.scores.balanced_accuracy.value == pytest.approx(1 / 3)


@pytest.mark.parametrize("images", [100, 101, 119])
def test_chance_is_never_below_chance(make_store, images):
    """The most frequent class of the training rows is the rarer one in the fold, and would be."""
    chance = swept(make_store(images=images)).baselines[0]
    assert chance.scores.balanced_accuracy.value == pytest.approx(1 / 3)
    assert chance.scores.accuracy.value >= 1 / 3


def test_colour_is_read_by_every_probe(make_store):
    sweep = swept(make_store(), probes=("logistic", "tree"))
    found = [(entry.taps, entry.probe) for entry in sweep.baselines]
    assert found == [((), CHANCE), (("colour",), "logistic"), (("colour",), "tree")]


def test_all_taps_together_are_tested_against_the_best_single_one(make_store):
    together, single, test = swept(make_store()).concatenation
    assert together.taps == ("early", "late")
    assert len(single.taps) == 1
    assert test.difference.value == pytest.approx(
        together.scores.balanced_accuracy.value - single.scores.balanced_accuracy.value, abs=1e-12
    )


def test_one_tap_has_nothing_to_be_put_beside(make_store):
    sweep = swept(make_store(widths=(6,)))
    assert sweep.concatenation is None
    assert {entry.taps for entry in sweep.candidates} == {("early",)}


def test_concatenation_can_be_left_out(make_store):
    sweep = swept(make_store(), concatenate=False)
    assert sweep.concatenation is None
    assert {entry.taps for entry in sweep.candidates} == {("early",), ("late",)}


def test_a_class_that_is_too_small_is_no_class_of_the_sweep(make_store):
    labels = np.random.default_rng(0).permutation([0] * 50 + [1] * 3 + [2] * 50)
    store = make_store(images=103, labels=labels)
    split = split_of(store)
    sweep = probe_layers(store, split, space=Space(probes=FAST))
    assert list(split.left_out) == ["class 1"]
    assert sweep.class_names == ("class 0", "class 2")
    assert len(sweep.ids) == 100
    assert sweep.best.predictions.probabilities.shape == (100, 2)
    named = [sweep.class_names[label] for label in sweep.rows.labels]
    assert all(id.startswith(name) for id, name in zip(sweep.ids, named, strict=True))


def test_unlabelled_rows_are_not_used(make_store):
    labels = np.array([-1, 0, 1] * 40)
    sweep = swept(make_store(labels=labels))
    assert len(sweep.ids) == 80
    assert not any(id.startswith("class -1") for id in sweep.ids)


def test_groups_of_the_split_reach_the_sweep(make_store):
    store = make_store(groups=[f"patient {row // 3}" for row in range(120)])
    ids, _, used, rows = rows_in_use(store, split_of(store))
    assert ids == tuple(store.rows.ids[row] for row in used)
    assert len(np.unique(rows.groups)) == 40
    for group in range(40):
        assert len(np.unique(rows.folds[rows.groups == group])) == 1


def test_the_order_of_a_split_s_rows_does_not_matter(make_store):
    store = make_store()
    split = split_of(store)
    turned = split.aligned_to(split.ids[::-1])
    one, other = (probe_layers(store, version, space=Space(probes=FAST)) for version in (split, turned))
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.best.predictions.probabilities, other.best.predictions.probabilities)


def test_progress_is_told_up_to_the_end(make_store):
    told = []
    swept(make_store(), progress=lambda *step: told.append(step))
    assert told == [("probing", done, 20) for done in range(21)]  # three sets of layers and colour, in five folds


def test_how_the_best_was_chosen_is_said(make_store):
    sweep = swept(make_store())
    assert "among 3 candidates" in sweep.selected_by
    assert "flatters" in sweep.selected_by
    assert sweep.best.title == f"{' + '.join(sweep.best.taps)}, {sweep.best.probe}"


def test_an_unknown_probe_is_refused_before_anything_is_read(make_store):
    with pytest.raises(UnknownNameError, match="Did you mean 'tree'"):
        swept(make_store(), probes=("tre",))


def test_a_split_without_training_rows_is_refused(make_store):
    store = make_store()
    nothing = replace(split_of(store), parts=("left_out",) * 120)
    with pytest.raises(EmptyDataError, match=r"No row of .* is marked 'train'"):
        probe_layers(store, nothing, space=Space(probes=FAST))


def test_a_split_of_other_images_is_refused(make_store):
    store, other = make_store(), make_store(images=60)
    with pytest.raises(RequestError, match="of 120 rows are not in the split"):
        probe_layers(store, split_of(other), space=Space(probes=FAST))


def test_training_rows_without_a_class_are_refused(make_store):
    store = make_store(labels=np.array([-1, 0, 1] * 40))
    split = split_of(store)
    with pytest.raises(RequestError, match=r"Rows without a class are marked 'train' or 'holdout'.*left_out"):
        probe_layers(store, replace(split, parts=("train",) * 120, folds=np.arange(120) % 5), space=Space(probes=FAST))


def test_one_fold_leaves_nothing_to_learn_from(make_store):
    store = make_store()
    one_fold = replace(split_of(store), folds=np.zeros(120, dtype=np.int64))
    with pytest.raises(RequestError, match=r"Without fold 0 .* have 0 of their classes left to learn"):
        probe_layers(store, one_fold, space=Space(probes=FAST))


def test_a_fold_that_holds_all_of_a_class_leaves_one_of_two(make_store):
    store = make_store(classes=2)
    by_class = replace(split_of(store), folds=store.rows.labels)
    with pytest.raises(RequestError, match=r"Without fold 0 .* have 1 of their classes left to learn.*two or more"):
        probe_layers(store, by_class, space=Space(probes=FAST))


def test_folds_that_leave_a_single_group_are_refused(make_store):
    store = make_store(groups=[f"slide {row % 2}" for row in range(120)])
    rows = store.rows
    folds = np.arange(120) % 2
    split = replace(split_rows(rows.ids, rows.labels, rows.class_names, rows.ids), folds=folds, groups=rows.groups)
    with pytest.raises(RequestError, match="Without fold 0 the rows marked 'train' are one group"):
        probe_layers(store, split, space=Space(probes=FAST))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_probe_takes_is_refused(make_store, seed):
    with pytest.raises(RequestError, match=f"seed = {seed} given"):
        swept(make_store(), seed=seed)
