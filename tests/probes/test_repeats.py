"""The nested choice over several dealings: what is joined, and that its intervals hold the truth."""

from dataclasses import replace

import numpy as np
import pytest

from tfcells.errors import RequestError
from tfcells.images.splits import assign_parts, split_rows
from tfcells.probes.candidates import Candidate, score
from tfcells.probes.crossval import SweepRows, out_of_fold
from tfcells.probes.nested import FoldAnswers
from tfcells.probes.reading import Space
from tfcells.probes.repeats import METHOD, join_repeats
from tfcells.probes.selection import select
from tfcells.probes.sweep import probe_layers
from tfcells.stats.corrections import holm
from tfcells.stats.paired import corrected_resampled_t

SPACE = Space(probes=("knn",), grids={"knn": {"neighbors": [9, 3]}}, inner_folds=2)
DEALINGS, FOLDS = 4, 5


def swept(store, **options):
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups, folds=3)
    return probe_layers(store, split, **{"space": SPACE, "repeats": 3} | options)


@pytest.fixture
def sweep(make_store):
    return swept(make_store(groups=[f"patient {row // 2}" for row in range(120)], signal=0.6))


def test_values_are_the_means_over_dealings(sweep):
    assert (sweep.repeated.dealings, len(sweep.selections)) == (3, 3)
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        values = [getattr(entry.scores, name).value for entry in sweep.selections]
        found = getattr(sweep.repeated, name)
        assert found.value == pytest.approx(np.mean(values))
        assert found.low < found.value < found.high
    assert sweep.repeated.inner_best == pytest.approx(np.mean([entry.inner_best for entry in sweep.selections]))
    assert sweep.repeated.optimism == pytest.approx(np.mean([entry.optimism for entry in sweep.selections]))


def test_one_dealing_has_nothing_to_join(make_store):
    assert swept(make_store(), repeats=1).repeated is None


def test_repeats_without_a_nested_choice_are_refused(make_store):
    words = r"3 repeats of the nested choice were asked for, and 0 inner folds.* Expected 2 inner folds or more, or 1"
    with pytest.raises(RequestError, match=words):
        swept(make_store(), space=Space(probes=("knn",), inner_folds=0))


def test_every_baseline_but_chance_is_compared_fold_by_fold(sweep, make_store):
    (against,) = sweep.repeated.against
    assert against.reading == sweep.baselines[1].reading
    assert against.test.method == "corrected resampled t test"
    assert -1 <= against.test.difference.low < against.test.difference.value < against.test.difference.high <= 1
    assert against.p_adjusted == against.test.p_value


def test_the_comparison_is_the_corrected_test_of_differences_in_balanced_accuracy():
    generator = np.random.default_rng(0)
    dealings = dealt(generator, rows=60, groups=60)
    selections = [chosen(generator, rows, worth=[0.9]) for rows in dealings]
    baselines = [[guessing(generator, rows, right) for right in (0.5, 0.7)] for rows in dealings]
    found = join_repeats(selections, dealings, baselines).against
    for place, entry in enumerate(found):
        differences = [
            np.mean([gained[labels == label].mean() for label in (0, 1)])
            for selection, others, rows in zip(selections, baselines, dealings, strict=True)
            for labels, gained in parts_of(selection, others[place], rows)
        ]
        expected = corrected_resampled_t(np.array(differences), n_train=48, n_test=12)
        assert entry.test.difference.value == pytest.approx(expected.difference.value)
        assert entry.test.p_value == pytest.approx(expected.p_value)
    assert [entry.p_adjusted for entry in found] == pytest.approx(
        holm(np.array([entry.test.p_value for entry in found])).tolist()
    )


def test_a_gain_that_is_the_same_in_every_fold_is_undecided():
    generator = np.random.default_rng(0)
    dealings = dealt(generator, rows=60, groups=60)
    selections = [chosen(generator, rows, worth=[1.0]) for rows in dealings]
    baselines = [[guessing(generator, rows, right) for right in (0.0, 0.7)] for rows in dealings]
    never, sometimes = join_repeats(selections, dealings, baselines).against
    assert (never.test.undecided, sometimes.test.undecided) == (True, False)
    assert (never.test.difference.value, never.test.p_value, never.p_adjusted) == (1.0, 1.0, 1.0)
    assert METHOD.endswith("dealings beyond the first ignore what the folds of a split file mean")


def parts_of(selection, baseline, rows):
    """Labels of each fold, and what was gained on its rows."""
    gained = selection.predictions.hits.astype(float) - baseline.predictions.hits
    for fold in rows.fold_numbers:
        asked = rows.folds == fold
        yield rows.labels[asked], gained[asked]


# The truth is known where answers are drawn.


def dealt(generator, *, rows=120, groups=60):
    number = np.sort(np.concatenate([np.arange(groups), generator.integers(groups, size=rows - groups)]))
    one = SweepRows(labels=number % 2, groups=number, folds=np.zeros(rows, dtype=np.int64), classes=2, seed=0)
    shares, seeds = [1 / FOLDS] * FOLDS, generator.integers(2**31, size=DEALINGS)
    return [replace(one, folds=assign_parts(one.labels, one.groups, shares=shares, seed=int(seed))) for seed in seeds]


def said(hits, rows):
    """Sure answers, right where `hits`."""
    return np.eye(2)[np.where(hits, rows.labels, 1 - rows.labels)]


def guessing(generator, rows, right):
    predictions = out_of_fold(said(generator.random(len(rows.labels)) < right, rows), rows.labels)
    (reading,) = SPACE.readings(("colour",))
    return Candidate(reading=reading, pooling="none", scores=score(predictions, rows), predictions=predictions)


def chosen(generator, rows, *, worth, ease=None, luck=0.0):
    """The nested choice among readings of known worth; inner scores are the hits in the other folds."""
    count = len(rows.labels)
    ease = generator.random((len(worth), count)) if ease is None else ease
    # What a reading says of a row is mostly the row's own, and in part the dealing's.
    own = np.where(generator.random(ease.shape) < 0.7, ease, generator.random(ease.shape))
    hits = own < np.clip(np.array(worth)[:, None] + luck, 0, 1)
    answers = {
        fold: [
            FoldAnswers(
                reading=replace(SPACE.readings(("late",))[0], taps=(f"tap {number}",)),
                inner=np.array([one[rows.folds != fold].mean(), 0.0]),
                chosen=0,
                probabilities=said(one, rows)[rows.folds == fold],
            )
            for number, one in enumerate(hits)
        ]
        for fold in rows.fold_numbers
    }
    return select(answers, rows, SPACE)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("worth", "luck"),
    [([0.85, 0.5], 0.0), ([0.8] * 4, 0.0), ([0.8, 0.5], 0.06)],
    ids=["one is best", "ties", "lucky dealings"],
)
def test_intervals_hold_the_truth_as_often_as_they_say(worth, luck):
    held, of_one, draws = [], [], 60
    for seed in range(draws):
        generator = np.random.default_rng([seed, len(worth)])
        dealings = dealt(generator)
        of_groups = generator.random((len(worth), 60))
        rows = dealings[0].groups
        ease = np.where(
            generator.random(len(rows)) < 0.3, of_groups[:, rows], generator.random((len(worth), len(rows)))
        )
        shifts = luck * generator.normal(size=DEALINGS)
        selections = [
            chosen(generator, dealing, worth=worth, ease=ease, luck=shift)
            for dealing, shift in zip(dealings, shifts, strict=True)
        ]
        baselines = [[guessing(generator, dealing, 0.5)] for dealing in dealings]
        found = join_repeats(selections, dealings, baselines)
        every = (found.accuracy, found.balanced_accuracy, found.macro_f1)
        held.append([one.low <= worth[0] <= one.high for one in every])
        one = selections[0].scores.accuracy
        of_one.append(one.low <= worth[0] <= one.high)
    assert (np.mean(held, axis=0) >= 0.95 - 2.5 * np.sqrt(0.95 * 0.05 / draws)).all()
    if luck:
        assert np.mean(of_one) < 0.9  # a single dealing does not know of its luck


def test_dealings_that_agree_say_as_much_as_one_and_no_more():
    """The same answers again are no new images: the interval is that of one dealing, but for a design effect's room."""
    generator = np.random.default_rng(1)
    dealings = dealt(generator, rows=200, groups=200)
    one = chosen(generator, dealings[0], worth=[0.8])
    baselines = [[guessing(generator, dealings[0], 0.5)]] * DEALINGS
    found = join_repeats([one] * DEALINGS, [dealings[0]] * DEALINGS, baselines)
    single, joined = one.scores.accuracy, found.accuracy
    assert 1 <= (joined.high - joined.low) / (single.high - single.low) < 1.06


def test_ties_in_one_dealing_widen_the_interval_of_all():
    generator = np.random.default_rng(2)
    (rows, *_) = dealt(generator)
    one, baselines = chosen(generator, rows, worth=[0.8]), [[guessing(generator, rows, 0.5)]] * DEALINGS
    plain = join_repeats([one] * DEALINGS, [rows] * DEALINGS, baselines)
    tied = join_repeats([replace(one, ties=2), *[one] * (DEALINGS - 1)], [rows] * DEALINGS, baselines)
    assert (plain.ties, tied.ties) == (0, 2)
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        narrow, wide = getattr(plain, name), getattr(tied, name)
        assert narrow.value == wide.value
        assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)
