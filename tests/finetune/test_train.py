"""The loop: phases, early stopping, what is kept, what is said when numbers are none."""

import json

import keras
import numpy as np
import pytest
from small_training import DrawnExamples, SmallTrainee, run, small_settings, timeless, weights_of
from tensorflow.python.framework import config as framework_config

from tfcells.errors import DamageError
from tfcells.finetune.settings import MONITORS
from tfcells.finetune.train import assign


def same(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"))


def test_phases_follow_one_another_and_the_curve_has_a_row_for_each_epoch(whole):
    assert [(row["phase"], row["trained"], row["epoch"]) for row in whole.curve] == [
        (1, "head", 1),
        (1, "head", 2),
        (2, "all", 1),
        (2, "all", 2),
        (2, "all", 3),
    ]
    assert whole.trainee.begun == [("head", True), ("all", False)]
    for row in whole.curve:
        assert {*MONITORS, "training_loss", "head_rate", "seconds", "peak_memory_bytes", "precision"} <= set(row)
        assert row["seconds"] > 0
        assert row["peak_memory_bytes"] > 2**24
    json.dumps(whole.curve, allow_nan=False)


def test_training_learns(whole):
    assert whole.curve[-1]["loss"] < whole.curve[0]["loss"]
    assert whole.curve[-1]["accuracy"] > 0.9


def test_the_same_seed_gives_the_same_weights_twice(whole, tmp_path):
    again = run(tmp_path)
    assert same(weights_of(again), weights_of(whole))
    assert timeless(again.curve) == timeless(whole.curve)


def test_the_state_of_the_callers_process_is_left_alone(tmp_path):
    before = np.random.get_state()[1].tolist(), keras.config.dtype_policy().name
    run(tmp_path, settings=small_settings(1))
    assert (np.random.get_state()[1].tolist(), keras.config.dtype_policy().name) == before
    assert not framework_config.is_op_determinism_enabled()


def test_a_finished_training_is_read_not_repeated(tmp_path):
    first = run(tmp_path)
    told = []
    second = run(tmp_path, watch=told.append)
    assert told == []
    assert second.curve == first.curve
    assert second.best == first.best
    assert same(weights_of(second), weights_of(first))


class Judged(SmallTrainee):
    """Whose validation loss is what a list says, so that what is best is known."""

    losses = ()
    weights = None  # a list, in each test its own

    def judge(self, labels, logits):
        _, probabilities = super().judge(labels, logits)
        self.weights.append([variable.numpy() for variable in self.model.variables])
        return self.losses[len(self.weights) - 1], probabilities


def judged(tmp_path, losses, settings, **options):
    class Told(Judged):
        pass

    Told.losses, Told.weights = losses, []
    return run(tmp_path, build=Told, settings=settings, **options), Told.weights


def test_the_best_epoch_is_restored_and_a_phase_ends_when_patience_does(tmp_path):
    trained, weights = judged(tmp_path, (5.0, 3.0, 4.0, 3.5, 1.0), small_settings(9, patience=2))
    assert [row["loss"] for row in trained.curve] == [5.0, 3.0, 4.0, 3.5]
    assert (trained.best.phase, trained.best.epoch, trained.best.value) == (1, 2, 3.0)
    assert same(weights_of(trained), weights[1])


def test_the_largest_of_other_metrics_is_best(tmp_path):
    trained = run(tmp_path, settings=small_settings(3, monitor="macro_f1"))
    values = [row["macro_f1"] for row in trained.curve]
    assert trained.best.value == max(values)
    assert trained.best.epoch == values.index(max(values)) + 1


def test_a_phase_that_makes_nothing_better_ends_with_the_weights_it_began_with(tmp_path):
    trained, weights = judged(tmp_path, (2.0, 1.0, 9.0, 8.0, 7.0), small_settings(2, 3))
    assert len(trained.curve) == 5
    assert (trained.best.phase, trained.best.epoch) == (1, 2)
    assert same(weights_of(trained), weights[1])


def test_patience_counts_anew_in_each_phase_from_the_phases_own_best(tmp_path):
    # The second phase never reaches the first one's 1.0, yet gets better for three epochs before it stalls.
    losses = (1.0, 2.0, 9.0, 8.0, 7.0, 7.5, 7.4)
    trained, _ = judged(tmp_path, losses, small_settings(9, 9, patience=1))
    assert [(row["phase"], row["epoch"]) for row in trained.curve] == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (2, 4)]
    assert trained.best.value == 1.0


def test_where_nothing_is_chosen_the_last_epoch_is_the_result_and_no_phase_ends_early(tmp_path):
    trained, weights = judged(tmp_path, (1.0, 2.0, 3.0, 4.0), small_settings(2, 2, patience=1), choose=False)
    assert len(trained.curve) == 4
    assert (trained.best.phase, trained.best.epoch) == (2, 2)
    assert same(weights_of(trained), weights[3])


def test_every_epoch_is_shown_with_its_answers(tmp_path):
    seen = []
    trained = run(tmp_path, watch=seen.append)
    assert [entry.number for entry in seen] == [1, 2, 3, 4, 5]
    assert [entry.row for entry in seen] == list(trained.curve)
    assert seen[2].curve == trained.curve[:3]
    for entry in seen:
        assert entry.probabilities.shape == (24, 3)
        assert entry.features.shape == (24, 4)
        hits = entry.probabilities.argmax(axis=1) == entry.labels
        assert entry.row["accuracy"] == pytest.approx(hits.mean())


def test_a_loss_that_is_no_number_ends_training_and_the_weights_before_it_are_kept(tmp_path):
    before = run(tmp_path / "two", settings=small_settings(2), choose=False)
    words = (
        r"In phase 1, epoch 3, the training loss, in batch 1 of 6, became (nan|inf), computed in float32. Nothing of "
        r"this epoch is kept; .*poisoned holds the weights of the 2 epochs before it. Train with lower body_rate and "
        r"head_rate, a longer warmup or a smaller clip_norm, in another folder."
    )
    with pytest.raises(DamageError, match=words):
        run(tmp_path / "poisoned", settings=small_settings(5), examples=DrawnExamples(poison=2), choose=False)
    # What lies there goes on as if nothing had been: with sound pictures it is the training that met no damage.
    resumed = run(tmp_path / "poisoned", settings=small_settings(5), choose=False)
    sound = run(tmp_path / "sound", settings=small_settings(5), choose=False)
    assert timeless(resumed.curve) == timeless(sound.curve)
    assert timeless(resumed.curve)[:2] == timeless(before.curve)
    assert same(weights_of(resumed), weights_of(sound))


def test_an_overflow_in_float16_begins_the_epoch_anew_in_float32_and_says_so(tmp_path):
    built = []

    def build(precision):
        built.append(precision)
        return SmallTrainee(precision, overflow=1e6)  # beyond what float16 holds

    trained = run(tmp_path, build=build, precision="mixed_float16", settings=small_settings(2))
    assert built == ["mixed_float16", "float32"]
    assert trained.precision == "float32"
    assert [row["precision"] for row in trained.curve] == ["float32", "float32"]
    (fallback,) = trained.fallbacks
    assert (fallback["phase"], fallback["epoch"], fallback["from"], fallback["to"]) == (
        1,
        1,
        "mixed_float16",
        "float32",
    )
    assert "left the range of float16" in fallback["reason"]
    exact = run(
        tmp_path / "exact", build=lambda precision: SmallTrainee(precision, overflow=1e6), settings=small_settings(2)
    )
    assert same(weights_of(trained), weights_of(exact))


def test_an_overflow_later_goes_on_from_the_last_epoch_with_what_the_optimiser_knows(tmp_path):
    class Overflowing(DrawnExamples):
        calls = 0

        def training(self, epoch):
            self.calls += 1
            self.poison = epoch if self.calls == 3 else -1  # the third epoch, the first time it is tried
            return super().training(epoch)

    trained = run(tmp_path, precision="mixed_float16", settings=small_settings(4), examples=Overflowing())
    assert [row["precision"] for row in trained.curve] == ["mixed_float16"] * 2 + ["float32"] * 2
    assert trained.fallbacks[0]["epoch"] == 3
    again = run(tmp_path, precision="mixed_float16", settings=small_settings(4))
    assert again.fallbacks == trained.fallbacks
    assert again.precision == "float32"


def test_sound_float16_stays(tmp_path):
    trained = run(tmp_path, precision="mixed_float16", settings=small_settings(1))
    assert (trained.precision, trained.fallbacks) == ("mixed_float16", ())


def test_numbers_of_another_network_are_refused():
    trainee = SmallTrainee()
    with pytest.raises(DamageError, match="A checkpoint with 1 arrays does not fit a network of"):
        assign(trainee.model.variables, [np.zeros(3)])
