"""The pictures of a table as one training wants them; what `train` asks for as `Examples`."""

from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from tfcells.arrays import Int64, Labels
from tfcells.finetune.draws import count_batches
from tfcells.finetune.examples import training_batches, validation_batches
from tfcells.finetune.losses import balanced_weights
from tfcells.finetune.pictures import PictureCache
from tfcells.finetune.settings import FinetuneSettings
from tfcells.images.table import ImageTable

Rows = Int64[np.ndarray, "_"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TableExamples:
    """Pictures to learn from and to look at.

    Attributes:
        table: The pictures.
        all_labels: int64 of shape (images,): class index of every row of the table.
        teaching: Rows to learn from.
        looked_at: Rows that are looked at after every epoch.
        settings: Sampling, class weights, augmentation, batch size.
        size: Side of the network's input in pixels.
        kernel: By which pictures are resized.
        seed: Of order and augmentation.
        replicas: Among which a strategy parts each batch.
        cache: Keeps decoded pictures from one epoch to the next.
    """

    table: ImageTable
    all_labels: Labels
    teaching: Rows
    looked_at: Rows
    settings: FinetuneSettings
    size: int
    kernel: str
    seed: int
    replicas: int = 1
    cache: PictureCache = field(default_factory=PictureCache)

    @property
    def labels(self) -> Labels:
        """int64 of shape (rows,): of the rows looked at."""
        return np.asarray(self.all_labels[self.looked_at])

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return count_batches(len(self.teaching), self.settings.training.batch_size, replicas=self.replicas)

    def training(self, epoch: int) -> tf.data.Dataset:
        """One epoch's batches of (pictures, labels, weights), a pure function of seed and epoch."""
        return training_batches(
            self.table,
            self.teaching,
            self.all_labels,
            size=self.size,
            kernel=self.kernel,
            batch_size=self.settings.training.batch_size,
            epoch=epoch,
            seed=self.seed,
            augmentation=self.settings.training.augmentation,
            sampling=self.settings.loss.sampling,
            weights=self._weights(),
            cache=self.cache,
            replicas=self.replicas,
        )

    def plain(self) -> tf.data.Dataset:
        """The pictures to learn from, in order and as they are."""
        return self.in_order(self.teaching)

    def watched(self) -> tf.data.Dataset:
        """Batches of the pictures that are looked at, in order."""
        return self.in_order(self.looked_at)

    def in_order(self, rows: Rows) -> tf.data.Dataset:
        """Batches of the pictures of some rows, in their order and as they are."""
        batches = validation_batches(
            self.table,
            rows,
            self.all_labels,
            size=self.size,
            kernel=self.kernel,
            batch_size=self.settings.training.batch_size,
            cache=self.cache,
        )
        return batches.map(lambda pictures, labels, weights: pictures)

    def _weights(self) -> np.ndarray | None:
        if self.settings.loss.class_weights == "none":
            return None
        classes = int(self.all_labels.max()) + 1
        of_class = balanced_weights(self.all_labels[self.teaching], classes=classes)
        return np.asarray(of_class[self.all_labels])
