"""One SavedModel from image bytes to probabilities: decoder, resize, backbone, scaler and probe in one graph.

EXPORT/
  1/saved_model.pb    signatures `serving_default` (image_bytes) and `check` (image_bytes)
  card.json           what it is, what was measured, and the fingerprint its answers are checked against
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfcells.arrays import Float32, Pixels, Probabilities
from tfcells.backbones.golden import golden_picture
from tfcells.backbones.open import OpenBackbone
from tfcells.backbones.preprocess import resize_images
from tfcells.errors import DamageError, RequestError
from tfcells.images.decode import decode_image
from tfcells.serving.card import VERSION, check_card, find_export, read_card, remove_export, write_card
from tfcells.serving.decoding import decode_pixels, header_problem
from tfcells.serving.png import encode_png
from tfcells.serving.probe_graph import stage_of


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportedParts:
    """What goes into an export.

    Attributes:
        backbone: The opened backbone.
        network: It, cut at the probe's taps.
        taps: Keys of the network's output, in the order of the probe's columns.
        probe: A fitted scikit-learn classifier.
        class_names: Names of the probe's classes, in the order of its columns.
    """

    backbone: OpenBackbone
    network: keras.Model
    taps: tuple[str, ...]
    probe: Any
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        columns = [int(number) for number in self.probe.classes_]
        if columns != list(range(len(self.class_names))):
            raise RequestError(
                f"The probe answers for the classes {columns}, {len(self.class_names)} names came. Expected a probe "
                "that has learned every class, in the order of the names."
            )


class Classifier(tf.Module):
    """The graph that is saved.

    Args:
        parts: What it is made of.
    """

    def __init__(self, parts: ExportedParts) -> None:
        super().__init__()
        self._row, self._size = parts.backbone.row, parts.backbone.size
        self._network, self._taps = parts.network, parts.taps
        self._stage = stage_of(parts.probe)
        # Keras keeps its variables in wrappers that SavedModel does not see; these are the variables themselves.
        self._weights = [variable.value for variable in parts.network.variables]
        self._classes = tf.constant(parts.class_names)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classify pictures from the bytes of their files.

        Args:
            image_bytes: (batch,) string: plain JPEG, PNG or BMP files.

        Returns:
            `probabilities` (batch, classes) float32; `classes` (batch, classes) string, their names;
            `label` (batch,) string, the most probable; `confidence` (batch,) float32, its probability;
            `embedding` (batch, features) float32, what the probe read.

        Raises:
            tf.errors.InvalidArgumentError: If a file is declined or damaged; says which and why.
        """
        pixels = tf.map_fn(
            self._pixels,
            (tf.range(tf.size(image_bytes)), image_bytes),
            fn_output_signature=tf.TensorSpec((self._size, self._size, 3), tf.float32),
        )
        batch = tf.shape(pixels)[0]
        # oneDNN's convolutions fail on no picture at all: then one is put there, and its answer dropped.
        filler = tf.zeros((tf.cast(tf.equal(batch, 0), tf.int32), self._size, self._size, 3))
        outputs = self._network(tf.concat([pixels, filler], axis=0), training=False)
        features = {tap: outputs[tap][:batch] for tap in self._taps}
        width = sum(int(np.prod(features[tap].shape[1:])) for tap in self._taps)
        columns = tf.concat([tf.reshape(features[tap], (batch, -1)) for tap in self._taps], axis=1)
        embedding = tf.ensure_shape(columns, (None, width))
        probabilities = self._stage(tf.cast(embedding, tf.float64))
        return {
            "probabilities": tf.cast(probabilities, tf.float32),
            "classes": tf.tile(self._classes[None, :], (batch, 1)),
            "label": tf.gather(self._classes, tf.argmax(probabilities, axis=1)),
            "confidence": tf.cast(tf.reduce_max(probabilities, axis=1), tf.float32),
            "embedding": embedding,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def check(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Say which files would be declined: `problem` (batch,) string, empty for those that are taken."""
        return {"problem": tf.map_fn(header_problem, image_bytes)}

    def _pixels(self, numbered: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        number, data = numbered
        problem = header_problem(data)
        message = tf.strings.join(["image_bytes[", tf.strings.as_string(number), "] declined: ", problem])
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(problem, ""), [message])]):
            pixels = decode_pixels(tf.identity(data))
        return tf.ensure_shape(
            resize_images(pixels, size=self._size, kernel=self._row.kernel), (self._size, self._size, 3)
        )


def export_classifier(
    parts: ExportedParts, *, into: Path, card: Mapping[str, object], golden: Mapping[str, list[float]]
) -> Path:
    """Save a classifier; `ServedModel` loads it and holds it against the fingerprint on its card.

    Args:
        parts: What it is made of.
        into: Folder of the export; `1/` and `card.json` in it are replaced.
        card: JSON object to keep beside it; `classes`, `golden` and `widths` are added.
        golden: Fingerprint by tap from the store.

    Returns:
        `into`.
    """
    kept = {tap: golden[tap] for tap in parts.taps}
    facts = {**card, "classes": list(parts.class_names), "golden": kept, "widths": _widths(parts)}
    module = Classifier(parts)
    temporary = into / ".writing"
    shutil.rmtree(temporary, ignore_errors=True)
    tf.saved_model.save(module, str(temporary), signatures={"serving_default": module.serve, "check": module.check})
    target = into / VERSION
    remove_export(into)
    temporary.rename(target)
    write_card(into, facts)
    return into


class ServedModel:
    """An export, loaded and checked, asked from Python; needs TensorFlow and NumPy.

    Args:
        export: The folder above `1/`, `1/` itself, or a run that holds `export/`.

    Raises:
        RequestError: If there is no export.
        DamageError: If its card cannot be read, or its answer to the golden picture is not the one on its card.
    """

    def __init__(self, export: str | Path) -> None:
        folder = find_export(Path(export))
        self.card = read_card(folder)
        self.class_names = tuple(self.card["classes"])
        self._loaded = tf.saved_model.load(str(folder / VERSION))
        self._serve = self._loaded.signatures["serving_default"]
        self._check = self._loaded.signatures["check"]
        answer = self._serve(tf.constant([encode_png(golden_picture())]))
        check_card(self.card, answer["classes"].numpy()[0], answer["embedding"].numpy(), folder)

    def classify(self, files: Sequence[bytes]) -> Probabilities:
        """Class probabilities of any files that `decode_image` reads, float64 of shape (files, classes).

        What the graph would decline (an EXIF rotation, CMYK, 16 bits, TIFF, WebP, GIF) is handed over as PNG with
        the same pixels.

        Raises:
            BadImageError: If a file is no picture.
        """
        plain = [
            encode_png(decode_image(data)) if problem else data
            for data, problem in zip(files, self.problems(files), strict=True)
        ]
        try:
            return self.probabilities(plain)
        except DamageError:
            # Behind a sound header TensorFlow's decoders are a little stricter than Pillow's.
            return self.probabilities([encode_png(decode_image(data)) for data in files])

    def classify_pixels(self, pictures: Sequence[Pixels]) -> Probabilities:
        """Class probabilities of canonical pixels, float64 of shape (pictures, classes)."""
        return self.answers_to_pixels(pictures)[0]

    def answers_to_pixels(
        self, pictures: Sequence[Pixels]
    ) -> tuple[Probabilities, Float32[np.ndarray, "pictures features"]]:
        """Class probabilities of canonical pixels, float64 of shape (pictures, classes), and the features behind."""
        return self._answers([encode_png(pixels) for pixels in pictures])

    def problems(self, files: Sequence[bytes]) -> list[str]:
        """Why each file would be declined; empty for those that are taken."""
        return [problem.decode() for problem in self._check(tf.constant(files, tf.string))["problem"].numpy()]

    def probabilities(self, files: Sequence[bytes]) -> Probabilities:
        """Class probabilities of plain files, float64 of shape (files, classes).

        Raises:
            DamageError: If one is declined or damaged.
        """
        return self._answers(files)[0]

    def _answers(self, files: Sequence[bytes]) -> tuple[Probabilities, Float32[np.ndarray, "files features"]]:
        try:
            answer = self._serve(tf.constant(files, tf.string))
        except tf.errors.InvalidArgumentError as refused:
            raise DamageError(f"The export declined a file: {refused.message}") from refused
        probabilities: np.ndarray = answer["probabilities"].numpy()
        return probabilities.astype(np.float64), answer["embedding"].numpy()


def _widths(parts: ExportedParts) -> list[int]:
    return [int(np.prod(parts.network.output[tap].shape[1:])) for tap in parts.taps]
