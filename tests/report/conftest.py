"""Results of a sweep and of a study over made-up features, without TensorFlow."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfcells.config import ImagesConfig, ProbesConfig, StudyConfig
from tfcells.features.store import FeatureStore
from tfcells.images.cues import Cues
from tfcells.images.splits import split_rows
from tfcells.probes.final import ask_holdout, fit_final
from tfcells.probes.reading import Space
from tfcells.probes.review import review_json
from tfcells.probes.shortcuts import probe_shortcuts, shortcuts_json
from tfcells.probes.sweep import probe_layers
from tfcells.steps.maps import draw_map
from tfcells.steps.probe import probe_store
from tfcells.steps.results import holdout_json, study_json
from tfcells.steps.trust import review_of, trust_json

SPACE = Space(probes=("logistic", "tree"))
Kept = dict[str, Any]


@pytest.fixture(scope="session")
def kept() -> Kept:
    """What was computed once; tests get copies."""
    return {}


@pytest.fixture
def probe_results(make_store: Callable[..., FeatureStore], kept: Kept, tmp_path: Path) -> dict[str, Any]:
    """`results.json` as `tfcells probe` writes it."""
    if "probe" not in kept:
        probe_store(make_store(), out=tmp_path / "probed", space=SPACE, workers=1)
        kept["probe"] = json.loads((tmp_path / "probed" / "results.json").read_text(encoding="utf-8"))
    return copy.deepcopy(kept["probe"])


@pytest.fixture
def results(make_store: Callable[..., FeatureStore], kept: Kept, tmp_path: Path) -> dict[str, Any]:
    """`results.json` as `tfcells run` writes it."""
    if "study" not in kept:
        kept["study"] = json.loads(json.dumps(studied(make_store(images=150, signal=0.8), tmp_path / "drawn")))
    return copy.deepcopy(kept["study"])


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Pictures of maps as a study leaves them."""
    for method in ("pca", "tsne"):
        (tmp_path / "maps" / method).mkdir(parents=True)
        for name, side in (("map", 20), ("mosaic", 30)):
            pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "maps" / method / f"{name}.png")
    return tmp_path / "maps"


def studied(store: FeatureStore, out: Path) -> dict[str, Any]:
    """What `run_study` puts together, with an export that is only described."""
    images, probes = ImagesConfig(root="nowhere", holdout=0.2), ProbesConfig(repeats=2)
    config = StudyConfig(name="made up", images=images, probes=probes)
    rows = store.rows
    split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups, holdout=0.2)
    sweep = probe_layers(store, split, space=SPACE, repeats=2)
    final = fit_final(store, split, sweep.best.reading, space=SPACE)
    results = study_json(
        config, store=store, split=split, sweep=sweep, holdout=holdout_json(*ask_holdout(final, store, split), sweep)
    )
    drawn = {
        method: draw_map(store, taps=sweep.best.taps, method=method, out=out / method, source=None).facts
        for method in ("pca", "tsne")
    }
    results |= trust_json(store, split, sweep, seed=0)
    results["review"] = review_json(review_of(sweep))
    cues = Cues(
        ids=sweep.ids,
        values={"order": np.arange(len(sweep.ids), dtype=np.float64)[:, None]},
        columns={"order": ("number",)},
        absent={"jpeg": "the images are arrays"},
    )
    results["shortcuts"] = shortcuts_json(
        probe_shortcuts(cues, sweep.ids, sweep.rows, deep=sweep.best.predictions, permutations=99)
    )
    results["audit"] = None
    results["maps"] = {**drawn, "projector": {"rows": 150, "thumbnail": 64}}
    parity = {
        "pictures": 16,
        "largest_difference": 3.1e-7,
        "of_probe": 2.2e-8,
        "allowed": 1e-5,
        "of_features": 4.2e-6,
        "features_allowed": 1e-4,
    }
    results["export"] = {
        "path": "export",
        "inputs": "4" * 64,
        "parameters": dict(final.parameters),
        "parity": parity,
        "fitted_on": results["split"]["train"],
    }
    example = {"id": "class 0/0000.png", "truth": "class 0", "predicted": "class 0", "confidence": 0.97}
    results["examples"] = {"hits": [example], "misses": [example | {"truth": "class 1"}]}
    return results
