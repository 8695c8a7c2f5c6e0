"""Audit a collection: files a person and `tfcells probe --groups` can read, kept while the pictures stay the same."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfcells.errors import RequestError
from tfcells.features.extract import Extraction, extract
from tfcells.features.store import FeatureStore
from tfcells.images.audit import Embeddings, audit, write_audit
from tfcells.images.readers import read_groups
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent

AUDIT: Final = "audit.json"
GROUPS: Final = "groups.csv"
PAIRS: Final = "pairs.csv"
_INPUTS: Final = "inputs.json"


def audit_images(
    table: ImageTable,
    *,
    out: str | Path,
    store: FeatureStore | None = None,
    extraction: Extraction | None = None,
    workers: int = 2,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Find copies, contradicting classes and odd pictures; writes `audit.json`, `groups.csv` and `pairs.csv`.

    Args:
        table: The pictures.
        out: Folder to write to; an audit of the same pictures that lies there is kept.
        store: Features of the pictures, whose nearest neighbours are compared too.
        extraction: Makes such features, in `out/features`, where there is no store.
        workers: Threads.
        seed: See `tfcells.images.audit.audit`.
        progress: Told how far it is.

    Returns:
        What `audit.json` holds.

    Raises:
        RequestError: If the store is of other pictures, or `out` cannot be written.
    """
    out = Path(out)
    if store is None and extraction is not None:
        store = extract(table, extraction, into=out / "features", progress=progress)
    inputs = _identity(table, store, seed)
    if _kept(out, inputs):
        return _read(out)
    _check_folder(out)
    embeddings = None if store is None else embeddings_of(store)
    found = audit(table, embeddings=embeddings, workers=workers, seed=seed, progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    (out / _INPUTS).unlink(missing_ok=True)  # until it is written again the folder holds no finished audit
    write_audit(found, out)
    (out / _INPUTS).write_text(json.dumps({**inputs, "files": _digests(out)}), encoding="utf-8")
    return _read(out)


def audited_groups(table: ImageTable, out: Path) -> ImageTable:
    """The table with the groups of its audit joined to the ones it has."""
    return table.with_groups(read_groups(out / GROUPS))


def embeddings_of(store: FeatureStore) -> Embeddings:
    """The store's last tap, one vector per picture; the mean over places where it was not pooled."""
    vectors = store.array(store.taps[-1])
    if vectors.ndim > 2:
        vectors = vectors.reshape(len(vectors), -1, vectors.shape[-1]).mean(axis=1)
    return Embeddings(ids=store.rows.ids, vectors=np.asarray(vectors, dtype=np.float32))


def _identity(table: ImageTable, store: FeatureStore | None, seed: int) -> dict[str, Any]:
    rows = sorted(zip(table.ids, table.digests, table.labels.tolist(), strict=True))
    text = json.dumps([rows, table.class_names, table.quarantine], ensure_ascii=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"format": 1, "pictures": digest, "store": None if store is None else store.digest, "seed": seed}


def _check_folder(out: Path) -> None:
    """Refuse what cannot be written to, before pictures are compared for minutes."""
    above = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise RequestError(f"{out} cannot be written: {above} is no folder that this user may write to.")


def _kept(out: Path, inputs: dict[str, Any]) -> bool:
    """Whether a finished audit of these inputs lies here, its files as they were written."""
    try:
        known = json.loads((out / _INPUTS).read_text(encoding="utf-8"))
        return bool(known == {**inputs, "files": _digests(out)})
    except (OSError, ValueError):
        return False


def _digests(out: Path) -> dict[str, str]:
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in (AUDIT, GROUPS, PAIRS)}


def _read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / AUDIT).read_text(encoding="utf-8"))
    return found
