"""The nested choice: honest where the best of many is not, and stopped sweeps go on."""

import numpy as np
import pytest

from tfcells.images.splits import assign_parts, split_rows
from tfcells.probes import sweep as sweep_module
from tfcells.probes.candidates import score
from tfcells.probes.crossval import SweepRows, joined_folds
from tfcells.probes.final import fit_final
from tfcells.probes.gram.columns import ArrayColumns
from tfcells.probes.nested import answer_fold
from tfcells.probes.reading import Space
from tfcells.probes.selection import select
from tfcells.probes.sweep import probe_layers
from tfcells.stats.intervals import wilson

SAME = {"folds": np.arange(150) % 3, "classes": 2, "seed": 0}
SPACE = Space(probes=("knn",), grids={"knn": {"neighbors": [9, 3]}}, inner_folds=2)


def split_of(store, **options):
    rows = store.rows
    return split_rows(rows.ids, rows.labels, rows.class_names, rows.groups, **options)


def swept(store, **options):
    return probe_layers(store, split_of(store, folds=3), **{"space": SPACE} | options)


def test_the_choice_of_every_fold_has_the_highest_inner_score_there_and_answers_for_the_fold(make_store):
    sweep = swept(make_store(signal=0.5))
    selection = sweep.selection
    assert [choice.fold for choice in selection.choices] == [0, 1, 2]
    for choice in selection.choices:
        chosen = next(entry for entry in sweep.candidates if entry.reading == choice.reading)
        tested = sweep.rows.folds == choice.fold
        said = selection.predictions.probabilities[tested]
        np.testing.assert_array_equal(said, chosen.predictions.probabilities[tested])
        assert choice.parameters == chosen.parameters[choice.fold]
    assert selection.inner_best == pytest.approx(np.mean([choice.inner for choice in selection.choices]))
    assert selection.inner_best >= max(entry.inner_best for entry in sweep.candidates) - 1e-12
    assert selection.optimism == pytest.approx(selection.inner_best - selection.scores.balanced_accuracy.value)


def test_baselines_are_never_chosen(make_store):
    assert all(choice.reading.taps != ("colour",) for choice in swept(make_store(signal=0.0)).selection.choices)


def test_without_inner_folds_there_is_no_nested_choice(make_store):
    sweep = swept(make_store(), space=Space(probes=("knn",), inner_folds=0))
    assert sweep.selection is None
    assert sweep.best.inner_best is None
    assert sweep.best.optimism is None


def test_repeats_deal_the_outer_folds_anew(make_store):
    groups = [f"patient {row // 2}" for row in range(120)]
    sweep = swept(make_store(groups=groups, signal=0.4), repeats=3)
    assert len(sweep.selections) == 3
    assert len({entry.scores.balanced_accuracy.value for entry in sweep.selections}) > 1
    once = swept(make_store(groups=groups, signal=0.4))
    assert once.selection.scores.accuracy == sweep.selections[0].scores.accuracy


def test_a_stopped_sweep_goes_on_where_it_was_and_ends_the_same(make_store, tmp_path, monkeypatch):
    store, folder = make_store(), tmp_path / "kept"
    whole = swept(store)
    plain, calls = sweep_module.answer_fold, []

    def answer(*arguments, fold, **options):
        calls.append(fold)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return plain(*arguments, fold=fold, **options)

    monkeypatch.setattr(sweep_module, "answer_fold", answer)
    with pytest.raises(KeyboardInterrupt):
        swept(store, checkpoints=folder)
    assert len(list(folder.iterdir())) == 4
    resumed = swept(store, checkpoints=folder)
    assert len(calls) == 5 + 12 - 4  # three sets of layers and colour in three folds
    for one, other in zip(whole.candidates, resumed.candidates, strict=True):
        np.testing.assert_array_equal(one.predictions.probabilities, other.predictions.probabilities)
        assert (one.inner_best, one.parameters) == (other.inner_best, other.parameters)
    swept(store, checkpoints=folder)
    assert len(calls) == 13  # nothing is left to do


def test_finished_folds_of_another_question_are_not_taken(make_store, tmp_path):
    store, folder = make_store(), tmp_path / "kept"
    swept(store, checkpoints=folder)
    kept = {file.name for file in folder.iterdir()}
    swept(store, checkpoints=folder, space=Space(probes=("knn",), grids={"knn": {"neighbors": [5]}}, inner_folds=2))
    swept(store, checkpoints=folder, seed=1)
    probe_layers(store, split_of(store, folds=3, seed=5), space=SPACE, checkpoints=folder)
    assert len({file.name for file in folder.iterdir()} - kept) == 3 * len(kept)


@pytest.mark.parametrize("harm", [lambda data: data[:100], lambda data: b"", lambda data: b"PK" + data[2:][::-1]])
def test_a_torn_file_is_made_again(make_store, tmp_path, harm):
    store, folder = make_store(), tmp_path / "kept"
    before = swept(store, checkpoints=folder)
    for file in folder.iterdir():
        file.write_bytes(harm(file.read_bytes()))
    after = swept(store, checkpoints=folder)
    np.testing.assert_array_equal(before.best.predictions.probabilities, after.best.predictions.probabilities)


def test_processes_change_no_answer(make_store):
    store = make_store()
    one, two = swept(store), swept(store, workers=2)
    for entry, other in zip(one.candidates, two.candidates, strict=True):
        np.testing.assert_array_equal(entry.predictions.probabilities, other.predictions.probabilities)


def test_parameters_of_the_final_probe_are_chosen_on_all_rows(make_store):
    store = make_store(signal=0.3)
    split, best = split_of(store), swept(store).best.reading
    assert fit_final(store, split, best, space=SPACE).parameters in SPACE.parameters("knn")
    nothing = Space(probes=("knn",), inner_folds=0)
    assert fit_final(store, split, best, space=nothing).parameters == {"neighbors": 11}


def chosen_and_picked(labels, groups, signals, space, *, seed):
    """The nested choice, and the reading that is best on the outer folds, among layers of class means so far apart."""
    generator = np.random.default_rng(seed)
    folds = assign_parts(labels, groups, shares=[1 / 3] * 3, seed=seed)
    rows = SweepRows(labels=labels, groups=groups, folds=folds, classes=2, seed=seed)
    answers = {fold: [] for fold in range(3)}
    for layer, signal in enumerate(signals):
        shared = generator.normal(size=(groups.max() + 1, 3))[groups]
        features = shared + 0.2 * generator.normal(size=(len(labels), 3)) + signal * labels[:, None]
        for fold, found in answers.items():
            found += answer_fold(ArrayColumns(features), rows, space, space.readings((str(layer),)), fold=fold)
    judged = []
    for entries in zip(*answers.values(), strict=True):
        said = joined_folds({fold: entry.probabilities for fold, entry in enumerate(entries)}, rows)
        judged.append((entries[0].reading, score(said, rows).balanced_accuracy))
    return select(answers, rows, space), max(judged, key=lambda entry: entry[1].value)


@pytest.mark.usefixtures("unchecked_shapes")
def test_of_many_ways_to_read_noise_the_picked_one_beats_chance_and_the_nested_choice_does_not():
    """Intervals and all, for rows alone and in threes; benchmarks/selection.py says how often."""
    grids = {"knn": {"neighbors": [15]}, "tree": {"min_samples_leaf": [15]}}
    space = Space(probes=("knn", "tree"), scalers=("none",), grids=grids, inner_folds=2)
    nested, naive, optimism = [], [], []
    for seed, per_group in ((0, 1), (2, 1), (3, 3)):
        groups = np.arange(120 * per_group) // per_group
        labels = np.random.default_rng(100 + seed).integers(2, size=120)[groups]
        selection, (_, picked) = chosen_and_picked(labels, groups, np.zeros(30), space, seed=seed)
        nested.append(selection.scores.balanced_accuracy)
        naive.append(picked)
        optimism.append(selection.optimism)
    assert sum(entry.low <= 0.5 <= entry.high for entry in nested) >= 2
    assert sum(entry.low > 0.5 for entry in naive) >= 2
    assert min(optimism) > 0.05


@pytest.mark.parametrize("better", [0, 5])
def test_the_layer_in_which_classes_lie_further_apart_is_chosen_in_every_fold(better):
    signals = np.full(8, 0.3)
    signals[better] = 1.5
    labels = np.random.default_rng(better).integers(2, size=150)
    space = Space(probes=("knn",), scalers=("none",), grids={"knn": {"neighbors": [31, 15]}}, inner_folds=3)
    selection, (picked, _) = chosen_and_picked(labels, np.arange(150), signals, space, seed=better)
    assert [choice.reading.taps for choice in selection.choices] == [(str(better),)] * 3
    assert picked.taps == (str(better),)
    assert selection.ties == 0
    plain = score(selection.predictions, SweepRows(**{**SAME, "labels": labels, "groups": np.arange(150)}))
    assert selection.scores.accuracy == plain.accuracy


def test_where_readings_tie_a_row_counts_for_half_of_one():
    labels = np.random.default_rng(1).integers(2, size=150)
    space = Space(probes=("knn",), scalers=("none",), grids={"knn": {"neighbors": [15]}}, inner_folds=2)
    selection, _ = chosen_and_picked(labels, np.arange(150), np.full(5, 0.5), space, seed=1)
    assert selection.ties == 4
    hits = selection.predictions.hits
    assert selection.scores.accuracy == wilson(hits.sum() / 2, len(hits) / 2)
    plain = score(selection.predictions, SweepRows(**{**SAME, "labels": labels, "groups": np.arange(150)}))
    for name in ("balanced_accuracy", "macro_f1"):
        wide, narrow = getattr(selection.scores, name), getattr(plain, name)
        assert wide.value == narrow.value
        assert wide.high - wide.low == pytest.approx(np.sqrt(2) * (narrow.high - narrow.low), rel=0.02)
