"""Policies for batch norm, by the moving statistics themselves."""

import numpy as np
import pytest
from test_phases import phase, train
from tiny_networks import drawn_batch, install_tiny, same, tiny_network, values

from tfcells.errors import DamageError, EmptyDataError
from tfcells.finetune.batchnorm import batch_norms, hold_statistics, recalibrate
from tfcells.finetune.phases import start_phase


@pytest.fixture(autouse=True)
def tiny_row(monkeypatch):
    install_tiny(monkeypatch)


def statistics(network):
    norms = batch_norms(network)
    return values([variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)])


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_frozen_statistics_stay_bit_for_bit_while_the_body_learns(precision):
    network = tiny_network(precision=precision)
    before, kernel = statistics(network), network.body.get_layer("block_2_conv").kernel.numpy()
    train(network, phase("all"), batch_norm="frozen", steps=3)
    assert len(before) == 8
    assert same(statistics(network), before)
    assert not np.array_equal(network.body.get_layer("block_2_conv").kernel, kernel)


def test_frozen_batch_norm_answers_in_training_as_it_does_in_use():
    network = tiny_network(dropout=0.0)
    start_phase(network, phase("all"), batch_norm="frozen")
    network.body.get_layer("block_2_drop").rate = 0.0
    pixels, _ = drawn_batch()
    np.testing.assert_array_equal(network.model(pixels, training=True), network.model(pixels, training=False))


def test_scale_and_shift_are_held_with_frozen_statistics_and_learn_with_trained_ones():
    network = tiny_network()
    held = {learner.variable.path for learner in start_phase(network, phase("all"), batch_norm="frozen")}
    free = {learner.variable.path for learner in start_phase(network, phase("all"), batch_norm="trained")}
    norms = ("stem_bn", "block_1_bn", "block_2_bn", "top_bn")
    assert free - held == {f"{norm}/{name}" for norm in norms for name in ("gamma", "beta")}
    assert held < free


def test_trained_statistics_move_where_a_layer_learns_and_nowhere_else():
    network = tiny_network()
    before = {norm.name: values(norm.weights) for norm in batch_norms(network)}
    train(network, phase("last:1"), batch_norm="trained")
    moved = {norm.name for norm in batch_norms(network) if not same(values(norm.weights)[2:], before[norm.name][2:])}
    assert moved == {"top_bn"}


def test_recalibrated_statistics_are_the_exact_ones_of_all_pictures_together():
    """The first layer sees the same whatever the batches are, so its statistics have a known answer."""
    network = tiny_network()
    pixels, _ = drawn_batch(10)
    rates = network.body.get_layer("block_2_drop").rate
    assert recalibrate(network, [pixels[:4], pixels[4:7], pixels[7:]]) == 4
    maps = network.body.get_layer("stem_conv")(pixels / 127.5 - 1).numpy().astype(np.float64)
    norm = network.body.get_layer("stem_bn")
    np.testing.assert_allclose(norm.moving_mean, maps.mean((0, 1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, maps.var((0, 1, 2)), rtol=1e-4)
    assert norm.momentum == 0.99
    assert network.body.get_layer("block_2_drop").rate == rates


def test_after_one_whole_batch_every_recalibrated_norm_gives_mean_zero_and_deviation_one():
    network = tiny_network()
    pixels, _ = drawn_batch(12)
    recalibrate(network, [pixels])
    for norm in batch_norms(network):
        tap = type(network.model)(network.body.input, norm.output)
        answers = tap(pixels / 127.5 - 1).numpy()
        np.testing.assert_allclose(answers.mean((0, 1, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(answers.var((0, 1, 2)), 1, atol=0.02)


def test_recalibrating_forgets_the_old_statistics_and_does_not_depend_on_chance():
    first, again = tiny_network(), tiny_network()
    for norm in batch_norms(again):
        norm.moving_mean.assign(norm.moving_mean + 7.0)
        norm.moving_variance.assign(norm.moving_variance * 3.0)
    batches = [drawn_batch(seed=seed)[0] for seed in (1, 2)]
    recalibrate(first, batches)
    recalibrate(again, batches)
    assert same(statistics(first), statistics(again))
    recalibrate(again, batches)
    assert same(statistics(first), statistics(again))


def test_recalibrating_changes_statistics_alone_and_they_stay_from_then_on():
    network = tiny_network()
    others = [v for v in network.model.variables if "moving" not in v.path]
    before = values(others)
    start_phase(network, phase("head"), batch_norm="recalibrated")
    flags = [norm.trainable for norm in batch_norms(network)]
    recalibrate(network, [drawn_batch()[0]])
    assert same(values(others), before)
    assert [norm.trainable for norm in batch_norms(network)] == flags
    measured = statistics(network)
    train(network, phase("all"), batch_norm="recalibrated")
    assert same(statistics(network), measured)


def test_a_measure_that_is_not_finite_is_refused_and_the_old_statistics_are_put_back():
    network = tiny_network()
    before = statistics(network)
    pixels = drawn_batch()[0]
    pixels[0, 0, 0, 0] = np.inf
    with pytest.raises(DamageError, match=r"Batch norm of tiny measured on 8 pictures is not finite under float32"):
        recalibrate(network, [pixels])
    assert same(statistics(network), before)


def test_no_picture_is_refused_and_leaves_the_statistics():
    network = tiny_network()
    before = statistics(network)
    with pytest.raises(EmptyDataError, match="No training picture to measure batch norm on"):
        recalibrate(network, [])
    assert same(statistics(network), before)


def test_a_network_without_a_backbone_keeps_no_statistics_and_its_batch_norm_learns():
    network = tiny_network(name="cnn", size=32)
    assert recalibrate(network, iter(())) == 0
    hold_statistics(network, "frozen")
    norm = network.model.get_layer("block2_bn")
    before = norm.moving_mean.numpy()
    train(network, phase("all"), batch_norm="frozen")
    assert not np.array_equal(norm.moving_mean, before)
