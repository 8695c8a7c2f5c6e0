"""What an epoch costs beside the network's own work: nothing is traced again, and nobody waits for tf.data."""

import functools

import keras
import numpy as np
import pytest
from small_training import run, small_settings

from tfcells.finetune.examples import training_batches, validation_batches
from tfcells.finetune.settings import FinetuneSettings
from tfcells.finetune.table_examples import TableExamples


def examples_of(table):
    rows = np.arange(6)
    return TableExamples(
        table=table,
        all_labels=table.labels,
        teaching=rows,
        looked_at=rows + 6,
        settings=FinetuneSettings(),
        size=16,
        kernel="bilinear",
        seed=0,
    )


DATASETS = {
    "training": lambda table: training_batches(table, [0, 1], table.labels, size=16, batch_size=2, epoch=0, seed=0),
    "validation": lambda table: validation_batches(table, [0, 1], table.labels, size=16, batch_size=2),
    "an epoch of a training": lambda table: examples_of(table).training(0),
    "the rows looked at, mapped": lambda table: examples_of(table).watched(),
    "the training rows in order, mapped": lambda table: examples_of(table).plain(),
}


@pytest.mark.parametrize("name", DATASETS)
def test_no_dataset_starts_the_tuner_whose_sleeps_an_epoch_would_wait_for(name, cells):
    assert DATASETS[name](cells).options().autotune.enabled is False


def test_a_phase_traces_the_network_in_its_first_epoch_and_never_again(tmp_path, monkeypatch):
    inner, calls, after = keras.layers.Conv2D.call, [], []

    @functools.wraps(inner)
    def counted(self, *args, **kwargs):
        calls.append(self.name)
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(keras.layers.Conv2D, "call", counted)
    run(tmp_path, settings=small_settings(2, 3), watch=lambda seen: after.append(len(calls)))
    traced = np.diff(after)
    assert after[0] >= 2  # when it was built, in training and when it was looked at
    assert traced[1] >= 1  # another phase trains other variables
    np.testing.assert_array_equal(traced[[0, 2, 3]], 0)
