"""Many models against the one that did best on the very rows they are compared on."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from tfcells.arrays import Float64, Groups, HitsOfModels, Labels
from tfcells.errors import RequestError
from tfcells.stats.clusters import LEVEL, normal_quantile
from tfcells.stats.paired import EQUAL, PairedTest, paired_balanced_difference

DRAWS: Final = 9999

_NUMBERS: Final = 2**21  # float64 numbers that one batch of draws takes (16 MiB)

Maxima = Float64[np.ndarray, " draws"]


@dataclass(frozen=True, kw_only=True, eq=False)
class AgainstBest:
    """The model with the highest balanced accuracy, and what tells it from the others.

    Attributes:
        best: Its number; the first of equals.
        tests: By model: best minus this one, with an interval that holds for all of them at once; None for the best.
        p_adjusted: By model, the test's p-value after all pairs are counted; 1 for the best.
    """

    best: int
    tests: tuple[PairedTest | None, ...]
    p_adjusted: tuple[float, ...]


def against_best(
    hits: HitsOfModels, labels: Labels, groups: Groups, *, best: int | None = None, draws: int = DRAWS, seed: int = 0
) -> AgainstBest:
    """Compare every model with the best in balanced accuracy, the picking of the best included.

    The best was picked on these rows: of 16 equal models it lies two standard errors above the worst by luck, and
    corrections that count 15 comparisons with a model named beforehand (Bonferroni, Holm, Dunnett) call one of them
    worse in 9 to 20 % of studies. What bounds the luck of any pick is the largest difference among all pairs (Tukey's
    range). Its distribution without any difference is drawn for the models' own correlations: studentised differences
    of all pairs are sums over groups, whose deviations get random signs, one per group and draw for all pairs alike
    (Rademacher multipliers; Chernozhukov, Chetverikov & Kato 2013, Gaussian approximations and multiplier bootstrap
    for maxima of sums of high-dimensional random vectors; Romano & Wolf 2005, Exact and approximate stepdown methods
    for multiple hypothesis testing). Each pair's own p-value (`paired_balanced_difference`, exact, with the effective
    number of groups) is read as the normal deviate that it stands for, and takes its place among the drawn maxima.
    The adjusted p-value is never below the pair's own, and intervals are those of the pair at the 95 % quantile of the
    maxima, so that none without 0 goes with an adjusted p above 0.05.

    Args:
        hits: bool of shape (models, images), whether a model is right.
        labels: int64 of shape (images,), class indices.
        groups: int64 of shape (images,), group numbers; rows with one number must not be parted.
        best: Number of the best model where it is known.
        draws: 9,999 give p-values in steps of 0.0001.
        seed: Of the draws.

    Raises:
        RequestError: If there is no model or no row, a row has no label, or `draws` is below 19.
    """
    if len(hits) == 0 or draws < 19:
        raise RequestError(
            f"{len(hits)} models and {draws} draws came. Expected one model or more and 19 draws or more: fewer can "
            "tell none from another."
        )
    if best is None:
        best = int(np.argmax(_balanced(hits, labels)))
    others = [number for number in range(len(hits)) if number != best]
    found: list[PairedTest | None] = [None] * len(hits)
    adjusted = [1.0] * len(hits)
    maxima = _maxima(_influence(hits, labels, groups), draws, seed) if len(others) > 1 else None
    z = None if maxima is None else max(float(np.quantile(maxima, LEVEL, method="higher")), normal_quantile())
    for number in others:
        test = paired_balanced_difference(hits[best], hits[number], labels, groups, z=z)
        found[number] = test
        adjusted[number] = test.p_value if maxima is None else _adjusted(test.p_value, maxima)
    return AgainstBest(best=best, tests=tuple(found), p_adjusted=tuple(adjusted))


def _adjusted(p_value: float, maxima: Maxima) -> float:
    """Share of maxima that reach the normal deviate of a p-value; the data are one more draw."""
    deviate = -float(special.ndtri(p_value / 2))
    reached = int((maxima >= deviate - EQUAL).sum())
    return max(p_value, (reached + 1) / (len(maxima) + 1))


def _balanced(hits: HitsOfModels, labels: Labels) -> Float64[np.ndarray, " models"]:
    """Mean recall of each model over the classes that occur."""
    return np.asarray(np.mean([hits[:, labels == label].mean(axis=1) for label in np.unique(labels)], axis=0))


def _influence(hits: HitsOfModels, labels: Labels, groups: Groups) -> Float64[np.ndarray, "models groups"]:
    """What each group adds to a model's balanced accuracy beside its mean."""
    _, place, rows = np.unique(labels, return_inverse=True, return_counts=True)
    _, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    deviations = np.empty(hits.shape)
    for label, count in enumerate(rows.tolist()):
        mine = hits[:, place == label]
        deviations[:, place == label] = (mine - mine.mean(axis=1, keepdims=True)) / (count * len(rows))
    return np.asarray(np.add.reduceat(deviations[:, order], starts, axis=1))


def _maxima(influence: Float64[np.ndarray, "models groups"], draws: int, seed: int) -> Maxima:
    """Largest studentised difference among all pairs, for random signs of groups."""
    products = influence @ influence.T
    lengths = np.diagonal(products)
    squared = lengths[:, None] + lengths[None, :] - 2 * products
    differ = squared > EQUAL * lengths.max(initial=0.0)  # models that answered alike are no pair
    per_error = np.zeros_like(squared)
    per_error[differ] = squared[differ] ** -0.5
    generator = np.random.default_rng(seed)
    models, count = influence.shape
    step = max(1, _NUMBERS // max(models**2, count))
    found = []
    for first in range(0, draws, step):
        signs = generator.integers(0, 2, size=(min(step, draws - first), count), dtype=np.int8) * 2.0 - 1.0
        sums = signs @ influence.T
        found.append(((sums[:, :, None] - sums[:, None, :]) * per_error).max(axis=(1, 2)))
    return np.concatenate(found)
