import numpy as np
import pytest

from tfcells.explain.attribution import Attribution
from tfcells.explain.exact import exact_maps
from tfcells.explain.gradients import integrated_maps
from tfcells.explain.randomised import LARGEST_MEDIAN, randomised, rank_correlations


def edges(explained, pictures, contrasts):
    """A method that looks at the picture alone."""
    grey = pictures.mean(axis=3).astype(np.float64)
    steps = np.hypot(np.gradient(grey, axis=1), np.gradient(grey, axis=2))
    return Attribution(method="edges", heat=steps, signed=False)


def towards(explained, pictures, name):
    return np.repeat(explained.contrast(name)[None], len(pictures), axis=0)


def test_a_method_that_ignores_the_weights_is_found_and_one_that_uses_them_passes(convolutional, pictures):
    contrasts = towards(convolutional, pictures, "a")
    medians = {}
    for make in (edges, integrated_maps):
        maps = make(convolutional, pictures, contrasts)
        found = rank_correlations(convolutional, make, pictures, contrasts, maps, networks=3, seed=0)
        assert found.maps.shape == found.sizes.shape == (3, len(pictures))
        medians[make] = np.median(np.abs(found.maps))
    assert medians[edges] == pytest.approx(1)
    assert medians[integrated_maps] <= LARGEST_MEDIAN


def test_maps_that_only_lose_their_signs_are_found_out(convolutional, pictures):
    generator = np.random.default_rng(0)

    def noisy(explained, pictures, contrasts):
        heat = edges(explained, pictures, contrasts).heat
        return Attribution(method="noisy", heat=heat * generator.choice([-1, 1], heat.shape), signed=True)

    contrasts = towards(convolutional, pictures, "a")
    maps = noisy(convolutional, pictures, contrasts)
    found = rank_correlations(convolutional, noisy, pictures, contrasts, maps, networks=2)
    assert np.median(np.abs(found.maps)) <= LARGEST_MEDIAN
    assert np.median(np.abs(found.sizes)) == pytest.approx(1)


def test_weights_and_flags_are_put_back_bit_by_bit(convolutional, pictures):
    before = [weight.numpy() for weight in convolutional.model.weights]
    logits = convolutional.logits(pictures)
    with randomised(convolutional, seed=1) as other:
        assert np.abs(other.logits(pictures) - logits).max() > 0.1
    for was, weight in zip(before, convolutional.model.weights, strict=True):
        np.testing.assert_array_equal(was, weight.numpy())
    np.testing.assert_array_equal(convolutional.logits(pictures), logits)


def test_weights_are_put_back_after_an_error(convolutional, pictures):
    logits = convolutional.logits(pictures)
    with pytest.raises(ZeroDivisionError), randomised(convolutional, seed=1):
        raise ZeroDivisionError
    np.testing.assert_array_equal(convolutional.logits(pictures), logits)


def test_a_randomised_network_answers_differently_for_different_pictures(convolutional, pictures):
    with randomised(convolutional, seed=2) as other:
        logits = other.logits(pictures)
    assert np.isfinite(logits).all() and np.ptp(logits, axis=0).min() > 1e-3


def test_entries_are_permuted_and_the_same_seed_permutes_them_alike(convolutional):
    kernel = convolutional.model.get_layer("logits").kernel
    before = kernel.numpy()
    found = []
    for seed in (3, 3, 4):
        with randomised(convolutional, seed=seed):
            found.append(kernel.numpy())
    np.testing.assert_array_equal(np.sort(found[0], axis=None), np.sort(before, axis=None))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_the_probe_that_exact_maps_read_is_randomised_too(probed, pictures):
    explained, *_ = probed("late")
    with randomised(explained, seed=0) as other:
        assert (other.linear.folded.weights != explained.linear.folded.weights).any()
        assert np.isfinite(exact_maps(other, pictures, np.eye(3)[[0] * len(pictures)]).heat).all()


def test_a_map_that_is_the_same_everywhere_says_nothing_of_the_weights(convolutional, pictures):
    def plain(explained, pictures, contrasts):
        return Attribution(method="plain", heat=np.ones((len(pictures), 4, 4)), signed=False)

    contrasts = towards(convolutional, pictures, "a")
    maps = plain(convolutional, pictures, contrasts)
    assert np.isnan(rank_correlations(convolutional, plain, pictures, contrasts, maps, networks=1).maps).all()
    maps.heat[1:, 0, 0] = 2.0  # where randomised weights take away what there was, the map has noticed
    found = rank_correlations(convolutional, plain, pictures, contrasts, maps, networks=1)
    for some in (found.maps, found.sizes):
        assert np.isnan(some[:, 0]).all() and not some[:, 1:].any()
