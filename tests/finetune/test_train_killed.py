"""Training killed by force, again and again, ends as if nothing had happened: to the bit. Training on two devices."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_training import SmallTrainee, run, small_settings, timeless

PROGRAM = Path(__file__).parent / "small_training.py"
BATCHES = (3, 6, 14, 10)
"""Of each process until its kill, six an epoch: within the first epoch, at its end before it is kept, two epochs on in
the second phase, and within that phase once more."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of trainings by other processes, and how each process ended."""
    root = tmp_path_factory.mktemp("trained")
    words = ["whole:0", *(f"killed:{batch}" for batch in BATCHES), "killed:0", "both:mirrored"]
    command = [sys.executable, str(PROGRAM), str(root), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return root, [int(line) for line in done.stdout.split()], done.stderr


def curve_of(folder):
    return json.loads((folder / "curve.json").read_text())


@pytest.mark.slow
def test_a_training_that_was_killed_four_times_is_the_training_that_was_not(trained):
    root, ends, said = trained
    assert ends[:-1] == [0, *[-9] * len(BATCHES), 0], said
    assert curve_of(root / "whole") == curve_of(root / "killed")
    assert len(curve_of(root / "whole")) == 5
    with np.load(root / "whole/weights.npz") as first, np.load(root / "killed/weights.npz") as second:
        assert first.files == second.files
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.slow
def test_on_two_devices_each_batch_is_parted_and_the_head_learns_what_it_learns_on_one(trained, tmp_path):
    root, ends, said = trained
    assert ends[-1] == 0, said
    alone = run(tmp_path, build=lambda precision: SmallTrainee(dropout=0.0), settings=small_settings(2), choose=False)
    for both, one in zip(curve_of(root / "both"), timeless(alone.curve), strict=True):
        assert both["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert both["training_loss"] == pytest.approx(one["training_loss"], rel=1e-3)
