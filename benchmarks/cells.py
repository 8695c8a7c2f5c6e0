"""The weights `cells`: what they are taught, and whether they are a better start than ImageNet's.

    python benchmarks/cells.py manifest DATA cells.csv                   every set that they may learn from
    python benchmarks/cells.py manifest DATA no_pbc.csv --without pbc    one family left out, to be scored on it
    tfcells finetune configs/finetune_cells.yaml --images.root cells.csv --out runs/finetune_cells

DATA holds one folder of class folders per set, and `groups.csv` (`set,class,file,group`): pictures of one group show
the same original. A family is what came from one laboratory; all white cells share their classes, whatever family they
are of, so that the same cell is the same answer under every stain.
"""

import argparse
import csv
import os
from collections import Counter
from pathlib import Path
from typing import Final

FAMILIES: Final = {
    "pbc": {"pbc": "white"},
    "bccd": {"bccd_wbc_crops": "white", "kaggle_wbc4_train": "white"},
    "chula": {"chula_rbc12_crops": "red"},
}
"""Sets of each family, with what their classes compete among."""

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


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)
    manifest = modes.add_parser("manifest")
    manifest.add_argument("data", type=Path)
    manifest.add_argument("out", type=Path)
    manifest.add_argument("--without", choices=FAMILIES, help="a family that must not be seen")
    manifest.set_defaults(run=lambda args: write_manifest(args.data, args.out, without=args.without))
    args = parser.parse_args()
    for label, count in sorted(args.run(args).items()):
        print(f"{count:6,} {label}")


if __name__ == "__main__":
    main()
