"""Export a finished run again, elsewhere."""

from pathlib import Path
from typing import Any

from tfcells.errors import RequestError
from tfcells.serving.card import CARD, VERSION
from tfcells.steps.export import card_facts, chosen_json, export_inputs, make_export, why_no_export
from tfcells.steps.extraction import extraction_of
from tfcells.steps.finished import open_run
from tfcells.steps.pictures import open_source


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
    study = open_run(run)
    config, results, store, split = study.config, study.results, study.store, study.split
    refusal = why_no_export(store)
    if refusal is not None:
        raise RequestError(refusal)
    final = study.final_probe()
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
