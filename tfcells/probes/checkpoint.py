"""Finished folds of a sweep on disk, so that a long one goes on where it was stopped."""

import hashlib
import importlib.metadata
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.arrays import Ids
from tfcells.probes.crossval import SweepRows
from tfcells.probes.nested import FoldAnswers
from tfcells.probes.reading import Reading, Space

_PACKAGES: Final = ("tfcells", "scikit-learn", "numpy")
_ANSWERS: Final = "calibrated by sigmoids or a temperature"  # to be reworded whenever equal input is answered otherwise


def sweep_identity(store_digest: str, ids: Ids, rows: SweepRows, space: Space) -> dict[str, Any]:
    """Everything that a fold's answers depend on, but the fold and the readings: equal identities, equal answers."""
    digest = hashlib.sha256("\0".join(ids).encode("utf-8", "surrogatepass"))
    for numbers in (rows.labels, rows.groups, rows.folds):
        digest.update(np.ascontiguousarray(numbers).tobytes())
    return {
        "store": store_digest,
        "rows": digest.hexdigest(),
        "seed": rows.seed,
        "inner_folds": space.inner_folds,
        "answers": _ANSWERS,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


class Checkpoint:
    """Where the answers of one fold are kept, one file for each set of layers.

    Args:
        folder: Made when something is saved; None keeps nothing.
        identity: See `sweep_identity`.
        space: What is tried.
        readings: Ways to read one set of layers.
        fold: The outer fold.
    """

    def __init__(
        self, folder: Path | None, identity: dict[str, Any], space: Space, readings: Sequence[Reading], fold: int
    ) -> None:
        facts = {
            **identity,
            "fold": fold,
            "readings": [{**asdict(reading), "grid": space.parameters(reading.probe)} for reading in readings],
        }
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        self.path = None if folder is None else folder / f"{name}.npz"
        self.readings = list(readings)

    def load(self, shape: tuple[int, int]) -> list[FoldAnswers] | None:
        """The answers, or None if there are none that fit.

        Args:
            shape: Of the probabilities: rows of the fold, classes.
        """
        if self.path is None or not self.path.is_file():
            return None
        try:
            with self.path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
                inner, chosen, probabilities = ([*file[name]] for name in ("lengths", "chosen", "probabilities"))
                values = np.split(file["inner"], np.cumsum(np.array(inner, dtype=np.int64))[:-1])
        except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile):
            return None  # torn or altered: it is made again
        fits = len(values) == len(chosen) == len(probabilities) == len(self.readings)
        if not fits or any(entry.shape != shape for entry in probabilities):
            return None
        return [
            FoldAnswers(reading=reading, inner=scores, chosen=int(number), probabilities=entry)
            for reading, scores, number, entry in zip(self.readings, values, chosen, probabilities, strict=True)
        ]

    def save(self, answers: Sequence[FoldAnswers]) -> None:
        """Keep the answers; a kill at any moment leaves all of them or none."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}.new")
        with temporary.open("wb") as file:
            np.savez(
                file,
                lengths=np.array([len(entry.inner) for entry in answers]),
                inner=np.concatenate([entry.inner for entry in answers]),
                chosen=np.array([entry.chosen for entry in answers]),
                probabilities=np.stack([entry.probabilities for entry in answers]),
            )
        temporary.replace(self.path)
