from dataclasses import replace

import numpy as np
import pytest
from sklearn.pipeline import Pipeline

from tfcells.errors import EmptyDataError, RequestError
from tfcells.images.splits import Split, split_rows
from tfcells.probes import final as final_module
from tfcells.probes.catalog import PROBES, SCALERS, Training, fit_probe, pipeline_of, usual_scaler
from tfcells.probes.final import ask_holdout, fit_final, refit
from tfcells.probes.gram.columns import as_columns, tap_rows
from tfcells.probes.linear import logistic
from tfcells.probes.memory import held_bytes
from tfcells.probes.reading import Reading, Space, components_of
from tfcells.probes.streamed import fit_streamed
from tfcells.probes.temperature import TemperatureScaled, fit_temperature


def drawn(*, images, width, classes=3, seed=0):
    """Features that outnumber images, of any size, and what belongs to their rows."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(images) % classes)
    centres = np.random.default_rng(5).normal(size=(classes, width))
    sizes = 10 ** np.random.default_rng(6).uniform(-1, 1, width)
    vectors = ((generator.normal(size=(images, width)) + 0.3 * centres[labels]) * sizes).astype(np.float32)
    return vectors.astype(np.float64), Training(labels, np.arange(images) // 2, 0)


PLAIN = Space(inner_folds=0)


def reading(kind, *taps):
    return Reading(taps=taps, scaler=usual_scaler(kind), reduction="none", probe=kind)


@pytest.fixture
def store(make_store):
    return make_store(images=150, groups=[f"patient {row // 2}" for row in range(150)], signal=2.0)


@pytest.fixture
def split(store):
    rows = store.rows
    return split_rows(rows.ids, rows.labels, rows.class_names, rows.groups, holdout=0.3)


def rows_marked(split, part):
    return np.flatnonzero(np.array(split.parts) == part)


def test_the_final_probe_learns_from_training_rows_and_from_all_of_them(store, split, monkeypatch):
    learned = []

    def spied(source, training, *how, **options):
        learned.append((source.columns(0, source.shape[1]), training))
        return fit_streamed(source, training, *how, **options)

    monkeypatch.setattr(final_module, "fit_streamed", spied)
    fit_final(store, split, reading("knn", "late", "early"), space=PLAIN)
    ((vectors, training),) = learned
    rows = rows_marked(split, "train")
    np.testing.assert_array_equal(vectors, store.table(["late", "early"]).vectors[rows])
    np.testing.assert_array_equal(training.labels, store.rows.labels[rows])
    assert len(np.unique(training.groups)) == len({split.groups[row] for row in rows})


@pytest.mark.parametrize("kind", ["logistic", "knn", "svm", "tree"])
def test_a_final_probe_answers_for_any_rows_of_the_store(store, split, kind):
    final = fit_final(store, split, reading(kind, "late"), space=PLAIN, seed=2)
    rows = np.array([5, 0, 149])
    said = final.probabilities(store, rows)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    np.testing.assert_array_equal(said, final.probe.predict_proba(store.table("late").vectors[rows].astype(float)))
    assert (final.taps, final.reading.probe, final.class_names) == (("late",), kind, store.rows.class_names)


def test_the_holdout_is_disjoint_from_what_was_learned_by_row_and_by_group(store, split):
    held, learned = rows_marked(split, "holdout"), rows_marked(split, "train")
    assert not {split.groups[row] for row in held} & {split.groups[row] for row in learned}
    answers, rows = ask_holdout(fit_final(store, split, reading("logistic", "late"), space=PLAIN), store, split)
    assert len(answers.hits) == len(held)
    np.testing.assert_array_equal(rows.labels, store.rows.labels[held])
    assert answers.hits.mean() > 0.8


def test_the_holdout_is_asked_once(store, split, monkeypatch):
    final = fit_final(store, split, reading("logistic", "late"), space=PLAIN)
    asked = []
    plain = final.probe.predict_proba
    monkeypatch.setattr(final.probe, "predict_proba", lambda vectors: asked.append(len(vectors)) or plain(vectors))
    ask_holdout(final, store, split)
    assert asked == [len(rows_marked(split, "holdout"))]


def test_labels_of_the_holdout_change_no_answer(store, split, monkeypatch):
    final = fit_final(store, split, reading("svm", "late"), space=PLAIN)
    before, _ = ask_holdout(final, store, split)
    held = rows_marked(split, "holdout")
    labels = store.rows.labels.copy()
    labels[held] = np.random.default_rng(0).permutation(labels[held])
    monkeypatch.setitem(store.__dict__, "rows", replace(store.rows, labels=labels))
    after, _ = ask_holdout(fit_final(store, split, reading("svm", "late"), space=PLAIN), store, split)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)


def test_without_a_holdout_there_is_nothing_to_ask(store):
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups)
    with pytest.raises(EmptyDataError, match="is marked 'holdout'"):
        ask_holdout(fit_final(store, split, reading("tree", "late"), space=PLAIN), store, split)


def test_a_class_that_only_the_holdout_holds_is_refused_by_name(store, split):
    parts = tuple("holdout" if label == 1 else part for label, part in zip(store.rows.labels, split.parts, strict=True))
    with pytest.raises(RequestError, match="Class 'class 1' is in the holdout, but none of its rows is marked 'train'"):
        fit_final(store, replace(split, parts=parts), reading("logistic", "late"), space=PLAIN)


def on_the_matrix(kind, vectors, training, *, scaler, components, parameters):
    """The same probe as scikit-learn fits and calibrates it on a matrix."""
    options = {"scaler": scaler, "components": components, "parameters": parameters}
    if PROBES[kind].decides:
        return fit_probe(kind, vectors, training.labels, training.groups, seed=training.seed, **options)
    told = np.zeros((len(vectors), training.labels.max() + 1))
    for learns, tested in training.folds():
        part = pipeline_of(kind, Training(training.labels[learns], training.groups[learns], training.seed), **options)
        told[tested] = part.fit(vectors[learns], training.labels[learns]).predict_proba(vectors[tested])
    whole = pipeline_of(kind, training, **options).fit(vectors, training.labels)
    floor = PROBES[kind].floor
    temperature = fit_temperature(told, training.labels, floor=floor)
    return TemperatureScaled(whole, temperature=temperature, floor=floor)


@pytest.mark.parametrize("kind", [kind for kind in PROBES if kind != "forest"])
@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("reduction", ["none", "pca:0.8", "pca:4"])
def test_it_is_the_probe_that_scikit_learn_fits_on_the_matrix(store, split, kind, scaler, reduction):
    how = Reading(taps=("late", "early"), scaler=scaler, reduction=reduction, probe=kind)
    final = fit_final(store, split, how, space=Space(probes=(kind,)), seed=3)
    rows, vectors = rows_marked(split, "train"), store.table(how.taps).vectors.astype(np.float64)
    _, groups = np.unique([split.groups[row] for row in rows], return_inverse=True)
    expected = on_the_matrix(
        kind,
        vectors[rows],
        Training(store.rows.labels[rows], groups, 3),
        scaler=scaler,
        components=components_of(reduction),
        parameters=final.parameters,
    )
    found = final.probabilities(store, np.arange(150))
    if kind == "tree" and reduction != "none":  # the sign of a component decides between equal splits
        assert np.abs(found - expected.predict_proba(vectors)).mean() < 0.1
    else:
        np.testing.assert_allclose(found, expected.predict_proba(vectors), atol=1e-8)


@pytest.mark.parametrize("kind", [kind for kind in PROBES if kind != "forest"])
@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("reduction", ["none", "pca:0.8", "pca:4"])
def test_features_that_outnumber_images_are_streamed_to_the_same_probe(kind, scaler, reduction):
    vectors, training = drawn(images=60, width=150)
    how = Reading(taps=("late",), scaler=scaler, reduction=reduction, probe=kind)
    memory = 8 * 60 * 150 * 3  # of features, but not in one block
    found = fit_streamed(as_columns(vectors), training, how, PROBES[kind].default, memory=memory)
    expected = pipeline_of(kind, training, scaler=scaler, components=components_of(reduction))
    expected.fit(vectors, training.labels)
    ask = "decision_function" if PROBES[kind].decides else "predict_proba"
    np.testing.assert_allclose(getattr(found, ask)(vectors), getattr(expected, ask)(vectors), atol=1e-8)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("kind", [name for name, row in PROBES.items() if row.linear])
def test_a_linear_probe_of_features_that_do_not_fit_is_mapped_back_from_axes_to_columns(
    kind, scaler, classes, monkeypatch
):
    # Where the iterations of a logistic regression stop depends on the axes: here, late and near a sharp minimum.
    exact = replace(PROBES["logistic"], build=lambda *_: logistic(C=0.001).set_params(tol=1e-10))
    monkeypatch.setitem(PROBES, "logistic", exact)
    vectors, training = drawn(images=60, width=1500, classes=classes)
    unseen, _ = drawn(images=40, width=1500, classes=classes, seed=1)
    how = Reading(taps=("late",), scaler=scaler, reduction="none", probe=kind)
    found = fit_streamed(as_columns(vectors), training, how, PROBES[kind].default, memory=8 * 60 * 1500 - 1)
    expected = pipeline_of(kind, training, scaler=scaler).fit(vectors, training.labels)
    assert found[-1].coef_.shape[-1] == 1500
    assert not hasattr(found[-1], "support_vectors_")
    for rows in (vectors, unseen):
        np.testing.assert_allclose(found.decision_function(rows), expected.decision_function(rows), atol=1e-5)
        np.testing.assert_array_equal(found.predict(rows), expected.predict(rows))


@pytest.mark.parametrize(("kind", "takes"), [("svm", 48_000), ("knn", 48_000), ("tree", 144_000), ("forest", 144_000)])
def test_a_probe_that_has_to_hold_features_that_do_not_fit_is_refused_before_any_is_read(
    make_store, kind, takes, monkeypatch
):
    store = make_store(images=60, widths=(6, 100))
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups)
    monkeypatch.setattr("tfcells.probes.gram.columns.StackedRows.columns", lambda *columns: pytest.fail("it was read"))
    words = rf"60 images of 100 features take {takes:,} bytes that {kind} has to hold; {takes - 1:,} are allowed\. Put "
    with pytest.raises(
        RequestError, match=words + rf"a reduction such as pca:0\.8 before it, .*leave {kind} out, or allow"
    ):
        fit_final(store, split, reading(kind, "late"), memory=takes - 1)


def test_what_needs_no_features_held_is_never_refused():
    for kind, reduction, width in [("logistic", "none", 10**6), ("svm", "pca:0.8", 10**6), ("tree", "none", 99)]:
        how = Reading(taps=("late",), scaler="none", reduction=reduction, probe=kind)
        assert held_bytes(how, images=100, width=width) == 0


def test_rows_are_asked_in_blocks_that_fit(store, split, monkeypatch):
    final = fit_final(store, split, reading("svm", "late", "early"), space=PLAIN)
    whole = final.probabilities(store, np.arange(150)[::-1])
    asked = []
    monkeypatch.setattr(final_module, "tap_rows", lambda *how: asked.append(len(how[2])) or tap_rows(*how))
    little = final.probabilities(store, np.arange(150)[::-1], memory=8 * 4 * 16 * 40)
    np.testing.assert_allclose(little, whole, atol=1e-12)
    assert asked == [40, 40, 40, 30]


def test_known_parameters_give_the_probe_that_chose_them(store, split):
    for kind in ("svm", "knn"):
        final = fit_final(store, split, reading(kind, "early"), space=Space(probes=(kind,)), seed=1)
        again = refit(store, split, reading(kind, "early"), final.parameters, space=Space(probes=(kind,)), seed=1)
        rows = np.arange(150)
        np.testing.assert_array_equal(final.probabilities(store, rows), again.probabilities(store, rows))
        assert final.parameters == again.parameters


def test_groups_that_cannot_be_parted_leave_a_probe_as_it_is(make_store):
    """Each class is one patient: every inner fold lacks one of the two."""
    store = make_store(images=40, classes=2, labels=np.repeat([0, 1], 20), groups=[f"{row // 20}" for row in range(40)])
    rows = store.rows
    split = Split(
        ids=rows.ids, parts=("train",) * 40, folds=np.zeros(40, np.int64), groups=rows.groups, seed=0, left_out={}
    )
    final = fit_final(store, split, reading("knn", "late"), space=PLAIN)
    vectors = store.table("late").vectors.astype(np.float64)
    np.testing.assert_array_equal(final.probabilities(store, np.arange(40)), final.probe.predict_proba(vectors))
    assert isinstance(final.probe, Pipeline)
