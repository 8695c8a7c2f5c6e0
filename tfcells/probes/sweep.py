"""Every tap (and all of them together) read by every probe over the same folds, beside chance and colour."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from tfcells.arrays import Confusion, Features, Ids
from tfcells.errors import EmptyDataError, RequestError
from tfcells.features.handcrafted import COLOUR
from tfcells.features.store import FeatureStore
from tfcells.features.table import FeatureTable
from tfcells.images.splits import HOLDOUT, TRAIN, Split
from tfcells.probes.catalog import check_probes
from tfcells.probes.crossval import OutOfFold, SweepRows, cross_validate, out_of_fold
from tfcells.progress import Progress, silent
from tfcells.stats.corrections import holm
from tfcells.stats.intervals import Interval, wilson_clustered, wilson_of_metric
from tfcells.stats.metrics import balanced_accuracy, confusion_by_group, macro_f1
from tfcells.stats.paired import PairedTest, paired_difference

CHANCE: Final = "chance"
_LEVEL: Final = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Three numbers with 95 % intervals, and the table of counts they come from.

    Attributes:
        accuracy: Share of hits; Wilson's interval with the effective number of groups.
        balanced_accuracy: Mean recall over classes; Wilson's interval on a jackknife over groups.
        macro_f1: Mean F1 over classes; likewise.
        confusion: int64 of shape (classes, classes): rows are true classes.
    """

    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    confusion: Confusion


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One way to read the features, and how it did on rows it had not seen.

    Attributes:
        taps: Keys of the features, in column order.
        pooling: How they were pooled.
        probe: Name of the probe.
        scores: Cross-validated.
        predictions: Per row.
        against_best: Paired test of the best candidate against this one; None for the best itself.
        p_adjusted: Its p-value, adjusted for all comparisons with the best (Holm 1979); None likewise.
    """

    taps: tuple[str, ...]
    pooling: str
    probe: str
    scores: Scores
    predictions: OutOfFold
    against_best: PairedTest | None = None
    p_adjusted: float | None = None

    @property
    def tied_with_best(self) -> bool:
        """Whether the best cannot be told from this one at 5 %, all comparisons counted."""
        return self.p_adjusted is None or self.p_adjusted >= _LEVEL

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"{' + '.join(self.taps)}, {self.probe}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """What a sweep found.

    Attributes:
        candidates: Best first.
        baselines: Chance and colour statistics, judged on the same rows.
        class_names: The classes in use.
        ids: The rows in use, in the order of every prediction.
        rows: Their labels, groups and folds.
        concatenation: Paired test of all taps together against the best single tap; None where there is one tap.
    """

    candidates: tuple[Candidate, ...]
    baselines: tuple[Candidate, ...]
    class_names: tuple[str, ...]
    ids: Ids
    rows: SweepRows
    concatenation: tuple[Candidate, Candidate, PairedTest] | None

    @property
    def best(self) -> Candidate:
        """The candidate with the highest cross-validated balanced accuracy."""
        return self.candidates[0]

    @cached_property
    def selected_by(self) -> str:
        """How the best was chosen, in words."""
        return (
            f"highest cross-validated balanced accuracy among {len(self.candidates)} candidates on the rows it is "
            "reported for, which flatters it; a holdout does not"
        )


def probe_layers(
    store: FeatureStore,
    split: Split,
    *,
    probes: Sequence[str] = ("logistic", "knn", "svm", "tree"),
    concatenate: bool = True,
    seed: int = 0,
    workers: int = 1,
    progress: Progress = silent,
) -> Sweep:
    """Cross-validate every tap with every probe, all taps together too, and the baselines.

    Nothing that learns (scaling, calibration, the probe) sees a row of the fold it is tested on, nor a row of
    the same group.

    Args:
        store: Features.
        split: Folds by id; only rows marked `train` are used.
        probes: Names of probes.
        concatenate: Whether all taps side by side are candidates too.
        seed: For whatever probes draw.
        workers: Processes; the answer does not depend on them.
        progress: Told how far the sweep is.

    Raises:
        UnknownNameError: If a probe is unknown.
        EmptyDataError: If no row is in use.
        RequestError: If rows in use have no class, or a fold leaves fewer than two classes to learn.
    """
    check_probes(tuple(probes))
    tapsets: list[tuple[str, ...]] = [(tap,) for tap in store.taps]
    if concatenate and len(store.taps) > 1:
        tapsets.append(store.taps)
    ids, classes, used, rows = rows_in_use(store, split, seed=seed)
    _check_folds(rows)
    judge = _Judge(rows)
    jobs = [(taps, probe) for taps in [*tapsets, (COLOUR,)] for probe in probes]
    tables: dict[tuple[str, ...], FeatureTable] = {taps: store.table(taps) for taps, _ in jobs}
    vectors: dict[tuple[str, ...], Features] = {taps: table.vectors[used] for taps, table in tables.items()}
    answers = cross_validate([(vectors[taps], probe) for taps, probe in jobs], rows, workers=workers)
    judged = []
    progress("probing", 0, len(jobs))
    for number, ((taps, probe), predictions) in enumerate(zip(jobs, answers, strict=True), 1):
        judged.append(judge.candidate(taps, tables[taps].pooling, probe, predictions))
        progress("probing", number, len(jobs))
    deep = sorted(
        (entry for entry in judged if entry.taps != (COLOUR,)),
        key=lambda entry: (-entry.scores.balanced_accuracy.value, len(entry.taps)),
    )
    colour = [entry for entry in judged if entry.taps == (COLOUR,)]
    candidates, baselines = judge.against_best(deep, [judge.chance(), *colour])
    return Sweep(
        candidates=candidates,
        baselines=baselines,
        class_names=classes,
        ids=ids,
        rows=rows,
        concatenation=judge.concatenation(candidates),
    )


def rows_in_use(
    store: FeatureStore, split: Split, *, seed: int = 0, part: str = TRAIN
) -> tuple[Ids, tuple[str, ...], np.ndarray, SweepRows]:
    """The rows of one part of a split that have features, with labels numbered over the classes in use.

    Returns:
        Ids, names of the classes in use, row numbers in the store (int64), and labels with groups and folds.

    Raises:
        EmptyDataError: If there is none.
        RequestError: If one has no class, or a class of the holdout has no training row.
    """
    known = store.rows
    aligned = split.aligned_to(known.ids)
    parts = np.array(aligned.parts, dtype=object)
    used = np.flatnonzero(parts == part)
    if not len(used):
        raise EmptyDataError(
            f"No row of {store.path} is marked {part!r} in the split. Make the split from these images."
        )
    in_use = np.unique(known.labels[(parts == TRAIN) | (parts == HOLDOUT)])
    _check_classes(in_use, np.unique(known.labels[parts == TRAIN]), known.class_names)
    number = np.full(len(known.class_names), -1, dtype=np.int64)
    number[in_use] = np.arange(len(in_use))
    _, groups = np.unique(np.array(aligned.groups, dtype=object)[used].astype(str), return_inverse=True)
    rows = SweepRows(
        labels=number[known.labels[used]],
        groups=groups.astype(np.int64),
        folds=aligned.folds[used],
        classes=len(in_use),
        seed=seed,
    )
    names = tuple(known.class_names[index] for index in in_use)
    return tuple(known.ids[row] for row in used.tolist()), names, used, rows


def _check_classes(in_use: np.ndarray, learned: np.ndarray, class_names: Sequence[str]) -> None:
    if (in_use < 0).any():
        raise RequestError(
            f"Rows without a class are marked {TRAIN!r} or {HOLDOUT!r} in the split. Mark them 'left_out', or give "
            "them a class."
        )
    unlearned = np.setdiff1d(in_use, learned)
    if len(unlearned):
        raise RequestError(
            f"Class {class_names[unlearned[0]]!r} is in the holdout, but none of its rows is marked {TRAIN!r}: no "
            "probe can learn it. Make the holdout smaller, or leave the class out."
        )


def _check_folds(rows: SweepRows) -> None:
    for fold in rows.fold_numbers:
        left = len(np.unique(rows.labels[rows.folds != fold]))
        if left < 2:
            raise RequestError(
                f"Without fold {fold} the rows marked {TRAIN!r} have {left} of their classes left to learn. Expected "
                "two or more; a probe tells classes apart, and every class needs rows in two folds."
            )


def score(predictions: OutOfFold, rows: SweepRows) -> Scores:
    """Three numbers with their intervals; rows of one group count together."""
    grouped = confusion_by_group(rows.labels, predictions.predicted, rows.groups, classes=rows.classes)
    return Scores(
        accuracy=wilson_clustered(predictions.hits, rows.groups),
        balanced_accuracy=wilson_of_metric(grouped, balanced_accuracy),
        macro_f1=wilson_of_metric(grouped, macro_f1),
        confusion=grouped.total,
    )


@dataclass(frozen=True)
class _Judge:
    """Scores and compares candidates on the same rows."""

    rows: SweepRows

    def candidate(self, taps: tuple[str, ...], pooling: str, probe: str, predictions: OutOfFold) -> Candidate:
        return Candidate(
            taps=taps,
            pooling=pooling,
            probe=probe,
            scores=score(predictions, self.rows),
            predictions=predictions,
        )

    def chance(self) -> Candidate:
        """Always the class that is most frequent among the training rows of the fold."""
        probabilities = np.zeros((len(self.rows.labels), self.rows.classes))
        for fold in self.rows.fold_numbers:
            learning = self.rows.folds != fold
            counts = np.bincount(self.rows.labels[learning], minlength=self.rows.classes)
            probabilities[~learning] = counts / counts.sum()
        predictions = out_of_fold(probabilities, self.rows.labels)
        return self.candidate((), "none", CHANCE, predictions)

    def against_best(
        self, candidates: Sequence[Candidate], baselines: Sequence[Candidate]
    ) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
        """Compare everything with the first candidate; p-values are adjusted over all comparisons."""
        best, others = candidates[0], [*candidates[1:], *baselines]
        tests = [paired_difference(best.predictions.hits, other.predictions.hits, self.rows.groups) for other in others]
        adjusted = holm(np.array([test.p_value for test in tests]))
        compared = [
            replace(other, against_best=test, p_adjusted=float(p))
            for other, test, p in zip(others, tests, adjusted, strict=True)
        ]
        return (best, *compared[: len(candidates) - 1]), tuple(compared[len(candidates) - 1 :])

    def concatenation(self, candidates: Sequence[Candidate]) -> tuple[Candidate, Candidate, PairedTest] | None:
        """All taps together against the best single tap, each with its best probe."""
        together = next((entry for entry in candidates if len(entry.taps) > 1), None)
        single = next((entry for entry in candidates if len(entry.taps) == 1), None)
        if together is None or single is None:
            return None
        return together, single, paired_difference(together.predictions.hits, single.predictions.hits, self.rows.groups)
