"""Are weights a better start than ImageNet's? Linear probes on frozen features of both, on cells neither has seen."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

BASELINE: Final = "imagenet"
BACKBONE: Final = "mobilenet_v2"
FOLDS: Final = 5
SEED: Final = 0
FEWEST_GROUPS: Final = FOLDS
"""Of a class: with fewer it could not be tested in every fold, and is left out by name."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Weights that are asked.

    Attributes:
        name: What the table calls them.
        weights: Their file.
        without: The family that they have not seen; None for weights that were taught all families.
    """

    name: str
    weights: Path
    without: str | None


def parse_candidate(text: str, families: Sequence[str]) -> Candidate:
    """`NAME=FILE` or `NAME=FILE:FAMILY`."""
    name, _, rest = text.partition("=")
    file, _, family = rest.rpartition(":")
    without = family if file and family in families else None
    path = Path(file if without else rest)
    if not name or name == BASELINE or not path.is_file():
        raise SystemExit(
            f"--weights {text} came. Expected NAME=FILE or NAME=FILE:FAMILY, where FILE is there, NAME is not "
            f"{BASELINE!r}, and FAMILY is one of: {', '.join(families)}."
        )
    return Candidate(name=name, weights=path, without=without)


def write_table(data: Path, name: str, out: Path, *, left_out: frozenset[tuple[str, str]]) -> dict[str, str]:
    """Write `path,label,group` of one set; returns why classes are left out, by name."""
    with (data / "groups.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == name]
    groups = defaultdict(set)
    for row in rows:
        groups[row["class"]].add(row["group"])
    reasons = {label: "its background gives it away" for found, label in left_out if found == name}
    reasons |= {
        label: f"{len(members)} of {FEWEST_GROUPS} groups needed"
        for label, members in groups.items()
        if len(members) < FEWEST_GROUPS and label not in reasons
    }
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for row in rows:
            if row["class"] not in reasons:
                writer.writerow([(data / name / row["class"] / row["file"]).resolve(), row["class"], row["group"]])
    return reasons


def score_set(
    manifest: Path, candidates: Sequence[Candidate], *, work: Path, size: int | None, baseline: str = BASELINE
) -> list[dict[str, Any]]:
    """Score the baseline and candidates on one set, the same folds for all; one entry for each of them.

    Every default tap and all of them together is read by the logistic probe, its penalty chosen by inner folds.
    `headline` marks the reading that is best for the baseline: the comparison favours it.
    """
    from tfcells.backbones.weights import find_weights
    from tfcells.features.extract import Extraction, extract
    from tfcells.features.store import known_files
    from tfcells.images.readers import read_images
    from tfcells.images.splits import split_table
    from tfcells.probes.reading import Space
    from tfcells.probes.sweep import probe_layers

    sweeps = {}
    for name, weights in [(BASELINE, baseline), *((entry.name, str(entry.weights)) for entry in candidates)]:
        digest = find_weights(BACKBONE, weights).sha256 or weights
        store_path = work / f"{manifest.stem}-{size or 'own'}-{digest[:16]}"
        table = read_images(manifest, known=known_files(store_path))
        asked = Extraction(backbone=BACKBONE, weights=weights, size=size, engine="tensorflow", precision="float32")
        store = extract(table, asked, into=store_path)
        split = split_table(table, folds=FOLDS, seed=SEED)
        sweep = probe_layers(store, split, space=Space(probes=("logistic",)), seed=SEED)
        sweeps[name] = (
            sweep,
            store.recipe["weights"]["sha256"],
            sorted("/".join(Path(entry.id).parts[-2:]) for entry in store.quarantine),
        )
    return [_entry(name, *found, against=sweeps[BASELINE][0]) for name, found in sweeps.items()]


def _entry(name: str, sweep: Any, sha256: str, quarantined: list[str], *, against: Any) -> dict[str, Any]:
    """Scores of all readings of some weights, and their gain over the baseline by the same readings."""
    from tfcells.probes.summary import scores_json

    theirs = {candidate.taps: candidate for candidate in against.candidates}
    readings = []
    for candidate in sorted(sweep.candidates, key=lambda entry: (len(entry.taps), entry.taps)):
        reading = {"taps": list(candidate.taps), "headline": candidate.taps == against.best.taps}
        reading |= scores_json(candidate.scores)
        if sweep is not against:
            reading["gain"] = _gain(candidate, theirs[candidate.taps], sweep.rows)
        readings.append(reading)
    return {
        "weights": name,
        "sha256": sha256,
        "images": len(sweep.ids),
        "groups": len(set(sweep.rows.groups.tolist())),
        "classes": list(sweep.class_names),
        "quarantined": quarantined,
        "readings": readings,
    }


def _gain(ours: Any, theirs: Any, rows: Any) -> dict[str, Any]:
    from tfcells.probes.summary import paired_json
    from tfcells.stats.paired import paired_balanced_difference, paired_difference

    a, b = ours.predictions.hits, theirs.predictions.hits
    return {
        "balanced_accuracy": paired_json(paired_balanced_difference(a, b, rows.labels, rows.groups)),
        "accuracy": paired_json(paired_difference(a, b, rows.groups)),
    }


def as_table(lines: Sequence[dict[str, Any]], *, all_readings: bool = False) -> str:
    """A Markdown table; figures in %, gains in points, intervals in brackets."""
    head = "| set | images | taps | weights | balanced accuracy | gain | p | accuracy | gain | p |"
    rows = [head, "| --- | --: | --- | --- | --- | --- | --: | --- | --- | --: |"]
    for line in lines:
        for reading in line["readings"]:
            if reading["headline"] or all_readings:
                rows.append(_row(line, reading, bold=all_readings and reading["headline"]))
    return "\n".join(rows)


def _row(line: dict[str, Any], reading: dict[str, Any], *, bold: bool) -> str:
    taps = " + ".join(reading["taps"]) if len(reading["taps"]) == 1 else "all together"
    cells = [line["set"], f"{line['images']:,}", f"**{taps}**" if bold else taps, line["weights"]]
    for metric in ("balanced_accuracy", "accuracy"):
        cells.append(percent(reading[metric]))
        gain = reading.get("gain", {}).get(metric)
        cells += ["", ""] if gain is None else [percent(gain["difference"], sign="+"), chance(gain["p_value"])]
    return f"| {' | '.join(cells)} |"


def percent(interval: dict[str, float], *, sign: str = "") -> str:
    """`91.2 (89.8 to 92.5)`, of a share."""
    value, low, high = (f"{100 * interval[name]:{sign}.1f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def chance(p_value: float) -> str:
    """Two significant digits, down to `< 0.0001`."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"
