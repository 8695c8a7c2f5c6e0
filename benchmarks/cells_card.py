"""The model card of the weights `cells`, from what was kept of their making and their scores; no figure is typed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cells_scored
import jinja2

from tfcells.backbones.weights import file_digest

TEMPLATE: Final = Path(__file__).with_name("cells_card.md.j2")
Lines = Sequence[dict[str, Any]]


def written(lines: Lines, *, weights: Path, name: str, sets: Mapping[str, str | None]) -> str:
    """The card as Markdown.

    Args:
        lines: Of `results/cells.jsonl`, oldest first.
        weights: The shipped file.
        name: What the weights are called where they were scored.
        sets: Sets that must have been scored, with the family that the weights must not have been taught.
    """
    sha256 = file_digest(weights)
    shipped = [line for line in lines if line["benchmark"] == "cells shipped" and line["sha256"] == sha256]
    if not shipped:
        raise SystemExit(f"Nothing is kept of how {weights} ({sha256}) was made. Make it by `ship`.")
    scored = newest(lines)
    ours = [line for line in scored if line["weights"] == name]
    missing = [entry for entry in sets if entry not in {line["set"] for line in ours}]
    if missing:
        raise SystemExit(f"Weights {name!r} were not scored on {', '.join(missing)}. Run `score` first.")
    other = [line for line in ours if line["without"] is None and line["sha256"] != sha256]
    if other:
        raise SystemExit(f"{other[0]['set']} was scored by {other[0]['sha256']}; {sha256} ships. Score what ships.")
    both = [line for line in scored if line["weights"] in (name, cells_scored.BASELINE)]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        made=shipped[-1],
        families=sorted({line["without"] for line in ours if line["without"]}),
        headline=cells_scored.as_table(both),
        readings=cells_scored.as_table(both, all_readings=True),
        others=cells_scored.as_table([line for line in scored if line["weights"] != name]),
        tried=sorted({line["weights"] for line in scored} - {name, cells_scored.BASELINE}),
        verdicts=[verdict(line) for line in ours],
        left_out={line["set"]: line["left_out"] for line in ours},
        percent=cells_scored.percent,
        scored=ours[0],
    )


def newest(lines: Lines) -> list[dict[str, Any]]:
    """Of lines of the same set by the same weights at the catalog's own size, the last."""
    found = {}
    for line in lines:
        if line["benchmark"] == "cells" and line["size"] is None:
            found[line["set"], line["weights"]] = line
    order = list(dict.fromkeys(line["set"] for line in found.values()))
    return sorted(found.values(), key=lambda line: (order.index(line["set"]), line["weights"] != cells_scored.BASELINE))


def verdict(line: Mapping[str, Any]) -> str:
    """What the paired test says of the reading that counts, in a sentence."""
    reading = next(entry for entry in line["readings"] if entry["headline"])
    test = reading["gain"]["balanced_accuracy"]
    gain, p = cells_scored.percent(test["difference"], sign="+"), cells_scored.chance(test["p_value"])
    if test["p_value"] > 0.05:
        said = "**not told from ImageNet's**"
    else:
        said = "better than ImageNet's" if test["difference"]["value"] > 0 else "**worse than ImageNet's**"
    return f"`{line['set']}`: {said}, {gain} points of balanced accuracy, p {p if p.startswith('<') else f'= {p}'}."
