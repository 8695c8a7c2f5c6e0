"""The weights `cells`: what they are taught, and whether they are a better start than ImageNet's.

    python benchmarks/cells.py manifest DATA cells.csv                   every set that they may learn from
    python benchmarks/cells.py manifest DATA no_pbc.csv --without pbc    one family left out, to be scored on it
    tfcells finetune configs/finetune_cells.yaml --images.root cells.csv --out runs/finetune_cells
    python benchmarks/cells.py ship runs/finetune_cells                  its weights as float16, into the package
    python benchmarks/cells.py ship runs/no_pbc --out no_pbc.weights.h5  the same, elsewhere, to be scored
    python benchmarks/cells.py score DATA --work WORK --weights cells=no_pbc.weights.h5:pbc --weights cells=FILE ...
    python benchmarks/cells.py card --weights cells                      the model card, from the two above

DATA holds one folder of class folders per set, and `groups.csv` (`set,class,file,group`): pictures of one group show
the same original. A family is what came from one laboratory; all white cells share their classes, whatever family they
are of, so that the same cell is the same answer under every stain.

`score` reads frozen features of ImageNet's weights and of others by the logistic probe of tfcells: its penalty chosen
by inner folds, five outer folds, groups whole, the same folds for all, gains paired. Each set is read only by weights
that were not taught its family, which FILE:FAMILY says; a FILE taught all families is asked about `zxaoyou_wbc1`, which
nobody learns from. Every default tap and all of them together is scored; the reading that counts is the one that is
best for ImageNet on that set, so that what is left to choose favours ImageNet. Classes of fewer than five groups are
left out by name. Features stay in WORK. At 224 px four sets and one candidate take about ten minutes on two cores.

Weights are needed for ImageNet: by name where TFCELLS_WEIGHTS_DIR points, or Keras downloads them.
"""

import argparse
import csv
import datetime
import importlib.metadata
import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cells_card
import cells_scored
import cells_shipped

from tfcells.backbones.weights import file_digest

FAMILIES: Final = {
    "pbc": {"pbc": "white"},
    "bccd": {"bccd_wbc_crops": "white", "kaggle_wbc4_train": "white"},
    "chula": {"chula_rbc12_crops": "red"},
}
"""Sets of each family, with what their classes compete among."""

SCORED: Final = {"pbc": "pbc", "bccd_wbc_crops": "bccd", "chula_rbc12_crops": "chula", "zxaoyou_wbc1": None}
"""Sets to be scored on, and the family that weights must not have been taught; None where no weights were."""

RESULTS: Final = Path(__file__).parent / "results" / "cells.jsonl"
PACKAGES: Final = ("tensorflow", "keras", "numpy", "scikit-learn")
LEFT_OUT: Final = {("chula_rbc12_crops", "elliptocyte")}  # its background gives it away
LEAST: Final = 20  # pictures of a class in a family: one basophil teaches nobody


def write_manifest(data: Path, out: Path, *, without: str | None) -> Counter[str]:
    """Write `path,label,group,set` of every picture to learn from; paths are relative to the manifest's folder."""
    with (data / "groups.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    counted = Counter((row["set"], row["class"]) for row in rows)
    told: Counter[str] = Counter()
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "set"])
        for family, sets in FAMILIES.items():
            if family == without:
                continue
            for row in rows:
                kind = (row["set"], row["class"])
                if row["set"] not in sets or kind in LEFT_OUT or counted[kind] < LEAST:
                    continue
                path = os.path.relpath(data / row["set"] / row["class"] / row["file"], out.parent)
                label = f"{sets[row['set']]}/{row['class']}"
                writer.writerow([path, label, f"{family}:{row['group']}", row["set"]])
                told[label] += 1
    return told


def manifest(args: argparse.Namespace) -> None:
    """Write the manifest and print its classes."""
    for label, count in sorted(write_manifest(args.data, args.out, without=args.without).items()):
        print(f"{count:6,} {label}")


def ship(args: argparse.Namespace) -> None:
    """Write the weights, into the package with their fingerprint, or elsewhere; and a line for the card."""
    target = args.out or cells_shipped.SHIPPED
    before = file_digest(target) if target.is_file() else None
    cells_shipped.write_shipped(args.run_folder, target)
    print(f"{target}: {target.stat().st_size:,} bytes, SHA-256 {file_digest(target)}")
    if args.out is None:
        cells_shipped.record_fingerprint(target, instead_of=before)
    keep([cells_shipped.facts_of(args.run_folder, target)])


def score(args: argparse.Namespace) -> None:
    """Score every set by the weights that may read it, print two tables and add the lines to the results."""
    candidates = [cells_scored.parse_candidate(text, list(FAMILIES)) for text in args.weights]
    args.work.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, family in SCORED.items():
        asked = [candidate for candidate in candidates if candidate.without == family]
        if not asked or (args.only and name not in args.only):
            continue
        table = args.work / f"{name}.csv"
        left_out = cells_scored.write_table(args.data, name, table, left_out=frozenset(LEFT_OUT))
        known = {"benchmark": "cells", "set": name, "without": family, "size": args.size, "left_out": left_out}
        entries = cells_scored.score_set(table, asked, work=args.work, size=args.size)
        lines += [{**known, **entry} for entry in entries]
        print(cells_scored.as_table(lines[-len(entries) :], all_readings=True), flush=True)
    if not lines:
        raise SystemExit("No set may be read by these weights. Expected FILE:FAMILY, or a FILE for zxaoyou_wbc1.")
    keep(lines)
    print(f"\nThe reading that is best for ImageNet:\n\n{cells_scored.as_table(lines)}")


def card(args: argparse.Namespace) -> None:
    """Write the model card beside the shipped weights."""
    with RESULTS.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    target = cells_shipped.SHIPPED.with_name("mobilenet_v2_cells.md")
    text = cells_card.written(lines, weights=cells_shipped.SHIPPED, name=args.weights, sets=SCORED, families=FAMILIES)
    target.write_text(text, encoding="utf-8")
    print(target)


def keep(lines: Sequence[dict[str, Any]]) -> None:
    """Add lines to the results, with when and by what they were made."""
    made = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({**line, **made}) + "\n" for line in lines)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)
    mode = modes.add_parser("manifest")
    mode.add_argument("data", type=Path)
    mode.add_argument("out", type=Path)
    mode.add_argument("--without", choices=FAMILIES, help="a family that must not be seen")
    mode.set_defaults(run=manifest)
    mode = modes.add_parser("ship")
    mode.add_argument("run_folder", metavar="RUN", type=Path)
    mode.add_argument("--out", type=Path, metavar="FILE", help="elsewhere than in the package, fingerprint unrecorded")
    mode.set_defaults(run=ship)
    mode = modes.add_parser("score")
    mode.add_argument("data", type=Path)
    mode.add_argument("--weights", action="append", required=True, metavar="NAME=FILE[:FAMILY]")
    mode.add_argument("--work", type=Path, required=True, metavar="DIR", help="features are kept here")
    mode.add_argument("--size", type=int, help="of the input in pixels (default: 224)")
    mode.add_argument("--only", action="append", choices=SCORED, metavar="SET")
    mode.set_defaults(run=score)
    mode = modes.add_parser("card")
    mode.add_argument("--weights", default="cells", metavar="NAME", help="as scored (default: cells)")
    mode.set_defaults(run=card)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
