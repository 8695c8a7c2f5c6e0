"""What the checks of a method's maps allow to be said of them: trustworthy, untrustworthy, or undecided.

Nothing is called trustworthy for want of reasons against it: a method must have been seen to do what it says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tfcells.explain.faithfulness import FEWEST_GROUPS
from tfcells.explain.randomised import LARGEST_MEDIAN

TRUSTWORTHY: Final = "trustworthy"
"""Nothing speaks against its maps, they change with the weights, and their order is better than a random one."""

UNTRUSTWORTHY: Final = "untrustworthy"
"""Something speaks against its maps."""

UNDECIDED: Final = "undecided"
"""Nothing speaks against its maps, and it is not shown either that they can be trusted."""

MOST_IMAGES: Final = 500
"""Beyond, nobody is told to check on more images."""

_BETTER: Final = {"deletion": -1.0, "insertion": 1.0}
"""Sign of a map's area minus a random order's where the map is better."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What can be said of a method on some images.

    Attributes:
        word: `TRUSTWORTHY`, `UNTRUSTWORTHY` or `UNDECIDED`.
        reasons: What speaks against it or, of `UNDECIDED`, what is lacking and what to do; empty of `TRUSTWORTHY`.
        evidence: What speaks for it.
    """

    word: str
    reasons: list[str]
    evidence: list[str]


def verdict_of(
    *,
    images: int,
    flat: int,
    groups: int,
    median: float | None,
    fidelity: Mapping[str, Any],
    complete: Mapping[str, Any] | None,
    sizes: float | None = None,
    silenced: tuple[int, int] = (0, 0),
    most: int | None = None,
) -> Verdict:
    """The verdict, by three rules.

    Untrustworthy, if most maps are the same everywhere, or maps stay alike when the weights are randomised, or do not
    add up where they must, or deletion or insertion by their order is worse than by a random order (the 95 % interval
    of the difference lies on the bad side).

    Trustworthy, if none of this holds, and

    - the randomisation test was passed on images of `FEWEST_GROUPS` groups or more whose maps are not flat, by
      randomised networks that mostly give maps which are not flat either: behind some probes (an RBF kernel far from
      all that it has learned) they answer alike whatever they are shown, and then any map of answers or gradients
      changes;
    - deletion or insertion is better than by a random order (its interval lies on the good side). One of the two is
      enough, since they ask different things, whether what a map points at is needed and whether it is sufficient:
      where a cell tells its class in many places none of them is needed, and a good map cannot win by deletion; a
      blurred cell may already tell it, and none wins by insertion. A map cannot win by the one and lose by the other:
      that is the rule above. The price is two chances instead of one: an interval lies on the good side for about one
      in forty methods that know nothing (by simulation of six to twenty groups; one in twelve where differences of so
      few are as skewed as an exponential), so about one in twenty such methods is given evidence by chance.

    Undecided else.

    Args:
        images: How many there are maps of.
        flat: Of these, how many have a map that is the same everywhere.
        groups: Of images with another map.
        median: Absolute rank correlation with maps of randomised networks; None where all maps are flat.
        fidelity: `deletion` and `insertion`, with the interval of the map minus a random order.
        complete: Of methods whose maps must add up.
        sizes: As `median`, of maps without their signs. It is told and decides nothing, since the rules and deletion
            and insertion by a map's order are about maps with their signs.
        silenced: Of the maps of randomised networks beside those that are not flat, how many are flat, and of how many.
        most: Images that there are to check on, so that nobody is told to take more; None of any number.
    """
    evidence = [found for kind in _BETTER if (found := _better(kind, fidelity[kind]["map_minus_random_order"]))]
    tested = groups >= FEWEST_GROUPS and 2 * silenced[0] <= silenced[1]
    if median is not None and median <= LARGEST_MEDIAN and tested:
        changed = f"its maps change when the weights are randomised: median |rank correlation| {median:.2f}"
        evidence.append(f"{changed} over {images - flat} images, {LARGEST_MEDIAN} is allowed{_of_sizes(sizes)}")
    against = _against(images=images, flat=flat, median=median, fidelity=fidelity, complete=complete)
    if against:
        return Verdict(word=UNTRUSTWORTHY, reasons=against, evidence=evidence)
    lacking = _few(images=images, flat=flat, groups=groups, most=most or MOST_IMAGES)
    if 2 * silenced[0] > silenced[1]:
        lacking.append(
            f"randomised networks give a map that is the same everywhere in {silenced[0]} of {silenced[1]}: behind "
            "this probe they answer alike whatever they are shown, so that maps change shows nothing. Read the "
            "features by a linear probe to learn more"
        )
    if groups >= FEWEST_GROUPS and not any(kind.startswith(tuple(_BETTER)) for kind in evidence):
        lacking.append(_no_better(images=images, fidelity=fidelity, most=most or MOST_IMAGES))
    return Verdict(word=UNDECIDED if lacking else TRUSTWORTHY, reasons=lacking, evidence=evidence)


def _against(
    *, images: int, flat: int, median: float | None, fidelity: Mapping[str, Any], complete: Mapping[str, Any] | None
) -> list[str]:
    found = []
    if 2 * flat > images:
        found.append(f"its maps are the same everywhere in {flat} of {images} images; nothing is shown")
    if median is not None and median > LARGEST_MEDIAN:
        found.append(
            f"its maps stay alike when the weights are randomised: median |rank correlation| {median:.2f}, more than "
            f"{LARGEST_MEDIAN}; they show the picture more than what was learned"
        )
    if complete is not None and complete["reached"] < complete["images"]:
        found.append(
            f"its maps do not add up to what they explain in {complete['images'] - complete['reached']} of "
            f"{complete['images']} images"
        )
    for kind, sign in _BETTER.items():
        difference = fidelity[kind]["map_minus_random_order"]
        if difference["low"] is not None and max(sign * difference["low"], sign * difference["high"]) < 0:
            found.append(
                f"{kind} by its order is worse than by a random order of the same grain, by "
                f"{abs(difference['value']):.3f} of probability"
            )
    return found


def _of_sizes(sizes: float | None) -> str:
    """That maps are strong in the same places whatever the weights, in words; nothing where they are not."""
    if sizes is None or sizes <= LARGEST_MEDIAN:
        return ""
    return (
        f"; but without their signs {sizes:.2f}: where they are strong shows the picture more than what was learned, "
        "so read what speaks for and what against, not how much of a map lies in the cell"
    )


def _better(kind: str, difference: Mapping[str, float | None]) -> str:
    """That a map's order is better than a random one, in words; nothing where that is not shown."""
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None or low is None or high is None or min(_BETTER[kind] * low, _BETTER[kind] * high) <= 0:
        return ""
    ends = sorted((abs(low), abs(high)))
    return (
        f"{kind} by its order is better than by a random order of the same grain, by {abs(value):.3f} of probability "
        f"({ends[0]:.3f} to {ends[1]:.3f})"
    )


def _few(*, images: int, flat: int, groups: int, most: int) -> list[str]:
    """That maps say something of too few groups, and what to do; nothing of enough."""
    if groups >= FEWEST_GROUPS:
        return []
    left = f", {flat} others being the same everywhere" if flat else ""
    wanted = min(max(2 * images, 2 * FEWEST_GROUPS), most)
    advice = f"Check it on more, such as --checks {wanted}" if wanted > images else "There are no more here"
    return [
        f"maps that say something: {images - flat}{left}; groups of images that they are of: {groups}. "
        f"{FEWEST_GROUPS} groups or more are needed: in fewer, the same outcome in all may be chance. {advice}"
    ]


def _no_better(*, images: int, fidelity: Mapping[str, Any], most: int) -> str:
    """That a map's order is not shown to be better than a random one, and how many images would show it."""
    differences = {kind: fidelity[kind]["map_minus_random_order"] for kind in _BETTER}
    told = " nor ".join(f"{kind} ({_signed(difference)})" for kind, difference in differences.items())
    wanted = [_images_wanted(images, _BETTER[kind], difference) for kind, difference in differences.items()]
    known = [number for number in wanted if number is not None]
    if known and min(known) <= most:
        advice = f"If it goes on like this, about {min(known)} images will show it (--checks {min(known)})"
    elif known:
        advice = f"If it goes on like this, it takes about {min(known)} images to show it, and there are {most} here"
    else:
        advice = f"As it looks, {MOST_IMAGES} images would not show it either"
    return (
        f"by its order neither {told} is shown to be better than by a random order of the same grain "
        f"(map minus random). {advice}"
    )


def _signed(difference: Mapping[str, float | None]) -> str:
    value, low, high = (difference[name] for name in ("value", "low", "high"))
    ends = "" if low is None or high is None else f", {low:+.3f} to {high:+.3f}"
    return f"{value:+.3f}{ends}"


def _images_wanted(images: int, sign: float, difference: Mapping[str, float | None]) -> int | None:
    """Images at which an interval of this mean would leave 0 out, if it shrinks by their square root; None of many."""
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None or low is None or high is None or sign * value <= 0:
        return None
    reach = abs(value - (low if sign > 0 else high))
    # A tenth more than what would just touch 0.
    wanted = int(np.ceil(1.1 * images * (reach / abs(value)) ** 2))
    return max(wanted, images + 1) if wanted <= MOST_IMAGES else None
