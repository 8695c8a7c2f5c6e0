import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcells.backbones.preprocess import resize_images
from tfcells.errors import DamageError, EmptyDataError, RequestError, UnknownNameError
from tfcells.finetune.draws import epoch_draws
from tfcells.finetune.examples import faults_by_name, training_batches, validation_batches
from tfcells.finetune.pictures import PictureCache, Pictures
from tfcells.images.batches import image_batches
from tfcells.images.readers import read_folder
from tfcells.images.resize import resize_image

SIZE, ROWS = 32, tuple(range(1, 36, 2))
ROW_NUMBERS = np.arange(36, dtype=np.float32)


class Counting:
    """A source that counts what is read from the one inside."""

    def __init__(self, source):
        self.source = source
        self.read_ids = []

    def read(self, id):
        self.read_ids.append(id)
        return self.source.read(id)

    def describe(self):
        return self.source.describe()


def epoch_of(table, rows=ROWS, **options):
    options = {"size": SIZE, "batch_size": 4, "epoch": 0, "seed": 7, "labels": table.labels, **options}
    labels = options.pop("labels")
    return list(training_batches(table, rows, labels, **options).as_numpy_iterator())


def joined(batches, part=0):
    return np.concatenate([batch[part] for batch in batches])


@pytest.fixture(scope="module")
def augmented(cells):
    return joined(epoch_of(cells))


def test_without_augmentation_pixels_are_those_that_features_are_made_of(cells):
    def small(pixels):
        return resize_image(pixels, height=SIZE, width=SIZE)

    wanted = next(image_batches(cells, resize=small, size=SIZE, batch_size=len(cells))).pixels
    draws = epoch_draws(cells.ids, ROWS, cells.labels, sampling="natural", seed=7, epoch=0)
    found = epoch_of(cells, augmentation="none")
    np.testing.assert_array_equal(joined(found), wanted[[draw.row for draw in draws]])
    np.testing.assert_array_equal(joined(found, 1), cells.labels[[draw.row for draw in draws]])
    in_order = validation_batches(cells, ROWS, cells.labels, size=SIZE, batch_size=5)
    np.testing.assert_array_equal(joined(list(in_order.as_numpy_iterator())), wanted[list(ROWS)])


def test_pixels_are_also_those_of_the_kernel_in_graphs(cells):
    first = next(validation_batches(cells, [3], cells.labels, size=SIZE, batch_size=1).as_numpy_iterator())[0][0]
    graph = resize_images(tf.constant(cells.source.read(cells.ids[3])), size=SIZE, kernel="bilinear")
    np.testing.assert_allclose(first, graph, atol=0.02)


def test_batches_have_their_types_and_lengths_and_the_dataset_knows_how_many(cells):
    dataset = training_batches(cells, ROWS, cells.labels, size=SIZE, batch_size=4, epoch=0, seed=0)
    batches = list(dataset.as_numpy_iterator())
    assert len(dataset) == len(batches) == 5
    assert [len(batch[0]) for batch in batches] == [4, 4, 4, 3, 3]
    for pixels, labels, weights in batches:
        assert (pixels.dtype, labels.dtype, weights.dtype) == (np.float32, np.int64, np.float32)
        assert pixels.shape == (len(labels), SIZE, SIZE, 3)
        assert 0 <= pixels.min() <= pixels.max() <= 255
        assert (weights == 1).all()


@pytest.mark.parametrize(
    "options",
    [{"workers": 1}, {"workers": 7}, {"batch_size": 18}, {"cache": PictureCache()}, {"cache": PictureCache(9_999)}],
    ids=["one thread", "seven threads", "one batch", "cache", "cache with room for three"],
)
def test_threads_batches_and_cache_change_no_bit(cells, augmented, options):
    for _ in range(2):
        np.testing.assert_array_equal(joined(epoch_of(cells, **options)), augmented)


def test_an_epoch_depends_on_ids_not_on_the_numbers_of_rows_or_on_other_pictures(cells, augmented):
    moved = cells.take([*reversed(ROWS), 0, 2])
    found = joined(epoch_of(moved, rows=range(len(ROWS)), labels=moved.labels))
    np.testing.assert_array_equal(found, augmented)


def test_every_epoch_and_every_seed_augments_and_orders_anew(cells, augmented):
    for change in ({"epoch": 1}, {"seed": 8}):
        assert not np.array_equal(joined(epoch_of(cells, **change)), augmented)
    one = [joined(epoch_of(cells, rows=[5], epoch=epoch)) for epoch in range(6)]
    assert len({pixels.tobytes() for pixels in one}) == 6


def test_pictures_that_come_twice_in_an_epoch_come_in_two_variants(cells):
    rows = [0, *range(12, 24)]  # one of the first class, twelve of the second
    batches = epoch_of(cells, rows=rows, sampling="balanced")
    rare = joined(batches)[joined(batches, 1) == 0]
    assert len(rare) in (6, 7)
    assert len({pixels.tobytes() for pixels in rare}) == len(rare)


def test_for_several_replicas_every_batch_can_be_parted_evenly(cells):
    seen = set()
    for epoch in range(8):
        pixels, labels, weights = zip(
            *epoch_of(cells, epoch=epoch, augmentation="none", replicas=4, batch_size=8, weights=ROW_NUMBERS),
            strict=True,
        )
        assert [len(batch) for batch in pixels] == [len(batch) for batch in labels] == [8, 8]
        rows = np.concatenate(weights).astype(int).tolist()
        assert len(set(rows)) == 16
        seen |= set(rows)
    assert seen == set(ROWS)  # two are left out of each epoch, and none for ever
    with pytest.raises(RequestError, match=r"Batches of 2 pictures for 4 replicas\. Expected 4 or more, one for each"):
        epoch_of(cells, replicas=4, batch_size=2)
    with pytest.raises(RequestError, match=r"18 pictures for 20 replicas\. Expected 20 or more, one for each"):
        epoch_of(cells, replicas=20, batch_size=20)


def test_labels_and_weights_travel_with_their_pictures(cells):
    labels = (np.arange(len(cells)) % 5).astype(np.int64)
    weights = ROW_NUMBERS
    pixels, found, weighed = (
        joined(epoch_of(cells, labels=labels, weights=weights, augmentation="none"), part) for part in range(3)
    )
    pictures = Pictures(cells, SIZE, "bilinear", PictureCache(0))
    rows = weighed.astype(int).tolist()
    assert sorted(rows) == list(ROWS)
    np.testing.assert_array_equal(found, labels[rows])
    np.testing.assert_array_equal(pixels, np.stack([pictures.exact(row) for row in rows]))


def test_with_a_cache_later_epochs_read_nothing_and_without_they_read_everything(cells):
    source = Counting(cells.source)
    table = replace(cells, source=source)
    cache = PictureCache()
    for epoch in range(3):
        epoch_of(table, epoch=epoch, cache=cache)
    assert sorted(source.read_ids) == sorted(cells.ids[row] for row in ROWS)
    assert len(cache) == len(ROWS)
    assert cache.bytes == len(ROWS) * SIZE * SIZE * 3
    epoch_of(table, epoch=3)
    assert len(source.read_ids) == 2 * len(ROWS)


def test_a_cache_keeps_to_its_budget_and_what_has_no_room_is_read_again(cells):
    source = Counting(cells.source)
    cache = PictureCache(5 * SIZE * SIZE * 3 + 1)
    for epoch in range(4):
        epoch_of(replace(cells, source=source), epoch=epoch, cache=cache, workers=5)
    assert len(cache) == 5
    assert cache.bytes <= cache.budget
    assert len(source.read_ids) == len(ROWS) + 3 * (len(ROWS) - 5)


def test_one_cache_serves_training_and_validation_at_any_size(cells):
    cache = PictureCache()
    for size in (SIZE, 24):
        for _ in range(2):
            trained = epoch_of(cells, cache=cache, size=size, augmentation="cells")
            validated = validation_batches(cells, ROWS, cells.labels, size=size, batch_size=4, cache=cache)
            np.testing.assert_array_equal(joined(trained), joined(epoch_of(cells, size=size)))
            exact = validation_batches(cells, ROWS, cells.labels, size=size, batch_size=4)
            np.testing.assert_array_equal(
                joined(list(validated.as_numpy_iterator())), joined(list(exact.as_numpy_iterator()))
            )


def test_a_picture_that_is_gone_or_changed_is_named(cell_folder, tmp_path):
    root = Path(shutil.copytree(cell_folder, tmp_path / "cells"))
    table = read_folder(root)
    (root / table.ids[3]).unlink()
    shutil.copy(root / table.ids[8], root / table.ids[7])
    cases = {3: "cannot be read: No such file or directory", 7: "its pixels changed after it was first read"}
    for row, reason in cases.items():
        with pytest.raises(DamageError) as raised, faults_by_name():
            epoch_of(table, rows=[1, 2, row, 11])
        assert str(raised.value) == (
            f"Picture {table.ids[row]!r} cannot be learned from: {reason}. Expected the pictures as they were when the "
            "folder was read; put the file back, or read the folder again."
        )


def test_errors_that_are_not_of_a_picture_stay_what_they_are():
    with pytest.raises(tf.errors.InvalidArgumentError, match="Incompatible shapes"), faults_by_name():
        tf.raw_ops.AddV2(x=tf.zeros(2), y=tf.zeros(3))


def test_what_cannot_be_learned_from_is_refused_in_words(cells):
    cases = [
        ({"augmentation": "cell"}, UnknownNameError, r"Unknown augmentation 'cell'\. Did you mean 'cells'\?"),
        ({"sampling": "balance"}, UnknownNameError, r"Unknown sampling 'balance'\. Did you mean 'balanced'\?"),
        ({"kernel": "nearest"}, UnknownNameError, r"Unknown resize kernel 'nearest'\. Expected one of: bilinear\."),
        ({"rows": []}, EmptyDataError, "There are no rows to learn from"),
        ({"weights": np.ones(3, np.float32)}, RequestError, r"3 weights for a table of 36 rows\. Expected one for"),
    ]
    for change, error, words in cases:
        with pytest.raises(error, match=words):
            epoch_of(cells, **change)
    with pytest.raises(RequestError, match="2 rows, of which 1 are different"):
        validation_batches(cells, [1, 1], cells.labels, size=SIZE, batch_size=4)


def test_a_network_trains_on_it_under_a_strategy_without_a_warning(cells):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
        model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    seen = []
    told = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    model.fit(
        training_batches(cells, ROWS, cells.labels, size=SIZE, batch_size=4, epoch=0, seed=0),
        shuffle=False,
        verbose=0,
        callbacks=[told],
    )
    assert seen == [0, 1, 2, 3, 4]
