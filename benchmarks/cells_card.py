"""The model card of the weights `cells`, from what was kept of their making and their scores; no figure is typed."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cells_scored
import jinja2

from tfcells.backbones.seen import list_beside
from tfcells.backbones.weights import file_digest

TEMPLATE: Final = Path(__file__).with_name("cells_card.md.j2")
Lines = Sequence[dict[str, Any]]


def written(
    lines: Lines,
    *,
    weights: Path,
    name: str,
    sets: Mapping[str, str | None],
    families: Mapping[str, Collection[str]],
) -> str:
    """The card as Markdown.

    Args:
        lines: Of `results/cells.jsonl`, oldest first.
        weights: The shipped file.
        name: What the weights are called where they were scored.
        sets: Sets that must have been scored, with the family that the weights must not have been taught.
        families: Sets of each family.

    Raises:
        SystemExit: If something of the making or the scores is not kept, or weights that were scored were made
            otherwise than those that ship, or taught what they were scored on.
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
    for line in ours:
        if line["without"] is not None:
            check_made_alike(line, lines, shipped[-1], forbidden=families[line["without"]])
    both = [line for line in scored if line["weights"] in (name, cells_scored.BASELINE)]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        made=shipped[-1],
        seen=list_beside(weights).name,
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


def check_made_alike(
    scored: Mapping[str, Any], lines: Lines, shipped: Mapping[str, Any], *, forbidden: Collection[str]
) -> None:
    """Refuse scores of weights that were made by another recipe than those that ship, or taught a forbidden set."""
    whose = f"The weights {scored['sha256']}, by which {scored['set']} was scored,"
    made = [line for line in lines if line["benchmark"] == "cells shipped" and line["sha256"] == scored["sha256"]]
    if not made:
        raise SystemExit(f"Nothing is kept of how {whose[4:-1]}, were made. Make them by `ship RUN --out FILE`.")
    other = [key for key in ("began_with", "precision", "versions") if made[-1][key] != shipped[key]]
    for section, value in recipe(shipped).items():
        if recipe(made[-1]).get(section) != value:
            other.append(f"config.{section}")
    if other:
        raise SystemExit(f"{whose} were made otherwise than those that ship: {', '.join(other)}. Make them alike.")
    taught = sorted({entry["set"] for entry in made[-1]["taught"]} & set(forbidden))
    if taught:
        raise SystemExit(f"{whose} were taught {', '.join(taught)} of the same family. Make them without it.")


def recipe(made: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a making, but for which images it was and what it is called."""
    config = {key: value for key, value in made["config"].items() if key != "name"}
    return {**config, "images": {key: value for key, value in config["images"].items() if key != "root"}}


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
