"""From a finished fine-tuning to a file that ships: blended with its beginning, halved, its fingerprint recorded."""

import csv
import json
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np

import tfcells

PACKAGE: Final = Path(tfcells.__file__).parent / "backbones"
SHIPPED: Final = PACKAGE / "shipped" / "mobilenet_v2_cells.weights.h5"
GOLDEN: Final = PACKAGE / "golden.json"


def finished(run: Path) -> tuple[dict[str, Any], Path]:
    """What `finetune.json` of a run says, and its weights."""
    results = json.loads((run / "finetune.json").read_text(encoding="utf-8"))
    if len(results["folds"]) != 1:
        raise SystemExit(f"{run} holds {len(results['folds'])} folds, that is as many networks. Expected one.")
    return results, run / results["folds"][0]["weights"]["file"]


def write_blend(run: Path, target: Path, *, share: float) -> None:
    """Write (1 - share) x the weights that the run began with + share x those that it ended with, halved.

    Averaging weights of a network and of what it became by fine-tuning: Wortsman et al. 2022, Robust fine-tuning of
    zero-shot models (arXiv:2109.01903). The two share their batch norm where that was frozen.
    """
    from tfcells.backbones.compact import write_compact
    from tfcells.backbones.open import open_backbone

    if not 0 < share <= 1:
        raise SystemExit(f"--blend {share:g} came. Expected a share above 0, up to 1: the fine-tuned weights alone.")
    results, ended = finished(run)
    network, batch_norm = results["folds"][0]["network"], results["config"]["training"]["batch_norm"]
    if share < 1 and batch_norm != "frozen":
        raise SystemExit(f"Batch norm of {run} was {batch_norm}. Only runs that froze it can be blended.")
    tuned = open_backbone(network["name"], weights=ended)
    with tempfile.TemporaryDirectory() as folder:
        if share < 1:
            start = open_backbone(network["name"], weights=results["config"]["network"]["weights"])
            if start.sha256 != network["sha256"]:
                raise SystemExit(f"The run began with {network['sha256']}; the weights found here are {start.sha256}.")
            tuned.model.set_weights(blended(start.model.get_weights(), tuned.model.get_weights(), share=share))
        whole = Path(folder) / "whole.weights.h5"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
            tuned.model.save_weights(whole)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_compact(whole, target)


def blended(start: list[np.ndarray], end: list[np.ndarray], *, share: float) -> list[np.ndarray]:
    """(1 - share) x start + share x end, array by array, in float64; float32."""
    return [
        (a.astype(np.float64) + share * (b.astype(np.float64) - a)).astype(np.float32)
        for a, b in zip(start, end, strict=True)
    ]


def record_fingerprint(weights: Path, *, instead_of: str | None) -> None:
    """Put the golden fingerprint of weights into the package; that of the file they replace goes."""
    from tfcells.backbones.cut import cut_backbone
    from tfcells.backbones.open import open_backbone
    from tfcells.features.forward import golden

    backbone = open_backbone("mobilenet_v2", weights=weights)
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))
    known.pop(instead_of, None)
    known[backbone.sha256] = golden(cut_backbone(backbone))
    GOLDEN.write_text(_as_golden(known), encoding="utf-8")


def _as_golden(known: dict[str, dict[str, list[float]]]) -> str:
    """JSON with one line for each tap."""
    entries = [
        f'  "{sha256}": {{\n'
        + ",\n".join(f'    "{tap}": {json.dumps(values)}' for tap, values in taps.items())
        + "\n  }"
        for sha256, taps in known.items()
    ]
    return "{\n" + ",\n".join(entries) + "\n}\n"


def facts_of(run: Path, weights: Path, *, share: float) -> dict[str, Any]:
    """What the model card says of the making of weights; no path of the machine they were made on."""
    from tfcells.backbones.weights import file_digest

    results, _ = finished(run)
    fold, config = results["folds"][0], results["config"]
    config["images"]["root"] = Path(config["images"]["root"]).name
    return {
        "benchmark": "cells shipped",
        "file": weights.name,
        "sha256": file_digest(weights),
        "bytes": weights.stat().st_size,
        "blend": share,
        "began_with": fold["network"]["sha256"],
        "config": config,
        "versions": results["versions"],
        "minutes": results["minutes"],
        "precision": fold["precision"],
        "best": fold["best"],
        "rows": fold["rows"],
        "groups": results["data"]["groups"],
        "taught": taught_counts(run),
        "accuracy": results["accuracy"],
        "balanced_accuracy": results["balanced_accuracy"],
        "asked": results["asked"],
    }


def taught_counts(run: Path) -> list[dict[str, Any]]:
    """`set`, `label`, `images`, `groups` of all rows of the manifest that a run was taught by."""
    manifest = Path(json.loads((run / "config.json").read_text(encoding="utf-8"))["images"]["root"])
    if not manifest.is_file():
        raise SystemExit(f"The manifest {manifest} that {run} was taught by is not here; the card counts its rows.")
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = Counter((row["set"], row["label"]) for row in rows)
    groups = Counter((name, label) for name, label, _ in {(row["set"], row["label"], row["group"]) for row in rows})
    return [
        {"set": name, "label": label, "images": count, "groups": groups[name, label]}
        for (name, label), count in sorted(images.items())
    ]
