"""How many copies does the audit find, does it take different pictures for copies, and what does it cost?

    python benchmarks/audit.py truth IMAGES GROUPS.csv [--set NAME]   recall and wrong pairs against a truth
    python benchmarks/audit.py copies IMAGES [--originals 200]        copies made of real pictures, kind by kind
    python benchmarks/audit.py copies IMAGES --stamp after            the same, a scale bar on every picture
    python benchmarks/audit.py size [--images 2000]                   time and memory on generated pictures

IMAGES is a folder of class folders. GROUPS.csv has the columns `id,group`, or `set,class,file,group` of which `--set`
picks rows. Prints one JSON object per line, then a table. Copies are made here by other code than the audit's own
self-check uses, and each gets one change of one kind, except for `mixed`, which gets two of place and two of light.

Memory is the peak of this process, which is the only one; descriptors and small pictures lie in temporary files.
"""

import argparse
import csv
import json
import platform
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tfcells.images.audit import Audit, audit
from tfcells.images.decode import decode_image
from tfcells.images.readers import find_pictures, read_folder
from tfcells.images.synthetic.folder import write_sample_folder
from tfcells.images.synthetic.plant import Plants
from tfcells.images.synthetic.recipes import CLASSES
from tfcells.images.table import ImageTable

Picture = np.ndarray
Change = Callable[[Picture, np.random.Generator], Picture]

FILLS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)


def warped(picture: Picture, linear: np.ndarray, shift: Sequence[float], rng: np.random.Generator) -> Picture:
    """The picture under a linear map round its middle and a shift, of the same size."""
    height, width = picture.shape[:2]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([linear, middle - linear @ middle + shift])
    fill = FILLS[int(rng.integers(len(FILLS)))]
    white = (255, 255, 255) if rng.random() < 0.3 else (0, 0, 0)
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=fill, borderValue=white)


def turn(angle: float) -> np.ndarray:
    """A rotation matrix."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def rotate(picture: Picture, rng: np.random.Generator) -> Picture:
    """By any angle."""
    return warped(picture, turn(rng.uniform(0, 2 * np.pi)), (0, 0), rng)


def mirror(picture: Picture, rng: np.random.Generator) -> Picture:
    """Left and right, or top and bottom, then a quarter turn or none."""
    return np.ascontiguousarray(np.rot90(np.flip(picture, axis=int(rng.integers(2))), int(rng.integers(2))))


def shift(picture: Picture, rng: np.random.Generator) -> Picture:
    """By up to 30 % of each side."""
    height, width = picture.shape[:2]
    return warped(picture, np.eye(2), (rng.uniform(-0.3, 0.3) * width, rng.uniform(-0.3, 0.3) * height), rng)


def shear(picture: Picture, rng: np.random.Generator) -> Picture:
    """By up to 15 degrees."""
    return warped(picture, np.array([[1, np.tan(np.deg2rad(rng.uniform(-15, 15)))], [0, 1]]), (0, 0), rng)


def rescale(picture: Picture, rng: np.random.Generator) -> Picture:
    """A file of 0.6 to 1.7 times the sides."""
    return cv2.resize(picture, None, fx=(f := rng.uniform(0.6, 1.7)), fy=f, interpolation=cv2.INTER_AREA)


def squeeze(picture: Picture, rng: np.random.Generator) -> Picture:
    """One side 0.75 to 1.33 times the other's scale."""
    return cv2.resize(picture, None, fx=rng.uniform(0.75, 1.33), fy=1.0, interpolation=cv2.INTER_AREA)


def cropped(picture: Picture, rng: np.random.Generator, *, side: float, enlarge: bool) -> Picture:
    """A window whose sides are a share of the picture's, enlarged to its size or left small."""
    height, width = picture.shape[:2]
    rows, columns = round(height * side), round(width * side)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    part = picture[top : top + rows, left : left + columns]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC) if enlarge else part.copy()


def crop_area_35(picture: Picture, rng: np.random.Generator) -> Picture:
    """35 % of the area, enlarged or not."""
    return cropped(picture, rng, side=np.sqrt(0.35), enlarge=rng.random() < 0.5)


def crop_side_35(picture: Picture, rng: np.random.Generator) -> Picture:
    """35 % of each side, 12 % of the area, enlarged."""
    return cropped(picture, rng, side=0.35, enlarge=True)


def blur(picture: Picture, rng: np.random.Generator) -> Picture:
    """Gaussian, 1 to 2.5 pixels."""
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(1, 2.5))


def noise(picture: Picture, rng: np.random.Generator) -> Picture:
    """Gaussian, 4 to 14 grey levels."""
    return np.clip(picture + rng.normal(0, rng.uniform(4, 14), picture.shape), 0, 255).astype(np.uint8)


def jpeg(picture: Picture, rng: np.random.Generator) -> Picture:
    """Quality 15 to 60."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 61))])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def colour(picture: Picture, rng: np.random.Generator) -> Picture:
    """Hue by up to 30 degrees, saturation and brightness by up to a third, contrast by up to a quarter."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.float64)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-15, 15)) % 180
    hsv[..., 1:] *= rng.uniform(0.67, 1.33, 2)
    jittered = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float64)
    return np.clip((jittered - 128) * rng.uniform(0.75, 1.25) + 128, 0, 255).astype(np.uint8)


def grey(picture: Picture, rng: np.random.Generator) -> Picture:
    """Luminance."""
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


def gamma(picture: Picture, rng: np.random.Generator) -> Picture:
    """0.5 to 2."""
    return np.rint(255 * (picture / 255.0) ** np.exp(rng.uniform(-0.69, 0.69))).astype(np.uint8)


PLACE: tuple[Change, ...] = (rotate, mirror, shift, shear, rescale, squeeze, crop_area_35)
LIGHT: tuple[Change, ...] = (blur, noise, jpeg, colour, grey, gamma)


def mixed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Two changes of place (but one crop or shift at most) and two of light."""
    gentle = (rotate, mirror, shear, rescale, squeeze)
    changes = [gentle[int(rng.integers(len(gentle)))], PLACE[int(rng.integers(len(PLACE)))]]
    changes += [LIGHT[k] for k in rng.permutation(len(LIGHT))[:2]]
    for change in changes:
        picture = change(picture, rng)
    return picture


KINDS: dict[str, Change] = {change.__name__: change for change in (*PLACE, *LIGHT, mixed, crop_side_35)}


def stamped(picture: Picture) -> Picture:
    """With a scale bar and its text in the lower right corner."""
    picture = picture.copy()
    height, width = picture.shape[:2]
    left, low = width - min(110, width // 2), height - 14
    cv2.rectangle(picture, (left, low), (width - 12, low + 5), (0, 0, 0), -1)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(picture, "10 um  x1000", (left, low - 8), font, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def timed(table: ImageTable, *, workers: int, seed: int) -> tuple[Audit, dict[str, Any]]:
    """An audit and what it cost."""
    began, used = time.perf_counter(), time.process_time()
    found = audit(table, workers=workers, seed=seed)
    cost = {
        "images": len(found.ids),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    return found, cost


def pair_count(groups: Sequence[Any]) -> int:
    """Pairs of rows that share a group."""
    return sum(count * (count - 1) // 2 for count in Counter(groups).values())


def against(found: Audit, truth: Mapping[str, str]) -> dict[str, Any]:
    """Recall of pairs after closure, wrong pairs before it, groups that mix true ones, pictures merged wrongly."""
    true = [truth.get(id, f"alone {id}") for id in found.ids]
    groups = [found.groups[id] for id in found.ids]
    of = dict(zip(found.ids, true, strict=True))
    wrong = [pair for pair in found.confirmed if of[pair.id_a] != of[pair.id_b]]
    held: dict[str, Counter[str]] = {}
    for group, original in zip(groups, true, strict=True):
        held.setdefault(group, Counter())[original] += 1
    return {
        "true_pairs": pair_count(true),
        "recall": pair_count(list(zip(true, groups, strict=True))) / max(pair_count(true), 1),
        "confirmed": len(found.confirmed),
        "wrong_confirmed": len(wrong),
        "wrong_share": len(wrong) / max(len(found.confirmed), 1),
        "wrong_pairs": [list(pair) for pair in wrong[:20]],
        "mixed_groups": {group: dict(each) for group, each in held.items() if len(each) > 1},
        "merged_wrongly": sum(sum(each.values()) - max(each.values()) for each in held.values()),
        "possible": len(found.possible),
        "threshold": found.thresholds.agreement,
        "note": found.self_check.note,
    }


def read_truth(path: Path, name: str | None) -> dict[str, str]:
    """Group by id."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if "id" in rows[0]:
        return {row["id"]: row["group"] for row in rows}
    return {f"{row['class']}/{row['file']}": row["group"] for row in rows if name in (None, row["set"])}


def run_truth(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The audit of a collection beside its truth."""
    found, cost = timed(read_folder(options.images), workers=options.workers, seed=options.seed)
    return [{"what": options.images.name, **cost, **against(found, read_truth(options.groups, options.set))}]


def run_copies(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Copies of each kind, each of another original, beside all originals in one collection."""
    rng = np.random.default_rng(options.seed)
    every, _, _ = find_pictures(options.images)
    drawn = [every[k] for k in rng.permutation(len(every))[: options.originals]]
    kind_of: dict[str, str] = {}
    truth: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, id in enumerate(drawn):
            original = decode_image((options.images / id).read_bytes())
            original = stamped(original) if options.stamp == "before" else original
            names = [list(KINDS)[(number * options.each + k) % len(KINDS)] for k in range(options.each)]
            pictures = {"original": original, **{name: KINDS[name](original, rng) for name in names}}
            for name, picture in pictures.items():
                last = stamped(picture) if options.stamp == "after" else picture
                label = id.split("/", maxsplit=1)[0]
                file = f"{label}/{number:05d}_{name}.png"
                (Path(folder) / label).mkdir(exist_ok=True)
                cv2.imwrite(str(Path(folder) / file), np.ascontiguousarray(last[:, :, ::-1]))
                truth[file], kind_of[file] = f"{number:05d}", name
        found, cost = timed(read_folder(Path(folder)), workers=options.workers, seed=options.seed)
    original_of = {truth[id]: id for id, kind in kind_of.items() if kind == "original"}
    possible = {id for pair in found.possible for id in pair[:2]}
    lines = []
    for kind in KINDS:
        copies = [id for id, each in kind_of.items() if each == kind]
        joined = [found.groups[id] == found.groups[original_of[truth[id]]] for id in copies]
        missed = [id for id, hit in zip(copies, joined, strict=True) if not hit]
        line = {"what": kind, "copies": len(copies), "recall": float(np.mean(joined)) if copies else None}
        lines.append({**line, "missed_but_possible": len(possible.intersection(missed)), "missed": missed[:10]})
    fair = [id for id, kind in kind_of.items() if kind not in ("original", "crop_side_35")]
    hits = sum(found.groups[id] == found.groups[original_of[truth[id]]] for id in fair)
    # Fields of a real collection may overlap: pairs of two originals are not for this benchmark to judge.
    between = [p for p in found.confirmed if truth[p.id_a] != truth[p.id_b]]
    foreign = Counter(tuple(sorted((truth[p.id_a], truth[p.id_b]))) for p in between)
    total = {"what": f"all but crop_side_35, stamp {options.stamp}", "copies": len(fair), "recall": hits / len(fair)}
    pairs = {"pairs_across": sum(foreign.values()), "originals_across": [list(pair) for pair in list(foreign)[:10]]}
    more = {"marked": found.marked, "threshold": found.thresholds.agreement, "note": found.self_check.note}
    return [*lines, {**total, **pairs, **more, **cost}]


def run_size(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Generated smears with some copies."""
    with tempfile.TemporaryDirectory() as folder:
        copies = options.images // 20
        each = (options.images - copies) // len(CLASSES)
        sample = write_sample_folder(
            Path(folder) / "smears", images_per_class=each, seed=options.seed, plants=Plants(copies=copies)
        )
        found, cost = timed(read_folder(Path(folder) / "smears"), workers=options.workers, seed=options.seed)
    truth = {row.id: str(row.group) for row in sample}
    return [{"what": f"{options.images} generated smears", **cost, **against(found, truth)}]


def show(lines: Sequence[Mapping[str, Any]]) -> None:
    """JSON lines, then the numbers as a table."""
    where = {"machine": platform.machine(), "python": platform.python_version(), "opencv": cv2.__version__}
    for line in lines:
        print(json.dumps({**line, **where}))
    columns = [name for name in dict.fromkeys(k for line in lines for k in line) if name not in ("note", "missed")]
    columns = [name for name in columns if not any(isinstance(line.get(name), list | dict) for line in lines)]
    rows = [columns, *([_cell(line.get(name)) for name in columns] for line in lines)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(columns))]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for line in lines:
        if line.get("note"):
            print(f"\n{line['note']}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    modes = parser.add_subparsers(required=True)
    truth = modes.add_parser("truth")
    truth.add_argument("images", type=Path)
    truth.add_argument("groups", type=Path)
    truth.add_argument("--set")
    truth.set_defaults(run=run_truth)
    copies = modes.add_parser("copies")
    copies.add_argument("images", type=Path)
    copies.add_argument("--originals", type=int, default=200)
    copies.add_argument("--each", type=int, default=3, help="copies per original")
    copies.add_argument("--stamp", choices=("no", "before", "after"), default="no", help="scale bar on every picture")
    copies.set_defaults(run=run_copies)
    size = modes.add_parser("size")
    size.add_argument("--images", type=int, default=2000)
    size.set_defaults(run=run_size)
    options = parser.parse_args()
    show(options.run(options))


if __name__ == "__main__":
    main()
