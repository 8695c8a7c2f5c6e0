"""What many tests share: drawn cells, a network that builds in a blink, a store without TensorFlow."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from hypothesis import settings
from made_tables import made_store
from threadpoolctl import threadpool_limits

from tfcells.features.pieces import DIGESTS, RECIPE
from tfcells.features.recipe import recipe_digest, sealed, unsealed
from tfcells.features.shards import RECORD
from tfcells.features.store import FeatureStore
from tfcells.images.readers import read_folder
from tfcells.images.synthetic.folder import write_sample_folder
from tfcells.images.table import ImageTable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault(
    "TF_ENABLE_ONEDNN_OPTS", "1"
)  # as `prefer_onednn` has it, whichever test imports TensorFlow first
# Tests run in one process per core. Threads of linear algebra would only wait for those of the others, up to ten times
# as long as they work: one each, of libraries that are loaded by now (NumPy comes with jaxtyping's hook), of those that
# come later, and of other processes that tests start.
threadpool_limits(1)
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# No deadline for one example: on a busy machine it measures the others.
settings.register_profile("tfcells", deadline=None)
settings.load_profile("tfcells")

CLASSES = ("eosinophil", "lymphocyte", "platelet")


LONG = (
    "test_demo.py",
    "test_study.py",
    "test_project.py",
    "test_extract_killed.py",
    "test_projector_in_browser.py",
    "test_explain_verb.py",
    "test_train_killed.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of few and long tests first, or one process is left with them at the end."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """For simulations, which call over and over what other tests call with the shapes checked: that is three quarters
    of the time of a score."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def cell_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 drawn cells of three classes, in class folders. Shared by the whole session: copy before changing it."""
    root = tmp_path_factory.mktemp("cells") / "cells"
    write_sample_folder(root, images_per_class=12, seed=3, classes=CLASSES)
    return root


@pytest.fixture(scope="session")
def cells(cell_folder: Path) -> ImageTable:
    """The same cells as a table."""
    return read_folder(cell_folder)


@pytest.fixture(scope="session")
def tiny_backbone():
    """A network of three layers with fixed weights: `early` (8 channels), `late` (12), `head` (12,)."""
    import keras

    generator = np.random.default_rng(0)
    pixels = keras.Input((32, 32, 3))
    early = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="early")(pixels)
    late = keras.layers.Conv2D(12, 3, strides=2, activation="relu", name="late")(early)
    head = keras.layers.GlobalAveragePooling2D(name="head")(late)
    model = keras.Model(pixels, head, name="tiny")
    for variable in model.weights:
        variable.assign(generator.normal(0, 0.2, tuple(variable.shape)))
    return model


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """Folder of pretrained weights, `<backbone>_<name>.weights.h5`."""
    return real_folder("weights", variable="TFCELLS_TEST_WEIGHTS")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real collections, `<collection>/<class>/<file>`."""
    return real_folder("data", variable="TFCELLS_TEST_DATA")


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., FeatureStore]:
    """Makes stores of made-up features, without a network and without TensorFlow."""
    return lambda **options: made_store(tmp_path / f"store-{len(list(tmp_path.iterdir()))}", **options)


@pytest.fixture(scope="session")
def make_small_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], FeatureStore]:
    """Makes stores of twelve rows in three shards: few bytes, and a file of each kind."""
    return lambda: made_store(tmp_path_factory.mktemp("small") / "store", images=12, shard_rows=5)


def made_by(path: Path, recipe: dict[str, object]) -> None:
    """Let a store be one that was made by another recipe: every digest of it is right."""
    text = json.dumps(recipe, indent=1, sort_keys=True, ensure_ascii=False).encode()
    (path / RECIPE).write_bytes(text)
    digests = unsealed((path / DIGESTS).read_bytes())
    (path / DIGESTS).write_bytes(sealed({**digests, RECIPE: hashlib.sha256(text).hexdigest()}))
    for record in path.glob(f"shards/*/{RECORD}"):
        facts = unsealed(record.read_bytes())
        record.write_bytes(sealed({**facts, "recipe": recipe_digest(recipe)}))


@pytest.fixture(name="made_by")
def made_by_fixture() -> Callable[[Path, dict[str, object]], None]:
    """`made_by`, for tests."""
    return made_by


def real_folder(name: str, *, variable: str) -> Path:
    """A folder that an environment variable names or that lies beside the checkout; skips where there is none."""
    beside = Path(__file__).parents[2] / "shared" / name
    folder = Path(os.environ.get(variable, beside))
    if not folder.is_dir():
        pytest.skip(f"no real {name} here: {folder} does not exist; {variable} may name another folder")
    return folder
