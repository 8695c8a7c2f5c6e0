"""Copies made on purpose, and looked for: the audit's recall on these very pictures."""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Final, Literal

import numpy as np

from tfcells.images.audit.candidates import NEAREST
from tfcells.images.audit.comparison import Comparer, Subject, compare, stronger
from tfcells.images.audit.evidence import Thresholds, Verdict, verdict
from tfcells.images.audit.self_check import COPIES, Positives
from tfcells.images.audit.shelf import Shelf
from tfcells.images.audit.vocabulary import Codes, Vocabulary
from tfcells.images.decode import BadImageError
from tfcells.images.synthetic.copies import augmented_copy
from tfcells.progress import Progress

_LEAST_SIDE: Final = 32  # pixels; SIFT sees nothing in smaller pictures
_STREAM: Final = 2  # keeps this step's random numbers apart from those of the others

Outcome = tuple[Verdict, bool] | Literal["gone"]
"""The verdict on a copy beside its original, and whether the original is among the copy's neighbours."""


def rehearse(
    shelf: Shelf,
    rows: Sequence[int],
    comparer: Comparer,
    vocabulary: Vocabulary,
    codes: Codes,
    *,
    thresholds: Thresholds,
    pool: Executor,
    seed: int,
    progress: Progress,
) -> Positives:
    """Make a copy of each of a sample of the pictures and look for its original among all.

    A copy counts as found if its original is among its first neighbours; in the search it could also be found by way
    of other copies, so that this is the least that can be expected.

    Args:
        shelf: Holds the pictures.
        rows: Row numbers on the shelf, by place.
        comparer: Compares them.
        vocabulary: Makes codes.
        codes: Those of the pictures.
        thresholds: What is required of a pair.
        pool: Where the work is done.
        seed: Decides which pictures are copied, and how.
        progress: Told how far it is.
    """

    def look(place: int) -> Outcome:
        try:
            pixels = shelf.pixels(rows[place])
        except BadImageError:
            return "gone"
        copy = comparer.outsider(augmented_copy(pixels, rng=np.random.default_rng([seed, _STREAM, place])).pixels)
        original = comparer.subject(place)
        best = stronger(*(compare(original, copy, mirrored=side) for side in (False, True)))
        return verdict(best, thresholds), _is_near(copy, place, vocabulary, codes)

    places = [place for place, row in enumerate(rows) if min(shelf.measures[row][:2]) >= _LEAST_SIDE]
    drawn = np.sort(np.random.default_rng([seed, _STREAM]).permutation(places)[:COPIES]).tolist()
    outcomes: list[tuple[Verdict, bool]] = []
    progress("checking on copies", 0, len(drawn))
    for done, outcome in enumerate(pool.map(look, drawn), 1):
        if outcome != "gone":
            outcomes.append(outcome)
        progress("checking on copies", done, len(drawn))
    return Positives(
        copies=len(outcomes),
        confirmed=outcomes.count(("near", True)),
        possible=outcomes.count(("possible", True)),
        confirmed_if_shown=sum(judged == "near" for judged, _ in outcomes),
    )


def _is_near(copy: Subject, place: int, vocabulary: Vocabulary, codes: Codes) -> bool:
    """Whether fewer than `NEAREST` pictures are more alike a copy, or its mirror image, than its original."""
    for points in (copy.points, copy.points.mirrored()):
        likeness = codes @ vocabulary.encode(points)
        if (likeness > likeness[place]).sum() < NEAREST:
            return True
    return False
