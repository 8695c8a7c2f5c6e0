import json

import numpy as np
import pytest

from tfcells.explain.attribution import Attribution
from tfcells.explain.checked import Case, check_method, image_facts, middle_curves, summary_of
from tfcells.explain.exact import exact_maps
from tfcells.explain.faithfulness import mean_interval
from tfcells.explain.methods import METHODS, Method
from tfcells.explain.perturbation import occlusion_maps
from tfcells.explain.verdict import TRUSTWORTHY, UNDECIDED, UNTRUSTWORTHY, verdict_of

NOTHING = {"value": 0.0, "low": -0.1, "high": 0.1}
LESS = {"value": -0.2, "low": -0.3, "high": -0.1}
MORE = {"value": 0.2, "low": 0.1, "high": 0.3}
UNKNOWN = {"value": -0.2, "low": None, "high": None}


def judged(deletion=NOTHING, insertion=NOTHING, *, images=8, flat=0, groups=8, median=0.1, complete=None, **others):
    fidelity = {
        kind: {"map_minus_random_order": found} for kind, found in (("deletion", deletion), ("insertion", insertion))
    }
    return verdict_of(
        images=images, flat=flat, groups=groups, median=median, fidelity=fidelity, complete=complete, **others
    )


@pytest.mark.parametrize(
    ("deletion", "insertion", "word"),
    [
        (LESS, NOTHING, TRUSTWORTHY),
        (NOTHING, MORE, TRUSTWORTHY),
        (LESS, MORE, TRUSTWORTHY),
        (NOTHING, NOTHING, UNDECIDED),
        (UNKNOWN, UNKNOWN, UNDECIDED),
        (MORE, NOTHING, UNTRUSTWORTHY),
        (NOTHING, LESS, UNTRUSTWORTHY),
        (MORE, MORE, UNTRUSTWORTHY),
        (LESS, LESS, UNTRUSTWORTHY),
    ],
)
def test_one_of_deletion_and_insertion_must_be_better_and_none_worse(deletion, insertion, word):
    found = judged(deletion, insertion)
    assert found.word == word
    assert bool(found.reasons) == (word != TRUSTWORTHY)


def test_maps_that_are_strong_whatever_the_weights_are_told_of_and_not_judged_by_it():
    found = judged(deletion=LESS, sizes=0.77)
    assert found.word == TRUSTWORTHY and "without their signs 0.77" in found.evidence[-1]
    assert "signs" not in judged(deletion=LESS, sizes=0.2).evidence[-1]


def test_what_speaks_against_a_method_is_said_whatever_speaks_for_it():
    alike = judged(LESS, MORE, median=0.31)
    assert alike.word == UNTRUSTWORTHY
    assert "median |rank correlation| 0.31, more than 0.2" in alike.reasons[0]
    assert judged(LESS, median=0.2).word == TRUSTWORTHY
    (reason,) = judged(LESS, complete={"images": 9, "reached": 7}).reasons
    assert "do not add up to what they explain in 2 of 9 images" in reason
    (reason,) = judged(MORE).reasons
    assert reason == "deletion by its order is worse than by a random order of the same grain, by 0.200 of probability"


def test_a_method_is_not_trusted_because_nothing_speaks_against_it():
    few = judged(UNKNOWN, UNKNOWN, images=2, groups=2)
    assert few.word == UNDECIDED
    assert few.reasons == [
        "maps that say something: 2; groups of images that they are of: 2. 6 groups or more are needed: in fewer, the "
        "same outcome in all may be chance. Check it on more, such as --checks 12"
    ]
    assert judged(UNKNOWN, UNKNOWN, images=2, groups=2, most=7).reasons[0].endswith("such as --checks 7")
    assert judged(UNKNOWN, UNKNOWN, images=4, groups=4, most=4).reasons[0].endswith("There are no more here")
    assert judged(LESS, MORE, images=40, groups=5).word == UNDECIDED  # many pictures of few cells
    (reason,) = judged({"value": -0.1, "low": -0.25, "high": 0.05}, images=10).reasons
    assert "neither deletion (-0.100, -0.250 to +0.050) nor insertion (+0.000, -0.100 to +0.100) is shown" in reason
    assert "If it goes on like this, about 25 images will show it (--checks 25)" in reason
    (reason,) = judged({"value": -0.1, "low": -0.25, "high": 0.05}, images=10, most=20).reasons
    assert "it takes about 25 images to show it, and there are 20 here" in reason
    (reason,) = judged({"value": 0.1, "low": -0.05, "high": 0.25}, NOTHING).reasons
    assert "As it looks, 500 images would not show it either" in reason


def test_a_trustworthy_method_has_its_evidence():
    assert judged(LESS, NOTHING, images=9, flat=1).evidence == [
        "deletion by its order is better than by a random order of the same grain, by 0.200 of probability (0.100 to "
        "0.300)",
        "its maps change when the weights are randomised: median |rank correlation| 0.10 over 8 images, 0.2 is allowed",
    ]


def test_flat_maps_in_most_images_show_nothing():
    (reason,) = judged(LESS, MORE, images=8, flat=5, groups=3).reasons
    assert reason == "its maps are the same everywhere in 5 of 8 images; nothing is shown"
    assert judged(LESS, MORE, images=8, flat=8, groups=0, median=None).word == UNTRUSTWORTHY
    half = judged(LESS, MORE, images=8, flat=4, groups=4)
    assert (
        half.word == UNDECIDED and "maps that say something: 4, 4 others being the same everywhere;" in half.reasons[0]
    )
    assert judged(LESS, MORE, images=12, flat=6, groups=6).word == TRUSTWORTHY


def test_randomised_networks_that_answer_alike_whatever_they_are_shown_test_nothing():
    assert judged(LESS, silenced=(12, 24)).word == TRUSTWORTHY
    found = judged(LESS, median=0.0, silenced=(13, 24))
    assert found.word == UNDECIDED
    assert "the same everywhere in 13 of 24: behind this probe they answer alike" in found.reasons[0]
    assert len(found.evidence) == 1 and "randomised" not in found.evidence[0]
    assert judged(MORE, silenced=(13, 24)).word == UNTRUSTWORTHY


@pytest.mark.usefixtures("unchecked_shapes")
def test_few_methods_that_know_nothing_are_trusted():
    generator = np.random.default_rng(0)
    trusted = 0
    for seed in range(200):
        differences = []
        for _ in range(2):
            found = mean_interval(generator.normal(0, 0.1, 8), np.arange(8), seed=seed)
            differences.append({"value": found.value, "low": found.low, "high": found.high})
        trusted += judged(*differences).word == TRUSTWORTHY
    assert 0 < trusted <= 20


def drawn(heat, rounding=None):
    return Attribution(method="drawn", heat=heat, signed=True, rounding=rounding)


@pytest.mark.parametrize("level", [0.0, 1.0, -3e8, 1e-12])
def test_a_map_is_flat_if_it_differs_by_rounding_alone(level):
    generator = np.random.default_rng(0)
    noise = generator.uniform(-1, 1, (2, 6, 6))
    assert drawn(np.full((2, 6, 6), level) + 1e-8 * abs(level) * noise).flat.all()
    assert not drawn(np.full((2, 6, 6), level) + 1e-4 * (abs(level) or 1) * noise).flat.any()
    assert drawn(1e-9 * noise, rounding=np.array([1e-8, 1e-10])).flat.tolist() == [True, False]


def test_exact_maps_and_occlusion_of_a_plain_picture_are_flat(probed, pictures):
    explained, *_ = probed("late")
    both = np.stack([np.full_like(pictures[0], 120.0), pictures[0]])
    for make in (exact_maps, occlusion_maps):
        for noise in (0.0, 1e-5):  # less than a picture in float32 can hold apart
            generator = np.random.default_rng(1)
            noisy = both + noise * generator.uniform(size=both.shape).astype(np.float32)
            assert make(explained, noisy, np.eye(3)[[0, 0]]).flat.tolist() == [True, False]


@pytest.fixture
def checked(convolutional, pictures, monkeypatch):
    """A method that is given checks, on six pictures of six cells."""

    def check(make):
        monkeypatch.setitem(METHODS, "drawn", Method(make=make, title="drawn"))
        contrasts = np.repeat(convolutional.contrast("a")[None], len(pictures), axis=0)
        case = Case(explained=convolutional, pictures=pictures, contrasts=contrasts, groups=np.arange(len(pictures)))
        return check_method(case, "drawn", disc=middle_curves(case), networks=1)

    return check


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_an_explainer_that_answers_with_constants_is_untrustworthy(noise, checked):
    def constant(explained, pictures, contrasts):
        return drawn(0.25 + noise * np.random.default_rng(0).uniform(size=(len(pictures), 5, 5)))

    found = checked(constant)
    summary = summary_of(found)
    assert summary["verdict"] == UNTRUSTWORTHY and summary["flat"] == 6
    assert "its maps are the same everywhere in 6 of 6 images; nothing is shown" in summary["reasons"]
    assert summary["randomisation"]["median_absolute_rank_correlation"] is None
    assert np.isnan(found.correlations).all()
    facts = image_facts(found, 0)
    assert facts["flat"] and facts["rank_correlations"] == [None]
    json.dumps([summary, facts], allow_nan=False)


def test_flat_maps_of_some_images_are_counted_and_left_out_of_the_median(checked):
    def some(explained, pictures, contrasts):
        heat = np.repeat(pictures.mean(axis=3, dtype=np.float64)[:, ::4, ::4], 1, axis=0)
        heat[:2] = 0
        return drawn(heat)

    summary = summary_of(checked(some))
    assert summary["flat"] == 2 and summary["randomisation"]["images"] == 4
    assert summary["randomisation"]["median_absolute_rank_correlation"] == pytest.approx(1)  # not 0 for the flat ones
    assert summary["verdict"] == UNTRUSTWORTHY and "same everywhere" not in summary["reasons"][0]


def test_an_explainer_that_draws_lots_is_not_trusted(checked):
    generator = np.random.default_rng(3)

    def lots(explained, pictures, contrasts):
        return drawn(generator.uniform(size=(len(pictures), 8, 8)))

    assert summary_of(checked(lots))["verdict"] == UNDECIDED
