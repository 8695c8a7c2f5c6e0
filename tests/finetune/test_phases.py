"""What learns in a phase, how fast, and that the rest stays bit for bit."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from tiny_networks import BLOCKS, drawn_batch, install_tiny, same, tiny_network, train_step, values

from tfcells.errors import RequestError, UnknownNameError
from tfcells.finetune.blocks import layers_from, list_blocks
from tfcells.finetune.optimisers import build_optimiser
from tfcells.finetune.phases import check_phase, layer_rates, learning_layers, start_phase
from tfcells.finetune.settings import PhaseSettings


@pytest.fixture(autouse=True)
def tiny_row(monkeypatch):
    install_tiny(monkeypatch)


def phase(train="all", **settings):
    return PhaseSettings(**{"epochs": 1, "train": train, "warmup": 0.0, **settings})


def train(network, asked, *, batch_norm="frozen", steps=2):
    """A few steps of a phase."""
    learners = start_phase(network, asked, batch_norm=batch_norm)
    optimiser = build_optimiser(asked, learners, batches_per_epoch=steps, precision=network.precision)
    optimiser.build(network.model.trainable_variables)
    for step in range(steps):
        train_step(network, optimiser, drawn_batch(seed=step))
    return learners


@pytest.mark.parametrize("policy", ["frozen", "trained"])
def test_while_the_head_learns_the_body_stays_bit_for_bit(policy):
    network = tiny_network()
    body, head = values(network.body.weights), values(network.model.get_layer("head_logits").weights)
    learners = train(network, phase("head"), batch_norm=policy)
    assert same(values(network.body.weights), body)
    assert not same(values(network.model.get_layer("head_logits").weights), head)
    assert {learner.layer for learner in learners} == {"head_logits"}


@pytest.mark.parametrize("asked", ["head", "last:1", "last:3", "block_3_left", "all"])
def test_what_a_phase_names_changes_and_nothing_else_does(asked):
    network = tiny_network(hidden=4)
    learning = set(learning_layers(network, asked))
    before = {layer.name: layer.get_weights() for layer in network.model._flatten_layers() if layer.weights}
    train(network, phase(asked), batch_norm="trained")
    inside = [*network.body.layers, *(network.model.get_layer(name) for name in network.head)]
    for layer in inside:
        if layer.weights:
            assert same(layer.get_weights(), before[layer.name]) == (layer.name not in learning), layer.name


def test_the_last_blocks_grow_with_their_number_up_to_all():
    network = tiny_network()
    sets = [set(learning_layers(network, f"last:{count}")) for count in range(1, len(BLOCKS) + 1)]
    assert all(small < large for small, large in pairwise(sets))
    assert set(learning_layers(network, "head")) < sets[0]
    assert sets[-1] == set(learning_layers(network, "all"))
    assert sets[1] == {"block_3_left", "block_3_right", "top_conv", "top_bn", "head_logits"}
    assert list(list_blocks(network)) == list(BLOCKS)


def test_a_named_layer_learns_with_what_its_output_reaches():
    network = tiny_network()
    assert learning_layers(network, "block_2_add") == learning_layers(network, "last:2")
    assert "block_3_right" not in learning_layers(network, "block_3_left")
    assert learning_layers(network, "head_logits") == ("head_logits",)
    assert set(learning_layers(network, "block_1_conv")) <= set(layers_from(network, "block_1_conv"))


def test_rates_are_those_of_body_head_and_from_named_layers_on():
    network = tiny_network(hidden=4)
    asked = phase(body_rate=1e-5, head_rate=1e-3, rates={"top_conv": 4e-5, "block_2_conv": 2e-5})
    rates = layer_rates(network, asked)
    assert rates["stem_conv"] == rates["block_1_project"] == 1e-5
    assert rates["block_2_bn"] == rates["block_3_left"] == 2e-5
    assert rates["top_conv"] == rates["top_bn"] == 4e-5  # the later of two counts, in whatever order they come
    assert rates["head_hidden"] == rates["head_logits"] == 1e-3


def test_a_network_that_starts_from_nothing_learns_at_the_rate_of_the_head():
    network = tiny_network(name="cnn", size=32)
    assert set(layer_rates(network, phase(body_rate=1e-5, head_rate=1e-3)).values()) == {1e-3}
    rates = layer_rates(network, phase(head_rate=1e-3, rates={"block2_conv": 1e-4}))
    assert (rates["block1_bn"], rates["block3_conv"], rates["head_logits"]) == (1e-3, 1e-4, 1e-3)


def test_learners_are_the_trainable_variables_in_their_order_with_their_rates():
    network = tiny_network()
    learners = start_phase(network, phase("last:1", body_rate=1e-5, head_rate=1e-3), batch_norm="trained")
    assert [learner.variable.path for learner in learners] == [v.path for v in network.model.trainable_variables]
    assert [(learner.variable.path, learner.rate) for learner in learners] == [
        ("top_conv/kernel", 1e-5),
        ("top_bn/gamma", 1e-5),
        ("top_bn/beta", 1e-5),
        ("head_logits/kernel", 1e-3),
        ("head_logits/bias", 1e-3),
    ]


def test_a_rate_of_nothing_is_a_layer_that_does_not_learn():
    network = tiny_network()
    rates = layer_rates(network, phase(body_rate=0.0, head_rate=1e-3, rates={"top_conv": 1e-4}))
    assert tuple(rates) == ("top_conv", "top_bn", "head_logits")
    with pytest.raises(RequestError, match=r"Nothing would learn: train is 'head' and body_rate 3e-05, head_rate 0\."):
        start_phase(network, phase("head", head_rate=0.0))


def test_a_phase_does_not_depend_on_the_one_before():
    network = tiny_network()
    first = [learner.variable.path for learner in start_phase(network, phase("last:2"))]
    start_phase(network, phase("head"))
    start_phase(network, phase("all"), batch_norm="trained")
    assert [learner.variable.path for learner in start_phase(network, phase("last:2"))] == first


@pytest.mark.parametrize("name", ["block_9_conv", "body"])
def test_an_unknown_part_is_refused_with_all_that_would_be_right(name):
    with pytest.raises(UnknownNameError, match=f"Unknown part of tiny to train '{name}'") as unknown:
        learning_layers(tiny_network(), name)
    assert unknown.value.known[:4] == ("head", "all", "last:4", "head_logits")
    assert "block_1_conv" in unknown.value.known


def test_rates_of_unknown_layers_or_of_the_head_are_refused():
    network = tiny_network()
    with pytest.raises(UnknownNameError, match=r"layer in rates of tiny 'top_con'\. Did you mean 'top_conv'"):
        layer_rates(network, phase(rates={"top_con": 1e-4}))
    with pytest.raises(UnknownNameError, match="layer in rates of tiny 'head_logits'"):
        layer_rates(network, phase(rates={"head_logits": 1e-4}))


def test_more_blocks_than_there_are_is_refused_with_their_names():
    message = r"train is 'last:5', and tiny has 4 blocks: block_1, .*top_conv\. Expected `last:1` to `last:4`, or `all`"
    with pytest.raises(RequestError, match=message):
        learning_layers(tiny_network(), "last:5")


def test_dropout_in_the_head_still_drops_in_training():
    network = tiny_network(dropout=0.9)
    start_phase(network, phase("all"))
    pixels, _ = drawn_batch()
    answers = [network.model(pixels, training=True).numpy() for _ in range(2)]
    assert not np.array_equal(*answers)
    assert isinstance(network.model.get_layer("head_dropout"), keras.layers.Dropout)


def test_a_phase_that_ends_before_its_first_step_is_refused():
    network = tiny_network()
    check_phase(network, phase(epochs=2, accumulate=8), batches=4)
    with pytest.raises(RequestError) as refused:
        check_phase(network, phase(epochs=2, accumulate=9), batches=4)
    assert str(refused.value) == (
        "Nothing would learn: accumulate is 9, and 2 epochs of 4 batches end before so many gradients are averaged for "
        "the first step. Expected accumulate from 1 to 8, or more epochs."
    )
    before = values(network.model.weights)
    train(network, phase(epochs=2, accumulate=9), steps=8)  # it is for a reason
    assert same(values(network.model.weights), before)
