"""Which precision, what it costs, and when float16 is given up."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_phases import phase
from tiny_networks import drawn_batch, install_tiny, tiny_network, train_step

from tfcells.errors import RequestError, UnknownNameError
from tfcells.features.engines.machine import Machine
from tfcells.finetune import precision
from tfcells.finetune.networks import in_precision
from tfcells.finetune.optimisers import build_optimiser
from tfcells.finetune.phases import start_phase
from tfcells.finetune.precision import overflow, precision_parity, resolve_precision

NONE: frozenset[str] = frozenset()
PLAIN = Machine("x86_64", frozenset({"avx2", "avx512f"}), NONE)
AMX = Machine("x86_64", frozenset({"avx2", "amx_bf16"}), NONE)
ZEN4 = Machine("x86_64", frozenset({"avx2", "avx512_bf16"}), NONE)
H100 = Machine("x86_64", frozenset({"amx_bf16"}), NONE, gpu=(9, 0))
PASCAL = Machine("x86_64", frozenset({"amx_bf16"}), NONE, gpu=(6, 1))


@pytest.fixture(autouse=True)
def tiny_row(monkeypatch):
    install_tiny(monkeypatch)


@pytest.mark.parametrize(
    ("machine", "policy"),
    [
        (PLAIN, "float32"),
        (AMX, "mixed_bfloat16"),
        (ZEN4, "mixed_bfloat16"),
        (H100, "mixed_float16"),
        (PASCAL, "float32"),
    ],
)
def test_auto_takes_what_the_hardware_computes_in(machine, policy):
    assert resolve_precision("auto", machine=machine) == policy


@pytest.mark.parametrize("name", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_a_precision_that_is_named_is_met_on_any_machine(name):
    assert {resolve_precision(name, machine=machine) for machine in (PLAIN, AMX, H100)} == {name}
    assert keras.DTypePolicy(name).variable_dtype == "float32"


def test_this_machine_is_looked_at():
    assert resolve_precision("auto") in ("float32", "mixed_float16", "mixed_bfloat16")


def test_an_unknown_precision_is_refused():
    with pytest.raises(UnknownNameError, match=r"Unknown precision 'mixed_floa16'\. Did you mean 'mixed_float16'"):
        resolve_precision("mixed_floa16")


def optimiser_for(network, train="all"):
    asked = phase(train, body_rate=1e-3, head_rate=1e-3)
    made = build_optimiser(asked, start_phase(network, asked), batches_per_epoch=40, precision=network.precision)
    made.build(network.model.trainable_variables)
    return made


def test_a_forced_overflow_of_activations_falls_back_to_float32_and_trains_there():
    network = tiny_network(precision="mixed_float16")
    network.body.get_layer("stem_bn").gamma.assign([3e5] * 4)  # beyond 65,504, and normalised again further on
    batch = drawn_batch()
    made = optimiser_for(network)
    before = [weight.numpy() for weight in network.model.trainable_variables]
    loss = train_step(network, made, batch)
    reason = overflow(made, loss=loss)
    assert reason is not None
    assert reason.startswith(("the loss is nan: activations left the range", "the loss is inf: activations left"))
    for ours, kept in zip(network.model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(ours, kept)  # the update was left out
    fallen = in_precision(network, "float32")
    made = optimiser_for(fallen)
    for _ in range(2):
        loss = train_step(fallen, made, batch)
        assert np.isfinite(loss)
        assert overflow(made, loss=loss) is None


def test_gradients_that_overflow_at_any_scale_are_found_by_the_scale():
    network = tiny_network(precision="mixed_float16", dropout=0.0)
    logits = network.model.get_layer("head_logits")
    logits.kernel.assign(logits.kernel * 1e9)
    network.body.get_layer("top_bn").gamma.assign([1e-6] * 12)
    made = optimiser_for(network)
    reasons = []
    for _ in range(17):
        loss = train_step(network, made, drawn_batch())
        assert np.isfinite(loss)
        reasons.append(overflow(made, loss=loss))
    assert reasons[:15] == [None] * 15
    assert reasons[-1] == "the loss scale fell to 0.25: gradients overflow float16 though nothing is scaled up"


def test_healthy_training_in_float16_is_left_alone():
    network = tiny_network(precision="mixed_float16")
    made = optimiser_for(network)
    assert overflow(made, loss=1.0) is None
    for seed in range(3):
        assert overflow(made, loss=train_step(network, made, drawn_batch(seed=seed))) is None


def test_a_loss_that_is_no_number_is_not_blamed_on_a_precision_that_is_not_float16():
    network = tiny_network(precision="mixed_bfloat16")
    assert overflow(optimiser_for(network), loss=float("nan")) is None


def test_parity_of_float32_with_itself_is_perfect():
    found = precision_parity(tiny_network(), drawn_batch(40)[0])
    assert (found.precision, found.images, found.max_difference, found.agreement) == ("float32", 40, 0.0, 1.0)
    assert found.cosine == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("precision", "tolerance"), [("mixed_float16", 0.01), ("mixed_bfloat16", 0.1)])
def test_parity_is_what_comparing_by_hand_finds(precision, tolerance):
    exact = tiny_network()
    pixels, _ = drawn_batch(5)
    found = precision_parity(in_precision(exact, precision), pixels)
    ours = in_precision(exact, precision).model(pixels).numpy().astype(np.float64)
    theirs = exact.model(pixels).numpy().astype(np.float64)
    assert found.precision == precision
    assert found.max_difference == np.abs(ours - theirs).max() > 0
    assert found.relative_difference == pytest.approx(found.max_difference / theirs.std())
    assert found.relative_difference < tolerance
    assert 0.99 < found.cosine < 1
    assert found.agreement == (ours.argmax(1) == theirs.argmax(1)).mean()


def test_parity_is_with_all_bits_of_float32_and_leaves_the_process_as_it_was(monkeypatch):
    enabled, logits, seen = tf.config.experimental.tensor_float_32_execution_enabled, precision._logits, {}

    def noted(network, pixels):
        seen[network.precision] = enabled()
        return logits(network, pixels)

    monkeypatch.setattr(precision, "_logits", noted)
    before = enabled()
    precision_parity(tiny_network(precision="mixed_float16"), drawn_batch(2)[0])
    assert seen == {"mixed_float16": before, "float32": False}
    assert before is enabled() is True


def test_parity_needs_an_image():
    with pytest.raises(RequestError, match=r"No image to compare precisions on\. Expected one or more"):
        precision_parity(tiny_network(), drawn_batch(0)[0])
