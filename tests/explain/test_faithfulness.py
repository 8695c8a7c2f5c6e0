from dataclasses import replace

import numpy as np
import pytest

from tfcells.errors import RequestError
from tfcells.explain.attribution import Attribution
from tfcells.explain.checked import Case, check_method, image_facts, joined, middle_curves, summary_of
from tfcells.explain.faithfulness import (
    FEWEST_GROUPS,
    disc_inside,
    disc_maps,
    fidelity_curves,
    mass_inside,
    mean_interval,
    random_maps,
)


def dark(planted, pictures):
    return np.repeat(planted.contrast("dark")[None], len(pictures), axis=0)


@pytest.fixture
def stained(pictures):
    """Pictures whose planted square is dark."""
    found = np.full_like(pictures, 200.0)
    found[:, 8:16, 8:16, 1] = 150.0
    return found


def test_the_map_that_knows_the_square_beats_any_order_that_does_not(planted, stained):
    truth = np.zeros((len(stained), 32, 32))
    truth[:, 8:16, 8:16] = 1
    contrasts = dark(planted, stained)
    known = fidelity_curves(planted, stained, contrasts, truth)
    for other in (random_maps(len(stained), (32, 32), seed=0), disc_maps(len(stained)), -truth):
        found = fidelity_curves(planted, stained, contrasts, other)
        assert (known.deletion < found.deletion - 0.05).all()
        assert (known.insertion > found.insertion).all()  # the blurred square is half dark: little is left to gain


def test_the_area_under_a_curve_is_that_of_its_formula(planted, stained):
    truth = np.zeros((len(stained), 32, 32))
    truth[:, 8:16, 8:16] = np.linspace(1, 2, 64).reshape(8, 8)
    found = fidelity_curves(planted, stained, dark(planted, stained), truth, blocks=32, steps=16)
    shares = np.linspace(0, 1, 17)
    left = np.clip(1 - shares * 1024 / 64, 0, 1)  # of the square, as the highest blocks are hidden
    np.testing.assert_allclose(found.deletion, np.trapezoid(1 / (1 + np.exp(-5 * left)), shares), atol=1e-6)


def test_random_maps_are_as_coarse_as_what_they_are_compared_with():
    assert random_maps(3, (7, 7), seed=0).shape == (3, 7, 7)
    assert random_maps(3, (224, 224), seed=0).shape == (3, 28, 28)


def test_equal_blocks_come_in_an_order_that_the_seed_decides(planted, pictures):
    plain = np.ones((len(pictures), 4, 4))
    contrasts = dark(planted, pictures)
    first, same, other = (
        fidelity_curves(planted, pictures, contrasts, plain, seed=seed).deletion for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_mass_inside_counts_positive_numbers_alone():
    heat = np.zeros((1, 4, 4))
    heat[0, 0, 0], heat[0, 3, 3], heat[0, 1, 1] = 3, 1, -50
    masks = np.zeros((1, 8, 8), dtype=bool)
    masks[0, :4, :4] = True
    assert mass_inside(heat, masks)[0] == pytest.approx(0.75)


def test_a_map_without_positive_numbers_points_nowhere():
    masks = np.zeros((1, 8, 8), dtype=bool)
    masks[0, :4, :4] = True
    assert mass_inside(-np.ones((1, 4, 4)), masks)[0] == pytest.approx(0.25)


def test_where_a_cell_stands_is_not_known_by_an_empty_mask(planted, stained):
    masks = np.zeros((len(stained), 32, 32), dtype=bool)
    assert np.isnan(mass_inside(np.ones((len(stained), 4, 4)), masks)).all() and np.isnan(disc_inside(masks)).all()
    masks[:4, 8:16, 8:16] = True
    case = Case(explained=planted, pictures=stained, contrasts=dark(planted, stained), groups=np.arange(6), masks=masks)
    found = check_method(case, "gradcam", disc=middle_curves(case), networks=1)
    summary = summary_of(found)["mass_inside"]
    assert summary["images"] == 4 and summary["whole_picture"]["value"] == pytest.approx(1 / 16)
    assert summary["map"]["value"] == pytest.approx(np.mean(found.inside[:4]))
    told = [image_facts(found, image)["mass_inside"] is None for image in range(6)]
    assert told == [False] * 4 + [True] * 2
    nowhere = check_method(replace(case, masks=masks & False), "gradcam", disc=middle_curves(case), networks=1)
    assert summary_of(nowhere)["mass_inside"] is None


def test_a_centred_disc_is_all_inside_a_centred_cell_and_half_inside_one_of_half_the_picture():
    rows, columns = np.mgrid[:64, :64] - 31.5
    centred = np.hypot(rows, columns) < 15
    np.testing.assert_allclose(disc_inside(np.stack([centred, columns < 0])), [1, 0.5], atol=0.01)


def test_a_mean_over_images_of_few_cells_has_no_interval():
    assert mean_interval(np.linspace(0, 1, 15), np.arange(15) // 3) is None
    assert FEWEST_GROUPS == 6  # the fewest of which the same sign in all is rarer than once in forty
    found = mean_interval(np.array([0.2, 0.4, 0.3, 0.5, 0.1, 0.3]), np.arange(6))
    assert found.low < 0.3 < found.high and found.value == pytest.approx(0.3)
    assert mean_interval(np.full(6, -2.0), np.arange(6)).low == -2


def test_a_curve_of_one_step_is_refused(planted, pictures):
    with pytest.raises(RequestError, match=r"steps is 1. Expected 2 or more"):
        fidelity_curves(planted, pictures, dark(planted, pictures), np.ones((6, 2, 2)), steps=1)


def test_a_method_is_checked_as_a_whole(convolutional, pictures):
    masks = np.zeros((len(pictures), 32, 32), dtype=bool)
    masks[:, 8:24, 8:24] = True
    contrasts = np.repeat(convolutional.contrast("a")[None], len(pictures), axis=0)
    case = Case(
        explained=convolutional, pictures=pictures, contrasts=contrasts, groups=np.arange(len(pictures)), masks=masks
    )
    found = check_method(case, "ig", disc=middle_curves(case), networks=2)
    summary = summary_of(found)
    assert summary["completeness"]["reached"] == 6
    assert summary["randomisation"]["networks"] == 2
    assert summary["mass_inside"]["whole_picture"]["value"] == pytest.approx(0.25)
    assert summary["flat"] == 0 and summary["randomisation"]["groups"] == 6
    facts = image_facts(found, 3)
    assert facts["completeness"]["reached"] and set(facts["deletion"]) == {"map", "random_order", "centred_disc"}
    assert len(facts["rank_correlations"]) == 2
    twice = summary_of(joined([found, found]))
    assert twice["images"] == 12 and twice["deletion"]["map"]["value"] == pytest.approx(
        summary["deletion"]["map"]["value"]
    )
    assert twice["mass_inside"]["centred_disc"] == pytest.approx(summary["mass_inside"]["centred_disc"])


def test_a_map_that_is_not_finite_is_refused():
    with pytest.raises(RequestError, match="The map of gradcam is not finite"):
        Attribution(method="gradcam", heat=np.full((1, 2, 2), np.nan), signed=False)
