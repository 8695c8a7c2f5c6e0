"""The whole study on generated smears with planted faults: what a newcomer sees first."""

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tfcells.config import BackboneConfig, ImagesConfig, StudyConfig
from tfcells.errors import DamageError, RequestError
from tfcells.images.synthetic.folder import write_sample_folder
from tfcells.images.synthetic.plant import Plants
from tfcells.images.synthetic.truth import SampleTruth, read_truth
from tfcells.progress import Progress, silent
from tfcells.study import Study, run_study

IMAGES_PER_CLASS: Final = 60
PLANTS: Final = Plants(copies=40, corrupt=6)
SEED: Final = 0


def run_demo(out: str | Path, *, progress: Progress = silent) -> Study:
    """Generate images, study them, and check that exactly the planted faults were found.

    Writes `images/`, `truth.csv` and `groups.csv` beside what `run_study` writes. It looks with the weights `cells`,
    which ship with tfcells.

    Args:
        out: Folder for everything; a demo that is there already is resumed.
        progress: Told how far each stage is.

    Raises:
        RequestError: If `out` holds something else.
        DamageError: If the faults that were found are not the planted ones.
    """
    out = Path(out)
    images, groups_file = out / "images", out / "groups.csv"
    truth = _drawn(images, out / "truth.csv", progress)
    _write_groups(truth, groups_file)
    study = run_study(_config(images, groups_file), out=out, progress=progress)
    check_faults(truth, study.results)
    return study


def _drawn(images: Path, truth_file: Path, progress: Progress) -> SampleTruth:
    """The truth of the sample images, which are drawn unless they are there."""
    if images.is_dir() and truth_file.is_file():
        return read_truth(truth_file)
    unfinished = images.with_name("images.part")
    if images.parent.is_dir() and {entry.name for entry in images.parent.iterdir()} - {
        unfinished.name,
        truth_file.name,
    }:
        raise RequestError(f"{images.parent} holds something else than a demo. Choose another --out, or empty it.")
    shutil.rmtree(unfinished, ignore_errors=True)
    progress("drawing", 0, 1)
    truth = write_sample_folder(
        unfinished, images_per_class=IMAGES_PER_CLASS, seed=SEED, plants=PLANTS, truth=truth_file
    )
    unfinished.rename(images)  # last, so that a killed demo draws again
    progress("drawing", 1, 1)
    return truth


def check_faults(truth: SampleTruth, results: Mapping[str, Any]) -> None:
    """Compare a study's quarantine with the planted faults.

    Raises:
        DamageError: If they differ; names the files.
    """
    found = {entry["id"] for entry in results["data"]["quarantined"]}
    missed, extra = sorted(set(truth.faults) - found), sorted(found - set(truth.faults))
    if missed or extra:
        raise DamageError(
            f"The demo planted {len(truth.faults)} faults. Not found: {', '.join(missed) or 'none'}. Found without "
            f"being planted: {', '.join(extra) or 'none'}."
        )


def _config(images: Path, groups: Path) -> StudyConfig:
    return StudyConfig(
        name="demo",
        images=ImagesConfig(root=str(images), groups=groups, holdout=0.2),
        backbone=BackboneConfig(name="mobilenet_v2", weights="cells"),
        seed=SEED,
    )


def _write_groups(truth: SampleTruth, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "group"])
        writer.writerows((row.id, f"cell {row.group}") for row in truth)
