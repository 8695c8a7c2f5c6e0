"""What is wrong with a generated collection on purpose: asked for here, planned here, carried out in `folder`."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.synthetic.recipes import CLASSES

SHORTCUTS: Final = ("size", "border", "jpeg_quality", "tint")
"""Marks that give a class away without its cells; `shortcuts.apply_shortcut` says what each does."""

FAULTS: Final = ("truncated JPEG", "text in a file named .jpg", "zero bytes")
"""Reasons why a planted file cannot be decoded; planted in turn."""


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """A mark on every picture whose true class is `of`, as a second scanner or an export script leaves it.

    Args:
        kind: One of `SHORTCUTS`.
        of: Class that bears the mark.
    """

    kind: str
    of: str

    def __post_init__(self) -> None:
        if self.kind not in SHORTCUTS:
            raise UnknownNameError("kind of shortcut", self.kind, known=SHORTCUTS)
        if self.of not in CLASSES:
            raise UnknownNameError("class of generated cells", self.of, known=CLASSES)


@dataclass(frozen=True, kw_only=True)
class Plants:
    """What to plant in a collection; nothing by default.

    Args:
        copies: Augmented copies added, each of a picture drawn at random and filed with it.
        shortcut: A mark tied to one class.
        other_site: Share of the originals, 0 to 1, that come from another laboratory; copies go with their original.
        label_noise: Share of all pictures, 0 to 0.5, filed under a class that is not theirs. Copies count by
            themselves, so a copy can contradict its original.
        corrupt: Files added that cannot be decoded.

    Raises:
        RequestError: A number is out of its range; the message names it.
    """

    copies: int = 0
    shortcut: Shortcut | None = None
    other_site: float = 0.0
    label_noise: float = 0.0
    corrupt: int = 0

    def __post_init__(self) -> None:
        for name in ("copies", "corrupt"):
            if getattr(self, name) < 0:
                raise RequestError(f"Plants.{name} is {getattr(self, name)}. Expected a number of files, 0 or more.")
        for name, most in (("other_site", 1.0), ("label_noise", 0.5)):
            # Written so that NaN fails too.
            if not 0.0 <= getattr(self, name) <= most:
                raise RequestError(
                    f"Plants.{name} is {getattr(self, name)}. Expected a share of the pictures from 0 to {most:g}."
                )


NOTHING = Plants()
"""A sound collection."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file to be written.

    Args:
        kind: True class of the cell.
        filed: Class whose folder the file goes to.
        index: Number of the picture within its class, for `draw_cell`.
        group: Number shared by an original and its copies.
        elsewhere: Whether it comes from the other site.
        copy: Seed of the copy, or None for an original.
        fault: One of `FAULTS`, or empty.
    """

    kind: str
    filed: str
    index: int
    group: int
    elsewhere: bool = False
    copy: int | None = None
    fault: str = ""


def plan_entries(
    plants: Plants, *, classes: tuple[str, ...], images_per_class: int, rng: np.random.Generator
) -> tuple[Entry, ...]:
    """Every file of a collection in random order, so that neither place nor name gives a plant away."""
    originals = images_per_class * len(classes)
    elsewhere = _chosen(rng, share=plants.other_site, among=originals)
    entries = [
        Entry(kind=kind, filed=kind, index=index, group=group, elsewhere=bool(elsewhere[group]))
        for group, (kind, index) in enumerate((k, i) for k in classes for i in range(images_per_class))
    ]
    for copy in range(plants.copies):
        entries.append(replace(entries[int(rng.integers(originals))], copy=copy))
    wrong = _chosen(rng, share=plants.label_noise, among=len(entries))
    entries = [_misfiled(entry, classes, rng) if bad else entry for entry, bad in zip(entries, wrong, strict=True)]
    for fault in range(plants.corrupt):
        kind = classes[int(rng.integers(len(classes)))]
        # Indices behind the originals: a truncated file holds a cell that is nowhere else.
        entries.append(
            Entry(
                kind=kind,
                filed=kind,
                index=images_per_class + fault,
                group=originals + fault,
                fault=FAULTS[fault % len(FAULTS)],
            )
        )
    return tuple(entries[k] for k in rng.permutation(len(entries)))


def _chosen(rng: np.random.Generator, *, share: float, among: int) -> np.ndarray:
    """A mask of `among` flags with exactly the rounded share set."""
    return rng.permutation(among) < round(share * among)


def _misfiled(entry: Entry, classes: tuple[str, ...], rng: np.random.Generator) -> Entry:
    others = [kind for kind in classes if kind != entry.kind]
    return replace(entry, filed=others[int(rng.integers(len(others)))])
