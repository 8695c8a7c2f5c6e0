"""Optimisers: rates for each variable, decay where it belongs, clipping, accumulation, state that comes back."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import NAMES, drawn_batch, install_tiny, same, tiny_network, values

from tfcells.errors import RequestError
from tfcells.finetune.losses import ClassLoss
from tfcells.finetune.optimisers import build_optimiser, optimiser_state, restore_optimiser
from tfcells.finetune.phases import Learner, start_phase
from tfcells.finetune.schedules import build_schedule
from tfcells.finetune.settings import PhaseSettings


@pytest.fixture(autouse=True)
def tiny_row(monkeypatch):
    install_tiny(monkeypatch)


def phase(**settings):
    plain = {"epochs": 1, "warmup": 0.0, "schedule": "constant", "weight_decay": 0.0, "clip_norm": 0.0}
    return PhaseSettings(**{**plain, **settings})


def variable(value, name="kernel"):
    return keras.Variable(np.array(value, dtype=np.float32), name=name)


def optimiser_for(variables, rates, **settings):
    learners = [Learner(variable=v, layer="x", rate=r) for v, r in zip(variables, rates, strict=True)]
    precision = settings.pop("precision", "float32")
    made = build_optimiser(phase(**settings), learners, batches_per_epoch=4, precision=precision)
    made.build(variables)
    return made


def gradients(seed, variables):
    generator = np.random.default_rng(seed)
    return [tf.constant(generator.normal(size=tuple(v.shape)).astype(np.float32)) for v in variables]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_each_variable_moves_as_under_keras_own_optimiser_at_its_rate(kind):
    """Decay included: one of Keras' optimisers for each variable, at that variable's rate, gives the same."""
    ours = [variable([[1.0, -2.0]], "kernel_a"), variable([[3.0, 4.0]], "kernel_b")]
    theirs = [variable(v.numpy()) for v in ours]
    rates, decay = (1e-2, 3e-4), 0.1
    made = optimiser_for(ours, rates, optimiser=kind, weight_decay=decay)
    keras_own = {
        "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=decay),
        "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay),
    }[kind]
    single = [keras_own(rate) for rate in rates]
    for step in range(5):
        given = gradients(step, ours)
        made.apply(given, ours)
        for optimiser, gradient, target in zip(single, given, theirs, strict=True):
            optimiser.apply([gradient], [target])
    for mine, target in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, target, rtol=1e-5)


def test_biases_and_normalisation_do_not_decay():
    names = {"kernel": [[2.0]], "gamma": [2.0], "beta": [2.0], "bias": [[2.0]]}  # attention has biases with two axes
    variables = [variable(value, name) for name, value in names.items()]
    made = optimiser_for(variables, [0.1] * 4, optimiser="sgd", weight_decay=0.5)
    made.apply([tf.zeros(v.shape) for v in variables], variables)
    assert [float(v.numpy().ravel()[0]) for v in variables] == pytest.approx([2 - 2 * 0.1 * 0.5, 2, 2, 2])


def test_gradients_beyond_the_norm_are_scaled_down_together():
    variables = [variable([[0.0]], "kernel_a"), variable([[0.0]], "kernel_b")]
    made = optimiser_for(variables, [1.0, 0.1], optimiser="sgd", clip_norm=1.0)
    made.apply([tf.constant([[3.0]]), tf.constant([[4.0]])], variables)  # a norm of 5
    assert [float(v.numpy()[0, 0]) for v in variables] == pytest.approx([-1.9 * 0.6, -0.19 * 0.8])


def test_accumulated_gradients_are_averaged_before_they_are_clipped():
    one, large = variable([[1.0, 2.0]]), variable([[1.0, 2.0]])
    parts = [tf.constant([[30.0, 0.0]]), tf.constant([[-30.0, 0.0]]), tf.constant([[0.0, 6.0]])]
    settings = {"optimiser": "sgd", "clip_norm": 1.0, "weight_decay": 0.1}
    small = optimiser_for([one], [0.1], accumulate=3, **settings)
    for part in parts[:2]:
        small.apply([part], [one])
        np.testing.assert_array_equal(one, [[1.0, 2.0]])
    small.apply(parts[2:], [one])
    optimiser_for([large], [0.1], **settings).apply([sum(parts) / 3], [large])
    np.testing.assert_allclose(one, large, rtol=1e-6)
    assert not np.array_equal(one, [[1.0, 2.0]])


def test_accumulated_batches_train_as_one_large_batch_does():
    """No batch norm learns and nothing drops, so four batches of two are a batch of eight."""
    pixels, labels = drawn_batch(8)
    trained = []
    for accumulate, size in ((4, 2), (1, 8)):
        network = tiny_network(dropout=0.0)
        network.body.get_layer("block_2_drop").rate = 0.0
        asked = phase(train="all", accumulate=accumulate, clip_norm=1.0, weight_decay=0.01, optimiser="sgd")
        made = build_optimiser(asked, start_phase(network, asked), batches_per_epoch=4)
        network.model.compile(made, ClassLoss(NAMES))
        for start in range(0, 8, size):
            network.model.train_on_batch(pixels[start : start + size], labels[start : start + size])
        trained.append(values(network.model.weights))
    for ours, theirs in zip(*trained, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_restored_optimiser_goes_on_bit_for_bit(kind, precision):
    settings = {"optimiser": kind, "accumulate": 2, "clip_norm": 1.0, "weight_decay": 0.1, "schedule": "cosine"}
    variables = [variable([[1.0, -2.0]], "kernel"), variable([0.5], "bias")]
    made = optimiser_for(variables, [1e-2, 1e-3], precision=precision, **settings)
    for step in range(3):
        made.apply(gradients(step, variables), variables)
    state, kept = optimiser_state(made), values(variables)
    for step in (3, 4):
        made.apply(gradients(step, variables), variables)
    fresh_variables = [variable(value, v.name) for value, v in zip(kept, variables, strict=True)]
    fresh = optimiser_for(fresh_variables, [1e-2, 1e-3], precision=precision, **settings)
    restore_optimiser(fresh, state)
    for step in (3, 4):
        fresh.apply(gradients(step, fresh_variables), fresh_variables)
    assert same(values(fresh_variables), values(variables))
    assert same(optimiser_state(fresh).values(), optimiser_state(made).values())
    assert not same(values(variables), kept)


def test_a_state_of_other_variables_is_refused():
    made = optimiser_for([variable([[1.0, 2.0]])], [0.1])
    wider = optimiser_for([variable([[1.0, 2.0, 3.0]])], [0.1])
    with pytest.raises(RequestError, match=r"State of an optimiser with 3 arrays for one with 3, or of other shapes"):
        restore_optimiser(made, optimiser_state(wider))
    with pytest.raises(RequestError, match="with 2 arrays for one with 3"):
        restore_optimiser(made, dict(list(optimiser_state(made).items())[:2]))


def test_a_variable_that_was_not_planned_for_is_refused():
    planned, other = variable([[1.0]], "kernel"), variable([[1.0]], "stranger")
    made = build_optimiser(phase(), [Learner(variable=planned, layer="x", rate=0.1)], batches_per_epoch=1)
    with pytest.raises(RequestError, match=r"'.*stranger' has no learning rate of its own \(1 of 2 have none"):
        made.build([planned, other])


def test_an_optimiser_comes_back_from_its_config():
    made = optimiser_for([variable([[1.0]])], [0.1], weight_decay=0.25, accumulate=2)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert again.get_config() == made.get_config()
    assert again.factors == made.factors


def test_float16_is_trained_with_scaled_losses_and_a_bad_update_is_left_out():
    target = variable([[1.0]])
    made = optimiser_for([target], [0.1], optimiser="sgd", precision="mixed_float16")
    assert float(made.scale_loss(1.0)) == 2**15
    made.apply([tf.constant([[np.inf]])], [target])
    assert (float(target.numpy()[0, 0]), float(made.dynamic_scale)) == (1.0, 2**14)
    made.apply([tf.constant([[2.0**14]])], [target])
    assert float(target.numpy()[0, 0]) == pytest.approx(1 - 1.9 * 0.1)


@pytest.mark.parametrize("kind", ["cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0, 3.0])
def test_rates_rise_in_a_line_and_then_fall_to_zero_or_stay(kind, warmup):
    batches, epochs, top = 10, 3, 0.2
    made = build_schedule(top, phase(epochs=epochs, warmup=warmup, schedule=kind), batches_per_epoch=batches)
    rates = np.array([float(made(step)) for step in range(batches * epochs + 1)])
    rise = min(round(warmup * batches), batches * epochs - 1)
    np.testing.assert_allclose(rates[:rise], top * np.arange(rise) / max(rise, 1), atol=1e-7)
    after = np.arange(batches * epochs + 1 - rise)
    falling = top * (1 + np.cos(np.pi * after / (batches * epochs - rise))) / 2
    np.testing.assert_allclose(rates[rise:], falling if kind == "cosine" else top, atol=1e-6)


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_a_phase_of_one_batch_has_a_schedule_too(kind):
    assert float(build_schedule(0.1, phase(warmup=1.0, schedule=kind), batches_per_epoch=1)(0)) == pytest.approx(0.1)


def test_gradients_cannot_be_accumulated_on_several_replicas(monkeypatch):
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=2))
    learner = Learner(variable=variable([[1.0]]), layer="x", rate=0.1)
    with pytest.raises(RequestError, match=r"accumulate is 4 on 2 replicas, and Keras cannot.*Expected accumulate 1"):
        build_optimiser(phase(accumulate=4), [learner], batches_per_epoch=1)
