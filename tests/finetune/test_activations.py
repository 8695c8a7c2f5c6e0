from dataclasses import replace

import keras
import numpy as np
import pytest

from tfcells.errors import DamageError, RequestError, UnknownNameError
from tfcells.finetune.activations import activation_batches, activations_in_order, cache_activations
from tfcells.finetune.examples import training_batches, validation_batches
from tfcells.finetune.pictures import PictureCache, Pictures

SIZE, ROWS = 32, (3, 1, 4, 15, 9, 26, 5, 35, 8)


class Counting:
    """A source that counts what is read from the one inside."""

    def __init__(self, source):
        self.source, self.reads = source, 0

    def read(self, id):
        self.reads += 1
        return self.source.read(id)

    def describe(self):
        return self.source.describe()


@pytest.fixture(scope="module")
def lower(tiny_backbone):
    return keras.Model(tiny_backbone.input, tiny_backbone.get_layer("late").output)


@pytest.fixture
def keep(cells, lower, tmp_path):
    def kept(table=cells, rows=ROWS, model=lower, **options):
        return cache_activations(
            model,
            table,
            rows,
            **{"folder": tmp_path / "maps", "size": SIZE, "batch_size": 4, "dtype": "float32"} | options,
        )

    return kept


def joined(dataset, part=0):
    return np.concatenate([batch[part] for batch in dataset.as_numpy_iterator()])


def test_kept_maps_are_what_the_lower_part_gives_of_the_validation_pictures(cells, lower, keep):
    pixels = joined(validation_batches(cells, ROWS, cells.labels, size=SIZE, batch_size=4))
    kept = activations_in_order(keep(), cells, ROWS, cells.labels, batch_size=4)
    np.testing.assert_allclose(joined(kept), lower(pixels, training=False), rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(joined(kept, 1), cells.labels[list(ROWS)])


def test_training_from_the_cache_is_training_from_the_pictures(cells, lower, keep):
    """Without augmentation: the same draws in the same order, with labels and weights."""
    options = {"batch_size": 4, "epoch": 2, "seed": 11, "sampling": "balanced"}
    weights = np.arange(len(cells), dtype=np.float32)
    direct = training_batches(cells, ROWS, cells.labels, size=SIZE, augmentation="none", weights=weights, **options)
    kept = activation_batches(keep(), cells, ROWS, cells.labels, weights=weights, **options)
    assert len(kept) == len(direct)
    np.testing.assert_allclose(joined(kept), lower(joined(direct), training=False), rtol=1e-5, atol=1e-3)
    for part in (1, 2):
        np.testing.assert_array_equal(joined(kept, part), joined(direct, part))


def test_variants_are_those_of_the_first_epochs_and_come_in_turns(cells, lower, keep):
    kept = keep(variants=3, seed=11)
    pictures = Pictures(cells, SIZE, "bilinear", PictureCache())
    row = ROWS[2]
    known = [
        np.asarray(lower(pictures.variant(row, seed=11, epoch=epoch)[None].astype(np.float32), training=False))[0]
        for epoch in range(3)
    ]
    for start in (0, 4):
        shown = []
        for epoch in range(start, start + 3):
            batches = activation_batches(kept, cells, [row], cells.labels, batch_size=1, epoch=epoch, seed=11)
            maps = joined(batches)[0]
            shown.append(int(np.argmin([np.abs(maps - one).max() for one in known])))
            np.testing.assert_allclose(maps, known[shown[-1]], rtol=1e-5, atol=1e-3)
        assert sorted(shown) == [0, 1, 2]


def test_half_precision_costs_half_the_bytes_and_three_digits(keep):
    exact, rounded = keep(), keep(dtype="float16")
    assert rounded.path != exact.path
    assert rounded.maps[0].nbytes * 2 == exact.maps[0].nbytes
    np.testing.assert_allclose(rounded.maps[0], exact.maps[0], rtol=1e-3, atol=1e-3)


def test_what_is_there_is_not_computed_again_and_more_variants_only_add(cells, keep):
    source = Counting(cells.source)
    table = replace(cells, source=source)
    first = keep(table, variants=2)
    assert source.reads == 2 * len(ROWS)
    again = keep(table, rows=tuple(reversed(ROWS)), variants=2)
    assert (source.reads, again.path, again.ids) == (2 * len(ROWS), first.path, first.ids)
    more = keep(table, variants=3)
    assert (source.reads, more.path) == (3 * len(ROWS), first.path)
    np.testing.assert_array_equal(more.maps[1], first.maps[1])


def test_whatever_maps_depend_on_makes_another_folder(cells, tiny_backbone, lower, keep):
    other = keras.models.clone_model(lower)
    other.set_weights([weight + 0.01 for weight in lower.get_weights()])
    early = keras.Model(tiny_backbone.input, tiny_backbone.get_layer("early").output)
    changes = [
        {},
        {"model": other},
        {"model": early},
        {"rows": ROWS[:-1]},
        {"variants": 1},
        {"variants": 1, "seed": 1},
        {"dtype": "float16"},
        {"batch_size": 3},
    ]
    folders = [keep(**change).path for change in changes]
    assert len(set(folders)) == len(changes)
    same = keras.models.clone_model(lower)  # whose layers Keras names otherwise
    same.set_weights(lower.get_weights())
    assert keep(model=same).path == folders[0]


def test_a_run_that_ends_in_the_middle_costs_the_file_in_work_alone(cells, keep):
    whole = keep(variants=2)
    kept = {path.parent.name: path.read_bytes() for path in whole.path.glob("*/maps.npy")}
    assert set(kept) == {"variant-000", "variant-001"}
    torn = (whole.path / "variant-001").rename(whole.path / ".variant-001.writing")  # as a kill leaves it
    (torn / "record.json").unlink()
    source = Counting(cells.source)
    keep(replace(cells, source=source), variants=2)
    assert source.reads == len(ROWS)
    assert {path.parent.name: path.read_bytes() for path in whole.path.glob("*/maps.npy")} == kept
    assert not list(whole.path.glob(".variant*"))


def test_a_picture_that_cannot_be_read_is_named_and_leaves_nothing_half_done(cells, keep, tmp_path):
    gone = cells.ids[ROWS[3]]

    class Broken(Counting):
        def read(self, id):
            if id == gone:
                raise OSError(5, "Input/output error")
            return super().read(id)

    with pytest.raises(DamageError, match=rf"Picture '{gone}' cannot be learned from: .*Input/output error"):
        keep(replace(cells, source=Broken(cells.source)))
    assert not list(tmp_path.glob("maps/*/plain")) + list(tmp_path.glob("maps/*/.plain*"))


def test_an_altered_file_is_noticed(keep):
    kept = keep()
    path = kept.path / "plain" / "maps.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamageError, match=r"maps\.npy is missing or was altered since it was made\. Delete .*plain"):
        keep()


def test_a_lower_part_of_the_same_weights_that_answers_otherwise_is_noticed(lower, keep):
    keep()
    other = keras.models.clone_model(lower)
    other.set_weights(lower.get_weights())
    other.layers[-1].activation = keras.activations.linear
    with pytest.raises(DamageError, match="The golden check of the lower part, against the maps in"):
        keep(model=other)


def test_what_half_precision_cannot_hold_is_refused(lower, keep, tmp_path):
    large = keras.models.clone_model(lower)
    large.set_weights([weight * 40 for weight in lower.get_weights()])
    with pytest.raises(RequestError, match=r"gives values up to .*, and float16 holds up to 6\.55e\+04\. Keep them as"):
        keep(model=large, dtype="float16")
    assert not list(tmp_path.glob("maps/*/plain"))


def test_what_cannot_be_kept_or_used_is_refused_in_words(cells, tiny_backbone, keep):
    two = keras.Model(tiny_backbone.input, [layer.output for layer in tiny_backbone.layers[1:3]])
    with pytest.raises(RequestError, match=r"The lower part gives 2 outputs\. Expected one: the map that is kept\."):
        keep(model=two)
    with pytest.raises(UnknownNameError, match=r"Unknown dtype of activations 'float61'\. Did you mean 'float16'"):
        keep(dtype="float61")
    kept = keep(variants=1)
    with pytest.raises(RequestError, match=r"holds augmented variants, which no validation should see\. Expected maps"):
        activations_in_order(kept, cells, ROWS, cells.labels, batch_size=4)
    with pytest.raises(RequestError, match=r"is not among the 9 whose maps are in .*, or was another picture then"):
        activation_batches(kept, cells, [3, 2], cells.labels, batch_size=4, epoch=0, seed=0)
