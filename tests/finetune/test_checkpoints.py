"""What is on disk is whole, of this training, and goes on where it stood."""

import multiprocessing

import numpy as np
import pytest

from tfcells.errors import DamageError, RequestError, StaleStoreError
from tfcells.finetune import checkpoints as module
from tfcells.finetune.checkpoints import Best, Checkpoint, State, open_checkpoints

RECIPE = {"seed": 1, "phases": {"1": {"epochs": 2, "body_rate": 3e-5}}}


def checkpoint(epochs, *, phase=0):
    rows = tuple({"phase": 1, "epoch": number + 1, "loss": 0.1 / 3 + number} for number in range(epochs))
    generator = np.random.default_rng(epochs)
    return Checkpoint(
        state=State(
            phase=phase,
            epoch=epochs,
            precision="float32",
            best=Best(phase=1, epoch=1, value=1 / 3) if epochs else None,
            phase_best=1 / 3 if epochs else None,
            stalled=epochs,
            curve=rows,
            fallbacks=({"reason": "became inf"},),
        ),
        model=[generator.normal(size=(3, 2)).astype(np.float32), np.array([1, 2], dtype=np.uint32)],
        optimiser=[np.array(epochs, dtype=np.int64)] * 12,
        scaling=[np.array(8, dtype=np.float32)],
        best=[generator.normal(size=(3, 2)).astype(np.float32)],
    )


def equal(first, second):
    assert first.state == second.state
    for part in ("model", "optimiser", "scaling", "best"):
        ours, theirs = getattr(first, part), getattr(second, part)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
            assert np.asarray(one).dtype == np.asarray(other).dtype
    return True


def names(folder):
    return sorted(path.name[:6] for path in folder.glob("*.npz"))


def test_what_was_saved_comes_back_to_the_bit(tmp_path):
    with open_checkpoints(tmp_path, RECIPE) as kept:
        assert kept.latest() is None
        kept.save(checkpoint(3))
        assert equal(kept.latest(), checkpoint(3))
    with open_checkpoints(tmp_path, RECIPE) as kept:
        assert equal(kept.latest(), checkpoint(3))


def test_the_two_last_checkpoints_are_kept(tmp_path):
    with open_checkpoints(tmp_path, RECIPE) as kept:
        for epochs in range(5):
            kept.save(checkpoint(epochs))
        assert names(tmp_path) == ["000003", "000004"]
        kept.save(checkpoint(4, phase=1))
        assert names(tmp_path) == ["000004", "000005"]
        assert kept.latest().state.phase == 1


@pytest.mark.parametrize("harm", ["torn", "altered", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(tmp_path, harm, caplog):
    with open_checkpoints(tmp_path, RECIPE) as kept:
        kept.save(checkpoint(1))
        kept.save(checkpoint(2))
        (last,) = tmp_path.glob("000002-*")
        data = last.read_bytes()
        flipped = data[:500] + bytes([data[500] ^ 1]) + data[501:]
        last.write_bytes({"torn": data[: len(data) // 2], "altered": flipped, "empty": b""}[harm])
        assert equal(kept.latest(), checkpoint(1))
        assert "is torn or was altered, the one before it is taken" in caplog.text
        kept.save(checkpoint(2))  # which is made again, and the sound one before it stays
        assert names(tmp_path) == ["000001", "000002"]
        assert equal(kept.latest(), checkpoint(2))


def test_nothing_whole_is_damage_and_never_a_new_beginning(tmp_path):
    with open_checkpoints(tmp_path, RECIPE) as kept:
        kept.save(checkpoint(1))
        for path in tmp_path.glob("*.npz"):
            path.write_bytes(b"")
        with pytest.raises(DamageError, match=r"No checkpoint in .* is whole \(000001 are torn or were altered\)"):
            kept.latest()


def test_another_recipe_is_refused_by_every_difference(tmp_path):
    with open_checkpoints(tmp_path, RECIPE):
        pass
    other = {"seed": 2, "phases": {"1": {"epochs": 2, "body_rate": 1e-4}}}
    words = (
        r"holds another training: seed is 1 in the store, 2 was asked for; phases.1.body_rate is 3e-05 in the store, "
        r"0.0001 was asked for. Choose another folder, or remove this one."
    )
    with pytest.raises(StaleStoreError, match=words), open_checkpoints(tmp_path, other):
        pass
    with (
        pytest.raises(StaleStoreError, match=r"phases.1.body_rate is in the store, it was not asked for"),
        open_checkpoints(tmp_path, {"seed": 1, "phases": {"1": {"epochs": 2}}}),
    ):
        pass
    with open_checkpoints(tmp_path, RECIPE) as kept:
        assert kept.latest() is None


def test_an_altered_recipe_is_damage(tmp_path):
    with open_checkpoints(tmp_path, RECIPE):
        pass
    path = tmp_path / module.RECIPE
    path.write_bytes(path.read_bytes().replace(b'"seed":1', b'"seed":3'))
    with pytest.raises(DamageError, match="was altered"), open_checkpoints(tmp_path, RECIPE):
        pass


def _hold(folder, held, done):
    with open_checkpoints(folder, RECIPE):
        held.set()
        done.wait(60)


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, done))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(RequestError, match="Another process is writing to"), open_checkpoints(tmp_path, RECIPE):
            pass
    finally:
        done.set()
        other.join()
    with open_checkpoints(tmp_path, RECIPE):  # its lock went with it
        pass


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def test_a_kill_at_any_step_of_saving_leaves_the_old_or_the_new_checkpoint(tmp_path, monkeypatch):
    outcomes = []
    for step in range(1, 30):
        folder = tmp_path / str(step)
        with open_checkpoints(folder, RECIPE) as kept:
            kept.save(checkpoint(1))
            kept.save(checkpoint(2))
        steps = iter(range(1, 30))
        with monkeypatch.context() as patched:
            _kill_at(patched, step, steps)
            try:
                with open_checkpoints(folder, RECIPE) as kept:
                    kept.save(checkpoint(3))
                    finished = True
            except Killed:
                finished = False
        with open_checkpoints(folder, RECIPE) as kept:
            found = kept.latest()
            assert equal(found, checkpoint(found.state.epoch))
            assert found.state.epoch in (2, 3)
        outcomes.append((finished, found.state.epoch))
        if finished:
            break
    assert outcomes[-1] == (True, 3)
    assert (False, 2) in outcomes
    assert (False, 3) in outcomes


def _kill_at(patched, step, steps):
    """Let the kill come before, in the middle of, or after each thing that changes the folder."""

    def guarded(function):
        def call(*arguments, **options):
            if next(steps) == step:
                raise Killed
            return function(*arguments, **options)

        return call

    def torn(path, data):
        if next(steps) == step:
            path.write_bytes(data[: len(data) // 2])
            raise Killed
        original(path, data)

    original = module.write_file
    patched.setattr(module, "write_file", torn)
    patched.setattr(module, "flush_folder", guarded(module.flush_folder))
    path = type(module.Path())
    patched.setattr(path, "replace", guarded(path.replace))
    patched.setattr(path, "unlink", guarded(path.unlink))
