import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcells.probes.crossval import SweepRows
from tfcells.probes.cue_reader import KINDS, CueReader

IMAGES = 80


def rows_of(labels, folds=None):
    folds = np.arange(len(labels)) % 4 if folds is None else folds
    classes = int(labels.max()) + 1
    return SweepRows(labels=labels, groups=np.arange(len(labels)), folds=folds, classes=classes, seed=0)


def drawn(seed=0, columns=3):
    generator = np.random.default_rng(seed)
    return generator, generator.permutation(np.arange(IMAGES) % 3), generator.normal(size=(IMAGES, columns))


def read(values, rows, labels=None):
    return CueReader(values, rows).predict((rows.labels if labels is None else labels)[None])[0]


def test_sets_of_labels_are_read_together_as_each_alone():
    generator, labels, values = drawn()
    sets = np.stack([labels, *(generator.permutation(labels) for _ in range(5))])
    reader = CueReader(values, rows_of(labels))
    np.testing.assert_array_equal(reader.predict(sets), np.concatenate([reader.predict(one[None]) for one in sets]))


def test_labels_of_tested_rows_have_no_say_in_their_answers():
    _, labels, values = drawn()
    rows = rows_of(labels)
    other = np.where(rows.folds == 2, (labels + 1) % 3, labels)
    tested = rows.folds == 2
    np.testing.assert_array_equal(read(values, rows, other)[tested], read(values, rows)[tested])


@pytest.mark.parametrize("factor", [1e3, -1e6])
def test_numbers_of_a_tested_row_have_no_say_in_the_answers_of_others(factor):
    _, labels, values = drawn()
    rows = rows_of(labels)
    last = np.flatnonzero(rows.folds == 3)
    moved = values.copy()
    moved[last[0]] *= factor
    # Scales, axes, edges and landmarks of the fold are those of its training rows.
    np.testing.assert_array_equal(read(moved, rows)[last[1:]], read(values, rows)[last[1:]])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_units_of_a_column_do_not_matter(seed, scale, shift):
    _, labels, values = drawn(seed)
    labels = np.where(values[:, 0] + values[:, 1] > 0, 1, 0)
    rows = rows_of(labels)
    changed = read(values * scale + shift, rows)
    assert np.mean(changed == read(values, rows)) > 0.95  # rounding may move a row that stands on an edge


def test_few_distinct_rows_are_names_whatever_their_numbers():
    generator, labels, _ = drawn()
    scanner = np.where(generator.random(IMAGES) < 0.8, labels, generator.integers(0, 3, IMAGES))
    rows = rows_of(labels)
    names = np.array([[0.0], [1e6], [-3.0]])[scanner]
    np.testing.assert_array_equal(read(names, rows), read(scanner[:, None].astype(float), rows))
    assert len(np.unique(scanner)) < KINDS


def test_what_differs_only_where_it_is_tested_tells_nothing():
    _, labels, _ = drawn()
    folds = (np.arange(IMAGES) >= 40).astype(np.int64)
    values = np.where(folds == 1, np.arange(IMAGES), 0.0)[:, None]
    assert set(read(values, rows_of(labels, folds))[folds == 1]) == {0}


def test_a_class_that_was_never_seen_is_never_said():
    _, labels, values = drawn()
    labels = np.where(np.arange(IMAGES) % 4 == 1, 2, labels % 2)
    rows = rows_of(labels)
    assert 2 not in read(values, rows)[rows.folds == 1]


def test_equal_thin_and_constant_columns_do_no_harm():
    generator, labels, values = drawn()
    labels = (values[:, 0] > 0).astype(np.int64)
    more = np.column_stack(
        [values, values[:, 0], np.ones(IMAGES), values[:, 0] + 1e-12 * generator.normal(size=IMAGES)]
    )
    assert np.mean(read(more, rows_of(labels)) == labels) > 0.85
