"""Do maps show what a network uses, and is it the cell?

    python benchmarks/explanations.py maps IMAGES MASKS WEIGHTS     every method on cells whose outline is known
    python benchmarks/explanations.py mass IMAGES MASKS WEIGHTS     maps alone, cells also shifted out of the middle
    python benchmarks/explanations.py exact IMAGES WEIGHTS          cells + bias against the logit, image by image

`maps` reads IMAGES and MASKS, folders of `<class>/<file>` where a mask is black outside of the cell, by a logistic
regression on one tap of MobileNetV2, fitted without the images that are explained (every second one is learned from).
A line for each method: deletion and insertion, each with an interval, beside a random order of the same grain and
beside a centred disc; the median absolute rank correlation with maps of randomised networks; the share of the positive
mass inside the cell against a centred disc of the cell's area; whether maps add up; the verdict.

`mass` makes maps without those checks, for more images: their share in the cell where it stands, and once more with
cell and mask shifted by a share of the side in drawn directions, where pointing at the middle no longer helps; and
whether they add up to |f(x) - f(baseline)| where that is a logit or more.

`exact` says how far the exact map's sum and bias are from what the probe itself, in float64, says of the features, and
from the network's answer, the largest of all images; taps alone and together, with and without PCA.

Intervals are over images; groups are files, since the outlines come from single pictures of single cells. Twelve
images, as by default, take about five minutes on two cores; twenty took eight.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

# `coverage.py` beside this file is not the package of that name, which shap's numba looks for.
sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]

RESULTS: Final = Path(__file__).parent / "results" / "explanations.jsonl"
TAP: Final = "block_13_expand_relu"
FEWEST: Final = 5  # images of a class that is learned
PACKAGES: Final = ("tensorflow", "keras", "numpy", "scikit-learn", "shap")


def read(folder: Path, *, size: int) -> tuple[list[Path], np.ndarray, np.ndarray, list[str]]:
    """Files, pictures at the network's size, class numbers, class names; classes of few images are left out."""
    from tfcells.images.decode import decode_image
    from tfcells.images.resize import resize_image

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"))
    counts = {path.parent.name: 0 for path in files}
    for path in files:
        counts[path.parent.name] += 1
    files = [path for path in files if counts[path.parent.name] >= FEWEST]
    names = sorted({path.parent.name for path in files})
    pictures = np.stack([resize_image(decode_image(path.read_bytes()), height=size, width=size) for path in files])
    return files, pictures, np.array([names.index(path.parent.name) for path in files], dtype=np.int64), names


def features(backbone: Any, taps: tuple[Any, ...], pictures: np.ndarray) -> np.ndarray:
    """Pooled features, side by side, in batches."""
    from tfcells.backbones.cut import cut_resized
    from tfcells.backbones.taps import tap_keys

    model = cut_resized(backbone, taps)
    parts = [model(pictures[at : at + 32], training=False) for at in range(0, len(pictures), 32)]
    return np.concatenate([np.concatenate([part[key] for key in tap_keys(taps)], axis=1) for part in parts])


def machine() -> dict[str, Any]:
    """Where and with what."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


def keep(line: dict[str, Any]) -> None:
    """Print a line and add it to the results."""
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, **machine()}) + "\n")
    print(json.dumps(line))


def case_of(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Cells whose outline is known, with what reads them, and what every line says."""
    from PIL import Image

    from tfcells.backbones.open import open_backbone
    from tfcells.backbones.taps import Tap
    from tfcells.explain.checked import Case
    from tfcells.explain.explained import explain_probe
    from tfcells.probes.catalog import fit_probe

    backbone = open_backbone("mobilenet_v2", weights=options.weights)
    files, pictures, labels, names = read(Path(options.images), size=backbone.size)
    learned = np.arange(len(files)) % 2 == 0
    taps = (Tap(options.tap),)
    vectors = features(backbone, taps, pictures)
    probe = fit_probe("logistic", vectors[learned], labels[learned], np.flatnonzero(learned), parameters={"C": 0.1})
    explained = explain_probe(backbone, taps, probe, names)
    asked = np.flatnonzero(~learned)
    asked = np.sort(np.random.default_rng(options.seed).permutation(asked)[: options.count])
    logits = explained.logits(pictures[asked])
    masks = []
    for row in asked:
        with Image.open(Path(options.masks) / files[row].relative_to(options.images)) as opened:
            small = opened.convert("L").resize((backbone.size, backbone.size), Image.Resampling.NEAREST)
            masks.append(np.asarray(small) > 63)
    case = Case(
        explained=explained,
        pictures=pictures[asked],
        contrasts=np.eye(len(names))[logits.argmax(axis=1)],
        groups=asked,
        masks=np.stack(masks),
        seed=options.seed,
    )
    shared = {
        "images": len(asked),
        "collection": Path(options.images).name,
        "tap": options.tap,
        "accuracy": float((logits.argmax(axis=1) == labels[asked]).mean()),
    }
    return case, shared


def maps(options: argparse.Namespace) -> None:
    """Every method on cells whose outline is known."""
    from tfcells.explain.checked import check_method, middle_curves, summary_of
    from tfcells.explain.methods import check_methods

    case, shared = case_of(options)
    disc = middle_curves(case)
    for name in check_methods(options.methods.split(",")):
        started = time.perf_counter()
        summary = summary_of(check_method(case, name, disc=disc), seed=options.seed)
        keep({"benchmark": "maps", **shared, **summary, "seconds": round(time.perf_counter() - started, 1)})


def moved(case: Any, *, shift: float) -> Any:
    """The case with every picture and mask shifted by a share of the side, in a drawn direction."""
    import cv2

    size = case.explained.size
    angles = np.random.default_rng((case.seed, 1)).uniform(0, 2 * np.pi, size=len(case.pictures))
    pictures, masks = [], []
    for picture, mask, angle in zip(case.pictures, case.masks, angles.tolist(), strict=True):
        matrix = np.array([[1, 0, shift * size * np.cos(angle)], [0, 1, shift * size * np.sin(angle)]])
        pictures.append(cv2.warpAffine(picture, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101))
        flat = cv2.warpAffine(mask.astype(np.uint8), matrix, (size, size), flags=cv2.INTER_NEAREST)
        masks.append(flat > 0)
    logits = case.explained.logits(np.stack(pictures))
    contrasts = np.eye(logits.shape[1])[logits.argmax(axis=1)]
    return replace(case, pictures=np.stack(pictures), masks=np.stack(masks), contrasts=contrasts)


def mass(options: argparse.Namespace) -> None:
    """Maps alone: their share in the cell where it stands and where it was shifted to, and whether they add up."""
    from tfcells.explain.faithfulness import disc_inside, mass_inside, mean_interval
    from tfcells.explain.methods import METHODS, check_methods

    centred, shared = case_of(options)
    for shift in (0.0, options.shift) if options.shift else (0.0,):
        case = moved(centred, shift=shift) if shift else centred
        disc = disc_inside(case.masks)
        for name in check_methods(options.methods.split(",")):
            started = time.perf_counter()
            found = METHODS[name].make(case.explained, case.pictures, case.contrasts)
            inside = mass_inside(found.heat, case.masks)
            shares = {"map": inside, "centred_disc": disc, "map_minus_centred_disc": inside - disc}
            keep(
                {
                    "benchmark": "mass",
                    **shared,
                    "method": name,
                    "shift": shift,
                    "mass_inside": {
                        kind: {"value": float(values.mean()), **ends(mean_interval(values, case.groups))}
                        for kind, values in shares.items()
                    },
                    "whole_picture": float(case.masks.mean()),
                    "completeness": completeness(found.completeness),
                    "seconds": round(time.perf_counter() - started, 1),
                }
            )


def ends(found: Any) -> dict[str, float | None]:
    """Of an interval; none where the images are too few for one."""
    return {"low": None, "high": None} if found is None else {"low": found.low, "high": found.high}


def completeness(found: Any) -> dict[str, Any] | None:
    """How far sums miss |f(x) - f(baseline)|, of the images where that is a logit or more, and of the others."""
    if found is None:
        return None
    large = np.abs(found.claimed) >= 1
    missed = found.error / np.abs(found.claimed)
    return {
        "images_of_a_logit_or_more": int(large.sum()),
        "within_one_per_cent": int((missed[large] <= 0.01).sum()),
        "median_relative_error": float(np.median(missed[large])) if large.any() else None,
        "largest_relative_error": float(missed[large].max()) if large.any() else None,
        "others": int((~large).sum()),
        "largest_error_of_others": float(found.error[~large].max()) if (~large).any() else None,
        "median_passes": float(np.median(found.steps)),
        "most_passes": int(found.steps.max()),
    }


def exact(options: argparse.Namespace) -> None:
    """How far exact maps are from what they add up to."""
    from tfcells.backbones.open import open_backbone
    from tfcells.backbones.taps import parse_taps
    from tfcells.explain.exact import exact_maps
    from tfcells.explain.explained import explain_probe
    from tfcells.probes.catalog import fit_probe

    backbone = open_backbone("mobilenet_v2", weights=options.weights)
    _, pictures, labels, names = read(Path(options.images), size=backbone.size)
    rows = np.sort(np.random.default_rng(options.seed).permutation(len(pictures))[: options.count])
    for taps_text in (TAP, f"block_6_expand_relu,{TAP},out_relu", f"{TAP}:flatten"):
        taps = parse_taps(taps_text.split(","))
        vectors = features(backbone, taps, pictures)
        for kind, components in (("logistic", None), ("logistic", 0.8), ("ridge", None)):
            probe = fit_probe(kind, vectors, labels, np.arange(len(labels)), components=components)
            explained = explain_probe(backbone, taps, probe, names)
            contrasts = np.eye(len(names))[explained.logits(pictures[rows]).argmax(axis=1)]
            found = exact_maps(explained, pictures[rows], contrasts)
            total = sum(part.sum(axis=(1, 2)) for part in found.parts.values()) + found.rest
            told = (explained.linear.folded.logits(vectors[rows]) * contrasts).sum(axis=1)
            keep(
                {
                    "benchmark": "exact",
                    "collection": Path(options.images).name,
                    "taps": [str(tap) for tap in taps],
                    "probe": kind,
                    "components": components,
                    "images": len(rows),
                    "largest_difference_from_probe": float(np.abs(total - told).max()),
                    "largest_difference_from_network": float(found.completeness.error.max()),
                    "largest_logit": float(np.abs(told).max()),
                }
            )


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, count in (("maps", 12), ("mass", 40)):
        every = kinds.add_parser(name)
        every.add_argument("images")
        every.add_argument("masks")
        every.add_argument("weights")
        every.add_argument("--methods", default="exact,gradcam,ig,occlusion", help="`shap` for both of shap's, too")
        every.add_argument("--tap", default=TAP)
        every.add_argument("--count", type=int, default=count)
        every.add_argument("--seed", type=int, default=0)
        if name == "mass":
            every.add_argument("--shift", type=float, default=0.15, help="of the cell, as a share of the side")
    sums = kinds.add_parser("exact")
    sums.add_argument("images")
    sums.add_argument("weights")
    sums.add_argument("--count", type=int, default=100)
    sums.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    {"maps": maps, "mass": mass, "exact": exact}[options.kind](options)


if __name__ == "__main__":
    main()
