import numpy as np
import pytest
from small_networks import SIZE

from tfcells.errors import RequestError, UnknownNameError
from tfcells.explain.baselines import baseline_of
from tfcells.explain.perturbation import occlusion_maps


def dark(planted, pictures):
    return np.repeat(planted.contrast("dark")[None], len(pictures), axis=0)


def test_a_square_that_is_hidden_costs_what_it_held(planted, pictures):
    maps = occlusion_maps(planted, pictures, dark(planted, pictures), patch=8, stride=8)
    change = (baseline_of(pictures, "border") - pictures)[:, 8:16, 8:16, 1]
    lost = change.sum(axis=(1, 2)) / 10 / 64
    np.testing.assert_allclose(maps.heat[:, 8:16, 8:16], np.broadcast_to(lost[:, None, None], (6, 8, 8)), atol=1e-4)
    outside = maps.heat.copy()
    outside[:, 8:16, 8:16] = 0
    assert np.abs(outside).max() < 1e-6


def test_a_pixel_has_the_mean_of_the_squares_that_hide_it(planted, pictures):
    coarse = occlusion_maps(planted, pictures, dark(planted, pictures), patch=8, stride=8).heat
    fine = occlusion_maps(planted, pictures, dark(planted, pictures), patch=8, stride=4, batch_size=3).heat
    # Rows 8 to 11 lie in squares that begin at 4 and at 8; the corner of the planted square is hidden by four.
    corners = [occlusion_loss(planted, pictures[0], top, left) for top in (4, 8) for left in (4, 8)]
    assert fine[0, 8, 8] == pytest.approx(np.mean(corners), abs=1e-4)
    assert coarse[0, 8, 8] == pytest.approx(corners[3], abs=1e-4)


def occlusion_loss(planted, picture, top, left):
    hidden = picture[None].copy()
    hidden[:, top : top + 8, left : left + 8] = baseline_of(picture[None], "border")[:, :8, :8]
    before, after = planted.logits(np.concatenate([picture[None], hidden]))[:, 0]
    return before - after


@pytest.mark.parametrize(("patch", "stride"), [(5, 3), (32, 32), (7, 7), (1, 1)])
def test_every_pixel_is_hidden_at_least_once(patch, stride, planted, pictures):
    if patch == 1:
        pictures = pictures[:1]
    maps = occlusion_maps(planted, pictures[:2], dark(planted, pictures[:2]), patch=patch, stride=stride, fill="blur")
    assert np.isfinite(maps.heat).all() and maps.heat.shape[1:] == (SIZE, SIZE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 33}, "patch is 33 pixels. Expected 1 to 32"),
        ({"patch": 4, "stride": 5}, "stride is 5 pixels. Expected 1 to 4, the side of the patch: pixels are missed"),
    ],
)
def test_patches_that_do_not_fit_are_refused(options, message, planted, pictures):
    with pytest.raises(RequestError, match=message):
        occlusion_maps(planted, pictures, dark(planted, pictures), **options)


def test_an_unknown_filling_is_named(planted, pictures):
    with pytest.raises(UnknownNameError, match=r"Unknown baseline 'blurr'. Did you mean 'blur'"):
        occlusion_maps(planted, pictures, dark(planted, pictures), fill="blurr")


def test_the_border_is_plain_and_of_the_colour_round_the_cell(pictures):
    plain = baseline_of(pictures, "border")
    assert np.ptp(plain, axis=(1, 2)).max() == 0
    assert np.abs(plain[:, 0, 0] - 200).max() < 3
