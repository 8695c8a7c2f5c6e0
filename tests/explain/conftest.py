"""Tiny classifiers to explain: a planted one, whose evidence is known, and a convolutional one inside another model."""

from dataclasses import replace

import numpy as np
import pytest
from small_networks import SIZE, convolutional_network


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """Six pictures with a dark disc somewhere in the middle, float32 at the networks' size."""
    generator = np.random.default_rng(1)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    found = generator.uniform(190, 210, (6, SIZE, SIZE, 3))
    for picture in found:
        y, x = generator.uniform(12, 20, 2)
        picture[np.hypot(rows - y, columns - x) < 6] -= (90, 130, 40)
    return found.astype(np.float32)


@pytest.fixture(scope="session")
def planted():
    """A classifier whose logit of `dark` is how much darker than 200 the green of a planted square is, in tens.

    The square is rows and columns 8 to 15; the logit of `light` is 0.
    """
    import keras

    from tfcells.explain.explained import explain_network

    pixels = keras.Input((SIZE, SIZE, 3))
    green = keras.layers.Lambda(lambda values: (200.0 - values[:, 8:16, 8:16, 1:2]) / 10.0, name="square")(pixels)
    logits = keras.layers.Dense(2, use_bias=False, name="logits")(keras.layers.GlobalAveragePooling2D()(green))
    model = keras.Model(pixels, logits)
    model.layers[-1].set_weights([np.array([[1.0, 0.0]])])
    return explain_network(model, ("dark", "light"))


@pytest.fixture(scope="session")
def convolutional():
    """A network whose convolutions stand in a model inside the model, batch norm included; three classes."""
    return convolutional_network(nested=True)


@pytest.fixture(scope="session")
def flat():
    """The same network with all its layers in one graph."""
    return convolutional_network(nested=False)


@pytest.fixture(scope="session")
def opened(tiny_backbone):
    """The tiny network as a backbone of the catalog."""
    from tfcells.backbones.catalog import find_backbone
    from tfcells.backbones.open import OpenBackbone

    row = replace(find_backbone("mobilenet_v2"), size=SIZE, early="early", middle="late", late="late")
    return OpenBackbone(row=row, model=tiny_backbone, size=SIZE, weights="none", sha256="0" * 64)


@pytest.fixture(scope="session")
def probed(opened):
    """Fits a probe on drawn features and hands it, with the backbone, to be explained: (taps, kind, options) to it.

    What was asked for once is handed out again, with all that was traced of it; `fresh` where a test changes it.
    """
    from tfcells.backbones.cut import cut_resized
    from tfcells.backbones.taps import Tap, tap_keys
    from tfcells.explain.explained import explain_probe
    from tfcells.probes.catalog import fit_probe

    made = {}

    def make(*names: str, fresh: bool = False, **options):
        key = repr((names, sorted(options.items())))
        if fresh or key not in made:
            found = build(*names, **options)
            if fresh:
                return found
            made[key] = found
        return made[key]

    def build(*names: str, kind: str = "logistic", classes: int = 3, head=None, **options):
        taps = tuple(Tap.parse(name) for name in names)
        generator = np.random.default_rng(2)
        some = generator.uniform(0, 255, (60, 1, 1, 3)) + generator.normal(0, 20, (60, SIZE, SIZE, 3))
        found = cut_resized(opened, taps)(some.astype(np.float32))
        vectors = np.concatenate([np.reshape(found[key], (60, -1)) for key in tap_keys(taps)], axis=1)
        labels = np.argsort(np.argsort(some[:, 0, 0, 0])) * classes // 60
        probe = fit_probe(kind, vectors, labels, np.arange(60), **options)
        names_of = tuple(f"class {label}" for label in range(classes))
        return explain_probe(opened, taps, probe, names_of, head=head and head(probe)), probe, vectors

    return make
