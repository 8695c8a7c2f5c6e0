"""`card.json`: what an export is, what was measured, and the fingerprint its answers are checked against."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.backbones.golden import check_fingerprint, fingerprint
from tfcells.errors import DamageError, RequestError

CARD: Final = "card.json"
VERSION: Final = "1"
"""Name of the folder that holds the SavedModel, as TensorFlow Serving wants it."""


def write_card(into: Path, card: Mapping[str, object]) -> None:
    """Write `card.json`."""
    (into / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")


def remove_export(folder: Path) -> None:
    """Take an export away, its card first: a card must never stand beside a model it does not describe."""
    (folder / CARD).unlink(missing_ok=True)
    shutil.rmtree(folder / VERSION, ignore_errors=True)


def find_export(path: Path) -> Path:
    """The folder above `1/`, whichever of the three was named.

    Raises:
        RequestError: If none is there.
    """
    # Only from `1/` up: a misspelt name inside an export must not find the export.
    above = [path.absolute().parent] if path.absolute().name == VERSION else []
    for folder in (path, *above, path / "export"):
        if (folder / VERSION / "saved_model.pb").is_file() and (folder / CARD).is_file():
            return folder
    raise RequestError(
        f"{path} holds no export: no {VERSION}/saved_model.pb with {CARD} beside it. Expected the folder of an "
        "export, its folder 1/, or a run; make one with `tfcells export`."
    )


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of an export.

    Raises:
        DamageError: If it cannot be read, or lacks what every card has.
    """
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
        missing = {"classes", "golden", "widths"} - set(card)
    except (OSError, ValueError, TypeError) as broken:
        raise DamageError(f"{folder / CARD} cannot be read: {broken}. Export the run again.") from broken
    if missing:
        raise DamageError(f"{folder / CARD} has no {', '.join(sorted(missing))}. Export the run again.")
    return card


def check_card(card: Mapping[str, Any], classes: np.ndarray, embedding: np.ndarray, folder: Path) -> None:
    """Hold what a card says of classes and features against the model's answer to the golden picture.

    Args:
        card: The card.
        classes: Names the model answers with, bytes of shape (classes,).
        embedding: float32 of shape (1, features).
        folder: Of the export, for the message.

    Raises:
        DamageError: If they do not belong together.
    """
    named, golden, widths = [name.decode() for name in classes], card["golden"], card["widths"]
    fits = len(golden) == len(widths) and min(widths, default=0) > 0 and sum(widths) == embedding.shape[1]
    if card["classes"] != named or not fits:
        raise DamageError(
            f"{folder / CARD} speaks of the classes {card['classes']} and of features of widths {widths} at "
            f"{list(golden)}; the model answers for {named} from {embedding.shape[1]} features. One of the two is of "
            "another export: export the run again."
        )
    bounds = np.cumsum([0, *widths])
    parts = zip(golden, bounds[:-1], bounds[1:], strict=True)
    found = fingerprint({tap: embedding[:, low:high] for tap, low, high in parts})
    check_fingerprint(found, golden, whose=f"the export {folder}")
