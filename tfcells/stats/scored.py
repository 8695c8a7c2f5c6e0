"""Rows with class probabilities and a truth: what every function on them checks, and what they are reduced to."""

import numpy as np

from tfcells.arrays import Float64, Hits, Labels, Probabilities
from tfcells.errors import RequestError

Confidence = Float64[np.ndarray, " images"]
"""A probability per image that an answer is right."""

SLACK = 1e-3
"""How far from 1 the probabilities of a row may sum up to: float16 was met on the way."""


def top_label(probabilities: Probabilities, true: Labels) -> tuple[Confidence, Hits]:
    """The largest probability of each row, and whether its class is the true one; the first class wins ties.

    Raises:
        RequestError: As in `check_scored`.
    """
    check_scored(probabilities, true)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == true


def one_class(probabilities: Probabilities, true: Labels, *, of_class: int) -> tuple[Confidence, Hits]:
    """The probability of one class in each row, and whether the row is of that class.

    Raises:
        RequestError: As in `check_scored`, or if there is no such class.
    """
    check_scored(probabilities, true)
    if not 0 <= of_class < probabilities.shape[1]:
        raise RequestError(
            f"Class {of_class} was asked for. Expected the index of one of {probabilities.shape[1]} classes, from 0."
        )
    return probabilities[:, of_class], true == of_class


def check_scored(probabilities: Probabilities, true: Labels) -> None:
    """Refuse what are no class probabilities or no labels of them.

    Raises:
        RequestError: If there is no row, the lengths differ, a label is not in `[0, classes)`, a probability is
            not in [0, 1], or a row does not sum to 1 within `SLACK`.
    """
    if len(true) == 0 or len(true) != len(probabilities):
        raise RequestError(
            f"{len(probabilities)} rows of probabilities and {len(true)} labels came. Expected as many of each, "
            "at least one."
        )
    classes = probabilities.shape[1]
    outside = (true < 0) | (true >= classes)
    if outside.any():
        raise RequestError(
            f"{int(outside.sum())} of {len(true)} labels are not in [0, {classes}), the first is "
            f"{int(true[outside][0])}. Expected class indices; leave unlabelled rows (-1) out."
        )
    check_probabilities(probabilities)


def check_probabilities(probabilities: Probabilities) -> None:
    """Refuse rows that are no probabilities; errors as in `check_scored`."""
    wrong = ~((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    wrong |= ~(np.abs(probabilities.sum(axis=1) - 1) <= SLACK)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise RequestError(
            f"{int(wrong.sum())} of {len(probabilities)} rows are not class probabilities, the first is row {row}: "
            f"{probabilities[row].tolist()}. Expected numbers in [0, 1] that sum to 1; take softmax of logits."
        )


def check_confidence(confidence: Confidence, hits: Hits) -> None:
    """Refuse what are no confidences with a verdict each.

    Raises:
        RequestError: If there is no row, the lengths differ, or a confidence is not in [0, 1].
    """
    if len(hits) == 0 or len(hits) != len(confidence):
        raise RequestError(
            f"{len(confidence)} confidences and {len(hits)} hits came. Expected as many of each, at least one."
        )
    wrong = ~((confidence >= 0) & (confidence <= 1))
    if wrong.any():
        raise RequestError(
            f"{int(wrong.sum())} of {len(confidence)} confidences are not in [0, 1], the first is "
            f"{confidence[wrong][0]}. Expected probabilities, e.g. from top_label()."
        )
