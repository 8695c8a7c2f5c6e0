import json
from dataclasses import replace

import numpy as np
import pytest

from tfcells.errors import RequestError
from tfcells.images.cues import Cues
from tfcells.images.splits import assign_parts
from tfcells.probes.crossval import SweepRows, out_of_fold
from tfcells.probes.shortcuts import explained_share, probe_shortcuts, shortcuts_json
from tfcells.stats.corrections import holm

IMAGES, CLASSES = 90, 3


def rows_of(labels, groups=None, *, seed=0):
    groups = np.arange(len(labels)) if groups is None else groups
    folds = assign_parts(labels, groups, shares=[0.2] * 5, seed=seed)
    return SweepRows(labels=labels, groups=groups, folds=folds, classes=int(labels.max()) + 1, seed=seed)


def cues_of(**values):
    ids = tuple(f"row {row}" for row in range(len(next(iter(values.values())))))
    values = {name: np.asarray(numbers, dtype=float).reshape(len(ids), -1) for name, numbers in values.items()}
    columns = {name: tuple(map(str, range(numbers.shape[1]))) for name, numbers in values.items()}
    return Cues(ids=ids, values=values, columns=columns, absent={"order": "no number in any file's name"})


def drawn(seed=0, images=IMAGES):
    generator = np.random.default_rng(seed)
    return generator, generator.permutation(np.arange(images) % CLASSES)


def probed(cues, rows, *, deep=None, permutations=199):
    deep = np.ones(len(rows.labels), dtype=bool) if deep is None else deep
    return probe_shortcuts(cues, cues.ids, rows, deep=deep, permutations=permutations)


def finding(found, cue):
    return next(entry for entry in found.findings if entry.cue == cue)


def test_a_mark_on_one_class_is_found_and_half_as_good_as_knowing_all_three():
    generator, labels = drawn()
    cues = cues_of(size=np.where(labels == 1, 352, 360), border=generator.normal(size=(IMAGES, 4)))
    found = probed(cues, rows_of(labels))
    assert [entry.cue for entry in found.warnings] == ["size"]
    size = finding(found, "size")
    # The marked class is always read, of the two others one: 2 / 3, half the way from 1 / 3 to 1.
    assert size.balanced_accuracy.value == pytest.approx(2 / 3, abs=0.1)
    assert size.share.value == pytest.approx(1 / 2, abs=0.15)
    assert size.share.low <= 1 / 2 <= size.share.high
    assert found.chance == pytest.approx(1 / 3)


def test_a_class_in_the_middle_of_a_range_is_read():
    generator, labels = drawn()
    cues = cues_of(order=np.abs(labels - 1) * generator.choice([-1, 1], IMAGES) + 0.2 * generator.normal(size=IMAGES))
    assert [entry.cue for entry in probed(cues, rows_of(labels)).warnings] == ["order"]


def planted_cue(kind, seed=0, images=240):
    """Two classes in columns of which no single one tells enough."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(images) % 2)
    values = generator.normal(size=(images, 2))
    if kind == "tint":  # a faint direction among columns that stain and light move together
        stain = generator.normal(size=(images, 2)) @ generator.normal(size=(2, 4)) * 20
        values = stain + generator.normal(size=(images, 4)) + 8 * labels[:, None] * np.array([[0.5, -0.5, 0.5, -0.5]])
    elif kind == "xor":
        labels = (values[:, 0] * values[:, 1] > 0).astype(int)
    elif kind == "ring":
        labels = (np.hypot(*values.T) > 1.18).astype(int)
    elif kind == "runs":
        values = generator.random((images, 1))
        labels = (values[:, 0] * 8).astype(int) % 2
    return values, labels


@pytest.mark.parametrize(("kind", "least"), [("tint", 0.95), ("xor", 0.85), ("ring", 0.9), ("runs", 0.8)])
def test_mixtures_interactions_and_runs_of_columns_are_read(kind, least):
    values, labels = planted_cue(kind)
    found = finding(probed(cues_of(border=values), rows_of(labels), permutations=99), "border")
    assert found.balanced_accuracy.value >= least
    assert found.warns


def test_cues_that_know_the_cell_never_warn():
    _, labels = drawn()
    found = probed(cues_of(**{"colour statistics": labels, "bytes": labels}), rows_of(labels))
    assert all(entry.above_chance and not entry.warns for entry in found.findings)
    assert found.warnings == ()


def test_a_cue_that_is_the_same_everywhere_is_exactly_chance():
    _, labels = drawn()
    constant = probed(cues_of(size=np.ones(IMAGES)), rows_of(labels)).findings[0]
    assert constant.balanced_accuracy.value == pytest.approx(1 / 3)
    assert constant.p_value == 1


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("grouping", ["alone", "copies", "slides"])
def test_cues_without_knowledge_are_left_alone(grouping):
    warned = []
    for seed in range(24):
        generator, labels = drawn(seed)
        groups = np.arange(IMAGES)
        if grouping != "alone":
            groups = np.sort(generator.integers(0, 25, IMAGES))
        if grouping == "copies":
            labels = generator.permutation(np.arange(25) % CLASSES)[groups]
        scanner = generator.choice(3, IMAGES)[groups]
        cues = cues_of(jpeg=scanner, border=generator.normal(size=(IMAGES, 3))[groups], size=generator.normal(size=90))
        guesses = generator.random(IMAGES) < 1 / 3
        warned.append(bool(probed(cues, rows_of(labels, groups, seed=seed), deep=guesses, permutations=99).warnings))
    assert sum(warned) <= 5  # 5 % of 24 are 1.2; 6 or more come up in 1 of 1,000 such tests


def test_a_scanner_of_few_slides_is_not_taken_for_many_rows():
    # 6 slides of 20 rows: alone, these rows would say p < 0.001; no exchange of 6 labels can.
    groups = np.repeat(np.arange(6), 20)
    labels, scanner = np.array([0, 0, 0, 1, 1, 1])[groups], np.array([0, 0, 0, 1, 1, 0])[groups]
    rows = replace(rows_of(labels, groups), folds=np.array([0, 1, 2, 0, 1, 2])[groups])
    assert not probed(cues_of(jpeg=scanner), rows).warnings
    assert probed(cues_of(jpeg=scanner), rows_of(labels)).warnings


def test_p_values_are_adjusted_over_all_cues():
    generator, labels = drawn()
    cues = cues_of(size=labels, border=generator.normal(size=(IMAGES, 4)), bytes=labels)
    found = probed(cues, rows_of(labels)).findings
    adjusted = holm(np.array([entry.p_value for entry in found]))
    np.testing.assert_allclose([entry.p_adjusted for entry in found], adjusted)


def test_rare_classes_count_as_much_as_common_ones():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], [150, 20]))
    found = probed(cues_of(size=np.where(labels == 1, 1, 0)), rows_of(labels))
    assert found.findings[0].balanced_accuracy.value == 1
    assert found.findings[0].warns


def test_the_answer_depends_on_rows_and_seed_alone():
    generator, labels = drawn()
    cues = cues_of(size=generator.normal(size=IMAGES) + labels, border=generator.normal(size=(IMAGES, 4)))
    rows = rows_of(labels)
    once = shortcuts_json(probed(cues, rows))
    shuffled = cues.aligned_to(tuple(generator.permutation(cues.ids).tolist()))
    again = probe_shortcuts(shuffled, cues.ids, rows, deep=np.ones(IMAGES, dtype=bool), permutations=199)
    assert shortcuts_json(again) == once


def test_deep_may_be_predictions_or_hits():
    generator, labels = drawn()
    said = out_of_fold(np.eye(CLASSES)[labels] * 0.5 + generator.dirichlet(np.ones(CLASSES), IMAGES) * 0.5, labels)
    cues, rows = cues_of(size=labels), rows_of(labels)
    assert shortcuts_json(probed(cues, rows, deep=said)) == shortcuts_json(probed(cues, rows, deep=said.hits))


def test_there_is_no_share_of_nothing():
    generator, labels = drawn()
    guesses = generator.random(IMAGES) < 1 / 3
    assert probed(cues_of(size=labels), rows_of(labels), deep=guesses).findings[0].share is None


def test_shares_keep_within_their_bounds():
    generator, labels = drawn()
    alone = np.arange(IMAGES)
    everything, nothing = np.ones(IMAGES, dtype=bool), np.zeros(IMAGES, dtype=bool)
    some = generator.random(IMAGES) < 0.8
    assert explained_share(everything, some, labels, alone, seed=0).value == 1
    assert explained_share(nothing, some, labels, alone, seed=0).value == 0
    assert explained_share(some, some, labels, alone, seed=0).value == pytest.approx(1)


@pytest.mark.usefixtures("unchecked_shapes")
def test_the_share_covers_the_truth():
    held = []
    for seed in range(25):
        generator, labels = drawn(seed, images=240)
        groups = np.repeat(np.arange(80), 3)
        easy = generator.random(80)[groups]  # both readers find the same groups easy
        luck = 0.6 * easy + 0.4 * generator.random(240)
        luck = np.argsort(np.argsort(luck)) / 240
        share = explained_share(luck < 0.5, luck < 0.8, labels, groups, seed=seed)
        truth = (0.5 - 1 / 3) / (0.8 - 1 / 3)
        held.append(share.low <= truth <= share.high)
    assert sum(held) >= 21


def test_json_says_what_was_found_and_can_be_written():
    _, labels = drawn()
    found = json.loads(json.dumps(shortcuts_json(probed(cues_of(size=labels), rows_of(labels)))))
    assert set(found) == {"chance", "deep", "method", "permutations", "cues", "absent"}
    assert found["cues"][0]["warns"] is True
    assert found["cues"][0]["share"]["value"] == 1
    assert found["absent"] == {"order": "no number in any file's name"}


def test_what_cannot_be_tested_is_refused():
    _, labels = drawn()
    cues, rows = cues_of(size=labels), rows_of(labels)
    with pytest.raises(RequestError, match="90 ids, 90 labels and 89 answers of the features came"):
        probed(cues, rows, deep=np.ones(89, dtype=bool))
    with pytest.raises(RequestError, match="Rows of 3 classes in 1 folds came"):
        probed(cues, replace(rows, folds=np.zeros(IMAGES, dtype=np.int64)))
    with pytest.raises(RequestError, match="0 permutations were asked for"):
        probed(cues, rows, permutations=0)
    with pytest.raises(RequestError, match="1 of 90 rows have no cues"):
        probe_shortcuts(cues, ("stranger", *cues.ids[1:]), rows, deep=np.ones(IMAGES, dtype=bool))
