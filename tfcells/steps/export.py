"""The export of a chosen probe: fitted, saved, and held against the Python path on real pictures."""

import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.errors import DamageError, RequestError
from tfcells.features.engines.contract import REFERENCE
from tfcells.features.extract import Extraction
from tfcells.features.recipe import canonical_json
from tfcells.features.store import FeatureStore
from tfcells.images.sources import PixelSource
from tfcells.images.splits import TRAIN, Split
from tfcells.probes.final import FinalProbe
from tfcells.serving.card import CARD, VERSION, remove_export, write_card
from tfcells.steps.served_parity import rounding_words, served_parity, unmeasured

_log = logging.getLogger(__name__)

_COMPARED: Final = 16  # pictures on which the export is held against the Python path


def export_inputs(store: FeatureStore, split: Split, final: Mapping[str, object]) -> str:
    """SHA-256 over everything an export is made from: features, rows and probe. Equal inputs, equal export.

    Args:
        store: Features.
        split: Rows by part.
        final: Taps, probe and seed.
    """
    # Another version may fit or export otherwise, as it may have swept otherwise.
    versions = {name: importlib.metadata.version(name) for name in ("tfcells", "scikit-learn", "tensorflow")}
    facts = {
        "store": store.digest,
        "split": split.digest,
        "labels": _labels_digest(store),
        "versions": versions,
        **final,
    }
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()


def chosen_json(final: FinalProbe, *, seed: int) -> dict[str, Any]:
    """What was fitted, as an export's card says it."""
    return {
        "taps": list(final.taps),
        "scaler": final.reading.scaler,
        "reduction": final.reading.reduction,
        "probe": final.reading.probe,
        "parameters": dict(final.parameters),
        "calibration": {"method": final.calibration, "inner_folds": final.inner_folds},
        "seed": seed,
    }


def current_card(folder: Path, *, inputs: str) -> dict[str, Any] | None:
    """The card of an export that was made from these inputs, or None."""
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = (folder / VERSION / "saved_model.pb").is_file()
    measured = "of_probe" in card.get("parity", {})
    return card if whole and measured and card.get("inputs") == inputs else None


def card_facts(results: Mapping[str, Any], chosen: Mapping[str, Any], inputs: str) -> dict[str, Any]:
    """What an export's card says of the study behind it."""
    return {
        "study": results["study"],
        **chosen,
        "backbone": results["backbone"]["name"],
        "weights": {
            "name": results["backbone"]["weights"],
            "sha256": results["backbone"]["sha256"],
            "seen": results["backbone"].get("seen"),  # of the study's images; results of before do not say
        },
        "cross_validated": {name: results["best"][name] for name in ("accuracy", "balanced_accuracy", "macro_f1")},
        "selected_by": results["best"]["selected_by"],
        "fitted_on": results["split"]["train"],
        "store": results["store"]["digest"],
        "inputs": inputs,
    }


def make_export(
    store: FeatureStore,
    split: Split,
    final: FinalProbe,
    extraction: Extraction,
    *,
    into: Path,
    source: PixelSource | None,
    card: Mapping[str, object],
) -> dict[str, Any]:
    """Save a fitted probe with its backbone as one SavedModel, and measure that it answers as the Python path does.

    Args:
        store: The features the probe was fitted on.
        split: Rows by part.
        final: The probe.
        extraction: What the features were made with; must find the same weights.
        into: Folder of the export.
        source: The pictures, to compare on; None if they are gone.
        card: What the card says beside the technical facts.

    Returns:
        The card.

    Raises:
        RequestError: If the features were not made by TensorFlow in float32.
        DamageError: If it does not answer to training pictures as measured, see `served_parity`; it is taken away.
    """
    refusal = why_no_export(store)
    if refusal is not None:
        raise RequestError(refusal)
    from tfcells.backbones.cut import cut_backbone
    from tfcells.features.forward import open_checked
    from tfcells.serving.export import ExportedParts, ServedModel, export_classifier

    backbone = open_checked(extraction)
    stored = store.recipe["weights"]["sha256"]
    if backbone.sha256 != stored:
        raise DamageError(
            f"The weights found for {backbone.row.name} have SHA-256 {backbone.sha256}, the features were made with "
            f"{stored}. Name the same weights file."
        )
    network = cut_backbone(backbone, extraction.parsed_taps())
    parts = ExportedParts(
        backbone=backbone, network=network, taps=final.taps, probe=final.probe, class_names=final.class_names
    )
    export_classifier(parts, into=into, card=card, golden=store.recipe["golden"])
    served = ServedModel(into)
    served.card["parity"] = unmeasured()
    if source is not None:
        rows = _compared_rows(store, split)
        probabilities, embedding = served.answers_to_pixels([source.read(store.rows.ids[row]) for row in rows])
        try:
            parity = served_parity(final, store, rows, probabilities=probabilities, embedding=embedding)
        except DamageError:
            remove_export(into)
            raise
        served.card["parity"] = parity
        words = rounding_words(parity)
        if words is not None:
            _log.warning("export: %s", words)
    write_card(into, served.card)
    return served.card


def why_no_export(store: FeatureStore) -> str | None:
    """Why features must not be exported from, or None: what is served is what was measured, by the same arithmetic."""
    name, precision = (str(store.recipe["engine"][key]) for key in ("name", "precision"))
    if (name, precision) == REFERENCE:
        return None
    return (
        f"The features in {store.path} were made by {name} in {precision}; an export computes by TensorFlow in "
        "float32, and its probe must have learned from the same. Run the study again, into another --out, with "
        "--backbone.engine tensorflow --backbone.precision float32, and export that."
    )


def _compared_rows(store: FeatureStore, split: Split) -> np.ndarray:
    """Evenly spaced rows that the probe was fitted on."""
    parts = np.array(split.aligned_to(store.rows.ids).parts, dtype=object)
    used = np.flatnonzero(parts == TRAIN)
    picked: np.ndarray = used[np.unique(np.linspace(0, len(used) - 1, _COMPARED).astype(int))]
    return picked


def _labels_digest(store: FeatureStore) -> str:
    rows = store.rows
    return hashlib.sha256(canonical_json([rows.ids, rows.labels.tolist(), rows.class_names]).encode()).hexdigest()
