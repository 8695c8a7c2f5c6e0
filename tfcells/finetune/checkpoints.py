"""Everything that training needs to go on, on disk after every epoch.

    FOLDER/
      recipe.json                    what is trained, as asked for; sealed with its digest
      000003-<sha256>.npz            the state after so many steps of the course; the two last ones are kept

A file is written under a temporary name, flushed to the disk and renamed to the digest of its bytes: it is there
whole or not at all, and one that was torn or altered is known by its name and passed over.
"""

import hashlib
import io
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.errors import DamageError, StaleStoreError
from tfcells.features.pieces import flush_folder, locked, write_atomically, write_file
from tfcells.features.recipe import differences, sealed, unsealed

_log = logging.getLogger(__name__)

RECIPE: Final = "recipe.json"
_NAME: Final = re.compile(r"^(\d{6})-([0-9a-f]{64})\.npz$")
_KEPT: Final = 2  # the last, and the one before it should the last be damaged
_STATE: Final = "state"

Row = dict[str, Any]
"""What the curve says of one epoch."""

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Best:
    """The epoch that did best so far.

    Attributes:
        phase, epoch: Which; counted from 1.
        value: Of the monitored metric.
    """

    phase: int
    epoch: int
    value: float


@dataclass(frozen=True, kw_only=True)
class State:
    """Where training is.

    Attributes:
        phase: Phases that are finished.
        epoch: Epochs of the phase in progress that are finished.
        precision: What is computed in.
        best: The best epoch so far; None before the first.
        phase_best: The best value within the phase in progress.
        stalled: Epochs since then.
        curve: One row per finished epoch.
        fallbacks: Changes of precision: where and why.
    """

    phase: int = 0
    epoch: int = 0
    precision: str
    best: Best | None = None
    phase_best: float | None = None
    stalled: int = 0
    curve: tuple[Row, ...] = ()
    fallbacks: tuple[Row, ...] = ()

    @property
    def serial(self) -> int:
        """Steps of the course so far: epochs, and ends of phases."""
        return len(self.curve) + self.phase


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A state with its numbers.

    Attributes:
        state: Where training is.
        model: Every variable of the network, states of random generators included, in its order.
        optimiser: Every variable of the optimiser; none at the start of a phase.
        scaling: Every variable of the loss scaling around it; none without.
        best: The network's variables after the best epoch; none while there is no other than `model`.
    """

    state: State
    model: Arrays
    optimiser: Arrays = field(default=())
    scaling: Arrays = field(default=())
    best: Arrays = field(default=())


class Checkpoints:
    """The checkpoints of one training; get it from `open_checkpoints`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; a kill at any moment leaves it or the one before."""
        data = _packed(checkpoint)
        path = self.folder / f"{checkpoint.state.serial:06d}-{hashlib.sha256(data).hexdigest()}.npz"
        temporary = self.folder / "checkpoint.new"
        write_file(temporary, data)
        temporary.replace(path)
        flush_folder(self.folder)
        # Another file of this number is one that was damaged.
        kept = [path, *(other for other in self._files() if other.name[:6] < path.name[:6])][:_KEPT]
        for other in self._files():
            if other not in kept:
                other.unlink()

    def latest(self) -> Checkpoint | None:
        """The last checkpoint that is whole; None where there is none yet.

        Raises:
            DamageError: If there are checkpoints, and none of them is whole.
        """
        files = self._files()
        for path in files:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == path.name[7:71]:
                return _unpacked(data)
            _log.warning("checkpoint: %s is torn or was altered, the one before it is taken", path)
        if files:
            raise DamageError(
                f"No checkpoint in {self.folder} is whole ({', '.join(path.name[:6] for path in files)} are torn or "
                "were altered). Remove the folder to begin anew."
            )
        return None

    def _files(self) -> list[Path]:
        return sorted((path for path in self.folder.iterdir() if _NAME.match(path.name)), reverse=True)


@contextmanager
def open_checkpoints(folder: Path, recipe: Mapping[str, Any]) -> Iterator[Checkpoints]:
    """Be the only one who trains here.

    Args:
        folder: Made if it does not exist.
        recipe: JSON object of everything that the course of the training depends on.

    Raises:
        RequestError: If another process trains here.
        StaleStoreError: If another training was begun here; names every difference.
        DamageError: If what was trained here cannot be read.
    """
    with locked(folder):
        wanted = json.loads(json.dumps(recipe))
        path = folder / RECIPE
        if path.exists():
            _require(wanted, path)
        else:
            write_atomically(path, sealed(wanted))
        yield Checkpoints(folder)


def _require(wanted: Mapping[str, Any], path: Path) -> None:
    try:
        stored = unsealed(path.read_bytes())
    except ValueError as broken:
        raise DamageError(f"{path} cannot be read: {broken}. Remove the folder to begin anew.") from broken
    # `differences` lets pass what only the stored recipe has.
    dropped = sorted(_keys(stored) - _keys(wanted))
    found = [*differences(stored, wanted), *(f"{key} is in the store, it was not asked for" for key in dropped)]
    if found:
        raise StaleStoreError(
            f"{path.parent} holds another training: {'; '.join(found)}. Choose another folder, or remove this one."
        )


def _keys(value: object, prefix: str = "") -> set[str]:
    if not isinstance(value, Mapping):
        return {prefix}
    return {key for name, inner in value.items() for key in _keys(inner, f"{prefix}.{name}" if prefix else str(name))}


def _packed(checkpoint: Checkpoint) -> bytes:
    arrays = {_STATE: np.frombuffer(json.dumps(asdict(checkpoint.state)).encode(), dtype=np.uint8)}
    for part in ("model", "optimiser", "scaling", "best"):
        arrays |= {f"{part}.{number:05d}": np.asarray(value) for number, value in enumerate(getattr(checkpoint, part))}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpacked(data: bytes) -> Checkpoint:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        facts = json.loads(file[_STATE].tobytes())
        parts = {
            part: tuple(file[name] for name in sorted(file.files) if name.startswith(f"{part}."))
            for part in ("model", "optimiser", "scaling", "best")
        }
    best = None if facts["best"] is None else Best(**facts["best"])
    rows = {name: tuple(facts[name]) for name in ("curve", "fallbacks")}
    return Checkpoint(state=State(**{**facts, "best": best, **rows}), **parts)
