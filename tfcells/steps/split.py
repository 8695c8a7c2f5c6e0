"""A split as files: `split.csv` to work with, `split.json` to know it by."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tfcells.images.splits import Split, write_split


def write_split_files(split: Split, out: str | Path) -> dict[str, Any]:
    """Write `split.csv` (`id,split,fold,group`) and `split.json` (counts, seed, shares that were asked for
    and that came, SHA-256, classes left out).

    Args:
        split: What to write.
        out: Folder; made if it does not exist.

    Returns:
        What `split.json` holds.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    parts = {part: split.parts.count(part) for part in sorted(set(split.parts))}
    facts = {
        "images": len(split.ids),
        "groups": len(set(split.groups)),
        "parts": parts,
        "folds": len(np.unique(split.folds[split.folds >= 0])),
        "seed": split.seed,
        "shares": split.shares,
        "digest": split.digest,
        "left_out": dict(split.left_out),
    }
    write_split(split, out / "split.csv")
    (out / "split.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
    return facts
