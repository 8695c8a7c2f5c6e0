"""One export for all: a support vector machine on two taps of the tiny network, three classes, drawn cells."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tfcells.arrays import Pixels
from tfcells.images.table import ImageTable

CLASS_NAMES = ('eosinophil, "quoted"', "Lymphozyt β", "platelet")
TAPS = ("late", "early")


@dataclass(frozen=True)
class Made:
    """An export and everything it was made of."""

    folder: Path
    parts: object
    golden: dict[str, list[float]]
    probabilities: Callable[[list[Pixels]], np.ndarray]


@pytest.fixture(scope="session")
def open_tiny(tiny_backbone):
    """Opens the tiny network as a backbone of the catalog."""
    from tfcells.backbones.catalog import find_backbone
    from tfcells.backbones.open import OpenBackbone

    row = replace(find_backbone("mobilenet_v2"), size=32, early="early", middle="late", late="late")
    return OpenBackbone(row=row, model=tiny_backbone, size=32, weights="none", sha256="0" * 64)


@pytest.fixture(scope="session")
def exported(open_tiny, cells: ImageTable, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The export; copy its folder before changing it."""
    import tensorflow as tf

    from tfcells.backbones.cut import cut_backbone
    from tfcells.backbones.preprocess import resize_images
    from tfcells.features.forward import golden
    from tfcells.probes.catalog import class_probabilities, fit_probe
    from tfcells.serving.export import ExportedParts, export_classifier

    network = cut_backbone(open_tiny, TAPS)

    def features(pictures: list[Pixels]) -> np.ndarray:
        small = [resize_images(tf.constant(pixels), size=32, kernel="bilinear") for pixels in pictures]
        outputs = network(tf.stack(small))
        return np.concatenate([outputs[tap] for tap in TAPS], axis=1)

    learned = features([cells.source.read(id) for id in cells.ids])
    probe = fit_probe("svm", learned, cells.labels, np.arange(len(cells)))
    parts = ExportedParts(backbone=open_tiny, network=network, taps=TAPS, probe=probe, class_names=CLASS_NAMES)
    folder, fingerprint = tmp_path_factory.mktemp("export") / "export", golden(network)
    export_classifier(parts, into=folder, card={"study": "tiny"}, golden=fingerprint)
    return Made(
        folder=folder,
        parts=parts,
        golden=fingerprint,
        probabilities=lambda pictures: class_probabilities(probe, features(pictures), classes=3),
    )


@pytest.fixture(scope="session")
def served(exported: Made):
    """The export, loaded."""
    from tfcells.serving.export import ServedModel

    return ServedModel(exported.folder)


@pytest.fixture(scope="session")
def header_problem() -> Callable[[bytes], str]:
    """The graph function, on bytes."""
    import tensorflow as tf

    from tfcells.serving import decoding

    return lambda data: decoding.header_problem(tf.constant(data)).numpy().decode()


@pytest.fixture(scope="session")
def graph_pixels() -> Callable[[bytes], Pixels | None]:
    """The graph's decoder, traced once; None for what it fails on."""
    import tensorflow as tf

    from tfcells.serving import decoding

    traced = tf.function(decoding.decode_pixels, input_signature=[tf.TensorSpec([], tf.string)])

    def decode(data: bytes) -> Pixels | None:
        try:
            return traced(tf.constant(data)).numpy()
        except tf.errors.InvalidArgumentError:
            return None

    return decode
