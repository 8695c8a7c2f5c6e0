"""Maps of one method over some images with everything that was checked of them, and the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tfcells.arrays import Float64, Groups
from tfcells.explain.attribution import Attribution, Completeness
from tfcells.explain.explained import Batch, Contrasts, Explained
from tfcells.explain.faithfulness import (
    Curves,
    Masks,
    disc_inside,
    disc_maps,
    fidelity_curves,
    mask_areas,
    mass_inside,
    mean_interval,
    random_maps,
)
from tfcells.explain.methods import METHODS
from tfcells.explain.randomised import LARGEST_MEDIAN, NETWORKS, rank_correlations
from tfcells.explain.verdict import verdict_of

_Mean = dict[str, float | None]
_OverImages = Callable[[np.ndarray], _Mean]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What is explained, and what is known of it.

    Attributes:
        explained: The classifier.
        pictures: At its size.
        contrasts: What is explained of each.
        groups: int64 of shape (images,): images that show the same cell share a number.
        masks: bool of shape (images, size, size), or None.
        seed: Of whatever is drawn.
    """

    explained: Explained
    pictures: Batch
    contrasts: Contrasts
    groups: Groups
    masks: Masks | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Checked:
    """Maps and their checks, a number per image each.

    Attributes:
        maps: The maps.
        curves: Of the maps.
        random: Of maps of the same grain that know nothing.
        disc: Of maps that point at the middle.
        correlations: (networks, images), with maps of randomised networks; NaN of images whose own map is the same
            everywhere.
        sizes: The same of maps without their signs.
        inside: Share of positive mass in the mask; None without masks, NaN where a mask is empty, as of the next two.
        disc_inside: The same of a centred disc of the mask's area.
        area: Share of the picture that the mask covers; None without masks.
        groups: int64 of shape (images,), from the case.
    """

    maps: Attribution
    curves: Curves
    random: Curves
    disc: Curves
    correlations: Float64[np.ndarray, "networks images"]
    sizes: Float64[np.ndarray, "networks images"]
    inside: Float64[np.ndarray, " images"] | None
    disc_inside: Float64[np.ndarray, " images"] | None
    area: Float64[np.ndarray, " images"] | None
    groups: Groups

    @property
    def flat(self) -> np.ndarray:
        """Whether a map is the same everywhere and says nothing: bool of shape (images,)."""
        return np.asarray(np.isnan(self.correlations).any(axis=0))


def middle_curves(case: Case) -> Curves:
    """Of maps that point at the middle: the same for every method, so made once."""
    heat = disc_maps(len(case.pictures))
    return fidelity_curves(case.explained, case.pictures, case.contrasts, heat, seed=case.seed)


def check_method(case: Case, name: str, *, disc: Curves, networks: int = NETWORKS) -> Checked:
    """Make a method's maps and check them.

    Args:
        case: What is explained.
        name: In `METHODS`.
        disc: From `middle_curves`.
        networks: Randomised networks for the randomisation test.

    Raises:
        RequestError: If the method cannot explain this classifier.
    """
    method = METHODS[name]
    explained, pictures, contrasts = case.explained, case.pictures, case.contrasts
    maps = method.make(explained, pictures, contrasts)
    curves = fidelity_curves(explained, pictures, contrasts, maps.heat, seed=case.seed)
    blind = random_maps(len(pictures), maps.heat.shape[1:], seed=case.seed)
    random = fidelity_curves(explained, pictures, contrasts, blind, seed=case.seed)
    # The same settings on both sides, or a difference of settings would pass for one of weights.
    settings = method.cheap(explained.size)
    cheap = partial(method.make, **settings)
    asked = cheap(explained, pictures, contrasts) if settings else maps
    found = rank_correlations(explained, cheap, pictures, contrasts, asked, networks=networks, seed=case.seed)
    found.maps[:, maps.flat] = found.sizes[:, maps.flat] = np.nan
    inside = None if case.masks is None else mass_inside(maps.heat, case.masks)
    beside = None if case.masks is None else disc_inside(case.masks)
    return Checked(
        maps=maps,
        curves=curves,
        random=random,
        disc=disc,
        correlations=found.maps,
        sizes=found.sizes,
        inside=inside,
        disc_inside=beside,
        area=None if case.masks is None else mask_areas(case.masks),
        groups=case.groups,
    )


def joined(parts: Sequence[Checked]) -> Checked:
    """Checks of one method on other images each, as one: `parts` have the same method and number of networks."""
    first = parts[0]
    if len(parts) == 1:
        return first
    maps = [part.maps for part in parts]
    taps = maps[0].parts
    return Checked(
        maps=Attribution(
            method=maps[0].method,
            heat=np.concatenate([each.heat for each in maps]),
            signed=maps[0].signed,
            completeness=_joined_completeness([each.completeness for each in maps]),
            rest=_joined_numbers([each.rest for each in maps]),
            parts={tap: np.concatenate([each.parts[tap] for each in maps]) for tap in taps},
            rounding=_joined_numbers([each.rounding for each in maps]),
        ),
        curves=_joined_curves([part.curves for part in parts]),
        random=_joined_curves([part.random for part in parts]),
        disc=_joined_curves([part.disc for part in parts]),
        correlations=np.concatenate([part.correlations for part in parts], axis=1),
        sizes=np.concatenate([part.sizes for part in parts], axis=1),
        inside=_joined_numbers([part.inside for part in parts]),
        disc_inside=_joined_numbers([part.disc_inside for part in parts]),
        area=_joined_numbers([part.area for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
    )


def _joined_numbers(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _joined_curves(parts: Sequence[Curves]) -> Curves:
    return Curves(
        deletion=np.concatenate([part.deletion for part in parts]),
        insertion=np.concatenate([part.insertion for part in parts]),
    )


def _joined_completeness(parts: Sequence[Completeness | None]) -> Completeness | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return Completeness(**{name: np.concatenate([getattr(part, name) for part in known]) for name in vars(known[0])})


def image_facts(checked: Checked, image: int) -> dict[str, Any]:
    """What was checked of one image, as JSON has it."""
    whole = checked.maps.completeness
    complete = None
    if whole is not None:
        complete = {
            "claimed": float(whole.claimed[image]),
            "found": float(whole.found[image]),
            "error": float(whole.error[image]),
            "allowed": float(whole.allowed[image]),
            "reached": bool(whole.reached[image]),
            "passes": int(whole.steps[image]),
        }
    inside = None
    if checked.inside is not None and checked.disc_inside is not None and not np.isnan(checked.inside[image]):
        inside = {"map": float(checked.inside[image]), "centred_disc": float(checked.disc_inside[image])}
    return {
        "completeness": complete,
        "deletion": _three(checked, "deletion", image),
        "insertion": _three(checked, "insertion", image),
        "flat": bool(checked.flat[image]),
        "rank_correlations": [None if np.isnan(value) else float(value) for value in checked.correlations[:, image]],
        "mass_inside": inside,
    }


def _three(checked: Checked, kind: str, image: int) -> dict[str, float]:
    sides = {"map": checked.curves, "random_order": checked.random, "centred_disc": checked.disc}
    return {name: float(getattr(curves, kind)[image]) for name, curves in sides.items()}


def summary_of(checked: Checked, *, seed: int = 0, most: int | None = None) -> dict[str, Any]:
    """A method's numbers over images with 95 % intervals, the verdict and its reasons, as JSON has them.

    Args:
        checked: Of a method.
        seed: Of the intervals.
        most: Images that there are to check on; None of any number.
    """
    over_images = partial(_over_images, groups=checked.groups, seed=seed)
    fidelity = {kind: _fidelity(checked, kind, over_images) for kind in ("deletion", "insertion")}
    telling = ~checked.flat
    median = float(np.median(np.abs(checked.correlations[:, telling]))) if telling.any() else None
    told = telling.any() and checked.maps.signed  # without signs, others are what they were
    sizes = float(np.median(np.abs(checked.sizes[:, telling]))) if told else None
    complete = _completeness(checked.maps.completeness)
    groups = len(np.unique(checked.groups[telling]))
    flat = int(checked.flat.sum())
    beside = checked.correlations[:, telling]
    silenced = (int((beside == 0).sum()), beside.size)  # 0 is what a randomised network's flat map is given
    verdict = verdict_of(
        images=len(telling),
        flat=flat,
        groups=groups,
        median=median,
        sizes=sizes,
        fidelity=fidelity,
        complete=complete,
        silenced=silenced,
        most=most,
    )
    return {
        "method": checked.maps.method,
        "images": len(telling),
        "flat": flat,
        "grid": list(checked.maps.heat.shape[1:]),
        "completeness": complete,
        **fidelity,
        "randomisation": {
            "median_absolute_rank_correlation": median,
            "of_sizes": sizes,
            "allowed": LARGEST_MEDIAN,
            "networks": len(checked.correlations),
            "images": len(telling) - flat,
            "groups": groups,
            "flat": silenced[0],
        },
        "mass_inside": _mass(checked, seed=seed),
        "verdict": verdict.word,
        "reasons": verdict.reasons,
        "evidence": verdict.evidence,
    }


def _fidelity(checked: Checked, kind: str, over_images: _OverImages) -> dict[str, Any]:
    """`deletion` or `insertion`: of the maps, of what they are held against, and the differences."""
    mine, random, disc = (getattr(curves, kind) for curves in (checked.curves, checked.random, checked.disc))
    return {
        "map": over_images(mine),
        "random_order": over_images(random),
        "centred_disc": over_images(disc),
        "map_minus_random_order": over_images(mine - random),
        "map_minus_centred_disc": over_images(mine - disc),
    }


def _mass(checked: Checked, *, seed: int) -> dict[str, Any] | None:
    """Shares of mass inside the cell, over images whose cell is known; None without masks."""
    if checked.inside is None or checked.disc_inside is None or checked.area is None:
        return None
    known = ~np.isnan(checked.inside)
    if not known.any():
        return None
    over_images = partial(_over_images, groups=checked.groups[known], seed=seed)
    inside, disc = checked.inside[known], checked.disc_inside[known]
    return {
        "images": int(known.sum()),
        "map": over_images(inside),
        "centred_disc": over_images(disc),
        "map_minus_centred_disc": over_images(inside - disc),
        "whole_picture": over_images(checked.area[known]),
    }


def _completeness(whole: Completeness | None) -> dict[str, Any] | None:
    """How nearly maps add up; None of a method whose maps need not."""
    if whole is None:
        return None
    return {
        "largest_error": float(whole.error.max()),
        "largest_relative_error": float((whole.error / np.maximum(np.abs(whole.claimed), 1.0)).max()),
        "reached": int(whole.reached.sum()),
        "images": len(whole.error),
    }


def _over_images(values: np.ndarray, *, groups: Groups, seed: int) -> _Mean:
    found = mean_interval(values, groups, seed=seed)
    if found is None:
        return {"value": float(values.mean()), "low": None, "high": None}
    return {"value": found.value, "low": found.low, "high": found.high}
