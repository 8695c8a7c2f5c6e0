"""Labels to look at again: rows whose label a probe contradicts that never saw them, the clearest first.

Confident learning: Northcutt, Jiang & Chuang (2021), Confident learning: estimating uncertainty in dataset labels,
JAIR 70. How many labels are wrong is not estimated here: their count takes a probe's own misses for wrong labels.
benchmarks/shortcuts.py measures what it says of sound ones.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.arrays import Float64, Groups, Hits, Ids, Int64, Labels, Probabilities
from tfcells.errors import RequestError
from tfcells.probes.crossval import OutOfFold, SweepRows

COLUMNS: Final = (
    "rank",
    "id",
    "label",
    "predicted",
    "p_label",
    "p_predicted",
    "doubt",
    "confident",
    "relatives",
    "relatives_of_other_label",
)

Doubts = Float64[np.ndarray, " images"]


@dataclass(frozen=True, kw_only=True)
class Review:
    """One row whose label should be looked at.

    Attributes:
        id: The row.
        label: Class it is filed under.
        predicted: Class that the probe holds most probable.
        p_label: Out-of-fold probability of the label.
        p_predicted: Out-of-fold probability of the predicted class.
        doubt: `p_predicted / (p_predicted + p_label)`, 0.5 to 1: the probability that the label is wrong if one of the
            two classes is right.
        confident: Whether confident learning counts it as a wrong label: it is more probably of another class than
            rows of that class are on average.
        relatives: Other rows of its group.
        relatives_of_other_label: How many of them carry another label. Where groups are copies of one cell, one of
            its labels is wrong, whatever the probe says; where they are slides or patients, this says nothing.
    """

    id: str
    label: str
    predicted: str
    p_label: float
    p_predicted: float
    doubt: float
    confident: bool
    relatives: int
    relatives_of_other_label: int


@dataclass(frozen=True, kw_only=True)
class ReviewList:
    """The rows to look at, the most doubtful first.

    Attributes:
        rows: At most as many as were asked for.
        contradicted: Rows whose label is not the predicted class, listed or not.
        confident: How many of those confident learning counts as wrong labels.
        of: All rows that were judged.
    """

    rows: tuple[Review, ...]
    contradicted: int
    confident: int
    of: int


def review_list(
    ids: Ids, rows: SweepRows, predictions: OutOfFold, class_names: Sequence[str], *, limit: int = 100
) -> ReviewList:
    """List the rows whose label is least like what a probe says that learned from other groups.

    Rows are ranked by `doubt`, equal ones by the probability of the predicted class. The difference of the two
    probabilities (the normalised margin) puts classes that a probe mixes up before labels that it rules out; the
    label's probability alone (self-confidence) does about as well, see benchmarks/shortcuts.py. A mislabelled row was
    kept from the probe that judges it, and so was its group.

    Args:
        ids: The rows, e.g. `sweep.ids`.
        rows: Their labels and groups, e.g. `sweep.rows`.
        predictions: What the probe said, e.g. `sweep.best.predictions`.
        class_names: Names of the classes in use, e.g. `sweep.class_names`.
        limit: Most rows to list.

    Raises:
        RequestError: If lengths differ, names are missing, or `limit` is below 1.
    """
    _check(ids, rows, predictions, class_names, limit)
    doubts = pairwise_doubt(predictions.probabilities, rows.labels)
    confident = confidently_other(predictions.probabilities, rows.labels)
    contradicted = np.flatnonzero(predictions.predicted != rows.labels)
    ranked = contradicted[np.lexsort((-predictions.probabilities.max(axis=1)[contradicted], -doubts[contradicted]))]
    relatives, others = _relatives(rows.labels, rows.groups)
    reviews = []
    for row in ranked[:limit].tolist():
        label, guess = int(rows.labels[row]), int(predictions.predicted[row])
        reviews.append(
            Review(
                id=ids[row],
                label=class_names[label],
                predicted=class_names[guess],
                p_label=float(predictions.probabilities[row, label]),
                p_predicted=float(predictions.probabilities[row, guess]),
                doubt=float(doubts[row]),
                confident=bool(confident[row]),
                relatives=int(relatives[row]),
                relatives_of_other_label=int(others[row]),
            )
        )
    return ReviewList(
        rows=tuple(reviews),
        contradicted=len(contradicted),
        confident=int(confident[contradicted].sum()),
        of=len(ids),
    )


def pairwise_doubt(probabilities: Probabilities, labels: Labels) -> Doubts:
    """The largest other probability as a share of it and the label's, float64 of shape (images,), 0 to 1."""
    row = np.arange(len(labels))
    others = probabilities.copy()
    others[row, labels] = 0
    other, both = others.max(axis=1), others.max(axis=1) + probabilities[row, labels]
    return np.asarray(np.divide(other, both, out=np.full(len(labels), 0.5), where=both > 0))


def confidently_other(probabilities: Probabilities, labels: Labels) -> Hits:
    """Rows off the diagonal of the confident joint (Northcutt et al. 2021, equation 1), bool of shape (images,).

    A class's threshold is the mean probability that rows filed under it get for it. A row belongs to the most
    probable of the classes whose threshold it reaches; it is counted if that is not its label.
    """
    classes = probabilities.shape[1]
    given = labels[:, None] == np.arange(classes)
    counts = given.sum(axis=0)
    sums = (probabilities * given).sum(axis=0)
    thresholds = np.divide(sums, counts, out=np.full(classes, np.inf), where=counts > 0)
    reached = np.where(probabilities >= thresholds - 1e-12, probabilities, -1.0)  # a mean of equals may round up
    return np.asarray((reached.max(axis=1) >= 0) & (reached.argmax(axis=1) != labels))


def write_review(reviews: ReviewList, path: Path) -> None:
    """Write the list as CSV with the columns `COLUMNS`, in order of rank from 1; `confident` is 1 or 0."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)  # "\r\n", or a name that holds a lone "\r" would not be quoted
        writer.writerow(COLUMNS)
        for rank, row in enumerate(reviews.rows, 1):
            chances = (f"{number:.8f}" for number in (row.p_label, row.p_predicted, row.doubt))
            relatives = (row.relatives, row.relatives_of_other_label)
            writer.writerow([rank, row.id, row.label, row.predicted, *chances, int(row.confident), *relatives])


def review_json(reviews: ReviewList) -> dict[str, Any]:
    """`of`, `contradicted`, `confident` and the listed `rows`."""
    return {
        "of": reviews.of,
        "contradicted": reviews.contradicted,
        "confident": reviews.confident,
        "rows": [
            {
                "id": row.id,
                "label": row.label,
                "predicted": row.predicted,
                "p_label": row.p_label,
                "p_predicted": row.p_predicted,
                "doubt": row.doubt,
                "confident": row.confident,
                "relatives": row.relatives,
                "relatives_of_other_label": row.relatives_of_other_label,
            }
            for row in reviews.rows
        ],
    }


def _relatives(labels: Labels, groups: Groups) -> tuple[Int64[np.ndarray, " images"], Int64[np.ndarray, " images"]]:
    """Other rows of each row's group, and those among them with another label."""
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    _, pair, alike = np.unique(np.stack([number, labels]), axis=1, return_inverse=True, return_counts=True)
    size, same = sizes[number], alike[pair.reshape(-1)]
    return size - 1, size - same


def _check(ids: Ids, rows: SweepRows, predictions: OutOfFold, class_names: Sequence[str], limit: int) -> None:
    shape = predictions.probabilities.shape
    if not (len(ids), len(class_names)) == shape == (len(rows.labels), rows.classes):
        raise RequestError(
            f"{len(ids)} ids, {len(rows.labels)} labels, {len(class_names)} class names and probabilities of shape "
            f"{shape} came. Expected one of each per row, and a column per class; take them from one sweep."
        )
    if limit < 1:
        raise RequestError(f"A list of {limit} rows was asked for. Expected 1 or more; 100 is usual.")
