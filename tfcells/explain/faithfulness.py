"""Does the network use what a map points at? Deletion and insertion curves, and how much of a map lies in the cell."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from tfcells.arrays import Float64, Groups
from tfcells.errors import RequestError
from tfcells.explain.attribution import Heat, binned, spread
from tfcells.explain.baselines import baseline_of
from tfcells.explain.explained import BATCH, Batch, Contrasts, Explained, probability_of
from tfcells.stats.bootstrap import cluster_bootstrap_rows
from tfcells.stats.intervals import Interval

BLOCKS: Final = 28
"""Blocks along a side in which pixels are hidden or shown: pixel by pixel, a network is asked about noise."""

STEPS: Final = 16
"""Shares of the blocks at which it is asked, beside none."""

FEWEST_GROUPS: Final = 6
"""Of fewer, no interval is given, and no verdict leans on one. Of five cells that differ for no reason, all fall on the
same side more often than once in forty (1 / 32), so no test could tell; of six (1 / 64) it can."""

Masks = np.ndarray
"""bool of shape (images, size, size): where the cell is; nowhere in a picture of which it is not known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Areas under deletion and insertion curves, one number per image.

    Petsiuk et al. (2018), RISE, https://arxiv.org/abs/1806.07421. Both are mean probabilities of what is explained.

    Attributes:
        deletion: As the blocks that a map ranks highest are hidden by the border's colour; a good map's is low.
        insertion: As they are shown in a blurred picture; a good map's is high.
    """

    deletion: Float64[np.ndarray, " images"]
    insertion: Float64[np.ndarray, " images"]


def fidelity_curves(
    explained: Explained,
    pictures: Batch,
    contrasts: Contrasts,
    heat: Heat,
    *,
    blocks: int = BLOCKS,
    steps: int = STEPS,
    seed: int = 0,
    batch_size: int = BATCH,
) -> Curves:
    """Areas under the deletion and insertion curves of maps.

    Args:
        explained: The classifier.
        pictures: At the network's size.
        contrasts: What is explained; see `probability_of`.
        heat: Maps on any grid.
        blocks: Along a side.
        steps: Shares of the blocks at which it is asked.
        seed: Of the order of blocks that a map ranks the same.
        batch_size: Pictures in a pass.
    """
    blocks = min(blocks, explained.size)
    generator = np.random.default_rng(seed)
    orders = _orders(binned(heat, side=blocks), generator)
    deleted = _areas(explained, pictures, contrasts, orders, "deletion", blocks, steps, batch_size)
    inserted = _areas(explained, pictures, contrasts, orders, "insertion", blocks, steps, batch_size)
    return Curves(deletion=deleted, insertion=inserted)


def random_maps(images: int, grid: tuple[int, int], *, seed: int, blocks: int = BLOCKS) -> Heat:
    """Maps that know nothing, as coarse as those of a grid: what deletion and insertion must beat.

    Coarse, since blocks that lie apart destroy a picture faster than blocks that lie together, whatever they show.
    """
    return np.asarray(np.random.default_rng(seed).random((images, min(grid[0], blocks), min(grid[1], blocks))))


def disc_maps(images: int, *, blocks: int = BLOCKS) -> Heat:
    """Maps that point at the middle, which is where a cell stands: discs about the centre, the smallest first."""
    place = (np.arange(blocks) + 0.5) / blocks - 0.5
    distance = np.hypot(place[:, None], place[None, :])
    return np.repeat((1 - distance)[None], images, axis=0)


def mass_inside(heat: Heat, masks: Masks) -> Float64[np.ndarray, " images"]:
    """Share of the positive numbers of each map that lies in the mask; of a map without any, the mask's own share.

    NaN where a mask is empty: nobody knows where the cell is.

    Args:
        heat: Maps on any grid.
        masks: bool of shape (images, size, size).
    """
    pixels = spread(np.maximum(heat, 0), size=masks.shape[1])
    total = pixels.sum(axis=(1, 2))
    inside = (pixels * masks).sum(axis=(1, 2))
    share = np.where(total > 0, inside / np.where(total > 0, total, 1), mask_areas(masks))
    return np.asarray(np.where(masks.any(axis=(1, 2)), share, np.nan))


def mask_areas(masks: Masks) -> Float64[np.ndarray, " images"]:
    """Share of the picture that each mask covers; NaN where it is empty."""
    return np.asarray(np.where(masks.any(axis=(1, 2)), masks.mean(axis=(1, 2)), np.nan))


def disc_inside(masks: Masks) -> Float64[np.ndarray, " images"]:
    """What `mass_inside` says of a disc about the centre that has the mask's area: the baseline that knows nothing."""
    size = masks.shape[1]
    place = np.arange(size) + 0.5 - size / 2
    distance = np.hypot(place[:, None], place[None, :])
    nearest = np.argsort(distance, axis=None, kind="stable")
    flat = masks.reshape(len(masks), -1)
    areas = flat.sum(axis=1)
    return np.array([row[nearest[:area]].mean() if area else np.nan for row, area in zip(flat, areas, strict=True)])


def mean_interval(values: np.ndarray, groups: Groups, *, seed: int = 0) -> Interval | None:
    """Mean over images with its 95 % interval by resampling groups; None of fewer than `FEWEST_GROUPS`.

    Args:
        values: float64 of shape (images,).
        groups: Images that show the same cell share a number.
        seed: Of the resampling.
    """
    if len(np.unique(groups)) < FEWEST_GROUPS:
        return None
    if np.ptp(values) == 0 and not 0 <= values[0] <= 1:  # a difference that is the same in every image
        return Interval(float(values[0]), float(values[0]), float(values[0]))
    return cluster_bootstrap_rows(_weighted_mean(values), groups, seed=seed)


def _weighted_mean(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def mean(weights: np.ndarray) -> np.ndarray:
        return np.asarray((weights @ values) / weights.sum(axis=-1))

    return mean


def _orders(heat: Heat, generator: np.random.Generator) -> np.ndarray:
    """Blocks of each image from the highest number to the lowest, equal ones in any order: (images, blocks)."""
    flat = heat.reshape(len(heat), -1)
    ties = generator.random(flat.shape)
    return np.stack([np.lexsort((tie, -row)) for row, tie in zip(flat, ties, strict=True)])


def _areas(
    explained: Explained,
    pictures: Batch,
    contrasts: Contrasts,
    orders: np.ndarray,
    kind: str,
    blocks: int,
    steps: int,
    batch_size: int,
) -> Float64[np.ndarray, " images"]:
    """Mean probability while blocks of the `before` picture become those of the `after` picture, in an order."""
    if steps < 2:
        raise RequestError(f"steps is {steps}. Expected 2 or more, for a curve.")
    shares = np.linspace(0, 1, steps + 1)
    block_of = np.arange(explained.size) * blocks // explained.size
    number = block_of[:, None] * blocks + block_of[None, :]  # of the block that a pixel lies in
    found = np.zeros(len(pictures))
    for image, (picture, contrast, order) in enumerate(zip(pictures, contrasts, orders, strict=True)):
        if kind == "deletion":
            before, after = picture, baseline_of(picture[None], "border")[0]
        else:
            before, after = baseline_of(picture[None], "blur")[0], picture
        rank = np.empty(blocks * blocks)
        rank[order] = (np.arange(blocks * blocks) + 1) / (blocks * blocks)
        changed = rank[number][None] <= shares[:, None, None] + 1e-9
        curve = np.where(changed[..., None], after[None], before[None]).astype(np.float32)
        logits = explained.logits(curve, batch_size=batch_size)
        chances = probability_of(logits, contrast, sigmoids=explained.sigmoids)
        found[image] = np.trapezoid(chances, shares)
    return found
