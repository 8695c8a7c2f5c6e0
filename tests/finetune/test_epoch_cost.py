"""What an epoch costs beside the network's own work: nothing is traced again, and nobody waits for tf.data."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import run, small_settings

from tfcells.finetune.examples import training_batches, validation_batches
from tfcells.finetune.settings import FinetuneSettings, TrainingSettings
from tfcells.finetune.table_examples import TableExamples
from tfcells.finetune.trainee import replicas_of_host, strategy_of_host


def examples_of(table, *, batch_size=32, replicas=1):
    rows = np.arange(11)
    return TableExamples(
        table=table,
        all_labels=table.labels,
        teaching=rows,
        looked_at=rows + 11,
        settings=FinetuneSettings(training=TrainingSettings(batch_size=batch_size)),
        size=16,
        kernel="bilinear",
        seed=0,
        replicas=replicas,
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


@pytest.mark.parametrize(("batch_size", "replicas", "lengths"), [(32, 1, [11]), (4, 1, [4, 4, 3]), (5, 2, [4, 4, 2])])
def test_an_epoch_has_as_many_batches_as_it_says_and_replicas_get_equal_parts(cells, batch_size, replicas, lengths):
    examples = examples_of(cells, batch_size=batch_size, replicas=replicas)
    assert [len(labels) for _, labels, _ in examples.training(0).as_numpy_iterator()] == lengths
    assert examples.batches == len(lengths)


def test_every_gpu_of_a_host_is_a_replica(monkeypatch):
    assert replicas_of_host() == strategy_of_host().num_replicas_in_sync
    for gpus, replicas in ((0, 1), (1, 1), (4, 4)):
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind, gpus=gpus: ["GPU"] * gpus)
        assert replicas_of_host() == replicas
