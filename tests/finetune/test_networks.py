"""Networks by name: what goes in, what comes out, and that nothing of it is random by accident."""

import sys

import keras
import numpy as np
import pytest
from tiny_networks import drawn_batch, install_tiny, same, tiny_network, values

from tfcells.backbones.open import open_backbone, weights_digest
from tfcells.backbones.weights import file_digest
from tfcells.errors import MissingExtraError, RequestError, UnknownNameError
from tfcells.finetune.body_weights import write_body
from tfcells.finetune.networks import build_network, in_precision
from tfcells.finetune.settings import NetworkSettings

MIXED = ("mixed_float16", "mixed_bfloat16")


@pytest.fixture(autouse=True)
def tiny_row(monkeypatch):
    install_tiny(monkeypatch)


@pytest.mark.parametrize(
    ("name", "size", "weights"),
    [
        ("dense", 32, (32 * 32 * 3 + 1) * 512 + 513 * 128 + 129 * 3),
        ("light_cnn", 64, (27 + 1) * 10 + (90 + 1) * 20 + (180 + 1) * 40 + (8 * 8 * 40 + 1) * 3),
        ("cnn", 128, 9 * (3 * 64 + 64 * 128 + 128 * 256) + 4 * (64 + 128 + 256) + 257 * 3),
    ],
)
def test_named_networks_have_the_layers_that_are_described(name, size, weights):
    network = tiny_network(name=name)
    assert (network.size, network.model.input_shape) == (size, (None, size, size, 3))
    assert network.model.count_params() == weights
    assert network.body is None
    assert (network.weights, network.kernel) == ("none", "bilinear")


@pytest.mark.parametrize("name", ["dense", "light_cnn", "cnn", "tiny"])
@pytest.mark.parametrize("precision", ["float32", *MIXED])
def test_pixels_become_float32_logits_in_any_precision(name, precision):
    network = tiny_network(name=name, size=32, precision=precision, hidden=5)
    logits = network.model(drawn_batch(4)[0])
    assert (logits.shape, logits.dtype) == ((4, 3), "float32")
    assert np.isfinite(logits).all()
    head = [network.model.get_layer(layer) for layer in network.head]
    assert {layer.compute_dtype for layer in head} == {"float32"}
    assert {variable.dtype for variable in network.model.weights} == {"float32"}
    inside = network.model.layers if network.body is None else network.body.layers
    compute = {layer.compute_dtype for layer in inside if layer.weights and layer not in head}
    assert compute == {precision.removeprefix("mixed_")}
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("name", ["light_cnn", "cnn", "tiny"])
def test_the_same_seed_gives_the_same_weights_and_the_same_dropout(name):
    first, again, other = (tiny_network(name=name, size=32, seed=seed, hidden=5) for seed in (3, 3, 4))
    pixels, _ = drawn_batch(4)
    assert same(values(first.model.variables), values(again.model.variables))
    assert first.sha256 == again.sha256 != other.sha256
    assert not same(values(first.model.variables), values(other.model.variables))
    np.testing.assert_array_equal(first.model(pixels, training=True), again.model(pixels, training=True))
    np.testing.assert_array_equal(first.model(pixels, training=True), again.model(pixels, training=True))
    assert not np.array_equal(first.model(pixels, training=True), first.model(pixels, training=True))


@pytest.mark.parametrize("precision", MIXED)
def test_weights_do_not_depend_on_the_precision(precision):
    for name in ("cnn", "tiny"):
        exact, mixed = tiny_network(name=name, size=32), tiny_network(name=name, size=32, precision=precision)
        assert same(values(exact.model.variables), values(mixed.model.variables))
        assert exact.sha256 == mixed.sha256


@pytest.mark.parametrize("pooling", ["mean", "max", "flatten"])
def test_the_body_is_the_backbone_as_it_is_opened_and_sees_what_it_was_trained_to_see(pooling):
    network = tiny_network(seed=5, pooling=pooling)
    opened = open_backbone("tiny", weights="none", seed=5)
    assert network.sha256 == opened.sha256
    assert [layer.name for layer in network.body.layers] == [layer.name for layer in opened.model.layers]
    pixels, _ = drawn_batch(4)
    maps = opened.model(pixels / 127.5 - 1).numpy()
    pooled = {"mean": maps.mean((1, 2)), "max": maps.max((1, 2)), "flatten": maps.reshape(4, -1)}[pooling]
    kernel, bias = network.model.get_layer(network.head[-1]).get_weights()
    np.testing.assert_allclose(network.model(pixels), pooled @ kernel + bias, atol=1e-4)


def test_the_head_is_made_as_asked_for():
    assert tiny_network(dropout=0.0).head == ("head_pool", "head_logits")
    full = tiny_network(dropout=0.3, hidden=7, pooling="flatten")
    assert full.head == ("head_flatten", "head_hidden_dropout", "head_hidden", "head_dropout", "head_logits")
    assert full.model.get_layer("head_hidden").units == 7
    assert [full.model.get_layer(name).rate for name in full.head if "dropout" in name] == [0.3, 0.3]


@pytest.mark.parametrize("name", ["cnn", "tiny"])
@pytest.mark.parametrize("precision", MIXED)
def test_a_network_goes_to_another_precision_and_back_with_all_that_it_learned(name, precision):
    network = tiny_network(name=name, size=32)
    generator = np.random.default_rng(0)
    for variable in network.model.weights:
        variable.assign_add(np.abs(generator.normal(0, 0.05, tuple(variable.shape))).astype(np.float32))
    network.model(drawn_batch(4)[0], training=True)  # the state of dropout moves on
    mixed = in_precision(network, precision)
    assert mixed.precision == precision
    assert same(values(mixed.model.variables), values(network.model.variables))
    back = in_precision(mixed, "float32")
    np.testing.assert_array_equal(back.model(drawn_batch(4)[0]), network.model(drawn_batch(4)[0]))
    back.model.get_layer(back.head[-1]).bias.assign([9, 9, 9])
    assert 9 not in network.model.get_layer(network.head[-1]).bias.numpy()  # copies, not the same variables


def trained(network):
    """Other weights than it was built with."""
    generator = np.random.default_rng(1)
    for variable in network.body.weights:
        variable.assign_add(np.abs(generator.normal(0, 0.02, tuple(variable.shape))).astype(np.float32))
    return network


def test_a_trained_body_is_written_as_weights_that_open_with_the_same_features(tmp_path, monkeypatch):
    network = trained(tiny_network(precision="mixed_bfloat16"))
    path = write_body(network, tmp_path / "new", name="cells")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["tiny_cells.weights.h5"]
    monkeypatch.setenv("TFCELLS_WEIGHTS_DIR", str(path.parent))
    opened = open_backbone("tiny", weights="cells")
    assert (opened.weights, opened.sha256) == ("cells", file_digest(path))
    assert weights_digest(opened.model) == weights_digest(network.body)
    pixels = drawn_batch(2)[0] / 127.5 - 1
    np.testing.assert_array_equal(opened.model(pixels), in_precision(network, "float32").body(pixels))
    again = build_network(NetworkSettings(name="tiny", weights=str(path)), classes=3, seed=0)
    assert (again.weights, again.sha256) == ("cells", file_digest(path))


def test_a_real_network_keeps_its_layer_names_and_comes_back_from_what_was_written(tmp_path):
    network = trained(tiny_network(name="mobilenet_v2", size=32, precision="mixed_float16"))
    opened = open_backbone("mobilenet_v2", weights=write_body(network, tmp_path, name="cells"), size=32)
    assert [layer.name for layer in opened.model.layers[1:]] == [layer.name for layer in network.body.layers[1:]]
    assert weights_digest(opened.model) == weights_digest(network.body)


@pytest.mark.slow
def test_a_network_with_sums_outside_layers_goes_to_another_precision():
    network = tiny_network(name="mobilenet_v3_small", size=64)
    mixed = in_precision(network, "mixed_bfloat16")
    assert [layer.name for layer in mixed.body.layers[1:]] == [layer.name for layer in network.body.layers[1:]]
    assert same(values(mixed.model.weights), values(network.model.weights))
    pixels, _ = drawn_batch(2, size=64)
    np.testing.assert_array_equal(in_precision(mixed, "float32").model(pixels), network.model(pixels))


def test_what_was_written_before_is_replaced(tmp_path):
    network = tiny_network()
    first = file_digest(write_body(network, tmp_path, name="cells"))
    network.body.get_layer("block_1_conv").kernel.assign_add(np.ones((3, 3, 4, 8), dtype=np.float32))
    assert file_digest(write_body(network, tmp_path, name="cells")) != first
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["none", "imagenet", "", "a/b", "v1.2"])
def test_weights_get_no_name_that_means_something_else(name, tmp_path):
    with pytest.raises(RequestError, match=r"Weights cannot be named .*Expected a word without dots and slashes"):
        write_body(tiny_network(), tmp_path, name=name)


def test_a_network_without_a_backbone_has_none_to_write(tmp_path):
    with pytest.raises(RequestError, match="dense has no backbone inside to write"):
        write_body(tiny_network(name="dense"), tmp_path, name="cells")


def test_an_unknown_network_is_named_with_all_that_are_known():
    with pytest.raises(UnknownNameError, match=r"Unknown network 'ligt_cnn'\. Did you mean 'light_cnn'") as unknown:
        tiny_network(name="ligt_cnn")
    assert {"dense", "cnn", "resnet18", "vit", "mobilenet_v2", "xception"} <= set(unknown.value.known)


def test_what_cannot_be_built_is_refused_with_what_to_do():
    with pytest.raises(RequestError, match=r"A network for 1 class\. Expected 2 or more"):
        tiny_network(classes=1)
    with pytest.raises(RequestError, match=r"network\.weights is 'imagenet', and cnn starts from nothing.*`none`"):
        build_network(NetworkSettings(name="cnn"), classes=3, seed=0)
    with pytest.raises(RequestError, match=r"network\.pooling is 'max', .*cnn has its own, 'mean'"):
        tiny_network(name="cnn", pooling="max")
    with pytest.raises(UnknownNameError, match=r"Unknown dtype policy 'float16'\..* Expected one of: float32, mixed_f"):
        tiny_network(precision="float16")
    with pytest.raises(UnknownNameError, match="Unknown dtype policy 'auto'"):
        in_precision(tiny_network(), "auto")


@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_networks_of_keras_hub_say_where_it_comes_from(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(MissingExtraError, match=r"keras-hub is not installed.*pip install 'tfcells\[hub\]'"):
        tiny_network(name=name)


def test_dropout_goes_on_from_the_variables_of_the_model():
    """Checkpoints must hold all variables: `save_weights` leaves out the state of what is random."""
    network, pixels = tiny_network(), drawn_batch(4)[0]
    network.model(pixels, training=True)
    kept = values(network.model.variables)
    expected = network.model(pixels, training=True).numpy()
    fresh = tiny_network(seed=1)
    for variable, value in zip(fresh.model.variables, kept, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(fresh.model(pixels, training=True), expected)
