"""The order of layers, what comes after one, and blocks."""

import pytest
from tiny_networks import install_tiny, tiny_network

from tfcells.errors import UnknownNameError
from tfcells.finetune.blocks import layers_from, list_blocks, list_parts


@pytest.fixture(autouse=True)
def tiny_row(monkeypatch):
    install_tiny(monkeypatch)


@pytest.fixture(scope="module")
def mobilenet():
    return tiny_network(name="mobilenet_v2", size=32)


@pytest.fixture(scope="module")
def inception():
    return tiny_network(name="inception_v3", size=75)


def test_layers_are_grouped_by_what_their_names_begin_with():
    assert list_blocks(tiny_network()) == {
        "block_1": ("stem_conv", "stem_bn", "block_1_conv", "block_1_bn", "block_1_project"),
        "block_2": ("block_2_conv", "block_2_bn"),
        "block_3": ("block_3_left", "block_3_right"),
        "top_conv": ("top_conv", "top_bn"),
    }


def test_named_networks_have_their_blocks():
    assert list_blocks(tiny_network(name="cnn", size=32)) == {
        f"block{number}": (f"block{number}_conv", f"block{number}_bn") for number in (1, 2, 3)
    }
    assert list(list_blocks(tiny_network(name="dense"))) == ["block1", "block2"]


def test_blocks_of_mobilenet_are_its_own(mobilenet):
    blocks = list_blocks(mobilenet)
    assert list(blocks) == ["expanded_conv", *(f"block_{number}" for number in range(1, 17)), "Conv_1"]
    assert blocks["block_16"][0] == "block_16_expand"
    assert blocks["block_16"][-1] == "block_16_project_BN"
    assert blocks["expanded_conv"][:2] == ("Conv1", "bn_Conv1")


def test_layers_without_a_name_of_their_own_belong_to_the_concatenation_they_lead_to(inception):
    blocks = list_blocks(inception)
    assert list(blocks) == [f"mixed{number}" for number in range(11)]
    assert len(blocks["mixed10"]) == 18  # nine convolutions, each with its batch norm


@pytest.mark.parametrize("name", ["mobilenet", "inception"])
def test_every_layer_with_weights_is_in_one_block_and_parents_stand_before_their_children(name, request):
    network = request.getfixturevalue(name)
    parts = list_parts(network)
    inside = [layer for block in list_blocks(network).values() for layer in block]
    assert sorted(inside) == sorted(layer.name for layer in network.body.layers if layer.weights)
    seen = set()
    for part in parts.values():
        assert part.parents <= seen
        seen.add(part.name)
    assert tuple(parts)[-len(network.head) :] == network.head


def test_what_comes_after_a_layer_is_what_its_output_reaches():
    network = tiny_network(dropout=0.0)
    rest = ("block_3_concat", "top_conv", "top_bn", "out_relu", *network.head)
    assert layers_from(network, "block_3_left") == ("block_3_left", *rest)  # not the branch beside it
    assert layers_from(network, "top_bn") == ("top_bn", "out_relu", *network.head)
    assert layers_from(network, network.head[-1]) == network.head[-1:]


def test_nothing_but_the_way_around_is_left_out_after_a_layer_inside_a_block():
    network = tiny_network()
    after = layers_from(network, "block_2_conv")
    assert set(list_parts(network)) - set(after) == {
        network.body.layers[0].name, "stem_conv", "stem_bn", "block_1_conv", "block_1_bn", "block_1_relu",
        "block_1_project",
    }  # fmt: skip


def test_everything_comes_after_the_input_and_less_after_each_layer():
    network = tiny_network()
    parts = list_parts(network)
    assert layers_from(network, next(iter(parts))) == tuple(parts)
    for name, part in parts.items():
        for parent in part.parents:
            assert set(layers_from(network, name)) < set(layers_from(network, parent))


def test_an_unknown_layer_is_named_with_the_nearest_and_the_last_first():
    with pytest.raises(UnknownNameError, match=r"Unknown layer of tiny 'top_con'\. Did you mean 'top_conv'") as unknown:
        layers_from(tiny_network(), "top_con")
    assert unknown.value.known[0] == "head_logits"
