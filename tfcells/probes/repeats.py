"""The nested choice over several dealings of the outer folds, joined to one estimate.

One dealing leaves its own luck in the number: which groups lie in a fold decides what is chosen there and learned for
it. The mean over dealings has less of that luck, and says how much is left. It does not make images more: what the
sample of groups leaves open stays open however often it is dealt. The first dealing is the split's; other
dealings are random and ignore what the folds of a split file mean: where each is a site, the mean is not of new sites.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tfcells.arrays import Float64, Hits
from tfcells.probes.candidates import Candidate, Scores
from tfcells.probes.crossval import SweepRows
from tfcells.probes.reading import Reading
from tfcells.probes.selection import WORTH_OF_TIES, Selection
from tfcells.stats.clusters import quantile_of_t
from tfcells.stats.corrections import holm
from tfcells.stats.intervals import Interval, wilson_clustered, wilson_of_metric
from tfcells.stats.metrics import balanced_accuracy, confusion_by_group, macro_f1
from tfcells.stats.paired import PairedTest, corrected_resampled_t

METHOD: Final = (
    "mean over dealings; Wilson's interval over groups, joined in quadrature with t over dealings; dealings beyond the "
    "first ignore what the folds of a split file mean"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class AgainstBaseline:
    """The nested choice minus a baseline in balanced accuracy, over all dealings and folds.

    Attributes:
        reading: How the baseline reads its features.
        test: Corrected resampled t test (Nadeau & Bengio 2003).
        p_adjusted: Its p-value, adjusted for all baselines (Holm 1979).
    """

    reading: Reading
    test: PairedTest
    p_adjusted: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeated:
    """The nested choice over several dealings of the outer folds.

    Attributes:
        dealings: Their number, 2 or more.
        accuracy: Mean over dealings, with its interval; see `join_repeats`.
        balanced_accuracy: Likewise.
        macro_f1: Likewise.
        inner_best: Mean over dealings of the inner score that was chosen by.
        optimism: Mean over dealings.
        ties: The most readings that could not be told from the best in a dealing.
        against: The baselines.
    """

    dealings: int
    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    inner_best: float
    optimism: float
    ties: int
    against: tuple[AgainstBaseline, ...]


def join_repeats(
    selections: Sequence[Selection], dealings: Sequence[SweepRows], baselines: Sequence[Sequence[Candidate]]
) -> Repeated:
    """Join the nested choices of several dealings.

    The interval of each metric has two parts, joined in quadrature. The sample of groups: Wilson's interval as of a
    single dealing, where a row counts once per dealing and all of a group's rows are one cluster, so that what is
    averaged over dealings is averaged and no row counts for more than it is; folds that choose among ties make a row
    worth less, as there. The luck of the dealing: t times the standard error of the mean over dealings. Rows' own luck
    with the dealing is in both parts; counting it twice errs on the wide side.

    Args:
        selections: The nested choice in each dealing, 2 or more.
        dealings: Labels, groups and folds of each; labels and groups are the same in all.
        baselines: The baselines in each dealing, in one order.
    """
    ties = max(selection.ties for selection in selections)
    worth, groups = WORTH_OF_TIES if ties else 1.0, np.tile(dealings[0].groups, len(dealings))
    hits = np.concatenate([selection.predictions.hits for selection in selections])
    grouped = confusion_by_group(
        np.tile(dealings[0].labels, len(dealings)),
        np.concatenate([selection.predictions.predicted for selection in selections]),
        groups,
        classes=dealings[0].classes,
    )

    def joined(of_groups: Interval, score_of: Callable[[Scores], Interval]) -> Interval:
        return _joined(of_groups, np.array([score_of(selection.scores).value for selection in selections]))

    return Repeated(
        dealings=len(dealings),
        accuracy=joined(wilson_clustered(hits, groups, worth=worth), lambda scores: scores.accuracy),
        balanced_accuracy=joined(
            wilson_of_metric(grouped, balanced_accuracy, worth=worth), lambda scores: scores.balanced_accuracy
        ),
        macro_f1=joined(wilson_of_metric(grouped, macro_f1, worth=worth), lambda scores: scores.macro_f1),
        inner_best=float(np.mean([selection.inner_best for selection in selections])),
        optimism=float(np.mean([selection.optimism for selection in selections])),
        ties=ties,
        against=_against(selections, dealings, baselines),
    )


def _joined(of_groups: Interval, values: Float64[np.ndarray, " dealings"]) -> Interval:
    """Mean of a metric over dealings; `of_groups` is of all tables together, whose macro-F1 is not the mean."""
    value, dealings = float(values.mean()), len(values)
    luck = quantile_of_t(dealings - 1) * float(values.std(ddof=1)) / np.sqrt(dealings)
    low = value - np.hypot(of_groups.value - of_groups.low, luck)
    high = value + np.hypot(of_groups.high - of_groups.value, luck)
    return Interval(value, float(max(low, 0.0)), float(min(high, 1.0)))


def _against(
    selections: Sequence[Selection], dealings: Sequence[SweepRows], baselines: Sequence[Sequence[Candidate]]
) -> tuple[AgainstBaseline, ...]:
    tests = []
    for entries in zip(*baselines, strict=True):  # one baseline in all dealings
        differences = np.concatenate(
            [
                _by_fold(selection.predictions.hits, entry.predictions.hits, rows)
                for selection, entry, rows in zip(selections, entries, dealings, strict=True)
            ]
        )
        groups, folds = len(np.unique(dealings[0].groups)), len(dealings[0].fold_numbers)
        tested = max(1, round(groups / folds))
        tests.append(_within(corrected_resampled_t(differences, n_train=groups - tested, n_test=tested)))
    adjusted = holm(np.array([test.p_value for test in tests]))
    return tuple(
        AgainstBaseline(reading=entry.reading, test=test, p_adjusted=float(p))
        for entry, test, p in zip(baselines[0], tests, adjusted, strict=True)
    )


def _by_fold(hits: Hits, others: Hits, rows: SweepRows) -> Float64[np.ndarray, " folds"]:
    """Difference in balanced accuracy on each fold's rows, over the classes that it has."""
    found = []
    for fold in rows.fold_numbers:
        asked = rows.folds == fold
        gained = hits[asked].astype(np.float64) - others[asked]
        labels = rows.labels[asked]
        found.append(np.mean([gained[labels == label].mean() for label in np.unique(labels)]))
    return np.array(found)


def _within(test: PairedTest) -> PairedTest:
    """The test with its interval cut off where no difference of shares can be."""
    found = test.difference
    return replace(test, difference=Interval(found.value, max(found.low, -1.0), min(found.high, 1.0)))
