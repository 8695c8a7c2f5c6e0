"""The learning-rate range test."""

import numpy as np
import pytest
from test_phases import phase
from tiny_networks import NAMES, drawn_batch, install_tiny, same, tiny_network, values

from tfcells.errors import RequestError
from tfcells.finetune.losses import ClassLoss
from tfcells.finetune.rate_finder import find_rate

LOSS = ClassLoss(NAMES)


@pytest.fixture(autouse=True)
def tiny_row(monkeypatch):
    install_tiny(monkeypatch)


def batches(count):
    return [(*drawn_batch(12, seed=seed), np.ones(12, np.float32)) for seed in range(count)]


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_rates_grow_by_one_factor_and_the_network_is_left_as_it_was(precision):
    network = tiny_network(precision=precision)
    before = values(network.model.variables)
    found = find_rate(network, batches(14), steps=12, loss=LOSS, phase=phase("all"), batch_norm="trained", highest=1e-2)
    assert same(values(network.model.variables), before)
    assert len(found.rates) == len(found.losses) == 12
    np.testing.assert_allclose(found.rates, np.geomspace(1e-7, 1e-2, 12), rtol=1e-3)


def test_a_tenth_of_the_rate_at_which_the_loss_fell_lowest_is_suggested():
    network = tiny_network(dropout=0.0)
    asked = phase("all", body_rate=1e-3, head_rate=1e-3)
    found = find_rate(network, batches(60), steps=60, loss=LOSS, phase=asked, batch_norm="trained", lowest=1e-6)
    lowest = int(np.argmin(found.losses))
    assert lowest > 12 and found.losses[lowest] < 0.9 * np.mean(found.losses[:12])
    assert found.suggested == pytest.approx(found.rates[lowest] / 10)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 60}])
def test_where_no_rate_lowers_the_loss_none_is_suggested(settings):
    network = tiny_network(dropout=0.0)
    highest = 1.0 if settings else 1e-6
    easy_first = sorted(batches(60), key=lambda batch: float(LOSS(batch[1], network.model(batch[0]))))
    asked = phase("head", **settings)
    found = find_rate(network, easy_first, steps=60, loss=LOSS, phase=asked, highest=highest)
    assert int(np.argmin(found.losses)) < 12  # at rates that had lowered nothing
    assert found.suggested is None


def test_the_first_loss_is_that_of_the_network_as_it_came():
    network = tiny_network(dropout=0.0)
    network.body.get_layer("block_2_drop").rate = 0.0
    pixels, labels, _ = batches(1)[0]
    found = find_rate(network, batches(10), steps=10, loss=LOSS, phase=phase("head"), highest=1e-3)
    assert found.losses[0] == pytest.approx(float(LOSS(labels, network.model(pixels))), rel=1e-4)


def test_it_stops_where_the_loss_diverges_and_suggests_a_rate_well_below():
    network = tiny_network(dropout=0.0)
    asked = phase("all", optimiser="sgd", clip_norm=0.0, body_rate=1e-3, head_rate=1e-3)
    found = find_rate(network, batches(40), steps=40, loss=LOSS, phase=asked, lowest=1e-6, highest=1e6)
    assert len(found.rates) < 40
    assert found.suggested < found.rates[-1] / 10


@pytest.mark.parametrize(
    ("count", "rates", "message"),
    [
        (9, {}, r"9 batches to find a rate with\. Expected 10 or more"),
        (10, {"lowest": 1.0, "highest": 0.1}, r"Rates from 1 to 0\.1\. Expected two above 0, the lowest first"),
    ],
)
def test_too_little_to_test_is_refused(count, rates, message):
    with pytest.raises(RequestError, match=message):
        find_rate(tiny_network(), batches(count), steps=count, loss=LOSS, phase=phase("all"), **rates)


def test_a_loss_that_is_no_number_from_the_start_is_refused():
    network = tiny_network()
    network.model.get_layer("head_logits").bias.assign([np.nan] * 3)
    with pytest.raises(RequestError, match="The loss of the first batch is no number"):
        find_rate(network, batches(10), steps=10, loss=LOSS, phase=phase("all"))
