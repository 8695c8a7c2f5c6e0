"""Short looks at real pictures; `benchmarks/audit.py` takes the long ones."""

import csv

import numpy as np
import pytest

from tfcells.images.audit import audit
from tfcells.images.readers import read_folder

pytestmark = pytest.mark.real


def test_rotated_copies_of_real_smears_are_grouped(real_data, real_folder_of):
    table = read_folder(real_folder_of("kaggle_wbc4_train"))
    with (real_data / "groups.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == "kaggle_wbc4_train"]
    truth = {f"{row['class']}/{row['file']}": row["group"] for row in rows}
    originals = sorted(set(truth.values()))[:12]
    found = audit(table.take([row for row, id in enumerate(table.ids) if truth[id] in originals]))
    pairs = [(a, b) for number, a in enumerate(found.ids) for b in found.ids[:number] if truth[a] == truth[b]]
    assert np.mean([found.groups[a] == found.groups[b] for a, b in pairs]) > 0.95
    assert all(truth[pair.id_a] == truth[pair.id_b] for pair in found.confirmed)


def test_different_real_cells_are_not_joined(real_folder_of):
    table = read_folder(real_folder_of("pbc"))
    found = audit(table.take(np.random.default_rng(0).permutation(len(table))[:30]))
    assert not found.confirmed
