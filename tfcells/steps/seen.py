"""Whether the pictures of a study are among those that its weights have seen."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfcells.backbones.seen import SeenPictures, read_seen, seen_by_shipped
from tfcells.backbones.weights import find_weights
from tfcells.errors import MissingWeightsError
from tfcells.features.store import FeatureStore


def seen_json(store: FeatureStore, *, weights: str | Path | None = None) -> dict[str, Any] | None:
    """How many of a store's pictures its weights have seen.

    Args:
        store: Features of a network.
        weights: As they were asked for; where it is not given, only weights that ship with tfcells are known.

    Returns:
        `images`, how many of them were seen, and `of`, how many there are; None where no list says what was seen.

    Raises:
        DamageError: If the list beside the weights cannot be read.
    """
    sha256 = store.recipe["weights"]["sha256"]
    return seen_count(seen_by(store.recipe["backbone"]["name"], weights, sha256=sha256), store.rows.digests)


def seen_by(backbone: str, weights: str | Path | None, *, sha256: str) -> SeenPictures | None:
    """What weights of this digest have seen; None where no list says so.

    Args:
        backbone: Name in the catalog.
        weights: As they were asked for, if that is known; a file that is another by now is not asked.
        sha256: Of the weights that were opened.
    """
    with suppress(MissingWeightsError):  # features outlive the file they were made by
        found = None if weights is None else find_weights(backbone, weights)
        if found is not None and found.sha256 == sha256:
            return read_seen(found)
    return seen_by_shipped(sha256)


def seen_count(seen: SeenPictures | None, digests: Sequence[str]) -> dict[str, Any] | None:
    """`images`, how many of these were seen, and `of`, how many these are; None where nobody knows."""
    return None if seen is None else {"images": seen.count(digests), "of": len(digests)}
