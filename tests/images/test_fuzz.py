"""Malformed files among good ones, made by the fuzzer of the benchmarks: named with a reason, and nothing else."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest

from tfcells.images.readers import read_folder

FUZZER = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz", FUZZER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sixty_malformed_files_are_pictures_or_named_and_change_no_good_one(fuzz, cells, cell_folder, tmp_path):
    for id in cells.ids[:12]:
        for folder in ("clean", "mixed"):
            path = tmp_path / folder / id
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((cell_folder / id).read_bytes())
    good = [(cell_folder / id).read_bytes() for id in cells.ids[:12]]
    named = fuzz.write_malformed(tmp_path / "mixed" / "malformed", good, count=60, seed=0)
    assert set(named.values()) == set(fuzz.MAKERS)
    table = read_folder(tmp_path / "mixed")
    assert fuzz.broken_laws(table, read_folder(tmp_path / "clean"), named) == []
    assert len(table.quarantine) > 20
    seconds, name = fuzz.slowest_file(tmp_path / "mixed" / "malformed")
    assert seconds < fuzz.SECONDS, name


def test_the_fuzzer_makes_the_same_files_again(fuzz, tmp_path):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)).save(buffer, "PNG")
    for folder in ("a", "b"):
        fuzz.write_malformed(tmp_path / folder, [buffer.getvalue()], count=30, seed=5)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    changed = [name for name in files if (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()]
    assert changed == []
