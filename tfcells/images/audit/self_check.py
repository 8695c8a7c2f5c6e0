"""The audit's look at itself: does it find copies of these pictures, and does it take different pictures for copies?

Thresholds that hold for one collection need not hold for the next. So copies are made of a sample of the pictures and
looked for, and pairs that should not pass are compared: pairs of different classes, or, of unlabelled pictures, pairs
drawn at random. Such pairs may be copies all the same, filed under two classes, and an audit that took them for its own
errors would hide what it is asked for. Copies among them stand apart from the rest; a collection in which different
pictures look alike (they share a scale bar, a frame, an empty background) has all its pairs shifted. Only a shift
raises the threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tfcells.images.audit.evidence import Evidence, Thresholds, verdict

COPIES: Final = 96
"""Copies that are made and looked for: a recall of 98 % is known to 3 points, in 5 seconds."""

STRANGERS: Final = 400
"""Pairs drawn at random: 2 of them are the rate that is allowed."""

ALLOWED: Final = 0.005
"""Share of negative pairs that may pass before the threshold is raised."""

LEAST_NEIGHBOURS: Final = 40
"""Neighbours of different classes; quartiles of fewer mean little."""

SURE: Final = 0.85
"""Median correlation that of large pictures only copies reach: the threshold is not raised beyond it."""

_POSSIBLE_BELOW: Final = 0.15  # how far below the threshold a pair is still reported as possible


@dataclass(frozen=True, kw_only=True)
class Negatives:
    """Pairs that should not pass.

    Attributes:
        neighbours: Pairs of different classes that lay near one another and were compared.
        neighbours_passing: How many of them passed.
        taken_for_copies: How many of these stand so far apart from the other neighbours (beyond the upper quartile by
            more than three times the distance of the quartiles), or so high, that they are copies under two labels
            rather than errors.
        strangers: Pairs drawn at random, of different classes where there are labels.
        strangers_passing: How many of them passed below `SURE`.
    """

    neighbours: int
    neighbours_passing: int
    taken_for_copies: int
    strangers: int
    strangers_passing: int

    @property
    def false_positive_rate(self) -> float:
        """Share of all negatives that passed and are not taken for copies; 0 where there are none."""
        wrong = self.neighbours_passing - self.taken_for_copies + self.strangers_passing
        return wrong / max(self.neighbours + self.strangers, 1)


@dataclass(frozen=True, kw_only=True)
class Positives:
    """Copies that were made of the collection's own pictures.

    Attributes:
        copies: How many.
        confirmed: How many were found among all pictures and confirmed.
        possible: How many more were found and reported as possible.
        confirmed_if_shown: How many were confirmed when compared with their original at once.
    """

    copies: int
    confirmed: int
    possible: int
    confirmed_if_shown: int

    @property
    def recall(self) -> float | None:
        """Share that was found and confirmed; None where no copy was made."""
        return self.confirmed / self.copies if self.copies else None


NO_COPIES: Final = Positives(copies=0, confirmed=0, possible=0, confirmed_if_shown=0)


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """What the audit found about itself.

    Attributes:
        positives: Copies made and looked for.
        before: Negatives at the threshold that the audit starts from.
        negatives: Negatives at the threshold that was used.
        raised: Whether it was raised.
        note: What was found, in words.
    """

    positives: Positives
    before: Negatives
    negatives: Negatives
    raised: bool
    note: str


def checked_thresholds(
    thresholds: Thresholds, neighbours: Sequence[Evidence | None], strangers: Sequence[Evidence | None]
) -> Thresholds:
    """Raise the threshold of agreement if the negatives are shifted so far up that more than `ALLOWED` pass.

    Args:
        thresholds: Those to start from.
        neighbours: Evidence of compared pairs of different classes.
        strangers: Evidence of random pairs.
    """
    raised = thresholds.agreement
    counts = negatives(thresholds, neighbours, strangers)
    if counts.neighbours_passing - counts.taken_for_copies > ALLOWED * max(counts.neighbours, 1):
        raised = max(raised, _fence(neighbours))
    if counts.strangers_passing > ALLOWED * max(counts.strangers, 1):
        passing = sorted(_score(each) for each in strangers if _passes_unsure(each, thresholds))
        kept = int(ALLOWED * counts.strangers)
        raised = max(raised, passing[len(passing) - 1 - kept] + 0.01)
    raised = min(raised, SURE)
    if raised <= thresholds.agreement:
        return thresholds
    return replace(thresholds, agreement=raised, possible=max(raised - _POSSIBLE_BELOW, thresholds.possible))


def negatives(
    thresholds: Thresholds, neighbours: Sequence[Evidence | None], strangers: Sequence[Evidence | None]
) -> Negatives:
    """Count what passes; arguments as in `checked_thresholds`."""
    passing = [each for each in neighbours if verdict(each, thresholds) == "near"]
    # Below this many the fence means little: then only the height of a score tells.
    fence = _fence(neighbours) if len(neighbours) >= LEAST_NEIGHBOURS else SURE
    return Negatives(
        neighbours=len(neighbours),
        neighbours_passing=len(passing),
        taken_for_copies=sum(_score(each) > min(fence, SURE) for each in passing),
        strangers=len(strangers),
        strangers_passing=sum(_passes_unsure(each, thresholds) for each in strangers),
    )


def note(before: Negatives, after: Negatives, start: Thresholds, used: Thresholds, positives: Positives) -> str:
    """What the self-check found, in words."""
    texts = []
    if used.agreement > start.agreement:
        texts.append(
            f"The threshold of agreement was raised from {start.agreement:.2f} to {used.agreement:.2f}: "
            f"{before.false_positive_rate:.1%} of the pairs that should not pass did, {after.false_positive_rate:.1%} "
            "do now. Different pictures of this collection look alike; look at the pairs before you trust the groups."
        )
    elif after.false_positive_rate > ALLOWED:
        texts.append(
            f"{after.false_positive_rate:.1%} of the pairs that should not pass do; look at the pairs before you "
            "trust the groups."
        )
    if after.taken_for_copies:
        texts.append(
            f"{after.taken_for_copies} compared pairs of different classes agree so much more than the others that "
            "they are taken for copies under two labels."
        )
    if positives.copies:
        texts.append(
            f"Of {positives.copies} copies made of these pictures {positives.confirmed} were found and confirmed, "
            f"{positives.possible} more are reported as possible."
        )
    return " ".join(texts) or "Too few pictures to check the thresholds on."


def _passes_unsure(evidence: Evidence | None, thresholds: Thresholds) -> bool:
    return verdict(evidence, thresholds) == "near" and _score(evidence) < SURE


def _score(evidence: Evidence | None) -> float:
    return 0.0 if evidence is None else max(evidence.agreement.median, 0.0)


def _fence(pairs: Sequence[Evidence | None]) -> float:
    """Tukey's outer fence: the upper quartile and three times the distance of the quartiles above it."""
    if not pairs:
        return SURE
    low, high = np.quantile([_score(each) for each in pairs], [0.25, 0.75])
    return float(high + 3 * (high - low))
