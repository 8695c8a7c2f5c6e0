"""What is written of a training while it goes on: `curve.csv` and TensorBoard's logs.

Both are made anew for an epoch that is told again, so that a training that was killed and gone on with leaves the
files that an uninterrupted one leaves: the table is written as a whole, and each epoch has an event file of its own.
"""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfcells.arrays import Confusion, Pictures
from tfcells.features.pieces import write_atomically
from tfcells.finetune.checkpoints import Row
from tfcells.finetune.figures import pixels_of, plot_answers
from tfcells.finetune.train import EpochSeen
from tfcells.stats.metrics import confusion

CURVE: Final = "curve.csv"
LOGS: Final = "tensorboard"


class Journal:
    """Writes every epoch down; give its `write` to `train` as what watches.

    Args:
        folder: Gets `curve.csv` and `tensorboard/`; made if it does not exist.
        class_names: Names of the classes.
        shown: Places, among the rows looked at, of the pictures to be shown with their answers.
        pictures: uint8 of shape (shown, side, side, 3): these pictures.
        draw_confusion: Draws counts of what was taken for what, (true, predicted).
    """

    def __init__(
        self,
        folder: Path,
        *,
        class_names: Sequence[str],
        shown: Sequence[int],
        pictures: Pictures,
        draw_confusion: Callable[[Confusion], Figure],
    ) -> None:
        self.folder, self._draw_confusion = folder, draw_confusion
        self._class_names, self._shown, self._pictures = tuple(class_names), list(shown), pictures
        (folder / LOGS).mkdir(parents=True, exist_ok=True)

    def write(self, seen: EpochSeen) -> None:
        """Write an epoch down."""
        write_curve(seen.curve, self.folder / CURVE)
        suffix = f".epoch-{seen.number:04d}"
        for stale in (self.folder / LOGS).glob(f"*{suffix}"):
            stale.unlink()
        writer = tf.summary.create_file_writer(str(self.folder / LOGS), filename_suffix=suffix)
        with writer.as_default(step=seen.number):
            for name, value in seen.row.items():
                if isinstance(value, (int, float)) and name not in ("phase", "epoch"):
                    tf.summary.scalar(_tag(name), value)
            predicted = seen.probabilities.argmax(axis=1).astype(np.int64)
            counts = confusion(seen.labels, predicted, classes=len(self._class_names))
            _show("validation/confusion", pixels_of(self._draw_confusion(counts)))
            if self._shown:
                places = np.array(self._shown)
                answers = plot_answers(
                    self._pictures, seen.labels[places], seen.probabilities[places], self._class_names
                )
                _show("validation/pictures", pixels_of(answers))
        writer.close()


def write_curve(curve: Sequence[Row], path: Path) -> None:
    """Write one row per epoch; columns are those of the first row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(curve[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(curve)
    write_atomically(path, text.getvalue().encode())


def read_curve(path: Path) -> list[dict[str, Any]]:
    """Read what `write_curve` wrote; numbers are numbers again."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _tag(name: str) -> str:
    """Group of a scalar in TensorBoard."""
    if name.endswith("_rate"):
        return f"learning rate/{name.removesuffix('_rate')}"
    if name in ("seconds", "peak_memory_bytes"):
        return f"cost/{name}"
    return "training/loss" if name == "training_loss" else f"validation/{name}"


def _show(name: str, pixels: np.ndarray) -> None:
    tf.summary.image(name, pixels[None])
