"""ResNet18 and ViT by keras-hub's constructors; without keras-hub they are not looked at."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from tiny_networks import drawn_batch, same, tiny_network, values

from tfcells.errors import MissingWeightsError, RequestError
from tfcells.finetune import hub
from tfcells.finetune.batchnorm import batch_norms
from tfcells.finetune.blocks import layers_from, list_blocks, list_parts
from tfcells.finetune.body_weights import write_body
from tfcells.finetune.networks import build_network, in_precision
from tfcells.finetune.phases import learning_layers, start_phase
from tfcells.finetune.settings import NetworkSettings, PhaseSettings

keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed: pip install 'tfcells[hub]'")

SMALL = {"patch_size": 16, "num_layers": 3, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}


@pytest.fixture(autouse=True)
def small_transformer(monkeypatch):
    """The real one has 86 million weights."""
    monkeypatch.setitem(hub.HUB, "vit", replace(hub.HUB["vit"], arguments=SMALL))


@pytest.mark.parametrize("name", ["resnet18", "vit"])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_pixels_become_float32_logits(name, precision):
    network = tiny_network(name=name, size=32, precision=precision)
    logits = network.model(drawn_batch(4)[0])
    assert (logits.shape, logits.dtype) == ((4, 3), "float32")
    assert np.isfinite(logits).all()
    assert float(np.std(logits)) > 0.01
    compute = {layer.compute_dtype for layer in network.body._flatten_layers() if layer.weights and not layer._layers}
    assert precision.removeprefix("mixed_") in compute


@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_the_same_seed_gives_the_same_weights(name):
    first, again, other = (tiny_network(name=name, size=32, seed=seed) for seed in (1, 1, 2))
    assert same(values(first.model.variables), values(again.model.variables))
    assert first.sha256 == again.sha256 != other.sha256


def test_resnet18_has_eleven_million_weights_and_calibrated_batch_norm():
    network = tiny_network(name="resnet18", size=32)
    assert network.body.count_params() == 11_186_112  # as keras-hub says of resnet_18_imagenet
    assert len(batch_norms(network)) == 20
    assert all(norm.moving_mean.numpy().any() for norm in batch_norms(network))


def test_blocks_are_those_of_the_stacks_and_of_the_transformer():
    stacks = [f"stack{stack}_block{block}" for stack in range(4) for block in range(2)]
    assert list(list_blocks(tiny_network(name="resnet18", size=32))) == stacks
    vit = tiny_network(name="vit", size=32)
    blocks = list_blocks(vit)
    assert list(blocks) == ["transformer_block_1", "transformer_block_2", "transformer_block_3", "ln"]
    assert blocks["transformer_block_1"] == ("vit_patching_and_embedding", "transformer_block_1")
    after = layers_from(vit, "transformer_block_3")
    assert after == ("transformer_block_3", "ln", *vit.head)
    seen = set()
    for part in list_parts(vit).values():
        assert part.parents <= seen
        seen.add(part.name)


def test_the_last_blocks_of_a_transformer_learn_alone():
    network = tiny_network(name="vit", size=32)
    assert learning_layers(network, "last:2") == ("transformer_block_3", "ln", "head_logits")
    learners = start_phase(network, PhaseSettings(epochs=1, train="last:2"))
    assert {learner.layer for learner in learners} == {"transformer_block_3", "ln", "head_logits"}
    assert len({learner.variable.path for learner in learners}) == len(learners)
    everything = start_phase(network, PhaseSettings(epochs=1, train="all"))
    assert len(everything) == len(network.model.trainable_variables) == len(network.model.weights)


@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_written_weights_come_back_with_the_same_answers(name, tmp_path):
    network = tiny_network(name=name, size=32, seed=4, precision="mixed_bfloat16")
    path = write_body(network, tmp_path, name="cells")
    settings = NetworkSettings(name=name, weights=str(path), size=32)
    again = build_network(settings, classes=3, seed=0)
    assert again.weights == "cells"
    exact = in_precision(network, "float32").body
    pixels = drawn_batch(2)[0] / 127.5 - 1
    np.testing.assert_array_equal(again.body(pixels), exact(pixels))


def test_weights_that_keras_hub_wrote_itself_are_read(tmp_path):
    theirs = keras_hub.models.ViTBackbone(image_shape=(32, 32, 3), **SMALL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
        theirs.save_weights(tmp_path / "vit_theirs.weights.h5")
    settings = NetworkSettings(name="vit", weights=str(tmp_path / "vit_theirs.weights.h5"), size=32)
    ours = build_network(settings, classes=3, seed=0)
    pixels = drawn_batch(2)[0] / 127.5 - 1
    np.testing.assert_array_equal(ours.body(pixels), theirs(pixels))


def test_what_cannot_be_had_is_refused(tmp_path):
    with pytest.raises(MissingWeightsError, match=r"No weights 'imagenet' for resnet18: no resnet18_imagenet\.weights"):
        build_network(NetworkSettings(name="resnet18", size=32), classes=3, seed=0)
    with pytest.raises(RequestError, match=r"vit cannot be built for size = 40\. Expected a multiple of 16"):
        tiny_network(name="vit", size=40)
    path = write_body(tiny_network(name="vit", size=32), tmp_path, name="cells")
    with pytest.raises(RequestError, match=r"vit_cells\.weights\.h5 does not fit vit_backbone at 64 px: .*ViTBackbone"):
        build_network(NetworkSettings(name="vit", weights=str(path), size=64), classes=3, seed=0)
    (tmp_path / "vit.keras").write_bytes(b"none")
    with pytest.raises(RequestError, match=r"vit\.keras is no \.weights\.h5 file"):
        build_network(NetworkSettings(name="vit", weights=str(tmp_path / "vit.keras"), size=32), classes=3, seed=0)
