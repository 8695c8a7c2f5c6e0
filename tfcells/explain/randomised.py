"""A network whose weights mean nothing, and whether a map notices: the randomisation test of Adebayo et al. (2018)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import keras
import numpy as np
from scipy import stats

from tfcells.arrays import Float64
from tfcells.backbones.calibrate import calibrate_batch_norm
from tfcells.backbones.catalog import Preprocessing
from tfcells.explain.attribution import Attribution
from tfcells.explain.explained import Batch, Contrasts, Explained

LARGEST_MEDIAN: Final = 0.2
"""Median absolute rank correlation up to which maps of the two networks count as different."""

NETWORKS: Final = 3
"""Randomised networks that a method is asked about: one alone may happen to look where the trained one looks."""

_AS_THEY_ARE: Final = Preprocessing("rgb", (1.0,) * 3, (0.0,) * 3)  # the model takes pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Correlations:
    """Spearman's rank correlations of maps with those of randomised networks, float64 of shape (networks, images).

    NaN where the trained network's map is the same everywhere: it ranks nothing, so that nothing can be lost by other
    weights. 0 where only a randomised network's is.

    Attributes:
        maps: Of the maps as they are, signed.
        sizes: Of the maps without their signs. A map that multiplies the picture by what weights say may lose its signs
            and still be strong where the picture is.
    """

    maps: Float64[np.ndarray, "networks images"]
    sizes: Float64[np.ndarray, "networks images"]


def rank_correlations(
    explained: Explained,
    make: Callable[[Explained, Batch, Contrasts], Attribution],
    pictures: Batch,
    contrasts: Contrasts,
    maps: Attribution,
    *,
    networks: int = NETWORKS,
    seed: int = 0,
) -> Correlations:
    """Spearman's rank correlation of each map with that of networks whose weights are permuted.

    Adebayo et al. (2018), Sanity checks for saliency maps, https://arxiv.org/abs/1810.03292: a map that stays the same
    shows the picture, not what the network has learned. All layers are randomised together.

    Args:
        explained: The classifier.
        make: The method.
        pictures: At the network's size.
        contrasts: What is explained.
        maps: Its maps of the trained network.
        networks: How many randomised networks.
        seed: Of their weights.
    """
    found, sizes = np.zeros((2, networks, len(pictures)))
    for number in range(networks):
        with randomised(explained, seed=seed + number) as other:
            others = make(other, pictures, contrasts)
        for image in np.flatnonzero(~maps.flat & ~others.flat):
            mine, beside = maps.heat[image].ravel(), others.heat[image].ravel()
            found[number, image] = stats.spearmanr(mine, beside).statistic
            ranked = np.ptp(np.abs(mine)) > 0 and np.ptp(np.abs(beside)) > 0
            sizes[number, image] = stats.spearmanr(np.abs(mine), np.abs(beside)).statistic if ranked else 0.0
    found[:, maps.flat] = sizes[:, maps.flat] = np.nan
    return Correlations(maps=found, sizes=sizes)


@contextmanager
def randomised(explained: Explained, *, seed: int) -> Iterator[Explained]:
    """The classifier with the entries of every weight array permuted, for as long as the context lasts.

    Permuted weights have the sizes that the layers were made for. Moving statistics of batch norm are measured anew,
    on patterned pictures, or activations would grow or vanish; those of normalisation layers belong to the
    preprocessing and stay. Weights are put back bit by bit, errors or not. Do not use the classifier meanwhile: it is
    the same network.
    """
    generator = np.random.default_rng(seed)
    layers = [layer for layer in explained.model._flatten_layers() if not isinstance(layer, keras.Model)]
    # Seeds of layers that draw are no weights, and move on in training mode.
    kept = [(variable, variable.numpy()) for variable in explained.model.variables]
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    flags = [(norm, norm.trainable, [variable.trainable for variable in norm._trainable_variables]) for norm in norms]
    try:
        for variable in _learned(layers):
            values = variable.numpy()
            variable.assign(generator.permutation(values.ravel()).reshape(values.shape))
        for norm in norms:
            norm.trainable = True  # or it would not look at the batch
        if norms:
            calibrate_batch_norm(explained.model, _AS_THEY_ARE, seed=seed)
        yield _with_probe(explained, generator)
    finally:
        for norm, was, single in flags:
            norm.trainable = was
            for variable, learns in zip(norm._trainable_variables, single, strict=True):
                variable.trainable = learns
        for variable, values in kept:
            variable.assign(values)


def _learned(layers: list[Any]) -> list[Any]:
    """Variables that training has set, each once; a layer that holds layers names none that they name."""
    found: dict[int, Any] = {}
    for layer in layers:
        if isinstance(layer, keras.layers.Normalization):
            continue
        moving = (
            [layer.moving_mean, layer.moving_variance] if isinstance(layer, keras.layers.BatchNormalization) else []
        )
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            if not any(variable is other for other in moving) and "seed_generator" not in variable.path:
                found[id(variable)] = variable
    return list(found.values())


def _with_probe(explained: Explained, generator: np.random.Generator) -> Explained:
    """With a probe whose weights are permuted as well, for maps that read them from it."""
    if explained.linear is None:
        return replace(explained)
    probe = explained.linear.folded
    weights = generator.permutation(probe.weights.ravel()).reshape(probe.weights.shape)
    folded = replace(probe, weights=weights, bias=generator.permutation(probe.bias))
    return replace(explained, linear=replace(explained.linear, folded=folded))
