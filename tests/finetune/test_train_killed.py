"""Training killed by force, again and again, ends as if nothing had happened: to the bit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_training import SmallTrainee, run, small_settings, timeless

PROGRAM = Path(__file__).parent / "small_training.py"


def trained_by_other_processes(folder, *batches):
    command = [sys.executable, str(PROGRAM), str(folder), *map(str, batches)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


@pytest.mark.slow
def test_a_training_that_was_killed_six_times_is_the_training_that_was_not(tmp_path):
    assert trained_by_other_processes(tmp_path / "whole", 0) == [0]
    # Batches of each process until its kill, six an epoch: at once, within the first epoch, at its end, within one
    # of the second phase, two epochs on, and in the last epoch.
    ends = trained_by_other_processes(tmp_path / "killed", 1, 3, 6, 9, 14, 4, 0)
    assert ends == [-9] * 6 + [0]
    curves = [json.loads((tmp_path / name / "curve.json").read_text()) for name in ("whole", "killed")]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 5
    with np.load(tmp_path / "whole/weights.npz") as first, np.load(tmp_path / "killed/weights.npz") as second:
        assert first.files == second.files
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.slow
def test_on_two_devices_each_batch_is_parted_and_the_head_learns_what_it_learns_on_one(tmp_path):
    assert trained_by_other_processes(tmp_path / "both", "mirrored") == [0]
    curve = json.loads((tmp_path / "both" / "curve.json").read_text())
    one = run(
        tmp_path / "one", build=lambda precision: SmallTrainee(dropout=0.0), settings=small_settings(2), choose=False
    )
    for both, alone in zip(curve, timeless(one.curve), strict=True):
        assert both["loss"] == pytest.approx(alone["loss"], rel=1e-3)
        assert both["training_loss"] == pytest.approx(alone["training_loss"], rel=1e-3)
