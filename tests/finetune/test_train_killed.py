"""Training killed by force, again and again, ends as if nothing had happened: to the bit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).parent / "small_training.py"


def trained_by_another_process(folder, *stop):
    command = [sys.executable, str(PROGRAM), str(folder), *map(str, stop)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_training_that_was_killed_three_times_is_the_training_that_was_not(tmp_path):
    whole = trained_by_another_process(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    for batch in (3, 9, 14):  # batches since the start of that process: in epochs 1, 2 and, in phase 2, 4
        killed = trained_by_another_process(tmp_path / "killed", batch)
        assert killed.returncode == -9, killed.stderr
    done = trained_by_another_process(tmp_path / "killed")
    assert done.returncode == 0, done.stderr
    curves = [json.loads((tmp_path / name / "curve.json").read_text()) for name in ("whole", "killed")]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 5
    with np.load(tmp_path / "whole/weights.npz") as first, np.load(tmp_path / "killed/weights.npz") as second:
        assert first.files == second.files
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name])
