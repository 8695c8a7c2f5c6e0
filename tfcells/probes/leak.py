"""The leak tax: what a random split adds to the accuracy because copies of a row lie on both of its sides."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from tfcells.arrays import Features, Float64, Groups, Labels
from tfcells.errors import RequestError
from tfcells.images.splits import assign_parts
from tfcells.probes.catalog import INNER_FOLDS, PROBES, Parameters
from tfcells.probes.crossval import SweepRows
from tfcells.probes.gram.columns import ColumnSource, as_columns
from tfcells.probes.nested import MEMORY
from tfcells.probes.reading import Reading
from tfcells.probes.refit import Refit, predict_each
from tfcells.probes.summary import interval_json
from tfcells.progress import Progress, silent
from tfcells.stats.bootstrap import cluster_bootstrap_rows
from tfcells.stats.clusters import quantile_of_t
from tfcells.stats.intervals import Interval
from tfcells.stats.paired import paired_difference

METHOD: Final = "random minus grouped folds, averaged over dealings; bootstrap over groups, widened by the dealing"

Shares = Float64[np.ndarray, " images"]
PerRepeat = Float64[np.ndarray, " repeats"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LeakTax:
    """Accuracy under folds that ignore groups, and what is left of it under folds that respect them.

    Attributes:
        reading: How features are read: scaler, reduction and probe.
        parameters: Of the probe.
        folds: Number of folds.
        repeats: How often both kinds of folds were dealt.
        groups: Number of groups.
        shared: Rows that share their group with another row.
        random: Mean accuracy under random folds; None where nothing was measured.
        grouped: Mean accuracy under grouped folds; None likewise.
        tax: `random - grouped`, with its interval; None likewise.
        per_repeat: float64 of shape (repeats,), the difference in each dealing; empty likewise.
        reason: Why nothing was measured; empty where it was.
    """

    reading: Reading
    parameters: Parameters
    folds: int
    repeats: int
    groups: int
    shared: int
    random: float | None
    grouped: float | None
    tax: Interval | None
    per_repeat: PerRepeat
    reason: str = ""


def leak_tax(
    features: Features | ColumnSource,
    labels: Labels,
    groups: Groups,
    *,
    reading: Reading,
    parameters: Parameters | None = None,
    folds: int = 5,
    repeats: int = 5,
    inner_folds: int = INNER_FOLDS,
    seed: int = 0,
    workers: int = 1,
    memory: int = MEMORY,
    progress: Progress = silent,
) -> LeakTax:
    """Cross-validate one reading under random stratified folds and under grouped ones, and compare.

    Its parameters are the same under both: what differs is the folds alone.

    Estimand: the expected accuracy on a row that this probe gains when its training rows, as many as before, may
    hold rows of the tested row's group; the expectation is over data sets of as many such groups, and over dealings
    of folds. It is estimated per row: the share of `repeats` random dealings in which it is hit less the share of as
    many grouped ones, then averaged over rows.

    Interval: BCa over groups for those rows' differences, which holds the sample of groups and each row's own luck
    with the dealing. The luck that rows share in a dealing is added: the half-widths are joined in quadrature with
    t times the standard error of the mean over dealings. Counting some of that luck twice errs on the wide side.

    Args:
        features: float of shape (images, features), or their columns; never held where they outnumber the images.
        labels: int64 of shape (images,), no -1.
        groups: int64 of shape (images,).
        reading: Scaler, reduction and probe.
        parameters: Of the probe; its defaults where they are missing.
        folds: Number of folds of both kinds; every class needs as many groups.
        repeats: Dealings of each kind, 2 or more; without a second one their luck is not known.
        inner_folds: For the calibration of probes that answer with decision values.
        seed: Of the dealings, the probe and the resampling.
        workers: Processes; the answer does not depend on them.
        memory: Bytes for features or matrices in each process.
        progress: Told how far it is.

    Raises:
        RequestError: If lengths differ, rows are unlabelled or of one class, a number is too small, or a class has
            fewer groups than there are folds.
    """
    source = as_columns(features)
    _check(source.shape[0], labels, groups, folds=folds, repeats=repeats)
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    leak = LeakTax(
        reading=reading,
        parameters={**PROBES[reading.probe].default, **(parameters or {})},
        folds=folds,
        repeats=repeats,
        groups=len(sizes),
        shared=int((sizes[number] > 1).sum()),
        random=None,
        grouped=None,
        tax=None,
        per_repeat=np.zeros(0),
    )
    if leak.shared == 0:
        return replace(leak, reason="no group has more than one row, so random folds part none")
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)  # a class without rows has no share to deal
    # Rows that are groups of their own: what splits and calibrates by groups then ignores the real ones.
    arms = (np.arange(len(labels)), number.astype(np.int64))
    dealings = [
        _dealt(labels, arm, folds, seed=seed, dealing=seed + 1000 * repeat) for repeat in range(repeats) for arm in arms
    ]
    refits = [refit for rows in dealings for refit in _refits(rows, reading, leak.parameters, folds)]
    hits = np.zeros((len(dealings), len(labels)))
    progress("leak tax", 0, len(refits))
    answers = predict_each(source, refits, inner_folds=inner_folds, workers=workers, memory=memory)
    try:
        for done, (refit, said) in enumerate(zip(refits, answers, strict=True)):
            hits[done // folds, refit.asked] = said == labels[refit.asked]
            progress("leak tax", done + 1, len(refits))
    except RequestError as refused:  # of these dealings, not of the sweep's: no leak tax, but a study
        return replace(leak, reason=f"folds that were dealt for it could not be probed: {refused}")
    random, grouped = hits[::2], hits[1::2]
    per_repeat = (random - grouped).mean(axis=1)
    return replace(
        leak,
        random=float(random.mean()),
        grouped=float(grouped.mean()),
        tax=_interval((random - grouped).mean(axis=0), arms[1], per_repeat, seed=seed),
        per_repeat=per_repeat,
    )


def _dealt(labels: Labels, groups: Groups, folds: int, *, seed: int, dealing: int) -> SweepRows:
    """Rows in folds of one dealing; the probe's own seed stays the same."""
    parts = assign_parts(labels, groups, shares=[1 / folds] * folds, seed=dealing)
    return SweepRows(labels=labels, groups=groups, folds=parts, classes=int(labels.max()) + 1, seed=seed)


def _refits(rows: SweepRows, reading: Reading, parameters: Parameters, folds: int) -> list[Refit]:
    """One fit for each fold of a dealing."""
    return [
        Refit(
            rows=rows,
            reading=reading,
            parameters=parameters,
            learning=np.flatnonzero(rows.folds != fold),
            asked=np.flatnonzero(rows.folds == fold),
        )
        for fold in range(folds)
    ]


def no_leak_tax(reading: Reading, groups: Groups, *, reason: str) -> LeakTax:
    """The leak tax that could not be measured, and why."""
    _, sizes = np.unique(groups, return_counts=True)
    return LeakTax(
        reading=reading,
        parameters={},
        folds=0,
        repeats=0,
        groups=len(sizes),
        shared=int(sizes[sizes > 1].sum()),
        random=None,
        grouped=None,
        tax=None,
        per_repeat=np.zeros(0),
        reason=reason,
    )


def leak_tax_json(leak: LeakTax) -> dict[str, Any]:
    """What was compared, both accuracies, `tax` with its interval or null and the `reason`."""
    return {
        "reading": leak.reading.title,
        "probe": leak.reading.probe,
        "parameters": dict(leak.parameters),
        "folds": leak.folds,
        "repeats": leak.repeats,
        "groups": leak.groups,
        "rows_that_share_a_group": leak.shared,
        "random_folds": leak.random,
        "grouped_folds": leak.grouped,
        "tax": None if leak.tax is None else interval_json(leak.tax),
        "method": METHOD,
        "reason": leak.reason,
    }


def _interval(differences: Shares, groups: Groups, per_repeat: PerRepeat, *, seed: int) -> Interval:
    """Interval of the mean difference, see `leak_tax`; [-1, 1] for one group, which says nothing of others.

    Rows whose differences are all equal do not say that others' are: Tango's interval of as many groups in which
    nothing differs is put around them.
    """

    def mean(weights: Float64[np.ndarray, "*batch images"]) -> Float64[np.ndarray, "*batch"]:
        return np.asarray(weights @ differences / weights.sum(axis=-1))

    value, repeats = float(differences.mean()), len(per_repeat)
    if len(np.unique(groups)) < 2:
        return Interval(value, -1.0, 1.0)
    if np.ptp(differences) > 0:
        of_groups = cluster_bootstrap_rows(mean, groups, seed=seed)
    else:
        nothing = np.zeros(len(differences), dtype=bool)
        around = paired_difference(nothing, nothing, groups).difference
        of_groups = Interval(value, value + around.low, value + around.high)
    of_dealing = float(quantile_of_t(repeats - 1) * per_repeat.std(ddof=1) / np.sqrt(repeats))
    low = value - np.hypot(value - of_groups.low, of_dealing)
    high = value + np.hypot(of_groups.high - value, of_dealing)
    return Interval(value, float(max(low, -1.0)), float(min(high, 1.0)))


def _check(images: int, labels: Labels, groups: Groups, *, folds: int, repeats: int) -> None:
    if not images == len(labels) == len(groups) or len(labels) == 0:
        raise RequestError(
            f"{images} rows of features, {len(labels)} labels and {len(groups)} groups came. Expected one of "
            "each per row, and a row at least."
        )
    if folds < 2 or repeats < 2:
        raise RequestError(f"{folds} folds and {repeats} repeats were asked for. Expected 2 or more of both.")
    if labels.min() < 0 or len(np.unique(labels)) < 2:
        raise RequestError(
            f"Rows of {len(np.unique(labels[labels >= 0]))} classes came, {int((labels < 0).sum())} rows of none. "
            "Expected labelled rows of 2 classes or more; leave the others out."
        )
    for index in np.unique(labels).tolist():
        own = len(np.unique(groups[labels == index]))
        if own < folds:
            raise RequestError(
                f"Class {index} lies in {own} groups, fewer than the {folds} folds: grouped folds could not teach it "
                "everywhere, which is no leak. Leave the class out, as a split does, or take fewer folds."
            )
