import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from skimage.color import colorconv, deltaE_ciede2000, rgb2lab

from tfcells.errors import RequestError
from tfcells.finetune.augment import LONGEST, augment, picture_seed
from tfcells.finetune.cell_transforms import STAINS, FocusJitter, Turn, stained
from tfcells.images.resize import resize_image

SIZE = 64
SEEDS = range(150)


def noise(seed=0, low=0, size=SIZE):
    return np.random.default_rng(seed).integers(low, 256, (size, size, 3), dtype=np.uint8)


def disc(radius_x, radius_y, *, centre=(SIZE - 1) / 2, inside=60, outside=230):
    """A dark ellipse on a bright ground, its edge antialiased."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    distance = np.hypot((x - centre) / radius_x, (y - centre) / radius_y)
    share = np.clip((1 - distance) * min(radius_x, radius_y) + 0.5, 0, 1)
    return np.repeat((outside + share * (inside - outside)).round().astype(np.uint8)[:, :, None], 3, axis=2)


def darkness(picture):
    """Share of each pixel that the dark ellipse covers, by its own darkest and brightest values."""
    grey = picture.mean(axis=2)
    ground, cell = np.median(grey[:4]), grey[SIZE // 2 - 2 : SIZE // 2 + 2, SIZE // 2 - 2 : SIZE // 2 + 2].mean()
    return np.clip((ground - grey) / (ground - cell), 0, 1)


def moments(weight):
    y, x = np.mgrid[:SIZE, :SIZE]
    total = weight.sum()
    x0, y0 = (weight * x).sum() / total, (weight * y).sum() / total
    xx, yy = (weight * (x - x0) ** 2).sum() / total, (weight * (y - y0) ** 2).sum() / total
    xy = (weight * (x - x0) * (y - y0)).sum() / total
    return total, (x0, y0), np.array([[xx, xy], [xy, yy]])


def test_the_same_seed_gives_the_same_bits_in_any_thread_and_any_order():
    pictures = [noise(seed) for seed in range(8)]
    wanted = [augment(pictures[seed % 8], seed=seed) for seed in range(120)]
    shuffled = np.random.default_rng(1).permutation(120).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = dict(
            zip(shuffled, pool.map(lambda seed: augment(pictures[seed % 8], seed=seed), shuffled), strict=True)
        )
    for seed, picture in enumerate(wanted):
        np.testing.assert_array_equal(found[seed], picture)
    assert len({picture.tobytes() for picture in wanted}) == 120


def test_the_picture_itself_is_left_as_it_was_even_where_it_must_not_be_written_to():
    picture = noise()
    before = picture.copy()
    picture.flags.writeable = False
    for seed in SEEDS:
        varied = augment(picture, seed=seed)
        assert varied.shape == picture.shape
        assert varied.dtype == np.uint8
    np.testing.assert_array_equal(picture, before)


def test_no_corner_is_filled_with_black_nor_any_flat_colour():
    picture = noise(low=150)
    for seed in SEEDS:
        varied = augment(picture, seed=seed)
        assert varied.min() > 70
        for corner in (varied[:6, :6], varied[:6, -6:], varied[-6:, :6], varied[-6:, -6:]):
            assert corner.std() > 3


def test_a_round_cell_stays_round_whole_near_the_middle_and_of_its_size():
    area, _, _ = moments(darkness(disc(15, 15)))
    for seed in SEEDS:
        found, centre, spread = moments(darkness(augment(disc(15, 15), seed=seed)))
        assert 0.85 < found / area < 1.16  # 5 % of the diameter, and what blur and contrast make of the edge
        assert np.abs(np.subtract(centre, (SIZE - 1) / 2)).max() <= 0.04 * SIZE + 1
        low, high = np.linalg.eigvalsh(spread)
        assert high / low < 1.1


@pytest.mark.parametrize("aspect", [0.85, 1.2])
def test_what_is_round_under_the_microscope_stays_so_in_a_squeezed_picture(aspect):
    """A disc in a picture of this aspect is an ellipse in the square, and the same ellipse however it is turned."""
    squeezed = disc(9 / aspect, 9)  # small enough for its mirror image to stay outside
    _, _, before = moments(darkness(squeezed))
    for seed in SEEDS:
        _, _, spread = moments(darkness(augment(squeezed, seed=seed, aspect=aspect)))
        assert spread[0, 0] / spread[1, 1] == pytest.approx(before[0, 0] / before[1, 1], rel=0.1)
        assert abs(spread[0, 1]) < 0.05 * spread[0, 0]


def test_turning_a_squeezed_picture_by_a_right_angle_swaps_its_true_sides():
    """A known answer: a bar that spans half the height spans, turned, as many micrometres of the width."""
    aspect = 1.25
    turn = Turn(rotate=(90, 90), interpolation=cv2.INTER_CUBIC, border_mode=cv2.BORDER_REFLECT_101, p=1.0)
    upright = np.full((100, 100, 3), 255, np.uint8)
    upright[25:75, 46:54] = 0
    lying = turn(image=upright, aspect=aspect)["image"]
    dark = np.argwhere(lying[:, :, 0] < 128)
    height, width = dark.max(axis=0) - dark.min(axis=0) + 1
    assert abs(width - 50 / aspect) <= 1
    assert abs(height - 8 * aspect) <= 1


def test_a_long_picture_is_flipped_alone_so_that_a_cell_in_its_corner_stays_there():
    picture = np.full((SIZE, SIZE, 3), 220, np.uint8)
    picture[3:10, 3:10] = 40
    corners = set()
    for seed in SEEDS:
        varied = augment(picture, seed=seed, aspect=LONGEST + 0.01).mean(axis=2)
        y, x = np.argwhere(varied < 130).mean(axis=0)
        assert min(abs(y - 6), abs(y - (SIZE - 7))) < 0.6
        assert min(abs(x - 6), abs(x - (SIZE - 7))) < 0.6
        corners.add((y > SIZE / 2, x > SIZE / 2))
    # All four: were all transforms started from one state, both flips would always come together.
    assert len(corners) == 4


def test_colours_that_name_a_granulocyte_are_not_taken_for_one_another():
    """Granules of eosinophil, basophil and neutrophil beside red cells and the blue cytoplasm of a lymphocyte."""
    colours = np.array([(198, 105, 112), (72, 30, 110), (205, 165, 196), (208, 176, 164), (150, 160, 216)], np.uint8)
    known = rgb2lab(colours[None] / 255)[0]
    for place, colour in enumerate(colours):
        picture = np.broadcast_to(colour, (SIZE, SIZE, 3)).copy()
        for seed in SEEDS:
            found = augment(picture, seed=seed).reshape(-1, 3).mean(axis=0)
            distances = deltaE_ciede2000(rgb2lab(found[None] / 255), known)
            assert np.argmin(distances) == place


def test_training_pictures_are_as_sharp_as_those_they_are_made_of(cells):
    """Or a network would learn from pictures that are always softer than those it is asked about."""
    ratios = []
    for row, id in enumerate(cells.ids[:12]):
        small = resize_image(cells.source.read(id), height=160, width=160).round().astype(np.uint8)
        ratios += [sharpness(augment(small, seed=100 * row + seed)) / sharpness(small) for seed in range(10)]
    assert 0.9 < np.median(ratios) < 1.1


def sharpness(picture):
    edges = cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), cv2.CV_32F)
    return float(edges[40:-40, 40:-40].std())


def test_focus_goes_both_ways_about_the_picture():
    picture = noise(low=100)
    jitter = FocusJitter(blur=0.8, sharpen=0.4, p=1.0)
    spreads = [float(jitter.apply(picture, focus=focus).std()) for focus in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    assert spreads == sorted(spreads)
    np.testing.assert_array_equal(jitter.apply(picture, focus=0.0), picture)


def test_the_stains_are_those_of_scikit_image():
    np.testing.assert_allclose(STAINS, colorconv.rgb_from_bex)


def test_no_change_of_stain_changes_nothing():
    picture = np.stack(np.meshgrid(np.arange(256), np.arange(0, 256, 5), indexing="ij"), axis=-1).astype(np.uint8)
    picture = np.concatenate([picture, picture[:, :, :1]], axis=-1)
    same = stained(picture, factors=np.ones(3), offsets=np.zeros(3))
    assert np.abs(same.astype(int) - picture).max() == 0


def test_each_stain_is_scaled_and_shifted_by_itself():
    def amounts(picture):
        return -np.log((picture.astype(float) + 1) / 256) @ np.linalg.inv(STAINS)

    picture = np.random.default_rng(2).integers(90, 200, (20, 20, 3), dtype=np.uint8)
    factors, offsets = np.array([1.1, 0.9, 1.0]), np.array([0.02, -0.01, 0.0])
    changed = amounts(stained(picture, factors=factors, offsets=offsets))
    np.testing.assert_allclose(changed, amounts(picture) * factors + offsets, atol=0.02)  # half a grey level


def test_what_is_no_square_is_refused():
    with pytest.raises(RequestError, match=r"A picture of 40 x 30 pixels to augment\. Expected a square; resize it"):
        augment(np.zeros((30, 40, 3), np.uint8), seed=0)


def test_seeds_of_pictures_depend_on_every_part_and_on_where_parts_end():
    parts = [(0, 1, "a"), (1, 0, "a"), (0, 1, "b"), (0, "1a"), ("01", "a"), (0, 1, "a\udce9")]
    seeds = [picture_seed(*each) for each in parts]
    assert len(set(seeds)) == len(parts)
    assert seeds[0] == picture_seed("0", 1, "a")  # what it is read from may be text
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_augmenting_asks_no_network_and_loads_no_tensorflow():
    script = (
        "import os, sys, urllib.request\n"
        "asked = []\n"
        "urllib.request.OpenerDirector.open = lambda self, url, *rest, **named: asked.append(url)\n"
        "import numpy as np\n"
        "from tfcells.finetune.augment import augment\n"
        "assert 'albumentations' not in sys.modules\n"
        "augment(np.zeros((32, 32, 3), np.uint8), seed=0)\n"
        "assert 'albumentations' in sys.modules and 'tensorflow' not in sys.modules\n"
        "assert not asked, asked\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
