"""The project about itself: its public names, its light import, its README, its notebooks, its configs."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tfcells
from tfcells.backbones.catalog import find_backbone
from tfcells.config import read_config, read_finetune_config

ROOT = Path(__file__).parent.parent
ALL_CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
FINETUNE = [path for path in ALL_CONFIGS if path.stem.startswith("finetune_")]
CONFIGS = [path for path in ALL_CONFIGS if path not in FINETUNE]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_public_names_are_sorted_and_each_has_a_docstring() -> None:
    assert list(tfcells.__all__) == sorted(tfcells.__all__)
    for name in tfcells.__all__:
        assert getattr(tfcells, name).__doc__, name


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'exrtact'"):
        _ = tfcells.exrtact


def test_importing_tfcells_and_reading_a_store_load_no_tensorflow() -> None:
    code = (
        "import sys, tfcells, tfcells.features.store, tfcells.probes.sweep, tfcells.maps.projector, tfcells.config, "
        "tfcells.report.page, tfcells.cli.main, tfcells.images.readers, tfcells.features.extract;"
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_tfcells_alone_loads_nothing_heavy() -> None:
    code = "import sys, tfcells; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_parses_and_names_a_known_backbone(path: Path) -> None:
    assert find_backbone(read_config(path).backbone.name)


@pytest.mark.parametrize("path", FINETUNE, ids=lambda path: path.stem)
def test_a_finetuning_names_a_known_network(path: Path) -> None:
    from tfcells.finetune.networks import network_names

    assert read_finetune_config(path).network.name in network_names()


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_taps_of_a_config_exist(path: Path) -> None:
    from tfcells.backbones.cut import list_layers
    from tfcells.backbones.open import build_network

    config = read_config(path).backbone
    row = find_backbone(config.name)
    assert set(config.taps) <= {layer.name for layer in list_layers(build_network(row, 64 if row.size == 224 else 96))}


@pytest.mark.slow
def test_the_python_of_the_readme_runs(cell_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    api, client = blocks
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_cells").symlink_to(cell_folder)
    ids = [path.relative_to(cell_folder).as_posix() for path in sorted(cell_folder.rglob("*.jpg"))]
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "groups.csv").write_text("id,group\n" + "".join(f"{id},{id}\n" for id in ids))
    exec(api.replace('weights="imagenet"', 'weights="none", size=96'), {})
    assert (tmp_path / "features" / "recipe.json").is_file()
    assert "tfcells" not in client and client.startswith("import tensorflow")


def test_what_is_not_python_goes_into_the_package_too() -> None:
    # Hatch takes all files below `packages` but those that git ignores.
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build == {"targets": {"wheel": {"packages": ["tfcells"]}}}
    ignored = (ROOT / ".gitignore").read_text().split()
    for name in ("backbones/shipped/mobilenet_v2_cells.weights.h5", "backbones/shipped/mobilenet_v2_cells.md"):
        path = ROOT / "tfcells" / name
        assert path.is_file()
        assert not any(path.match(pattern.strip("/")) or pattern.strip("/") in path.parts for pattern in ignored), name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    names: dict[str, object] = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    matplotlib.pyplot.close("all")


def test_the_package_never_pickles() -> None:
    for path in (ROOT / "tfcells").rglob("*.py"):
        text = path.read_text()
        assert not re.search(
            r"\bimport (pickle|dill|cloudpickle|joblib\.dump)\b|allow_pickle=True|torch\.load", text
        ), path
