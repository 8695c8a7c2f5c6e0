import csv

import numpy as np
import pytest

from tfcells.errors import RequestError
from tfcells.probes.crossval import SweepRows, out_of_fold
from tfcells.probes.review import COLUMNS, confidently_other, pairwise_doubt, review_json, review_list, write_review

NAMES = ("a", "b", "c")


def judged(probabilities, labels, groups=None):
    labels = np.array(labels)
    rows = SweepRows(
        labels=labels,
        groups=np.arange(len(labels)) if groups is None else np.array(groups),
        folds=np.arange(len(labels)) % 2,
        classes=len(probabilities[0]),
        seed=0,
    )
    return tuple(f"row {row}" for row in range(len(labels))), rows, out_of_fold(np.array(probabilities), labels)


def test_only_contradicted_labels_are_listed_the_clearest_first():
    reviews = review_list(*judged([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.1, 0.2, 0.7]], [0, 0, 0]), NAMES)
    assert [(row.id, row.label, row.predicted) for row in reviews.rows] == [("row 2", "a", "c"), ("row 1", "a", "b")]
    assert [row.doubt for row in reviews.rows] == pytest.approx([7 / 8, 0.6])
    assert [(row.p_label, row.p_predicted) for row in reviews.rows] == [(0.1, 0.7), (0.4, 0.6)]
    assert (reviews.contradicted, reviews.of) == (2, 3)


def test_the_list_is_no_longer_than_asked_but_counts_everything():
    reviews = review_list(*judged([[0.1, 0.9]] * 5, [0] * 5), NAMES[:2], limit=2)
    assert [row.id for row in reviews.rows] == ["row 0", "row 1"]
    assert reviews.contradicted == 5


def test_doubt_is_the_odds_of_two_classes_whatever_the_third():
    probabilities = np.array([[1.0, 0, 0], [0, 1.0, 0], [0.2, 0.3, 0.5], [0.1, 0.3, 0.6]])
    np.testing.assert_allclose(pairwise_doubt(probabilities, np.array([0, 0, 0, 1])), [0, 1, 5 / 7, 2 / 3])


def test_a_label_that_is_ruled_out_comes_before_one_of_a_pair_that_is_mixed_up():
    reviews = review_list(*judged([[0.3, 0.7, 0], [0.01, 0.5, 0.49]], [0, 0]), NAMES)
    assert [row.id for row in reviews.rows] == ["row 1", "row 0"]


def test_among_labels_that_are_ruled_out_the_surest_comes_first():
    reviews = review_list(*judged([[0, 0.6, 0.4], [0, 0.2, 0.8]], [0, 0]), NAMES)
    assert [row.id for row in reviews.rows] == ["row 1", "row 0"]


def test_confident_learning_counts_what_reaches_another_class_threshold():
    # Thresholds by hand: class 0 has (0.9 + 0.6 + 0.3) / 3 = 0.6, class 1 has (0.8 + 0.6) / 2 = 0.7.
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.4, 0.6]])
    other = confidently_other(probabilities, np.array([0, 0, 0, 1, 1]))
    assert other.tolist() == [False, False, True, False, False]


def test_a_class_without_rows_is_nobodys_threshold():
    assert not confidently_other(np.array([[0.5, 0.1, 0.4], [0.1, 0.5, 0.4]]), np.array([0, 1])).any()


def test_relatives_of_another_label_are_counted():
    ids, rows, said = judged([[0.2, 0.8]] * 5, [0, 1, 1, 0, 0], groups=[3, 3, 3, 9, 9])
    reviews = review_list(ids, rows, said, NAMES[:2])
    assert [(row.id, row.relatives, row.relatives_of_other_label) for row in reviews.rows] == [
        ("row 0", 2, 2),
        ("row 3", 1, 0),
        ("row 4", 1, 0),
    ]


def test_planted_wrong_labels_come_first():
    generator = np.random.default_rng(0)
    true = generator.integers(0, 3, 300)
    wrong = generator.permutation(300) < 20
    labels = np.where(wrong, (true + 1) % 3, true)
    logits = 4 * np.eye(3)[true] + generator.normal(size=(300, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    reviews = review_list(*judged(probabilities, labels), NAMES, limit=20)
    found = [wrong[int(row.id.removeprefix("row "))] for row in reviews.rows]
    assert np.mean(found) >= 0.9


def test_the_file_holds_the_list_and_ids_of_any_kind_survive(tmp_path):
    strange = ("a,b", 'say "x"', "line\nbreak", "lone\rreturn", "β 🔬", " ")
    _, rows, said = judged([[0.1, 0.9]] * 6, [0] * 6)
    reviews = review_list(strange, rows, said, NAMES[:2])
    write_review(reviews, tmp_path / "review.csv")
    with (tmp_path / "review.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == COLUMNS
    assert tuple(row["id"] for row in read) == strange
    assert [row["rank"] for row in read] == list("123456")
    assert {(row["p_label"], row["p_predicted"], row["doubt"]) for row in read} == {
        ("0.10000000", "0.90000000", "0.90000000")
    }


def test_an_empty_list_is_a_header(tmp_path):
    reviews = review_list(*judged([[0.9, 0.1]], [0]), NAMES[:2])
    write_review(reviews, tmp_path / "review.csv")
    assert (tmp_path / "review.csv").read_bytes() == (",".join(COLUMNS) + "\r\n").encode()
    assert review_json(reviews) == {"of": 1, "contradicted": 0, "confident": 0, "rows": []}


def test_json_and_file_name_the_same_columns():
    listed = review_json(review_list(*judged([[0.1, 0.9]], [0]), NAMES[:2]))["rows"]
    assert ("rank", *listed[0]) == COLUMNS


def test_what_does_not_fit_is_refused():
    ids, rows, said = judged([[0.1, 0.9]], [0])
    with pytest.raises(RequestError, match=r"1 ids, 1 labels, 3 class names and probabilities of shape \(1, 2\) came"):
        review_list(ids, rows, said, NAMES)
    with pytest.raises(RequestError, match="A list of 0 rows was asked for"):
        review_list(ids, rows, said, NAMES[:2], limit=0)
