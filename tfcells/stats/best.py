"""Many models against the one that did best on the very rows they are compared on."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from tfcells.arrays import Float64, Groups, HitsOfModels, Labels
from tfcells.errors import RequestError
from tfcells.stats.clusters import LEVEL, normal_quantile
from tfcells.stats.paired import EQUAL, PairedTest, balanced_pair, paired_balanced_difference

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
    number of groups) is read as the normal deviate that it stands for, and takes its place among the drawn maxima. Few
    groups, or unequal ones, have lighter tails than the normal distribution: the deviate would then be further out than
    what was drawn, so it is no further than the pair's own difference over its root sum of squares, as the draws are.
    The adjusted p-value is never below the pair's own, and intervals are those of the pair at the 95 % quantile of the
    maxima (stretched by the same ratio), so that p <= 0.05 is never said of an interval that holds 0.

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
    if len(others) == 1:  # one pair is no choice
        found[others[0]] = test = paired_balanced_difference(hits[best], hits[others[0]], labels, groups)
        adjusted[others[0]] = test.p_value
        return AgainstBest(best=best, tests=tuple(found), p_adjusted=tuple(adjusted))
    maxima = _maxima(_by_group(hits, labels, groups, centred=True), draws, seed)
    needed = max(float(np.quantile(maxima, LEVEL, method="higher")), normal_quantile())
    apart = _by_group(hits, labels, groups, centred=False)
    for number in others:
        pair = balanced_pair(hits[best], hits[number], labels, groups)
        deviate = -float(special.ndtri(pair.p_value / 2))
        reached = min(deviate, _self_normalised(apart[best] - apart[number]))
        z = needed * (deviate / reached) if reached > 0 else needed
        found[number] = pair.at(z)
        adjusted[number] = max(pair.p_value, (int((maxima >= reached - EQUAL).sum()) + 1) / (len(maxima) + 1))
    return AgainstBest(best=best, tests=tuple(found), p_adjusted=tuple(adjusted))


def _self_normalised(differences: Float64[np.ndarray, " groups"]) -> float:
    """Sum of groups' differences over the root of the sum of their squares; 0 where all are 0."""
    length = float(np.sqrt(differences @ differences))
    return abs(float(differences.sum())) / length if length > 0 else 0.0


def _balanced(hits: HitsOfModels, labels: Labels) -> Float64[np.ndarray, " models"]:
    """Mean recall of each model over the classes that occur."""
    return np.asarray(np.mean([hits[:, labels == label].mean(axis=1) for label in np.unique(labels)], axis=0))


def _by_group(
    hits: HitsOfModels, labels: Labels, groups: Groups, *, centred: bool
) -> Float64[np.ndarray, "models groups"]:
    """What each group adds to a model's balanced accuracy; centred, beside the model's recall in each class."""
    _, place, rows = np.unique(labels, return_inverse=True, return_counts=True)
    _, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    shares = np.empty(hits.shape)
    for label, count in enumerate(rows.tolist()):
        mine = hits[:, place == label].astype(np.float64)
        mean = mine.mean(axis=1, keepdims=True) if centred else 0.0
        shares[:, place == label] = (mine - mean) / (count * len(rows))
    return np.asarray(np.add.reduceat(shares[:, order], starts, axis=1))


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
        largest = np.zeros(len(sums))
        for number in range(models - 1):  # each pair once
            apart = np.abs(sums[:, number, None] - sums[:, number + 1 :]) * per_error[number, number + 1 :]
            np.maximum(largest, apart.max(axis=1), out=largest)
        found.append(largest)
    return np.concatenate(found)
