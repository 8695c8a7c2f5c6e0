"""Copies that are not the same pixel by pixel: found by codes, confirmed by comparison, checked on the pictures
themselves.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from tfcells.arrays import Float32, Int64, Labels
from tfcells.images.audit.candidates import Candidate
from tfcells.images.audit.closure import Search
from tfcells.images.audit.comparison import Comparer, stronger
from tfcells.images.audit.evidence import DEFAULT, Evidence, Thresholds, verdict
from tfcells.images.audit.rehearsal import rehearse
from tfcells.images.audit.self_check import NO_COPIES, STRANGERS, Positives, SelfCheck, checked_thresholds
from tfcells.images.audit.self_check import negatives as counted
from tfcells.images.audit.self_check import note as in_words
from tfcells.images.audit.shelf import Shelf
from tfcells.images.audit.vocabulary import SAMPLED_PICTURES, Codes, Vocabulary, learn_vocabulary
from tfcells.progress import Progress

_VOCABULARY, _STRANGERS = 0, 1  # keep the random streams of the steps apart

Compared = Mapping[Candidate, Evidence | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class NearCopies:
    """What was found.

    Attributes:
        evidence: By pair of places, for every pair that was compared.
        thresholds: What they are to be judged by.
        self_check: How well that works.
    """

    evidence: Compared
    thresholds: Thresholds
    self_check: SelfCheck


def find_near_copies(
    shelf: Shelf,
    rows: Sequence[int],
    *,
    labels: Labels,
    neighbours: Int64[np.ndarray, "images count"],
    pool: Executor,
    seed: int,
    progress: Progress,
) -> NearCopies:
    """Search, check the thresholds, search again if they were raised, and look for copies made on purpose.

    Args:
        shelf: Holds the pictures; their keypoints must have been found.
        rows: Row numbers on the shelf, no two of them the same picture; results speak of places in this sequence.
        labels: int64 of shape (rows,), -1 where unlabelled.
        neighbours: Places of further candidates: int64 of shape (rows, count), -1 for none.
        pool: Where the work is done.
        seed: Decides what is sampled.
        progress: Told how far it is.
    """
    comparer = Comparer(shelf, rows)
    vocabulary = _vocabulary(comparer, len(rows), seed=seed)
    if vocabulary is None:
        return NearCopies(evidence={}, thresholds=DEFAULT, self_check=_checked([], [], DEFAULT, NO_COPIES))
    codes, mirrored = (_codes(comparer, vocabulary, len(rows), mirrored=side, pool=pool) for side in (False, True))
    search = Search(codes, mirrored, neighbours, compare=comparer, pool=pool, progress=progress)
    search.run(lambda found: verdict(found, DEFAULT) == "near")
    unlike = _of_different_classes(search.evidence, labels)
    strangers = list(pool.map(lambda pair: comparer.either_side(*pair), _strangers(labels, seed=seed)))
    thresholds = checked_thresholds(DEFAULT, unlike, strangers)
    if thresholds != DEFAULT:
        search.run(lambda found: verdict(found, thresholds) == "near")
    positives = rehearse(
        shelf, rows, comparer, vocabulary, codes, thresholds=thresholds, pool=pool, seed=seed, progress=progress
    )
    check = _checked(unlike, strangers, thresholds, positives)
    return NearCopies(evidence=search.evidence, thresholds=thresholds, self_check=check)


def _vocabulary(comparer: Comparer, count: int, *, seed: int) -> Vocabulary | None:
    """Learned on a sample of the pictures; None where none of them has a keypoint."""
    rng = np.random.default_rng([seed, _VOCABULARY])
    drawn = np.sort(rng.permutation(count)[:SAMPLED_PICTURES]).tolist()
    sample = [points for points in (comparer.subject(place).points for place in drawn) if len(points)]
    return learn_vocabulary(sample, seed=seed) if sample else None


def _codes(comparer: Comparer, vocabulary: Vocabulary, count: int, *, mirrored: bool, pool: Executor) -> Codes:
    """The code of each picture, or of its mirror image."""

    def encode(place: int) -> Float32[np.ndarray, " codes"]:
        points = comparer.subject(place).points
        return vocabulary.encode(points.mirrored() if mirrored else points)

    codes = np.zeros((count, len(vocabulary.code_axes)), dtype=np.float32)
    for place, code in enumerate(pool.map(encode, range(count))):
        codes[place] = code
    return codes


def _of_different_classes(evidence: Compared, labels: Labels) -> list[Evidence | None]:
    """The evidence of compared neighbours of different classes; of a pair's two sides the stronger."""
    found: dict[tuple[int, int], Evidence | None] = {}
    for pair, each in evidence.items():
        first, second = labels[pair.first], labels[pair.second]
        if first != second and min(first, second) >= 0:
            found[pair.first, pair.second] = stronger(found.get((pair.first, pair.second)), each)
    return [found[key] for key in sorted(found)]


def _strangers(labels: Labels, *, seed: int) -> list[tuple[int, int]]:
    """Random pairs of places, of different classes if there are any."""
    if len(labels) < 2:
        return []
    drawn = np.random.default_rng([seed, _STRANGERS]).integers(len(labels), size=(8 * STRANGERS, 2))
    drawn = drawn[drawn[:, 0] != drawn[:, 1]]
    if len(np.unique(labels[labels >= 0])) > 1:
        classes = labels[drawn]
        drawn = drawn[(classes[:, 0] != classes[:, 1]) & (classes.min(axis=1) >= 0)]
    return sorted({(min(pair), max(pair)) for pair in drawn[:STRANGERS].tolist()})


def _checked(
    unlike: Sequence[Evidence | None],
    strangers: Sequence[Evidence | None],
    thresholds: Thresholds,
    positives: Positives,
) -> SelfCheck:
    before, after = (counted(each, unlike, strangers) for each in (DEFAULT, thresholds))
    return SelfCheck(
        positives=positives,
        before=before,
        negatives=after,
        raised=thresholds != DEFAULT,
        note=in_words(before, after, DEFAULT, thresholds, positives),
    )
