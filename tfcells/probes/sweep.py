"""Every layer (and all of them together) read in every way over the same folds, beside chance and colour."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

from tfcells.arrays import Ids
from tfcells.errors import RequestError
from tfcells.features.store import FeatureStore
from tfcells.images.splits import Split, assign_parts, check_seed
from tfcells.probes.candidates import Candidate, chance, compared_with_best, concatenation, score
from tfcells.probes.checkpoint import Checkpoint, sweep_identity
from tfcells.probes.crossval import SweepRows, joined_folds
from tfcells.probes.gram.columns import tap_columns
from tfcells.probes.limits import check_memory, check_readings, tap_sets
from tfcells.probes.nested import MEMORY, FoldAnswers, answer_fold
from tfcells.probes.reading import NO_REDUCTION, Reading, Space, components_of
from tfcells.probes.repeats import Repeated, join_repeats
from tfcells.probes.rows import check_calibration, check_folds, rows_in_use
from tfcells.probes.selection import Selection, select
from tfcells.progress import Progress, silent
from tfcells.stats.paired import PairedTest

TapSet = tuple[str, ...]
Answered = dict[TapSet, dict[int, list[FoldAnswers]]]
"""What every reading of some layers said in every outer fold."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """What a sweep found.

    Attributes:
        candidates: Best first.
        baselines: Chance, colour statistics and other hand-made features beside the candidates, on the same rows.
        selections: The nested choice, once for each dealing of outer folds, that of the split first; none where
            inner folds were not asked for.
        repeated: These joined; None where there are fewer than two.
        space: What was tried.
        class_names: The classes in use.
        ids: The rows in use, in the order of every prediction.
        rows: Their labels, groups and folds.
        concatenation: Paired test of all taps together against the best single tap; None where there is one tap.
    """

    candidates: tuple[Candidate, ...]
    baselines: tuple[Candidate, ...]
    selections: tuple[Selection, ...]
    repeated: Repeated | None
    space: Space
    class_names: tuple[str, ...]
    ids: Ids
    rows: SweepRows
    concatenation: tuple[Candidate, Candidate, PairedTest] | None

    @property
    def best(self) -> Candidate:
        """The candidate with the highest cross-validated balanced accuracy."""
        return self.candidates[0]

    @property
    def selection(self) -> Selection | None:
        """The nested choice on the folds of the split."""
        return self.selections[0] if self.selections else None

    @cached_property
    def selected_by(self) -> str:
        """How the best was chosen, in words."""
        honest = "the nested choice and a holdout do not" if self.selections else "a holdout does not"
        return (
            f"highest cross-validated balanced accuracy among {len(self.candidates)} candidates on the rows it is "
            f"reported for, which flatters it; {honest}"
        )


def probe_layers(
    store: FeatureStore,
    split: Split,
    *,
    taps: Sequence[str] | None = None,
    space: Space | None = None,
    concatenate: bool = True,
    repeats: int = 1,
    seed: int = 0,
    workers: int = 1,
    memory: int = MEMORY,
    checkpoints: Path | None = None,
    progress: Progress = silent,
) -> Sweep:
    """Cross-validate every layer read in every way, all layers together too, and the baselines.

    Nothing that learns (scaling, reduction, parameters, calibration, the probe) sees a row of the fold it is tested
    on, nor a row of the same group. Parameters are chosen by inner folds within the training rows of each outer
    fold, and so is, for `Sweep.selection`, everything else.

    Args:
        store: Features.
        split: Folds by id; only rows marked `train` are used.
        taps: Keys of the features to compare; all that the store was made for by default. Hand-made features that
            are not among them stand beside them as baselines.
        space: What is tried; standardised features, no reduction and the default probes where it is missing.
        concatenate: Whether all taps side by side are candidates too.
        repeats: How often the nested choice is made, and the baselines are asked: beyond once, on outer folds dealt
            anew from `seed` + 1, 2, ... `Sweep.repeated` joins them. The other dealings ignore what the folds of the
            split mean.
        seed: For whatever probes draw, and for inner folds.
        workers: Processes, or tasks at a time on whatever `joblib.parallel_config` names; the answer does not depend
            on them.
        memory: Bytes for features or matrices in each process.
        checkpoints: Folder for finished folds; a sweep that was stopped goes on from there.
        progress: Told how far the sweep is.

    Raises:
        UnknownNameError: If a probe is unknown.
        EmptyDataError: If no row is in use.
        RequestError: If rows in use have no class, a fold leaves fewer than two classes to learn, a reduction asks for
            more components than there are, or features do not fit into the memory.
    """
    space = space or Space()
    check_seed(seed)
    compared = store.taps if taps is None else tuple(taps)
    tapsets = tap_sets(compared, concatenate=concatenate)
    beside: list[TapSet] = [(name,) for name in store.recipe["handcrafted"] if name not in compared]
    ids, classes, used, rows = rows_in_use(store, split, seed=seed)
    dealings = deal_outer_folds(rows, classes, space=space, repeats=repeats)
    check_readings(
        {tap: store.widths[tap] for tap in compared}, dealings, space, concatenate=concatenate, memory=memory
    )
    readings = {
        **{taps: space.readings(taps) for taps in tapsets},
        **{taps: _beside(space, taps, store.widths[taps[0]], images=len(used), memory=memory) for taps in beside},
    }
    tasks = [
        _Task(
            store=store,
            taps=taps,
            readings=readings[taps],
            used=used,
            dealing=number,
            rows=dealing,
            space=space,
            identity=sweep_identity(store.digest, ids, dealing, space),
            fold=fold,
            memory=memory,
        )
        for number, dealing in enumerate(dealings)
        for taps in [*tapsets, *beside]
        for fold in dealing.fold_numbers
    ]
    answers = _answer(tasks, checkpoints, workers, progress)
    found: list[Answered] = [{} for _ in dealings]
    for task, answer in zip(tasks, answers, strict=True):
        found[task.dealing].setdefault(task.taps, {})[task.fold] = answer
    judged = [entry for taps in tapsets for entry in _judge(found[0][taps], rows, space, store.pooling_of(taps))]
    judged.sort(key=lambda entry: (-entry.scores.balanced_accuracy.value, len(entry.taps)))
    baselines = [
        [entry for taps in beside for entry in _judge(known[taps], dealing, space, store.pooling_of(taps))]
        for known, dealing in zip(found, dealings, strict=True)
    ]
    candidates, compared_baselines = compared_with_best(judged, [chance(rows), *baselines[0]], rows)
    selections = _selections(found, tapsets, dealings, space)
    return Sweep(
        candidates=candidates,
        baselines=compared_baselines,
        selections=selections,
        repeated=join_repeats(selections, dealings, baselines) if len(selections) > 1 else None,
        space=space,
        class_names=classes,
        ids=ids,
        rows=rows,
        concatenation=concatenation(candidates, rows),
    )


def deal_outer_folds(
    rows: SweepRows, class_names: Sequence[str], *, space: Space, repeats: int = 1, served: bool = False
) -> list[SweepRows]:
    """The folds of the split, and others dealt anew for each further repeat, after a look whether they can be probed.

    No feature is needed for it: a study asks before it extracts any.

    Args:
        rows: Labels, groups and folds.
        class_names: Names of the classes in use.
        space: What is tried.
        repeats: Dealings in all. Beyond the first, groups are dealt at random: what the folds of the split mean
            (sites, patients) is ignored there.
        served: Whether the best reading is also fitted on all rows.

    Raises:
        RequestError: If `repeats` is below 1, or above without inner folds, a fold leaves fewer than two classes or
            one group to learn, or a probe that answers with decision values could not be calibrated there.
    """
    if repeats < 1:
        raise RequestError(f"{repeats} repeats were asked for. Expected 1 or more.")
    if repeats > 1 and not space.inner_folds:
        raise RequestError(
            f"{repeats} repeats of the nested choice were asked for, and 0 inner folds, which choose nothing. Expected "
            "2 inner folds or more, or 1 repeat."
        )
    shares = [float(np.mean(rows.folds == fold)) for fold in rows.fold_numbers]
    order = np.argsort(rows.groups, kind="stable")
    dealings = [rows]
    for number in range(1, repeats):
        folds = np.empty_like(rows.folds)
        folds[order] = assign_parts(rows.labels[order], rows.groups[order], shares=shares, seed=rows.seed + number)
        dealings.append(replace(rows, folds=folds))
    for dealing in dealings:
        check_folds(dealing)
        check_calibration(dealing, class_names, space, served=served and dealing is rows)
    return dealings


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """One set of layers in one outer fold."""

    store: FeatureStore
    taps: TapSet
    readings: list[Reading]
    used: np.ndarray
    dealing: int
    rows: SweepRows
    space: Space
    identity: dict[str, object]
    fold: int
    memory: int

    def run(self, checkpoints: Path | None) -> list[FoldAnswers]:
        """Answers of every reading, from disk where they are there."""
        kept = Checkpoint(checkpoints, self.identity, self.space, self.readings, self.fold)
        known = kept.load((int((self.rows.folds == self.fold).sum()), self.rows.classes))
        if known is not None:
            return known
        source = tap_columns(self.store, self.taps, self.used)
        answers = answer_fold(source, self.rows, self.space, self.readings, fold=self.fold, memory=self.memory)
        kept.save(answers)
        return answers


def _beside(space: Space, taps: TapSet, width: int, *, images: int, memory: int) -> list[Reading]:
    """All ways to read what stands beside the candidates; what has few columns is not reduced to more of them.

    Raises:
        RequestError: If features would have to be held and do not fit.
    """
    wanted = [components_of(reduction) for reduction in space.reductions]
    allowed = [
        NO_REDUCTION if isinstance(number, int) and number > width else reduction
        for number, reduction in zip(wanted, space.reductions, strict=True)
    ]
    readings = replace(space, reductions=tuple(dict.fromkeys(allowed))).readings(taps)
    for reading in readings:
        check_memory(reading, images=images, width=width, memory=memory)
    return readings


def _answer(
    tasks: Sequence[_Task], checkpoints: Path | None, workers: int, progress: Progress
) -> Iterator[list[FoldAnswers]]:
    progress("probing", 0, len(tasks))
    backend, _ = get_active_backend()  # of `joblib.parallel_config`; Ray's gives all answers at once
    kind = "generator" if backend.supports_return_generator else "list"
    answers = Parallel(n_jobs=workers, return_as=kind)(delayed(task.run)(checkpoints) for task in tasks)
    for number, answer in enumerate(answers, 1):
        yield answer
        progress("probing", number, len(tasks))


def _judge(folds: dict[int, list[FoldAnswers]], rows: SweepRows, space: Space, pooling: str) -> list[Candidate]:
    """Candidates of one set of layers, from what each reading said in every fold."""
    judged = []
    for entries in zip(*folds.values(), strict=True):  # one reading in all folds
        reading = entries[0].reading
        said = {fold: entry.probabilities for fold, entry in zip(folds, entries, strict=True)}
        predictions = joined_folds(said, rows)
        inner = float(np.mean([entry.inner_best for entry in entries])) if space.inner_folds else None
        judged.append(
            Candidate(
                reading=reading,
                pooling=pooling,
                parameters=tuple(space.parameters(reading.probe)[entry.chosen] for entry in entries),
                inner_best=inner,
                scores=score(predictions, rows),
                predictions=predictions,
            )
        )
    return judged


def _selections(
    found: Sequence[Answered],
    tapsets: Sequence[TapSet],
    dealings: Sequence[SweepRows],
    space: Space,
) -> tuple[Selection, ...]:
    if not space.inner_folds:
        return ()
    return tuple(
        select(
            {fold: [entry for taps in tapsets for entry in known[taps][fold]] for fold in dealing.fold_numbers},
            dealing,
            space,
        )
        for known, dealing in zip(found, dealings, strict=True)
    )
