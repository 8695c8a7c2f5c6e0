"""An audit as files: `audit.json`, `groups.csv` and `pairs.csv`."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tfcells.images.audit.findings import Audit
from tfcells.images.audit.self_check import ALLOWED

FORMAT: Final = "tfcells.audit/1"

_DIGITS: Final = 4  # of scores and measures; more are noise


def write_audit(audit: Audit, folder: Path) -> None:
    """Write `audit.json`, `groups.csv` and `pairs.csv` into a folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_groups(audit, folder / "groups.csv")
    write_pairs(audit, folder / "pairs.csv")
    text = json.dumps(as_json(audit), indent=1, ensure_ascii=False)
    (folder / "audit.json").write_text(text + "\n", encoding="utf-8")


def write_groups(audit: Audit, path: Path) -> None:
    """Write `id,group`: one row per readable picture, sorted; a picture alone is its own group.

    `ImageTable.with_groups(read_groups(path))` reads it back.
    """
    _write_rows(path, ("id", "group"), ((id, audit.groups[id]) for id in audit.ids))


def write_pairs(audit: Audit, path: Path) -> None:
    """Write `id_a,id_b,kind,score`: confirmed pairs before closure and, by their kind, possible ones."""
    _write_rows(
        path, ("id_a", "id_b", "kind", "score"), ((*pair[:3], round(pair.score, _DIGITS)) for pair in audit.pairs)
    )


def as_json(audit: Audit) -> dict[str, Any]:
    """The audit in JSON terms.

    Fields: `format`; `images` (readable ones); `groups` (their number), `largest_groups` (id of the group and size, 20
    at most, no single pictures); `pairs` (number by kind), `possible` (the possible pairs, as in `pairs.csv`);
    `quarantined` of `{id, reason}`; `odd` of `{id, kind, value, usual, reason}`; `label_conflicts` of
    `{group, labels: {id: class}, exact}`; `classes` (pictures per class), `unlabelled`, `imbalance` (largest class over
    smallest, null without classes); `sizes` (pictures per `width x height`), `marked`; `thresholds`; `self_check` of
    `{positives, before, negatives, allowed, raised, note}` (rates are shares); `compared`, `sources`, `seed`.
    """
    kinds = Counter(pair.kind for pair in audit.pairs)
    members = Counter(audit.groups.values())
    largest = sorted(
        ((size, group) for group, size in members.items() if size > 1), key=lambda each: (-each[0], each[1])
    )
    counts = [count for count in audit.class_counts.values() if count]
    document = {
        "format": FORMAT,
        "images": len(audit.ids),
        "groups": len(members),
        "largest_groups": [{"group": group, "images": size} for size, group in largest[:20]],
        "pairs": {kind: kinds.get(kind, 0) for kind in ("exact", "exact-oriented", "near", "possible")},
        "possible": [pair._asdict() for pair in audit.possible],
        "quarantined": [entry._asdict() for entry in audit.quarantined],
        "odd": [entry._asdict() for entry in audit.odd],
        "label_conflicts": [
            {"group": each.group, "labels": dict(each.labels), "exact": each.exact} for each in audit.label_conflicts
        ],
        "classes": dict(audit.class_counts),
        "unlabelled": audit.unlabelled,
        "imbalance": max(counts) / min(counts) if counts else None,
        "sizes": dict(audit.sizes),
        "marked": audit.marked,
        "thresholds": asdict(audit.thresholds),
        "self_check": _self_check(audit),
        "compared": audit.compared,
        "sources": list(audit.sources),
        "seed": audit.seed,
    }
    return {name: _rounded(value) for name, value in document.items()}


def _self_check(audit: Audit) -> dict[str, Any]:
    check = audit.self_check
    return {
        **asdict(check),
        "allowed": ALLOWED,
        "positives": {**asdict(check.positives), "recall": check.positives.recall},
        "before": {**asdict(check.before), "false_positive_rate": check.before.false_positive_rate},
        "negatives": {**asdict(check.negatives), "false_positive_rate": check.negatives.false_positive_rate},
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def _write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)  # "\r\n", or a name that holds a lone "\r" would not be quoted
        writer.writerow(columns)
        writer.writerows(rows)
