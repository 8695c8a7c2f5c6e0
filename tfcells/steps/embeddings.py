"""What the head sees of some rows, epoch by epoch, in TensorBoard's Projector."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tfcells.finetune.train import EpochSeen
from tfcells.images.table import ImageTable
from tfcells.images.thumbnails import read_thumbnails
from tfcells.maps.projector import ProjectorFolder, sprite_cell, write_projector
from tfcells.maps.reduce import principal_components
from tfcells.steps.maps import stratified_sample

ROWS: Final = 500
"""That are shown, at most."""

AXES: Final = 50
"""Principal components of each epoch's features."""

MOST_FEATURES: Final = 2048
"""Numbers of a row that are kept after an epoch, at most: 4 MB for all rows. A map that is read as it is, not pooled,
has tens of thousands, and of those the principal components are kept that would be shown in the end."""

SHOWN_EPOCHS: Final = 12
"""At most, evenly over the training; the browser loads them all."""


class Embeddings:
    """Keeps the features of some rows after every epoch; give its `write` to `train` as what watches.

    Args:
        folder: Gets `epoch-0001.npy` and so on, float32 of shape (rows, features); (rows, `AXES`) of their principal
            components where there are more than `MOST_FEATURES`.
        places: int64 of shape (rows,): which of the rows looked at.
    """

    def __init__(self, folder: Path, places: np.ndarray) -> None:
        self.folder, self.places = folder, places
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, seen: EpochSeen) -> None:
        """Keep an epoch's features; those of an epoch that is told again take the place of the first ones."""
        features = seen.features[self.places]
        if features.shape[1] > MOST_FEATURES and len(features) > 1:
            features = principal_components(features, axes=AXES).points.astype(np.float32)
        np.save(self.folder / f"epoch-{seen.number:04d}.npy", features, allow_pickle=False)


def sampled_places(labels: np.ndarray, *, seed: int) -> np.ndarray:
    """Places of the rows that are shown, a stratified sample."""
    return stratified_sample(labels, ROWS, seed=seed)


def project_epochs(
    folder: Path, table: ImageTable, labels: Sequence[str], predictions: Sequence[str], *, out: Path
) -> ProjectorFolder:
    """Write a Projector folder with one set of coordinates per epoch, the last one shown first.

    Args:
        folder: What `Embeddings` wrote.
        table: The rows shown, in their order.
        labels: The class of each row.
        predictions: What the finished network says of it.
        out: The log directory.
    """
    files = sorted(folder.glob("epoch-*.npy"))
    picked = sorted({*np.linspace(0, len(files) - 1, min(SHOWN_EPOCHS, len(files))).round().astype(int).tolist()})
    coordinates = {
        files[number].stem: principal_components(np.load(files[number], allow_pickle=False), axes=AXES).points
        for number in reversed(picked)
    }
    outcome = ["hit" if label == guess else "miss" for label, guess in zip(labels, predictions, strict=True)]
    columns = {"label": labels, "prediction": predictions, "outcome": outcome, "id": table.ids}
    thumbnails = read_thumbnails(table.source, table.ids, side=sprite_cell(len(table), wanted=48))
    return write_projector(out, coordinates=coordinates, columns=columns, thumbnails=thumbnails)
