"""What is left of every epoch for people to look at."""

import csv

import numpy as np
import pytest
from small_training import DrawnExamples, drawn_pictures, run, small_settings, timeless
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfcells.finetune.figures import pixels_of, plot_answers
from tfcells.finetune.journal import CURVE, LOGS, Journal, read_curve
from tfcells.report.figures import plot_confusion

CLASSES = ("red", "green", "$blue$")


def journal_at(folder):
    pictures = drawn_pictures(24, 2)[0][:4].astype(np.uint8)
    return Journal(folder, class_names=CLASSES, shown=[0, 1, 2, 3], pictures=pictures, draw_confusion=drawn_counts)


def drawn_counts(counts):
    return plot_confusion(counts.tolist(), CLASSES, title="")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("journal")
    trained = run(folder / "checkpoints", watch=journal_at(folder).write, settings=small_settings(1, 2))
    return folder, trained


def events(folder):
    found = EventAccumulator(str(folder / LOGS), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return found.Reload()


def steps(folder, tag):
    return [event.step for event in events(folder).Tensors(tag)]


def test_the_table_has_a_row_for_each_epoch_with_the_numbers_of_the_curve(written):
    folder, trained = written
    assert read_curve(folder / CURVE) == list(trained.curve)
    with (folder / CURVE).open(newline="") as file:
        columns = next(csv.reader(file))
    assert columns[:5] == ["phase", "trained", "epoch", "training_loss", "loss"]
    assert {"weighted_f1", "macro_f1", "head_rate", "seconds", "peak_memory_bytes"} <= set(columns)


def test_tensorboard_finds_every_scalar_and_picture_of_every_epoch(written):
    folder, trained = written
    tags = events(folder).Tags()["tensors"]
    for tag in ("validation/loss", "validation/macro_f1", "training/loss", "learning rate/head", "cost/seconds"):
        assert steps(folder, tag) == [1, 2, 3]
    for tag in ("validation/confusion", "validation/pictures"):
        assert tag in tags
        assert steps(folder, tag) == [1, 2, 3]
    losses = [
        float(
            np.frombuffer(event.tensor_proto.tensor_content, np.float32)[0]
            if event.tensor_proto.tensor_content
            else event.tensor_proto.float_val[0]
        )
        for event in events(folder).Tensors("validation/loss")
    ]
    assert losses == pytest.approx([row["loss"] for row in trained.curve])


def test_an_epoch_that_is_told_again_is_there_once(tmp_path):
    class Interrupted(Exception):
        pass

    journal, told = journal_at(tmp_path), []

    def write_and_stop(seen):
        journal.write(seen)
        told.append(seen.number)
        if len(told) == 2:
            raise Interrupted  # after it was written down, before its checkpoint

    with pytest.raises(Interrupted):
        run(tmp_path / "checkpoints", watch=write_and_stop, settings=small_settings(3))
    trained = run(tmp_path / "checkpoints", watch=journal_at(tmp_path).write, settings=small_settings(3))
    assert steps(tmp_path, "validation/loss") == [1, 2, 3]
    assert timeless(read_curve(tmp_path / CURVE)) == timeless(trained.curve)


def test_the_confusion_is_drawn_whatever_classes_are_called():
    pixels = pixels_of(drawn_counts(np.array([[3, 1, 0], [0, 4, 0], [2, 0, 2]])))
    assert pixels.dtype == np.uint8
    assert pixels.std() > 5
    assert len(DrawnExamples().labels) == 24


def test_every_answer_stands_over_its_picture_and_a_wrong_one_says_what_it_is():
    side = 24
    pictures = np.stack([np.full((side, side, 3), 8 * number + 4, dtype=np.uint8) for number in range(8)])
    labels = np.arange(8) % 3
    probabilities = np.full((8, 3), 0.1)
    probabilities[np.arange(8), [0, 1, 2, 0, 1, 2, 2, 1]] = 0.8  # the seventh is taken for the third class
    figure = plot_answers(pictures, labels, probabilities, CLASSES)
    texts = figure.axes[0].texts
    assert [text.get_text().split("\n")[1:] for text in texts] == [[]] * 6 + [["is red"], []]
    assert [text.get_text().split(" ")[-1] for text in texts[:2]] == ["80%", "80%"]
    assert len({text.get_color() for text in (texts[0], texts[6])}) == 2
    sheet = figure.axes[0].images[0].get_array()
    for text, picture in zip(texts, pictures, strict=True):
        middle, top = (round(value) for value in text.get_position())
        np.testing.assert_array_equal(sheet[top + 1 : top + 1 + side, middle - side // 2 : middle + side // 2], picture)
    assert np.ptp(pixels_of(figure)) > 200
