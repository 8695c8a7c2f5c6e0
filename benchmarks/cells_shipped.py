"""From a finished fine-tuning to a file that ships: halved, its fingerprint recorded."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Final

import tfcells
from tfcells.backbones.seen import list_beside

PACKAGE: Final = Path(tfcells.__file__).parent / "backbones"
SHIPPED: Final = PACKAGE / "shipped" / "mobilenet_v2_cells.weights.h5"
GOLDEN: Final = PACKAGE / "golden.json"


def finished(run: Path) -> tuple[dict[str, Any], Path]:
    """What `finetune.json` of a run says, and its weights."""
    results = json.loads((run / "finetune.json").read_text(encoding="utf-8"))
    if len(results["folds"]) != 1:
        raise SystemExit(f"{run} holds {len(results['folds'])} folds, that is as many networks. Expected one.")
    return results, run / results["folds"][0]["weights"]["file"]


def write_shipped(run: Path, target: Path) -> None:
    """Write the weights that a run ended with, halved, and the list of the pictures that they have seen."""
    from tfcells.backbones.compact import write_compact

    _, weights = finished(run)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_compact(weights, target)
    shutil.copyfile(list_beside(weights), list_beside(target))


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


def facts_of(run: Path, weights: Path) -> dict[str, Any]:
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
