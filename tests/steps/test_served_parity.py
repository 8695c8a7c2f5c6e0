import numpy as np
import pytest
from made_tables import made_store

from tfcells.errors import DamageError
from tfcells.images.splits import split_rows
from tfcells.probes.final import fit_final
from tfcells.probes.reading import Reading, Space
from tfcells.steps.served_parity import rounding_words, served_parity, unmeasured

ROWS = np.arange(0, 120, 10)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return made_store(tmp_path_factory.mktemp("parity") / "store")


@pytest.fixture(scope="module")
def final(store):
    return fitted(store)


def fitted(store):
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups, folds=3)
    reading = Reading(taps=("early", "late"), scaler="standard", reduction="none", probe="logistic")
    return fit_final(store, split, reading, space=Space(grids={"logistic": {"C": (1.0,)}}))


def features(store):
    return np.concatenate([store.take(tap, ROWS) for tap in ("early", "late")], axis=1)


def told(final, embedding):
    return final.probe.predict_proba(embedding.astype(np.float64))


def test_an_export_that_computes_what_was_measured_differs_in_nothing(final, store):
    embedding = features(store)
    found = served_parity(final, store, ROWS, probabilities=told(final, embedding), embedding=embedding)
    assert found == {
        "pictures": 12,
        "largest_difference": pytest.approx(0, abs=1e-12),
        "of_probe": pytest.approx(0, abs=1e-12),
        "allowed": 1e-5,
        "of_features": 0.0,
        "features_allowed": 1e-4,
    }
    assert rounding_words(found) is None


def test_rounding_that_the_probe_scales_up_is_told_and_allowed(tmp_path):
    """By the deviation of a feature that hardly varies, as one does where few small images are probed."""
    store = made_store(tmp_path / "store", varies=1e-3)
    final, embedding = fitted(store), features(store)
    embedding[:, 0] += np.float32(5e-6) * np.abs(embedding[:, :6]).max()
    found = served_parity(final, store, ROWS, probabilities=told(final, embedding), embedding=embedding)
    assert found["largest_difference"] > 3e-5
    assert found["of_probe"] <= 1e-12
    assert found["of_features"] == pytest.approx(5e-6, rel=0.1)
    words = rounding_words(found)
    assert words.startswith(f"probabilities differ by up to {found['largest_difference']:.1g} from the measured ones")
    assert "its probe scales up features that hardly vary, and with them rounding (5e-06 of the largest" in words


def test_other_features_are_refused(final, store):
    embedding = features(store)
    swapped = np.concatenate([embedding[:, 6:], embedding[:, :6]], axis=1)
    for other in (swapped, embedding * np.float32(1.001), np.where(embedding > 2, np.float32(np.nan), embedding)):
        with pytest.raises(DamageError, match=r"The export's features differ by .* of the largest .* on 12 pictures"):
            served_parity(final, store, ROWS, probabilities=told(final, embedding), embedding=other)


@pytest.mark.parametrize("wrong", [2e-5, np.nan])
def test_a_probe_that_answers_otherwise_on_the_same_features_is_refused(final, store, wrong):
    embedding = features(store)
    probabilities = told(final, embedding)
    probabilities[3, 1] += wrong
    with pytest.raises(DamageError, match=r"differ by .* from those that the fitted probe gives .* 1e-05 is allowed"):
        served_parity(final, store, ROWS, probabilities=probabilities, embedding=embedding)


def test_features_stored_in_half_the_bits_may_be_off_by_half_a_step(final, store, monkeypatch):
    take = store.take
    monkeypatch.setattr(type(store), "take", lambda self, tap, rows: take(tap, rows).astype(np.float16))
    embedding = np.concatenate([take(tap, ROWS) for tap in ("early", "late")], axis=1)
    found = served_parity(final, store, ROWS, probabilities=told(final, embedding), embedding=embedding)
    assert found["features_allowed"] == pytest.approx(1e-4 + 2**-11)
    assert 1e-5 < found["of_features"] <= 2**-11


def test_nothing_is_said_of_pictures_that_are_gone():
    assert rounding_words(unmeasured()) is None
    assert unmeasured()["pictures"] == 0
