"""Stratified, group-safe, seeded splits, and the file they are kept in."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from tfcells.arrays import Groups, Ids, Int64, Labels
from tfcells.errors import RequestError
from tfcells.images.table import ImageTable, codes_of, joined_groups

Parts = Int64[np.ndarray, " images"]

TRAIN: Final = "train"
HOLDOUT: Final = "holdout"
VALIDATION: Final = "validation"
LEFT_OUT: Final = "left_out"
_PARTS: Final = (TRAIN, HOLDOUT, VALIDATION)
_LONGEST_FOLD: Final = 9  # letters of a fold's number
_SEEDS: Final = 2**32
_TOLERANCE: Final = 0.1  # of a share or its complement, the smaller: whole groups rarely come nearer


def assign_parts(
    labels: Labels, groups: Groups, *, shares: Sequence[float], seed: int, least: Sequence[int] | None = None
) -> Parts:
    """Deal whole groups into parts so that every part has its share of every class.

    Groups are dealt one after another, the largest first (equal ones in an order drawn from `seed`), each to
    the part that lacks most of the group's classes. The greedy rule is that of scikit-learn's
    `StratifiedGroupKFold`, for parts of any size: the most uneven pieces are placed while there is room to
    balance them. Where the groups of a class are only just enough for every part to get the least it needs, that
    comes before the shares; groups of several classes cannot always be dealt so.

    Args:
        labels: int64 of shape (images,), no -1.
        groups: int64 of shape (images,); their numbers mean nothing, only which rows share one.
        shares: The share of rows of each part, e.g. `[0.8, 0.2]`; must sum to one.
        seed: Decides between groups that are equally large.
        least: How many groups of every class each part needs; one by default.

    Returns:
        int64 of shape (images,): the part of each row. Rows of one group always get the same part.

    Raises:
        RequestError: If the shares are no shares.
    """
    target_share = np.asarray(shares, dtype=float)
    if len(target_share) < 2 or (target_share <= 0).any() or not np.isclose(target_share.sum(), 1):
        raise RequestError(f"Shares {list(shares)} given. Expected two or more positive numbers that sum to 1.")
    group_of_row = codes_of(map(str, groups.tolist()))
    number_of_groups = int(group_of_row.max(initial=-1)) + 1
    per_group = np.zeros((number_of_groups, labels.max(initial=0) + 1))  # (groups, classes)
    np.add.at(per_group, (group_of_row, labels), 1)
    class_totals = per_group.sum(axis=0)
    # Counted in shares of a class, so that one image of a rare class weighs as much as many of a common one.
    weight = per_group / np.maximum(class_totals, 1)
    shuffled = np.random.default_rng(seed).permutation(number_of_groups)
    order = shuffled[np.argsort(-weight[shuffled].max(axis=1), kind="stable")]
    owed = np.outer([1] * len(shares) if least is None else least, class_totals > 0)  # groups, (parts, classes)
    part_of_group = _deal(per_group, weight, order, target_share)
    got = np.zeros_like(owed)
    np.add.at(got, part_of_group, per_group > 0)
    if (got < owed).any():
        part_of_group = _deal(per_group, weight, order, target_share, owed=owed)
    parts: np.ndarray = part_of_group[group_of_row]
    return parts


def _deal(
    per_group: np.ndarray, weight: np.ndarray, order: np.ndarray, shares: np.ndarray, *, owed: np.ndarray | None = None
) -> np.ndarray:
    """The part of each group, int64 of shape (groups,); with `owed` it takes several times as long.

    Args:
        per_group: Rows of each class, float64 of shape (groups, classes).
        weight: The same as shares of the classes.
        order: Group numbers in the order of dealing.
        shares: Float64 of shape (parts,).
        owed: Groups of each class that a part must get before shares count, int64 of shape (parts, classes).
    """
    lack = shares[:, None] * (per_group.sum(axis=0) > 0)  # (parts, classes)
    rows_lacking = shares * per_group.sum()
    owed = None if owed is None else owed.copy()
    to_come = (per_group > 0).sum(axis=0)  # groups of each class
    part_of_group = np.empty(len(per_group), dtype=np.int64)
    for group in order:
        needs = lack @ weight[group] + 1e-9 * rows_lacking  # rows decide between parts that need it equally
        if owed is not None:
            present = per_group[group] > 0
            scarce = present & (to_come <= owed.sum(axis=0))  # no group of these classes can be spared
            claims = (owed[:, scarce] > 0).sum(axis=1)
            needs[claims < claims.max()] = -np.inf
        part = int(np.argmax(needs))
        part_of_group[group] = part
        lack[part] -= weight[group]
        rows_lacking[part] -= per_group[group].sum()
        if owed is not None:
            owed[part] -= present & (owed[part] > 0)
            to_come -= present
    return part_of_group


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Which rows learn, in which fold each is tested, and which are kept for the end; by id.

    Attributes:
        ids: Row identities.
        parts: Per row `train`, `holdout`, `validation` or `left_out` (its class is too small to be tested).
        folds: int64 of shape (images,): the fold in which a `train` row is tested; -1 for the others.
        groups: Group name per row; never on both sides of anything.
        seed: What the dealing was seeded with; None where nobody has said, as of a table made by hand.
        left_out: Why each class that is left out is left out, by class name.
        asked: Share of the usable rows that was asked for, by part; empty where none was, or nobody has said.
    """

    ids: Ids
    parts: tuple[str, ...]
    folds: Parts
    groups: tuple[str, ...]
    seed: int | None
    left_out: Mapping[str, str]
    asked: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """Row number by id."""
        return {id: row for row, id in enumerate(self.ids)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, parts, folds and groups, in id order."""
        rows = sorted(zip(self.ids, self.parts, self.folds.tolist(), self.groups, strict=True))
        return hashlib.sha256("\n".join("\x1f".join(map(str, row)) for row in rows).encode()).hexdigest()

    @property
    def shares(self) -> dict[str, dict[str, float]]:
        """Of each part that was asked for: the share that was `asked`, and the one that `came` of the usable rows."""
        usable = len(self.parts) - self.parts.count(LEFT_OUT)
        return {part: {"asked": share, "came": self.parts.count(part) / usable} for part, share in self.asked.items()}

    @property
    def unlike_asked(self) -> tuple[str, ...]:
        """A sentence for each part whose share is not the one that was asked for, but for a tenth of it."""
        return tuple(
            f"{part}: {share['asked']:.1%} of the images were asked for, {share['came']:.1%} came; whole groups, and "
            "every class in every part, allow no nearer share"
            for part, share in self.shares.items()
            if abs(share["came"] - share["asked"]) > _TOLERANCE * min(share["asked"], 1 - share["asked"])
        )

    def with_groups(self, groups: Sequence[str], *, whose: str) -> "Split":
        """Return the split with more groups joined to its own, one per row in its order.

        Raises:
            RequestError: If rows of a joined group are on two sides, or in two folds.
        """
        joined = joined_groups(self.ids, [self.groups, groups])
        if len(set(joined)) == len(set(self.groups)):  # joining can only lessen their number: nothing is new
            return self
        split = replace(self, groups=joined)
        _check_groups(split, whose)
        return split

    def aligned_to(self, ids: Sequence[str]) -> "Split":
        """Return the split of exactly these rows, in this order.

        Raises:
            RequestError: If an id has no row in the split.
        """
        missing = [id for id in ids if id not in self.row_of]
        if missing:
            raise RequestError(
                f"{len(missing):,} of {len(ids):,} rows are not in the split, the first is {missing[0]}. "
                "Make the split from the same images."
            )
        rows = [self.row_of[id] for id in ids]
        return replace(
            self,
            ids=tuple(ids),
            parts=tuple(self.parts[row] for row in rows),
            folds=self.folds[rows],
            groups=tuple(self.groups[row] for row in rows),
        )


def split_rows(
    ids: Ids,
    labels: Labels,
    class_names: Sequence[str],
    groups: Sequence[str],
    *,
    folds: int = 5,
    holdout: float = 0.0,
    validation: float = 0.0,
    seed: int = 0,
) -> Split:
    """Keep a holdout aside and deal the rest into folds, stratified by class, groups never parted.

    A class that occurs in fewer groups than there are folds (one more with a holdout) cannot be learned and
    tested everywhere: its rows are left out by name. So are those of a class that came into one fold alone, since
    its groups hold other classes too: without that fold nobody could learn it. Unlabelled rows are left out too.
    Every class that is not left out is in every part; `Split.unlike_asked` says where shares had to give way to that.

    Args:
        ids: Row identities.
        labels: int64 of shape (images,); -1 where unlabelled.
        class_names: Class names.
        groups: Group name per row.
        folds: Number of folds, at least 2.
        holdout: Share of the usable rows to keep aside, 0 (none) to less than 1.
        validation: Share to keep for choices that are made while something is trained; 70/15/15 is 0.15 of both.
        seed: Seed of both dealings.

    Raises:
        RequestError: If fewer than two classes can be used, a class cannot be in every part, or the numbers make no
            sense.
    """
    if folds < 2:
        raise RequestError(f"folds = {folds} given. Expected 2 or more.")
    check_seed(seed)
    shares_aside = {"holdout": holdout, "validation": validation, "holdout + validation": holdout + validation}
    for name, share in shares_aside.items():
        if not 0 <= share < 1:
            raise RequestError(f"{name} = {share} given. Expected a share from 0 to less than 1.")
    codes = codes_of(groups)
    aside = [(part, share) for part, share in ((HOLDOUT, holdout), (VALIDATION, validation)) if share]
    left_out = _too_small(labels, class_names, codes, needed=folds + len(aside))
    kept = _usable(labels, class_names, left_out, folds)
    parts = np.full(len(ids), LEFT_OUT, dtype=object)
    parts[kept] = TRAIN
    if aside:
        shares = [1 - holdout - validation, *(share for _, share in aside)]
        side = assign_parts(labels[kept], codes[kept], shares=shares, seed=seed, least=[folds, *[1] * len(aside)])
        for number, (part, _) in enumerate(aside, 1):
            parts[np.flatnonzero(kept)[side == number]] = part
    learning = parts == TRAIN
    fold_of = np.full(len(ids), -1, dtype=np.int64)
    # Another seed than the holdout's: the same one would deal ties in the same order twice.
    fold_of[learning] = assign_parts(labels[learning], codes[learning], shares=[1 / folds] * folds, seed=seed + 1)
    for index in np.unique(labels[kept]).tolist():
        if len(np.unique(fold_of[learning & (labels == index)])) < 2:
            left_out[class_names[index]] = "all its groups, which hold other classes too, came into one fold"
    lost = ~_usable(labels, class_names, left_out, folds)
    parts[lost], fold_of[lost] = LEFT_OUT, -1
    for part, share in aside:
        _check_complete(part, share, np.setdiff1d(labels[~lost], labels[parts == part]), class_names)
    return Split(
        ids=ids,
        parts=tuple(parts),
        folds=fold_of,
        groups=tuple(groups),
        seed=seed,
        left_out=left_out,
        asked=dict(aside),
    )


def _check_complete(part: str, share: float, lacking: np.ndarray, class_names: Sequence[str]) -> None:
    """Raise `RequestError` if there are classes in use that a part lacks."""
    missing = [class_names[index] for index in lacking.tolist()]
    if missing:
        raise RequestError(
            f"{part} = {share} was asked for, but whole groups could not be dealt so that every class has an image "
            f"there; {', '.join(missing)} {'has' if len(missing) == 1 else 'have'} none. Expected every class "
            "in groups enough that hold no other class; choose another share or seed, or leave such classes out."
        )


def check_seed(seed: int) -> None:
    """Raise `RequestError` unless NumPy and scikit-learn take it."""
    if not 0 <= seed < _SEEDS:
        raise RequestError(f"seed = {seed} given. Expected 0 to 4,294,967,295.")


def split_table(
    table: ImageTable, *, folds: int = 5, holdout: float = 0.0, validation: float = 0.0, seed: int = 0
) -> Split:
    """Split an `ImageTable`; see `split_rows`."""
    return split_rows(
        table.ids,
        table.labels,
        table.class_names,
        table.groups,
        folds=folds,
        holdout=holdout,
        validation=validation,
        seed=seed,
    )


def write_split(split: Split, path: Path) -> None:
    """Write `split.csv` with the columns `id,split,fold,group`; the fold is empty outside `train`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)  # "\r\n", or a name that holds a lone "\r" would not be quoted
        writer.writerow(["id", "split", "fold", "group"])
        for id, part, fold, group in zip(split.ids, split.parts, split.folds.tolist(), split.groups, strict=True):
            writer.writerow([id, part, fold if fold >= 0 else "", group])


def read_split(path: Path) -> Split:
    """Read what `write_split` wrote, or a table made by hand with the columns `id,split,fold,group`.

    `split` is `train`, `holdout`, `validation`, or `left_out` or nothing for rows that are left out; `fold` is a number
    from 0 for `train` rows; `group` may be missing or blank, then a row is its own group, called like its id unless a
    group of others is called so. Seed and shares that were asked for are
    those of a file beside it of the same name that ends in `.json`, if it is of this very split.

    Raises:
        RequestError: If the file is not of that form, or names a row twice, or parts a group by parts or folds.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as broken:
        raise RequestError(f"{path} cannot be read as a split: {broken}.") from broken
    if not rows or not {"id", "split", "fold"} <= set(columns):
        raise RequestError(
            f"{path} has the columns {', '.join(columns) or '(none)'} and {len(rows)} rows. Expected "
            "id, split, fold and group."
        )
    try:
        folds = [_fold(row["fold"]) if row["split"] == TRAIN else -1 for row in rows]
    except ValueError as broken:
        raise RequestError(f"{path} has a train row without a whole number as its fold: {broken}.") from broken
    strange = next((row for row in rows if row["split"] not in (*_PARTS, LEFT_OUT, "")), None)
    if strange is not None:
        raise RequestError(
            f"{path} says {strange['split']!r} of {strange['id']}. Expected one of {', '.join(_PARTS)}, {LEFT_OUT}, or "
            "nothing, which leaves the row out."
        )
    twice = [id for id, count in Counter(row["id"] for row in rows).items() if count > 1]
    if twice:
        raise RequestError(f"{path} has {twice[0]} more than once. Expected one row per id.")
    split = Split(
        ids=tuple(row["id"] for row in rows),
        parts=tuple(row["split"] if row["split"] in _PARTS else LEFT_OUT for row in rows),
        folds=np.array(folds, dtype=np.int64),
        groups=_group_names(rows),
        seed=None,
        left_out={},
    )
    _check_groups(split, str(path))
    return _with_facts(split, path.with_suffix(".json"))


def _group_names(rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Group name per row; a row without one never gets that of another group."""
    named = {row.get("group") or "" for row in rows}
    taken = named | {row["id"] for row in rows}
    names = []
    for row in rows:
        name = row.get("group") or row["id"]
        if not row.get("group") and name in named:
            while name in taken:
                name += " (alone)"
            taken.add(name)
        names.append(name)
    return tuple(names)


def _with_facts(split: Split, path: Path) -> Split:
    """The split with the seed and the shares that a file beside it knows; as it is if that one is of another split."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["digest"] != split.digest:
            return split
        seed, shares = facts["seed"], facts["shares"]
        asked = {part: float(shares[part]["asked"]) for part in (HOLDOUT, VALIDATION) if part in shares}
        sound = seed is None or (isinstance(seed, int) and 0 <= seed < _SEEDS)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return split
    return replace(split, seed=seed, asked=asked) if sound and all(0 < share < 1 for share in asked.values()) else split


def _fold(text: str) -> int:
    if not text.strip().isdecimal() or len(text) > _LONGEST_FOLD:
        raise ValueError(f"{text[:_LONGEST_FOLD]!r} is no number from 0")
    return int(text)


def _check_groups(split: Split, whose: str) -> None:
    side_of: dict[str, tuple[str, int]] = {}
    for id, part, fold, group in zip(split.ids, split.parts, split.folds.tolist(), split.groups, strict=True):
        if part == LEFT_OUT:
            continue
        if side_of.setdefault(group, (part, fold)) != (part, fold):
            raise RequestError(
                f"{whose} parts the group {group!r}: {id} is in {part} {fold if fold >= 0 else ''}".rstrip()
                + ", others of its group are not. Expected every group on one side; `tfcells split` writes such a file."
            )


def _too_small(labels: Labels, class_names: Sequence[str], groups: Groups, *, needed: int) -> dict[str, str]:
    reasons = {}
    for index, name in enumerate(class_names):
        count = len(np.unique(groups[labels == index]))
        if count < needed:
            images = int((labels == index).sum())
            reasons[name] = (
                f"{_counted(images, 'image')} in {_counted(count, 'group')}, fewer than the {needed} groups that the "
                "split needs"
            )
            if images == 0:
                reasons[name] = "it has no usable image"
    return reasons


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _usable(labels: Labels, class_names: Sequence[str], left_out: Mapping[str, str], folds: int) -> np.ndarray:
    """Whether each row has a class that is not left out; `RequestError` if these are fewer than two classes."""
    classes = [index for index, name in enumerate(class_names) if name not in left_out]
    usable = np.isin(labels, classes) & (labels >= 0)
    if len(np.unique(labels[usable])) < 2:
        raise RequestError(_why_no_split(labels, class_names, left_out, folds))
    return usable


def _why_no_split(labels: Labels, class_names: Sequence[str], left_out: Mapping[str, str], folds: int) -> str:
    usable = [name for index, name in enumerate(class_names) if name not in left_out and (labels == index).any()]
    details = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
    return (
        f"{len(usable)} usable classes ({', '.join(usable) or 'none'}). Expected 2 or more with at least {folds} "
        f"groups each; a probe tells classes apart.{' Left out: ' + details + '.' if details else ''}"
    )
