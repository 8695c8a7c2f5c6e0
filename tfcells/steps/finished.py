"""A finished study, opened again, and its best probe fitted again."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfcells.config import StudyConfig, parse_config
from tfcells.errors import DamageError, RequestError
from tfcells.features.store import FeatureStore
from tfcells.images.splits import TRAIN, VALIDATION, Split, read_split
from tfcells.probes.catalog import Parameters
from tfcells.probes.final import FinalProbe, fit_final, refit
from tfcells.probes.memory import memory_bytes
from tfcells.probes.reading import Reading
from tfcells.steps.probe import space_of
from tfcells.steps.results import read_results


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """What a study left behind.

    Attributes:
        path: Its folder.
        results: Of `results.json`.
        config: The study as it was asked for.
        store: Features.
        split: Rows by part.
    """

    path: Path
    results: dict[str, Any]
    config: StudyConfig
    store: FeatureStore
    split: Split

    @property
    def reading(self) -> Reading:
        """How the best candidate reads features."""
        best = self.results["best"]
        return Reading(
            taps=tuple(best["taps"]), scaler=best["scaler"], reduction=best["reduction"], probe=best["probe"]
        )

    def final_probe(self) -> FinalProbe:
        """The best candidate on all rows outside the holdout: what is exported."""
        exported = self.results["export"]
        return self._fitted(self.split, None if exported is None else exported["parameters"])

    def fold_probe(self, fold: int) -> FinalProbe:
        """The best candidate as it was when it was asked about a fold: fitted on the other folds, with the parameters
        that were chosen within them.

        Raises:
            RequestError: If there is no such fold.
        """
        folds = np.unique(self.split.folds[self.split.folds >= 0]).tolist()
        if fold not in folds:
            raise RequestError(f"There is no fold {fold}. Expected one of {', '.join(map(str, folds))}.")
        mine = self.split.folds == fold
        parts = tuple(
            VALIDATION if asked and part == TRAIN else part
            for part, asked in zip(self.split.parts, mine.tolist(), strict=True)
        )
        learning = replace(self.split, parts=parts, folds=np.where(mine, -1, self.split.folds))
        return self._fitted(learning, self.results["best"]["parameters"][folds.index(fold)])

    def _fitted(self, split: Split, parameters: Parameters | None) -> FinalProbe:
        settings: dict[str, Any] = {
            "space": space_of(self.config),
            "seed": self.config.seed,
            "memory": memory_bytes(self.config.probes.memory),
        }
        if parameters is None:
            return fit_final(self.store, split, self.reading, **settings)
        return refit(self.store, split, self.reading, parameters, **settings)


def open_run(run: str | Path) -> FinishedRun:
    """Open the output folder of a study.

    Raises:
        RequestError: If `run` is no finished study.
        DamageError: If its features or split are not those its results were made with.
    """
    run = Path(run)
    results = read_results(run)
    if "config" not in results:
        raise RequestError(f"{run} holds a sweep, not a study. Expected the output folder of `tfcells run`.")
    store, split = FeatureStore(run / "features"), read_split(run / "split.csv")
    if split.digest != results["split"]["digest"] or store.digest != results["store"]["digest"]:
        raise DamageError(
            f"{run} holds a split or features that its results.json was not made with: a later run was stopped before "
            "its end. Let `tfcells run` finish there, then try again."
        )
    return FinishedRun(path=run, results=results, config=parse_config(results["config"]), store=store, split=split)
