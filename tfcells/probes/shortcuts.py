"""How much of the classes can be read without looking at the cells: each cue probed, tested, put beside the features.

The reader is `tfcells.probes.cue_reader`, one and the same for all cues. Its answers are linear in the labels, so a
thousand fits with permuted labels cost as much as a few: the test refits, hence holds its level though folds share
training rows. A paired test against a constant guess, or a permutation of finished predictions, would take the folds
for independent.

No reader finds everything. What it reads of a cue is a lower bound of what the cue tells, and so is the share of the
features' accuracy: a stronger reader may find more.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Bool

from tfcells.arrays import Float64, Groups, Hits, Ids, Int64, Labels
from tfcells.errors import RequestError
from tfcells.images.cues import BLIND, Cues
from tfcells.probes.crossval import OutOfFold, SweepRows
from tfcells.probes.cue_reader import CueReader
from tfcells.probes.summary import interval_json
from tfcells.stats.bootstrap import cluster_bootstrap_rows
from tfcells.stats.corrections import holm
from tfcells.stats.intervals import Interval, wilson_clustered, wilson_of_metric
from tfcells.stats.metrics import balanced_accuracy, confusion_by_group

PERMUTATIONS: Final = 999
METHOD: Final = "permutation of labels by groups within folds, refitted; Holm over cues"
LEVEL: Final = 0.05

_BLOCK: Final = 8  # groups of about one size whose labels are exchanged
_NUMBERS: Final = 2**23  # float32 numbers that one batch of permuted labels takes (32 MiB)

Weights = Float64[np.ndarray, "*batch images"]
Ratios = Float64[np.ndarray, "*batch"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ShortcutFinding:
    """What one cue alone tells of the classes.

    Attributes:
        cue: Its name.
        blind: Whether no cell has a say in it; a cue that knows the cell too is reported, never warned of.
        balanced_accuracy: Cross-validated, with every class as likely as any other; Wilson's interval by groups.
        accuracy: Of the same answers, likewise.
        hits: bool of shape (images,), those answers.
        p_value: One-sided, against labels that have nothing to do with the cue.
        p_adjusted: The same after Holm over all cues.
        share: At least this share of the deep features' balanced accuracy above chance is reached by the cue (a lower
            bound: a stronger reader may find more); None where the features themselves are not above chance.
    """

    cue: str
    blind: bool
    balanced_accuracy: Interval
    accuracy: Interval
    hits: Hits
    p_value: float
    p_adjusted: float
    share: Interval | None

    @property
    def above_chance(self) -> bool:
        """Whether it can be told from chance at 5 %, all cues counted."""
        return self.p_adjusted <= LEVEL

    @property
    def warns(self) -> bool:
        """Whether the classes can be told without the cells."""
        return self.blind and self.above_chance


@dataclass(frozen=True, kw_only=True, eq=False)
class Shortcuts:
    """What every cue tells.

    Attributes:
        findings: In the order of the cues.
        absent: Why a cue was not probed, by cue.
        chance: Balanced accuracy without knowledge, one over the number of classes.
        deep: Balanced accuracy of the deep features on the same rows.
        permutations: How many the test drew.
    """

    findings: tuple[ShortcutFinding, ...]
    absent: dict[str, str]
    chance: float
    deep: Interval
    permutations: int

    @property
    def warnings(self) -> tuple[ShortcutFinding, ...]:
        """The findings that warn, the strongest first."""
        warning = [finding for finding in self.findings if finding.warns]
        return tuple(sorted(warning, key=lambda finding: -finding.balanced_accuracy.value))


def probe_shortcuts(
    cues: Cues,
    ids: Ids,
    rows: SweepRows,
    *,
    deep: OutOfFold | Hits,
    permutations: int = PERMUTATIONS,
) -> Shortcuts:
    """Read the classes from each cue alone, over the folds that the features were read in.

    Test: label vectors are exchanged between groups of about one size within a fold, the reader is refitted, and the
    observed balanced accuracy takes its place among `permutations` of these (Ojala & Garriga 2010, Permutation
    tests for studying classifier performance). Exchanging whole groups keeps rows that are alike together, exchanging
    within folds keeps the folds as stratified as they are. One-sided: below chance is no shortcut.

    Share: `(cue - chance) / (deep - chance)` in balanced accuracy, within [0, 1]; its interval resamples groups, each
    row with both answers (BCa). It is a share of accuracy, not of what the features look at: features may reach
    the same rows by the cell. And it is a lower bound of what the cue tells: a stronger reader may find more. The
    interval is that of this reader.

    Args:
        cues: From `read_cues`; may have more rows.
        ids: The rows in use, e.g. `sweep.ids`.
        rows: Their labels, groups and folds, e.g. `sweep.rows`.
        deep: What the features said of these rows, e.g. `sweep.best.predictions`, or its hits.
        permutations: 999 give p-values in steps of 0.001. The smallest of six cues' must be below 0.05 / 6, so fewer
            than 119 can never warn.

    Raises:
        RequestError: If rows lack cues, lengths differ, there is one fold or class, or `permutations` is below 1.
    """
    deep_hits = deep.hits if isinstance(deep, OutOfFold) else deep
    _check(ids, rows, deep_hits, permutations)
    cues = cues.aligned_to(ids)
    drawn = _permuted_labels(rows, permutations)
    read = {cue: _read_cue(values, rows, drawn) for cue, values in cues.values.items()}
    adjusted = holm(np.array([p_value for _, p_value in read.values()]))
    findings = [
        _finding(cue, hits, deep_hits, rows, p_value=p_value, p_adjusted=p_adjusted)
        for (cue, (hits, p_value)), p_adjusted in zip(read.items(), adjusted.tolist(), strict=True)
    ]
    return Shortcuts(
        findings=tuple(findings),
        absent=dict(cues.absent),
        chance=1 / len(np.unique(rows.labels)),
        deep=_balanced(deep_hits, rows.labels, rows.groups),
        permutations=permutations,
    )


def explained_share(cue: Hits, deep: Hits, labels: Labels, groups: Groups, *, seed: int) -> Interval | None:
    """Share of one reader's balanced accuracy above chance that another one reaches, see `probe_shortcuts`.

    Args:
        cue: bool of shape (images,), hits of the reader whose share is asked for.
        deep: bool of shape (images,), hits of the one that is to be explained.
        labels: int64 of shape (images,).
        groups: int64 of shape (images,).
        seed: Of the resampling.

    Returns:
        The share with its interval, both within [0, 1]; None if `deep` is not above chance itself: the lower end of
        its interval is not.
    """
    if _balanced(deep, labels, groups).low <= 1 / len(np.unique(labels)):
        return None
    of_class = np.eye(labels.max() + 1)[labels]

    def above_chance(hits: Hits, weights: Weights) -> Ratios:
        rows = weights @ of_class
        known = rows > 0
        recalls = np.divide((weights * hits) @ of_class, rows, out=np.zeros_like(rows), where=known)
        return np.asarray((recalls.sum(axis=-1) - 1) / known.sum(axis=-1))

    def share(weights: Weights) -> Ratios:
        part, whole = above_chance(cue, weights), above_chance(deep, weights)
        return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))

    value = float(np.clip(share(np.ones(len(labels))), 0, 1))
    try:
        interval = cluster_bootstrap_rows(share, groups, seed=seed)
    except RequestError:  # no resample differs, as with one group: nothing is known of other groups
        return Interval(value, 0.0, 1.0)
    low, high = np.clip([interval.low, interval.high], 0, 1).tolist()
    return Interval(value, min(low, value), max(high, value))


def shortcuts_json(shortcuts: Shortcuts) -> dict[str, Any]:
    """`chance`, `deep`, `method`, `permutations`, `cues` with what each tells, `absent`."""
    return {
        "chance": shortcuts.chance,
        "deep": interval_json(shortcuts.deep),
        "method": METHOD,
        "permutations": shortcuts.permutations,
        "cues": [
            {
                "cue": finding.cue,
                "blind": finding.blind,
                "balanced_accuracy": interval_json(finding.balanced_accuracy),
                "accuracy": interval_json(finding.accuracy),
                "p_value": finding.p_value,
                "p_adjusted": finding.p_adjusted,
                "above_chance": finding.above_chance,
                "warns": finding.warns,
                "share": None if finding.share is None else interval_json(finding.share),
            }
            for finding in shortcuts.findings
        ],
        "absent": shortcuts.absent,
    }


def _check(ids: Ids, rows: SweepRows, deep: Hits, permutations: int) -> None:
    if not len(ids) == len(rows.labels) == len(deep):
        raise RequestError(
            f"{len(ids)} ids, {len(rows.labels)} labels and {len(deep)} answers of the features came. Expected one of "
            "each per row; take them from one sweep."
        )
    folds, classes = len(rows.fold_numbers), len(np.unique(rows.labels))
    if folds < 2 or classes < 2:
        raise RequestError(
            f"Rows of {classes} classes in {folds} folds came. Expected two or more of both; a probe tells classes "
            "apart in rows that it did not learn from."
        )
    if permutations < 1:
        raise RequestError(f"{permutations} permutations were asked for. Expected 1 or more; {PERMUTATIONS} is usual.")


def _finding(
    cue: str, hits: Hits, deep: Hits, rows: SweepRows, *, p_value: float, p_adjusted: float
) -> ShortcutFinding:
    return ShortcutFinding(
        cue=cue,
        blind=cue in BLIND,
        balanced_accuracy=_balanced(hits, rows.labels, rows.groups),
        accuracy=wilson_clustered(hits, rows.groups),
        hits=hits,
        p_value=p_value,
        p_adjusted=p_adjusted,
        share=explained_share(hits, deep, rows.labels, rows.groups, seed=rows.seed),
    )


def _balanced(hits: Hits, labels: Labels, groups: Groups) -> Interval:
    """Balanced accuracy from hits: which other class was said in place of the right one does not matter to it."""
    classes = int(labels.max()) + 1
    told = np.where(hits, labels, (labels + 1) % classes)
    return wilson_of_metric(confusion_by_group(labels, told, groups, classes=classes), balanced_accuracy)


def _permuted_labels(rows: SweepRows, permutations: int) -> Int64[np.ndarray, "draws images"]:
    """The labels as they are, then with groups' labels exchanged within blocks of folds and sizes.

    A group that gives its labels to a larger or smaller one gives them in random order, from the start again when
    they run out: a group of one class stays one of one class.
    """
    generator = np.random.default_rng(rows.seed)
    # A group that lies in several folds, as groups that are ignored do, is one group per fold.
    _, number = np.unique(np.stack([rows.folds, rows.groups]), axis=1, return_inverse=True)
    number = number.reshape(-1)
    order = np.argsort(number, kind="stable")
    sizes = np.bincount(number)
    starts = np.cumsum(sizes) - sizes
    within = np.arange(len(order)) - np.repeat(starts, sizes)
    blocks = _blocks(rows.folds[order[starts]], sizes)
    drawn = np.empty((permutations + 1, len(order)), dtype=np.int64)
    drawn[0] = rows.labels
    for draw in drawn[1:]:
        # Rows shuffled within their groups, so that what a giver of many gives to a taker of few is a fair sample.
        shuffled = np.lexsort((generator.random(len(order)), number))
        giver = np.arange(len(sizes))
        for block in blocks:
            giver[block] = generator.permutation(block)
        giver = np.repeat(giver, sizes)
        draw[order] = rows.labels[shuffled[starts[giver] + within % sizes[giver]]]
    return drawn


def _blocks(folds: Int64[np.ndarray, " groups"], sizes: Int64[np.ndarray, " groups"]) -> list[np.ndarray]:
    """Numbers of groups to exchange: of one fold, sizes within a factor of two, `_BLOCK` of them where there are."""
    blocks = []
    magnitude = np.floor(np.log2(sizes))
    for fold in np.unique(folds):
        waiting: list[int] = []
        for step in np.unique(magnitude[folds == fold])[::-1]:  # large groups are few: they wait for smaller ones
            waiting += np.flatnonzero((folds == fold) & (magnitude == step)).tolist()
            if len(waiting) >= _BLOCK:
                blocks.append(np.array(waiting))
                waiting = []
        if waiting:
            same = blocks and folds[blocks[-1][0]] == fold
            blocks.append(np.concatenate([blocks.pop(), waiting]) if same else np.array(waiting))
    return blocks


def _read_cue(values: np.ndarray, rows: SweepRows, drawn: np.ndarray) -> tuple[Hits, float]:
    """Of which rows one cue tells the class, and the p-value of its balanced accuracy among permuted labels."""
    reader, score = CueReader(values, rows), _Score(rows)
    predicted = reader.predict(drawn[:1])[0]
    step = max(1, _NUMBERS // (len(rows.labels) * rows.classes))
    blocks = [drawn[first : first + step] for first in range(0, len(drawn), step)]
    scores = np.concatenate([score(reader.predict(block) == block, block) for block in blocks])
    # Equal scores come out equal: they are shares of the same counts; the slack is for the order of their sums.
    return predicted == rows.labels, float(np.mean(scores >= scores[0] - 1e-9))


class _Score:
    """Balanced accuracy above chance over its standard error by groups.

    Studentised, since classes whose groups differ in size get other numbers of rows when labels are exchanged, which
    changes the spread of the balanced accuracy (Chung & Romano 2013, Exact and asymptotically robust permutation
    tests).
    """

    def __init__(self, rows: SweepRows) -> None:
        self.classes = rows.classes
        self.order = np.argsort(rows.groups, kind="stable")
        self.starts = np.unique(rows.groups[self.order], return_index=True)[1]

    def __call__(
        self, hits: Bool[np.ndarray, "draws images"], labels: Int64[np.ndarray, "draws images"]
    ) -> Float64[np.ndarray, " draws"]:
        """For each set of labels, of which answers were right."""
        above, influence = np.zeros(len(labels)), np.zeros(labels.shape)
        for index in range(self.classes):
            mine = labels == index
            rows = np.maximum(mine.sum(axis=1), 1)
            recall = (hits & mine).sum(axis=1) / rows
            above += recall
            influence += mine * (hits - recall[:, None]) / rows[:, None]
        by_group = np.add.reduceat(influence[:, self.order], self.starts, axis=1)
        # The constant is far below any standard error: it only keeps a reader without one from dividing by 0.
        return np.asarray((above - 1) / np.sqrt((by_group**2).sum(axis=1) + 1e-12))
