"""When two pictures count as copies of one another: the thresholds, and what they are applied to."""

from dataclasses import dataclass
from typing import Final, Literal

from tfcells.images.audit.agreement import Agreement

Verdict = Literal["near", "possible", "apart"]


@dataclass(frozen=True)
class Evidence:
    """What speaks for two pictures being one.

    Attributes:
        inliers: Matched keypoints that lie in one another's places.
        agreement: What the blocks of the overlap say.
        shorter: Shortest side in pixels of the two pictures.
    """

    inliers: int
    agreement: Agreement
    shorter: int


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What is required of a pair. All of it, for a pair to be confirmed.

    Attributes:
        agreement: Median correlation of blocks. Copies and overlapping fields of 200 pixels or more reached 0.72 to
            1; other pairs of such pictures stayed below 0.45, with the same scale bar on all of them too.
        blocks: Textured blocks in the overlap. Of fewer, half may agree by chance.
        inliers: Keypoints in place.
        small_side: Pictures whose shorter side is below this, in pixels, show one cell and little else, and cells of a
            kind look alike: two round cells on empty ground reached 0.88. For them the four numbers below are required
            too, and half of the blocks suffices.
        small_agreement: Median correlation of blocks.
        small_low: Their lower quartile: nearly every block must agree.
        small_inliers: Keypoints in place.
        small_overlap: Share of the smaller picture in the overlap.
        possible: Median correlation from which an aligned pair that is not confirmed is reported as possible.
    """

    agreement: float = 0.6
    blocks: int = 12
    inliers: int = 6
    small_side: int = 200
    small_agreement: float = 0.8
    small_low: float = 0.6
    small_inliers: int = 12
    small_overlap: float = 0.5
    possible: float = 0.45


DEFAULT: Final = Thresholds()
"""Chosen between what copies reach and what other pairs reach on four collections; `self_check` looks at them again."""


def verdict(evidence: Evidence | None, thresholds: Thresholds) -> Verdict:
    """Judge a pair: `near` (a copy), `possible` (reported, not merged) or `apart`.

    Args:
        evidence: None where the keypoints could not be aligned.
        thresholds: What is required.
    """
    if evidence is None:
        return "apart"
    found = evidence.agreement
    enough = found.median >= thresholds.agreement and evidence.inliers >= thresholds.inliers
    if enough and evidence.shorter < thresholds.small_side:
        enough = _is_strong(evidence, thresholds)
    elif enough:
        enough = found.blocks >= thresholds.blocks
    if enough:
        return "near"
    return "possible" if found.median >= thresholds.possible and found.blocks >= thresholds.blocks // 2 else "apart"


def _is_strong(evidence: Evidence, thresholds: Thresholds) -> bool:
    found = evidence.agreement
    return (
        found.median >= thresholds.small_agreement
        and found.low >= thresholds.small_low
        and evidence.inliers >= thresholds.small_inliers
        and found.overlap >= thresholds.small_overlap
        # A small picture has few blocks: half of what is asked of a large one.
        and found.blocks >= thresholds.blocks // 2
    )
