import subprocess
import sys
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
from audited_pictures import CLASSES, SIDE, Collection, cell, stamped, table_of, turned

from tfcells.errors import RequestError
from tfcells.images.audit import Embeddings, audit
from tfcells.images.audit.findings import Audit


def groups_of(audited: Audit) -> set[frozenset[str]]:
    members: dict[str, set[str]] = {}
    for id, group in audited.groups.items():
        members.setdefault(group, set()).add(id)
    return {frozenset(each) for each in members.values() if len(each) > 1}


def true_groups(collection: Collection) -> set[frozenset[str]]:
    return {frozenset(pair) for pair in collection.original.items()}


def without_progress(audited: Audit) -> tuple:
    return audited.pairs, audited.groups, audited.odd, audited.label_conflicts, audited.self_check, audited.thresholds


# Finding copies.


def test_every_copy_is_found_and_nothing_else_is_joined(collection, audited):
    assert groups_of(audited) == true_groups(collection)
    assert not audited.self_check.raised


def test_every_copy_is_found_and_nothing_else_is_joined_under_one_scale_bar(stamped_collection):
    found = audit(stamped_collection.table())
    assert groups_of(found) == true_groups(stamped_collection)
    # All but the one of 400 x 400 and the one of 200 x 200: too few of their size to say.
    assert found.marked == 42


def test_few_pictures_under_one_scale_bar_are_told_apart_too():
    pictures = {f"{number}.png": stamped(cell(number)) for number in range(8)}
    found = audit(table_of(pictures))
    assert found.marked == 0  # too few to know of the bar
    assert groups_of(found) == set()


def test_pictures_of_nothing_but_a_scale_bar_are_told_apart():
    rng = np.random.default_rng(0)
    pictures = {}
    for number in range(20):
        empty = np.clip(225 + rng.normal(0, 2, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        pictures[f"{number:02d}.png"] = stamped(empty)
    assert not audit(table_of(pictures)).confirmed


def test_a_copy_under_another_class_is_a_label_conflict(collection, audited):
    [conflict] = audited.label_conflicts
    shifted = next(id for id in collection.original if "shifted" in id)
    assert set(conflict.labels) == {shifted, collection.original[shifted]}
    assert conflict.labels[shifted] != conflict.labels[collection.original[shifted]]
    assert not conflict.exact


def test_neither_the_order_of_rows_nor_the_number_of_workers_matters(collection, audited):
    ids = list(collection.pictures)
    shuffled = [ids[k] for k in np.random.default_rng(1).permutation(len(ids))]
    again = audit(collection.table(shuffled), workers=3)
    assert without_progress(again) == without_progress(audited)


def test_ids_are_sorted_and_pairs_name_the_smaller_first(audited):
    assert list(audited.ids) == sorted(audited.ids)
    assert list(audited.pairs) == sorted(audited.pairs)
    assert all(pair.id_a < pair.id_b for pair in audited.pairs)
    assert all(
        group == min(id for id, own in audited.groups.items() if own == group) for group in audited.groups.values()
    )


def test_the_self_check_says_how_well_it_went(audited):
    check = audited.self_check
    assert check.positives.copies == 44
    assert check.positives.recall > 0.9
    assert check.negatives.false_positive_rate == 0
    assert "Of 44 copies made of these pictures" in check.note


def test_embeddings_bring_candidates_and_say_so(collection):
    ids = list(collection.pictures)[:30]
    crops = {id: np.ascontiguousarray(collection.pictures[id][60:160, 60:160]) for id in ids}
    vectors = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    found = audit(table_of(crops), embeddings=Embeddings(tuple(ids[:20]), vectors[:20]))
    assert found.sources == ("local features", "embeddings")
    assert groups_of(found) == set()


# The same pixels.


def test_the_same_pixels_are_found_without_any_texture():
    even = np.full((40, 50, 3), 90, dtype=np.uint8)
    found = audit(table_of({"a": even, "b": even.copy(), "c": even.copy(), "d": even + 1}))
    assert [(pair.id_a, pair.id_b, pair.kind) for pair in found.pairs] == [("a", "b", "exact"), ("a", "c", "exact")]
    assert found.groups == {"a": "a", "b": "a", "c": "a", "d": "d"}
    assert {odd.kind for odd in found.odd} == {"flat"}


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_right_angles_and_mirroring_are_found_pixel_by_pixel(turns, mirror):
    noise = np.random.default_rng(0).integers(0, 256, (9, 14, 3)).astype(np.uint8)
    other = np.rot90(noise[:, ::-1] if mirror else noise, turns)
    pictures = {"a": noise, "b": np.ascontiguousarray(other), "c": np.roll(noise, 1, axis=0)}
    kind = "exact-oriented" if mirror or turns else "exact"
    found = audit(table_of(pictures))
    assert [(pair.id_a, pair.id_b, pair.kind, pair.score) for pair in found.confirmed] == [("a", "b", kind, 1.0)]


def test_the_same_pixels_under_two_classes_are_an_exact_conflict():
    noise = np.random.default_rng(0).integers(0, 256, (9, 14, 3)).astype(np.uint8)
    pictures = {"a": noise, "b": noise.copy(), "c": np.ascontiguousarray(noise[::-1]), "d": noise[:, :7].copy()}
    [conflict] = audit(table_of(pictures, {"a": "x", "b": "x", "c": "y", "d": "z"})).label_conflicts
    assert (conflict.group, conflict.labels, conflict.exact) == ("a", {"a": "x", "b": "x", "c": "y"}, True)


# Small and strange collections.


@pytest.mark.parametrize(
    "pictures",
    [
        {},
        {"a": cell(0)},
        {"a": cell(0), "b": cell(0)},
        {"a": np.zeros((1, 1, 3), np.uint8), "b": np.ones((1, 1, 3), np.uint8)},
        {"a": np.zeros((1, 700, 3), np.uint8), "b": np.full((3000, 2, 3), 9, np.uint8)},
        {str(number): np.full((30, 30, 3), number, np.uint8) for number in range(40)},
    ],
    ids=["none", "one", "twice", "one pixel", "lines", "even areas"],
)
def test_collections_with_nothing_to_compare_pass(pictures):
    table = table_of(pictures) if pictures else table_of({"a": cell(0)}).take([])
    found = audit(table)
    assert set(found.groups) == set(pictures)
    assert not found.possible


def test_a_huge_picture_and_its_small_copy_are_found():
    small = cell(0)
    huge = cv2.resize(small, (5000, 5000), interpolation=cv2.INTER_CUBIC)
    found = audit(table_of({"huge": huge, "other": cell(1), "small": turned(small, 10)}))
    assert groups_of(found) == {frozenset({"huge", "small"})}


def test_crops_below_200_pixels_are_possible_unless_the_evidence_is_strong():
    crops = {f"{number}": np.ascontiguousarray(cell(number)[60:180, 60:180]) for number in range(12)}
    weak = np.ascontiguousarray(cell(0)[60:180, 115:235])  # shares 54 % of its area
    strong = cv2.GaussianBlur(crops["1"], (0, 0), 0.8)
    found = audit(table_of({**crops, "strong": strong, "weak": weak}))
    assert groups_of(found) <= {frozenset({"1", "strong"}), frozenset({"0", "weak"})}
    assert found.groups["strong"] == "1"
    assert {pair[:2] for pair in found.pairs} <= {("1", "strong"), ("0", "weak")}


def test_a_picture_that_cannot_be_read_any_more_is_named():
    pictures = {f"{number}": cell(number) for number in range(4)}
    found = audit(table_of(pictures, gone=frozenset({"2"})))
    assert [tuple(entry) for entry in found.quarantined] == [("2", "gone since")]
    assert found.ids == ("0", "1", "3")


def test_the_threads_of_opencv_are_restored():
    before = cv2.getNumThreads()
    audit(table_of({"a": cell(0)}))
    assert cv2.getNumThreads() == before
    assert threading.active_count() < 20


# Requests that cannot be met.


def test_no_worker_is_refused():
    with pytest.raises(RequestError, match=r"workers = 0 given\. Expected 1 or more"):
        audit(table_of({"a": cell(0)}), workers=0)


def test_embeddings_of_other_pictures_are_refused():
    with pytest.raises(RequestError, match=r"None of the 1 pictures has an embedding.*the first picture is a.*b"):
        audit(table_of({"a": cell(0)}), embeddings=Embeddings(("b",), np.ones((1, 2), np.float32)))


def test_embeddings_that_do_not_fit_their_ids_are_refused():
    with pytest.raises(RequestError, match="2 ids but 1 rows of embeddings"):
        Embeddings(("a", "b"), np.ones((1, 2), np.float32))
    with pytest.raises(RequestError, match="more than once"):
        Embeddings(("a", "a"), np.ones((2, 2), np.float32))


def test_embeddings_that_are_not_finite_are_refused():
    with pytest.raises(RequestError, match="not finite"):
        audit(table_of({"a": cell(0)}), embeddings=Embeddings(("a",), np.full((1, 2), np.nan, np.float32)))


def test_the_audit_loads_no_tensorflow():
    code = "import sys, tfcells.images.audit; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_groups_join_a_table(collection, audited):
    table = collection.table().with_groups(audited.groups)
    assert dict(zip(table.ids, table.groups, strict=True)) == dict(audited.groups)
    assert replace(table).class_names == CLASSES
