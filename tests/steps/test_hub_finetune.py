"""A fine-tuning of a network of keras-hub: what its report says of the backbone inside."""

import html
import json
import re
import shlex
from dataclasses import replace

import pytest

from tfcells.cli.main import main
from tfcells.config import read_finetune_config
from tfcells.finetune import hub
from tfcells.finetune.networks import build_network

pytest.importorskip("keras_hub", reason="keras-hub is not installed: pip install 'tfcells[hub]'")

SMALL = {"patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}


def test_a_network_of_keras_hub_is_said_to_have_a_backbone_that_can_be_learned_on(tmp_path, cell_folder, monkeypatch):
    monkeypatch.setitem(hub.HUB, "vit", replace(hub.HUB["vit"], arguments=SMALL))
    config, out = tmp_path / "small.yaml", tmp_path / "out"
    config.write_text(
        f"images: {{root: {cell_folder}, audit: false, holdout: 0.34, validation: 0.17}}\n"
        "network: {name: vit, weights: none, size: 32}\nphases: [{epochs: 1}]\n"
        "training: {batch_size: 8, precision: float32, augmentation: none}\n"
    )
    assert main(["finetune", str(config), "--out", str(out), "--quiet"]) == 0
    fold = json.loads((out / "finetune.json").read_text())["folds"][0]
    assert (fold["network"]["backbone"], fold["network"]["catalog"]) == (True, False)
    page = html.unescape((out / "report.html").read_text())
    assert "all layers (the backbone at 3e-05, the head at 0.0008;" in page
    assert "<th>batch norm</th>" in page
    assert "The weights of the backbone, for further fine-tuning; studies and extractions know" in page
    assert "load_weights" not in page and "tfcells extract" not in page
    # The line that says how to learn on does what it says.
    (line,) = [line for line in page.splitlines() if "tfcells finetune CONFIG" in line]
    words = shlex.split(html.unescape(re.sub("<.*?>", "", line)))[3:]
    overrides = dict(zip([word.removeprefix("--") for word in words[::2]], words[1::2], strict=True))
    further = build_network(read_finetune_config(config, overrides).network, classes=3, seed=0)
    assert further.sha256 == fold["weights"]["sha256"]
