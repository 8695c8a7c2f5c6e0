"""The evidence for one pair: match, align, and only where that works compare the pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tfcells.arrays import Pixels
from tfcells.images.audit.agreement import View, agreement
from tfcells.images.audit.candidates import Candidate
from tfcells.images.audit.evidence import Evidence
from tfcells.images.audit.geometry import align, matches, unit_descriptors
from tfcells.images.audit.keypoints import Keypoints, find_keypoints, working_picture
from tfcells.images.audit.shelf import Shelf


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture to be compared.

    Attributes:
        points: Its keypoints.
        view: Gives its pixels; asked for only where keypoints could be aligned.
        shorter: Its shorter side in pixels, before it was brought to the working size.
    """

    points: Keypoints
    view: Callable[[], View]
    shorter: int


def compare(first: Subject, second: Subject, *, mirrored: bool) -> Evidence | None:
    """The evidence for two pictures being one, or None where their keypoints do not lie in one another's places."""
    points = second.points.mirrored() if mirrored else second.points
    pairs = matches(unit_descriptors(first.points), unit_descriptors(points))
    alignment = align(first.points, points, pairs)
    if alignment is None:
        return None
    view = second.view().mirrored() if mirrored else second.view()
    found = agreement(first.view(), view, alignment.affine)
    return Evidence(alignment.inliers, found, min(first.shorter, second.shorter))


def stronger(first: Evidence | None, second: Evidence | None) -> Evidence | None:
    """The better of the evidence for two sides of a picture."""
    if first is None or second is None:
        return second if first is None else first
    return first if first.agreement.median >= second.agreement.median else second


class Comparer:
    """Compares pictures of a shelf by their places among some of its rows.

    Args:
        shelf: Holds the pictures.
        rows: Row numbers on the shelf; a candidate's numbers are places in this sequence.
    """

    def __init__(self, shelf: Shelf, rows: Sequence[int]) -> None:
        self._shelf, self._rows = shelf, rows

    def __call__(self, pair: Candidate) -> Evidence | None:
        """The evidence for a candidate."""
        return compare(self.subject(pair.first), self.subject(pair.second), mirrored=pair.mirrored)

    def either_side(self, first: int, second: int) -> Evidence | None:
        """The evidence for a pair, mirrored or not."""
        return stronger(self(Candidate(first, second, False)), self(Candidate(first, second, True)))

    def subject(self, place: int) -> Subject:
        """One of the pictures."""
        row = self._rows[place]
        measures = self._shelf.measures[row]
        return Subject(self._shelf.keypoints(row), lambda: self._shelf.view(row), min(measures.width, measures.height))

    def outsider(self, pixels: Pixels) -> Subject:
        """A picture that is not on the shelf, looked at in the same way."""
        picture = working_picture(pixels)
        view = View(picture, self._shelf.own(picture, (pixels.shape[0], pixels.shape[1])))
        return Subject(find_keypoints(picture, view.own), lambda: view, int(np.min(pixels.shape[:2])))
