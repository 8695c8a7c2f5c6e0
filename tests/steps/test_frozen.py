"""The frozen probe: it learns where the network learned, is asked what it was asked, and the two are paired."""

import dataclasses
import hashlib
from collections import Counter

import numpy as np
import pytest
from made_tables import made_store, made_table

from tfcells.backbones.seen import SeenPictures, write_seen
from tfcells.config import TaughtImagesConfig
from tfcells.errors import RequestError
from tfcells.features.extract import Extraction, extract
from tfcells.features.pieces import CLASSES, DIGESTS, ROWS, SEEN
from tfcells.features.recipe import canonical_json, sealed, unsealed
from tfcells.features.rows import rows_csv
from tfcells.features.store import FeatureStore
from tfcells.finetune.families import family_mask, probabilities
from tfcells.probes.crossval import SweepRows, out_of_fold
from tfcells.steps.frozen import compare_frozen, frozen_features
from tfcells.steps.taught import deal_rows

GROUPS = [f"g{number // 2}" for number in range(180)]
LABELS = np.repeat(np.random.default_rng(0).permutation(np.arange(90) % 3), 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return made_store(tmp_path_factory.mktemp("frozen") / "store", images=180, labels=LABELS, groups=GROUPS, signal=1.0)


def taught_rows(**options):
    return deal_rows(made_table(LABELS, groups=GROUPS), TaughtImagesConfig(root="x", **options), seed=0)


def asked_rows(taught):
    asked = taught.asked
    return SweepRows(
        labels=taught.labels[asked],
        groups=taught.groups[asked],
        folds=np.zeros(len(asked), dtype=np.int64),
        classes=3,
        seed=0,
    )


def answers_right(taught, share):
    rows = asked_rows(taught)
    said = rows.labels.copy()
    wrong = np.arange(len(said)) >= share * len(said)
    said[wrong] = (said[wrong] + 1) % 3
    return out_of_fold(np.eye(3)[said] * 0.97 + 0.01, rows.labels), rows


@pytest.mark.parametrize("options", [{"folds": 1}, {"folds": 3}, {"folds": 3, "validation": 0.0}])
def test_a_perfect_network_gains_what_the_probe_misses(store, options):
    taught = taught_rows(**options)
    tuned, rows = answers_right(taught, 1.0)
    found = compare_frozen(store, taught, tuned, rows, minutes=12.5)
    missed = 1 - found["frozen"]["accuracy"]["value"]
    gain = found["gain"]["accuracy"]
    assert 0 < missed < 0.5  # the features tell the classes apart, but not wholly
    assert gain["difference"]["value"] == pytest.approx(missed)
    assert gain["difference"]["low"] <= missed <= gain["difference"]["high"]
    assert found["gain"]["balanced_accuracy"]["difference"]["value"] > 0
    assert [entry["fold"] for entry in found["frozen"]["chosen"]] == list(range(options["folds"]))
    assert all(entry["tap"] in store.layers for entry in found["frozen"]["chosen"])
    for fold, entry in zip(taught.folds, found["frozen"]["chosen"], strict=True):
        assert 0 < entry["chosen_on"] == (len(fold.validation) or entry["chosen_on"]) < len(fold.learning) / 2
    assert found["minutes"]["fine_tuned"] == 12.5
    assert 0 < found["minutes"]["frozen_probe"] < 5


def test_a_network_that_is_wrong_everywhere_loses_by_a_test_that_says_so(store):
    taught = taught_rows(folds=3)
    tuned, rows = answers_right(taught, 0.0)
    gain = compare_frozen(store, taught, tuned, rows, minutes=1.0)["gain"]["accuracy"]
    assert gain["difference"]["high"] < 0
    assert gain["p_value"] < 0.001


def test_no_row_that_is_asked_is_learned_from(store, monkeypatch):
    from tfcells.steps import frozen as module

    taught = taught_rows(folds=3)
    seen = Counter()

    def spied(vectors, own, learning, asked, parameters, *, seed):
        seen["asks"] += 1
        assert not set(learning.tolist()) & set(asked.tolist())
        assert not set(own.groups[learning].tolist()) & set(own.groups[asked].tolist())
        return original(vectors, own, learning, asked, parameters, seed=seed)

    original = module._answers
    monkeypatch.setattr(module, "_answers", spied)
    tuned, rows = answers_right(taught, 1.0)
    compare_frozen(store, taught, tuned, rows, minutes=1.0)
    assert seen["asks"] == 3 * (2 * 3 + 1)


def test_rows_that_the_store_lacks_are_named(store):
    taught = taught_rows(folds=3)
    strange = dataclasses.replace(taught.table, ids=("new.png", *taught.table.ids[1:]))
    tuned, rows = answers_right(taught, 1.0)
    with pytest.raises(RequestError, match=r"has no features of 1 of 180 rows, the first is new.png"):
        compare_frozen(store, dataclasses.replace(taught, table=strange), tuned, rows, minutes=1.0)


def test_a_store_of_other_pictures_with_the_same_names_is_refused(store):
    taught = taught_rows(folds=3)
    digests = list(taught.table.digests)
    digests[4], digests[9] = "e" * 64, "f" * 64
    strange = dataclasses.replace(taught.table, digests=tuple(digests))
    tuned, rows = answers_right(taught, 1.0)
    with pytest.raises(RequestError) as refused:
        compare_frozen(store, dataclasses.replace(taught, table=strange), tuned, rows, minutes=1.0)
    assert "other pictures under the names of 2 of 180 rows" in str(refused.value)
    assert f"the first is {taught.ids[4]}:" in str(refused.value)
    assert "extract them again, or leave `against` out" in str(refused.value)


def test_what_a_store_calls_its_rows_does_not_count(store, tmp_path):
    ids = made_table(LABELS).ids
    other = made_store(tmp_path / "other", images=180, labels=LABELS, groups=GROUPS, signal=1.0)
    wrong = dataclasses.replace(made_table((LABELS + 1) % 3, class_names=("x", "y", "z")), ids=ids)
    lines = rows_csv(wrong)
    digests = unsealed((other.path / DIGESTS).read_bytes())
    contents = {ROWS: lines, CLASSES: canonical_json({**other.facts, "class_names": ["x", "y", "z"]}).encode()}
    for name, data in contents.items():
        (other.path / name).write_bytes(data)
    renewed = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    (other.path / DIGESTS).write_bytes(sealed({**digests, **renewed}))
    taught = taught_rows(folds=3)
    tuned, rows = answers_right(taught, 1.0)
    renamed = FeatureStore(other.path)
    assert set(renamed.rows.class_names) == {"x", "y", "z"}
    found, before = (compare_frozen(one, taught, tuned, rows, minutes=1.0) for one in (renamed, store))
    assert found["gain"] == before["gain"] and found["frozen"]["accuracy"] == before["frozen"]["accuracy"]


def test_a_store_is_found_by_itself_and_within_a_study(store, tmp_path):
    assert frozen_features(store.path).digest == store.digest
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "features").symlink_to(store.path)
    assert frozen_features(tmp_path / "study").digest == store.digest
    with pytest.raises(RequestError, match="is no feature store"):
        frozen_features(tmp_path)


def test_a_store_of_hand_made_features_alone_is_refused_before_anything_is_taught(cells, tmp_path):
    path = extract(cells, Extraction(handcrafted=("lbp",)), into=tmp_path / "store").path
    with pytest.raises(RequestError) as refused:
        frozen_features(path)
    assert str(refused.value) == (
        f"{path} holds colour, lbp, and no features of a backbone to compare with. Expected a store that was extracted "
        "with --backbone, or a study."
    )


FAMILIES = ("lab/a", "lab/b", "other/c")


def taught_families():
    table = made_table(LABELS, groups=GROUPS, class_names=FAMILIES)
    return deal_rows(table, TaughtImagesConfig(root="x", folds=3), seed=0)


def test_a_network_and_a_probe_of_equal_logits_that_are_told_the_family_answer_alike(store, monkeypatch):
    from tfcells.steps import frozen as module

    taught = taught_families()
    rows = asked_rows(taught)
    logits = np.random.default_rng(1).normal(size=(180, 3)).astype(np.float32)
    monkeypatch.setattr(
        module, "_answers", lambda vectors, own, learning, asked, parameters, *, seed: probabilities(logits[asked])
    )
    competing = family_mask(FAMILIES)[rows.labels]
    tuned = out_of_fold(probabilities(logits[taught.asked], competing=competing), rows.labels)
    found = compare_frozen(store, taught, tuned, rows, minutes=1.0, families=True)
    assert found["frozen"]["told_family"] is True
    assert found["frozen"]["accuracy"]["value"] == pytest.approx(tuned.hits.mean())
    for gain in found["gain"].values():
        assert gain["difference"]["low"] < gain["difference"]["value"] == 0 < gain["difference"]["high"]
    untold = compare_frozen(store, taught, tuned, rows, minutes=1.0)
    assert untold["frozen"]["told_family"] is False
    assert untold["gain"]["accuracy"]["difference"]["value"] > 0.1  # what it was worth to be told


def test_a_probe_that_is_told_the_family_is_always_right_about_a_class_that_is_alone_in_it(store):
    taught = taught_families()
    tuned, rows = answers_right(taught, 1.0)
    missed = {}
    for families in (False, True):
        found = compare_frozen(store, taught, tuned, rows, minutes=1.0, families=families)
        missed[families] = found["gain"]["accuracy"]["difference"]["value"] * len(rows.labels)
    with_two = found["frozen"]["balanced_accuracy"]["value"]
    # Recall of the lone class is 1: all that is missed is missed in the other two, which are as frequent.
    assert with_two == pytest.approx(1 - missed[True] / (2 * 60) * 2 / 3)
    assert missed[True] < missed[False]


def test_the_tap_is_chosen_by_answers_that_were_told_the_family_too(store, monkeypatch):
    from tfcells.steps import frozen as module

    scored = []
    original = module._balanced
    monkeypatch.setattr(
        module, "_balanced", lambda predicted, labels: scored.append((predicted, labels)) or original(predicted, labels)
    )
    taught = taught_families()
    tuned, rows = answers_right(taught, 1.0)
    compare_frozen(store, taught, tuned, rows, minutes=1.0, families=True)
    for predicted, labels in scored:
        assert ((predicted == 2) == (labels == 2)).all()


def test_asked_rows_that_the_weights_of_the_store_have_seen_are_counted(tmp_path):
    store = made_store(tmp_path / "store", images=180, labels=LABELS, groups=GROUPS)
    taught = taught_rows(folds=1)
    tuned, rows = answers_right(taught, 1.0)
    assert compare_frozen(store, taught, tuned, rows, minutes=1.0)["frozen"]["seen"] is None
    (fold,) = taught.folds
    known = [*taught.digests_of(fold.asked[:5]), *taught.digests_of(fold.training[:9])]
    write_seen(store.path / SEEN, SeenPictures.of(known))
    found = compare_frozen(store, taught, tuned, rows, minutes=1.0)["frozen"]["seen"]
    assert found == {"images": 5, "of": len(taught.asked)}
