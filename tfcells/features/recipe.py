"""What a store was made by, as one JSON object, and how two of them differ, in words."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from tfcells.arrays import Ids
from tfcells.backbones.taps import Tap, parse_taps, tap_keys

_SHARD_BYTES: Final = 64 * 2**20  # held in memory until a shard is written
_SHARD_BATCHES: Final = 16
_SEAL: Final = "sha256"  # key of the digest of the other entries

Recipe = Mapping[str, Any]
"""JSON object; see `tfcells.features.request.requested_recipe` for its keys."""

FORMAT: Final = 2
"""Of stores, as this version writes and reads them."""

COLOUR: Final = "colour"
"""Name of the colour statistics, which every store has."""


def taps_of(recipe: Recipe) -> dict[str, Tap]:
    """The taps of a recipe by their keys, in order; none where all features are hand-made."""
    taps = parse_taps(recipe["taps"]) if recipe["taps"] else ()
    return dict(zip(tap_keys(taps), taps, strict=True))


def stored_shapes(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """Shape of one picture's features by key, hand-made ones first."""
    made = {name: facts["shape"] for name, facts in recipe["handcrafted"].items()}
    return {key: tuple(shape) for key, shape in {**made, **recipe["shapes"]}.items()}


def stored_dtype(recipe: Recipe, key: str) -> np.dtype:
    """What a feature is stored as: the colour statistics, to which all is compared, are never rounded."""
    return np.dtype(np.float32 if key == COLOUR else recipe["dtype"])


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of a recipe, whatever the order of its keys."""
    return hashlib.sha256(canonical_json(recipe).encode()).hexdigest()


def shard_rows(recipe: Recipe) -> int:
    """Rows per shard: whole batches, as many as fit the memory a shard may take."""
    numbers = sum(int(np.prod(shape)) for shape in stored_shapes(recipe).values())
    batch = int(recipe["engine"]["batch_size"])
    batches = _SHARD_BYTES // max(1, 4 * numbers * batch)
    return batch * max(1, min(_SHARD_BATCHES, batches))


def images_of(ids: Ids, digests: Sequence[str]) -> dict[str, Any]:
    """What a recipe says of its images: their `count`, and the `digest` of every row's id and pixels, in order."""
    return {"count": len(ids), "digest": images_digest(ids, digests)}


def images_digest(ids: Ids, digests: Sequence[str]) -> str:
    """SHA-256 over every row's id and pixel digest, in row order."""
    digest = hashlib.sha256()
    for id, pixels in zip(ids, digests, strict=True):
        digest.update(f"{id}\x1f{pixels}\n".encode())
    return digest.hexdigest()


def canonical_json(value: object) -> str:
    """JSON text that depends on the value alone: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sealed(facts: Mapping[str, Any]) -> bytes:
    """Canonical JSON that carries the SHA-256 of its own entries, so that no bit of it changes unseen."""
    digest = hashlib.sha256(canonical_json(facts).encode()).hexdigest()
    return canonical_json({**facts, _SEAL: digest}).encode()


def unsealed(data: bytes) -> dict[str, Any]:
    """The entries of what `sealed` made.

    Raises:
        ValueError: If it is anything else.
    """
    value = json.loads(data.decode())
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    facts = {name: entry for name, entry in value.items() if name != _SEAL}
    if sealed(facts) != data:
        raise ValueError("it was altered, its SHA-256 is not the one it carries")
    return facts


def differences(stored: Recipe, wanted: Recipe) -> list[str]:
    """Say where a stored recipe differs from a wanted one; keys that only the stored one has do not count.

    The stored recipe knows more than a request: output shapes and the golden fingerprint come from the model. Only
    hand-made features that nobody asks for do count. Between a network and none there is nothing else to tell.
    """
    if "backbone" in wanted and (stored["backbone"] is None) != (wanted["backbone"] is None):
        return [f"it holds {_made_by(stored)}, {_made_by(wanted)} were asked for"]
    there, now = _flat(stored), _flat(wanted)
    found = [
        f"{key} is {_short(there[key]) if key in there else '(absent)'} in the store, {_short(value)} was asked for"
        for key, value in now.items()
        if key not in there or there[key] != value
    ]
    made = set(stored.get("handcrafted", ())) - set(wanted.get("handcrafted", stored.get("handcrafted", ())))
    return found + [f"handcrafted.{name} is in the store, it was not asked for" for name in sorted(made)]


def _made_by(recipe: Recipe) -> str:
    network = recipe["backbone"]
    return "hand-made features alone" if network is None else f"features of the network {network['name']}"


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, Mapping):
        flat: dict[str, object] = {}
        for key, inner in value.items():
            flat |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
        return flat
    return {prefix: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value}


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 300 else f"{text[:297]}..."
