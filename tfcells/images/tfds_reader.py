"""Any image-classification builder of tensorflow-datasets to an `ImageTable`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.inspect import Candidate, inspect_candidates
from tfcells.images.sources import SpooledSource
from tfcells.images.table import NOTHING_KNOWN, ImageTable, KnownFiles
from tfcells.progress import Progress, silent


def read_tfds(
    name: str,
    *,
    data_dir: Path | None = None,
    class_names: Sequence[str] | None = None,
    known: KnownFiles = NOTHING_KNOWN,
    progress: Progress = silent,
) -> ImageTable:
    """Read every split of a data set; it is prepared (downloaded, generated) if it is not on disk yet.

    The encoded pictures are taken, not TensorFlow's decoding of them, so that JPEG pixels are the canonical
    ones. Ids are the `tfds_id`s; the split and every scalar feature become metadata columns; a feature named
    `group` becomes the group.

    Args:
        name: As for `tfds.builder`: `name`, `name/config`, `name:version`. `tfcells_smears` is the generator
            that comes with tfcells.
        data_dir: Where data sets are kept; that of tensorflow-datasets by default.
        class_names: The classes to expect, in their order; by default all that the data set knows, sorted.
        known: Files that need not be decoded again.
        progress: Told how far the reading is.

    Raises:
        UnknownNameError: If a picture has another class than `class_names`.
        RequestError: If there is no such data set, it cannot be prepared, or it has no image and class label.
    """
    builder = _builder(name, data_dir)
    image_key, label_key = _keys(name, builder.info.features)  # before a long download for nothing
    _prepare(name, builder)
    source = SpooledSource({"kind": "tfds", "root": f"tfds:{name}"})
    known_classes = builder.info.features[label_key].names
    candidates = []
    for split in sorted(builder.info.splits):
        dataset = builder.as_dataset(
            split=split,
            decoders={image_key: tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(add_tfds_id=True),
        )
        for example in tfds.as_numpy(dataset):
            id = example["tfds_id"].decode()
            source.add(id, example[image_key])
            columns = _scalars(example, leave_out=(image_key, label_key, "tfds_id"))
            group = columns.pop("group", None) or None  # text or a number
            label = known_classes[example[label_key]] if example[label_key] >= 0 else None
            candidates.append(Candidate(id, label=label, group=group, metadata={"split": split, **columns}))
    source.finish()
    return inspect_candidates(
        candidates, source, class_names=class_names or sorted(known_classes), known=known, progress=progress
    )


def _builder(name: str, data_dir: Path | None) -> Any:
    import tfcells.images.synthetic.builder  # noqa: F401 - registers tfcells_smears

    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as unknown:
        raise UnknownNameError("tensorflow-datasets builder", name.split("/")[0], tfds.list_builders()) from unknown
    # A version that does not exist is an AssertionError.
    except (ValueError, AssertionError) as unknown:
        raise RequestError(f"tfds:{name} cannot be opened: {' '.join(str(unknown).split())}") from unknown


def _prepare(name: str, builder: Any) -> None:
    try:
        builder.download_and_prepare()
    # Downloads fail in as many ways as there are hosts.
    except Exception as fault:
        raise RequestError(
            f"tfds:{name} is not on this machine and cannot be prepared: {' '.join(str(fault).split())}. Prepare it "
            f"where there is a network, and copy the folder {builder.data_dir}."
        ) from fault


def _keys(name: str, features: Any) -> tuple[str, str]:
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    if len(images) != 1 or len(labels) != 1:
        raise RequestError(
            f"tfds:{name} has {len(images)} image features and {len(labels)} class labels "
            f"({', '.join(features)}). Expected one of each."
        )
    return images[0], labels[0]


def _scalars(example: dict[str, Any], *, leave_out: tuple[str, ...]) -> dict[str, str]:
    columns = {}
    for key, value in example.items():
        if key in leave_out:
            continue
        if isinstance(value, bytes):
            columns[key] = value.decode("utf-8", "replace")
        elif getattr(value, "ndim", 1) == 0:
            columns[key] = str(value)
    return columns
