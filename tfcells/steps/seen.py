"""Whether the pictures of a study are among those that its weights have seen."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfcells.backbones.seen import SeenPictures, read_seen, seen_by_file, seen_by_shipped, seen_words
from tfcells.backbones.weights import find_weights
from tfcells.features.pieces import SEEN
from tfcells.features.store import FeatureStore

_log = logging.getLogger(__name__)


def seen_json(store: FeatureStore) -> dict[str, Any] | None:
    """How many of a store's pictures its weights have seen.

    Args:
        store: Features of a network.

    Returns:
        `images`, how many of them were seen, and `of`, how many there are; None where no list says what was seen.

    Raises:
        DamageError: If the list in the store cannot be read.
    """
    return seen_count(seen_by_store(store), store.rows.digests)


def seen_by_store(store: FeatureStore) -> SeenPictures | None:
    """What the weights behind a store's features have seen; None where no list says so, or there was no network.

    Raises:
        DamageError: If the list in the store cannot be read.
    """
    if store.recipe["backbone"] is None:
        return None
    kept = read_seen(store.path / SEEN)
    return seen_by_shipped(store.recipe["weights"]["sha256"]) if kept is None else kept


def seen_by(backbone: str, weights: str | Path, *, sha256: str) -> SeenPictures | None:
    """What weights have seen; None where no list says so.

    Args:
        backbone: Name in the catalog.
        weights: As they were asked for.
        sha256: Of the weights that were opened; of a file that is another by now nothing is said.
    """
    found = find_weights(backbone, weights)
    return seen_by_file(found) if found.sha256 == sha256 else seen_by_shipped(sha256)


def seen_count(seen: SeenPictures | None, digests: Sequence[str]) -> dict[str, Any] | None:
    """`images`, how many of these were seen, and `of`, how many these are; None where nobody knows."""
    return None if seen is None else {"images": seen.count(digests), "of": len(digests)}


def warn_of_seen(counted: Mapping[str, Any] | None, *, weights: str, images: str = "images") -> None:
    """Log that weights have seen some of these images, if they have; arguments as of `seen_words`."""
    words = seen_words(counted, weights=weights, images=images)
    if words is not None:
        _log.warning("%s", words)
