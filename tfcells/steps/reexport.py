"""Export a finished run again, elsewhere."""

from pathlib import Path
from typing import Any

from tfcells.config import parse_config
from tfcells.errors import DamageError, RequestError
from tfcells.features.store import FeatureStore
from tfcells.images.splits import read_split
from tfcells.probes.final import refit
from tfcells.probes.memory import memory_bytes
from tfcells.probes.reading import Reading
from tfcells.serving.card import CARD, VERSION
from tfcells.steps.export import card_facts, chosen_json, export_inputs, make_export, why_no_export
from tfcells.steps.extraction import extraction_of
from tfcells.steps.pictures import open_source
from tfcells.steps.probe import space_of
from tfcells.steps.results import read_results


def export_run(run: str | Path, *, into: str | Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Fit a run's best candidate on all its rows outside the holdout and save it as one SavedModel.

    Args:
        run: Output folder of a study.
        into: Folder of the export; `saved_models/<study>` by default.

    Returns:
        The folder and the card.

    Raises:
        RequestError: If `run` is no finished run, its weights are no longer to be found, or its features were not made
            by TensorFlow in float32.
        DamageError: If the weights found are others, or the export does not answer as measured.
    """
    run = Path(run)
    results = read_results(run)
    if "config" not in results:
        raise RequestError(f"{run} holds a sweep, not a study. Expected the output folder of `tfcells run`.")
    config = parse_config(results["config"])
    store, split = FeatureStore(run / "features"), read_split(run / "split.csv")
    if split.digest != results["split"]["digest"] or store.digest != results["store"]["digest"]:
        raise DamageError(
            f"{run} holds a split or features that its results.json was not made with: a later run was stopped before "
            "its end. Let `tfcells run` finish there, then export."
        )
    refusal = why_no_export(store)
    if refusal is not None:
        raise RequestError(refusal)
    best = results["best"]
    reading = Reading(taps=tuple(best["taps"]), scaler=best["scaler"], reduction=best["reduction"], probe=best["probe"])
    parameters = results["export"]["parameters"]
    memory = memory_bytes(config.probes.memory)
    final = refit(store, split, reading, parameters, space=space_of(config), seed=config.seed, memory=memory)
    chosen = chosen_json(final, seed=config.seed)
    into = Path("saved_models") / config.name if into is None else Path(into)
    if (into / VERSION).exists() and not (into / CARD).is_file():
        raise RequestError(f"{into} holds a folder {VERSION}/ that is no export of tfcells. Choose another --out.")
    card = make_export(
        store,
        split,
        final,
        extraction_of(config),
        into=into,
        source=open_source(store),
        card=card_facts(results, chosen, export_inputs(store, split, chosen)),
    )
    return into, card
