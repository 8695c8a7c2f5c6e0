"""Whether an export answers as measured, joint by joint: its features against the stored ones, its probe against
scikit-learn's on the same features."""

from typing import Any, Final

import numpy as np

from tfcells.arrays import Float32, Probabilities
from tfcells.errors import DamageError
from tfcells.features.engines.parity import compare
from tfcells.features.store import FeatureStore
from tfcells.probes.catalog import class_probabilities
from tfcells.probes.final import FinalProbe

PROBABILITY: Final = 1e-5
"""Largest allowed difference of a probability, the exported probe's from scikit-learn's on the same features."""

FEATURE: Final = 1e-4
"""Largest allowed difference of a feature, as a share of its tap's largest: float32 sums in another order, as another
batch makes them, differ by 1e-6 to 1e-5 of that. Stored float16 rounds by half of its step more."""


def served_parity(
    final: FinalProbe,
    store: FeatureStore,
    rows: np.ndarray,
    *,
    probabilities: Probabilities,
    embedding: Float32[np.ndarray, "rows features"],
) -> dict[str, Any]:
    """Hold an export's answers against what was measured.

    Each joint has a bound of its own. What both together do to a probability has none, as it belongs to the probe: one
    that divides by the deviation of a feature that hardly varies turns the rounding of float32 into more than
    `PROBABILITY`. It is measured and told.

    Args:
        final: The probe that was exported.
        store: The features it was fitted on.
        rows: Numbers of the rows that the export was asked about.
        probabilities: Its answers.
        embedding: The features it answered from, taps side by side.

    Returns:
        `pictures`, how many; `largest_difference` of a probability from the measured one, `of_probe` the part of it
        that the exported probe makes, and `allowed` of that; `of_features`, the largest relative error of a feature,
        and `features_allowed`.

    Raises:
        DamageError: If a joint's bound is passed, or something is no number.
    """
    of_features, features_allowed = _of_features(final, store, rows, embedding)
    retold = class_probabilities(final.probe, embedding.astype(np.float64), classes=len(final.class_names))
    of_probe = float(np.abs(probabilities - retold).max())
    if not of_probe <= PROBABILITY:  # also catches NaN
        raise DamageError(
            f"The export's probabilities differ by {of_probe:.2g} from those that the fitted probe gives on the same "
            f"features of {len(rows)} pictures; {PROBABILITY} is allowed. It must not be served."
        )
    return {
        "pictures": len(rows),
        "largest_difference": float(np.abs(probabilities - final.probabilities(store, rows)).max()),
        "of_probe": of_probe,
        "allowed": PROBABILITY,
        "of_features": of_features,
        "features_allowed": features_allowed,
    }


def _of_features(
    final: FinalProbe, store: FeatureStore, rows: np.ndarray, embedding: Float32[np.ndarray, "rows features"]
) -> tuple[float, float]:
    """The largest relative error of a feature, and what is allowed."""
    stored = {tap: store.take(tap, rows).reshape(len(rows), -1) for tap in final.taps}
    bounds = np.cumsum([columns.shape[1] for columns in stored.values()])[:-1]
    served = dict(zip(stored, np.split(embedding, bounds, axis=1), strict=True))
    found = float(np.max([parity.relative_error for parity in compare(served, stored).values()]))
    allowed = FEATURE + max(_half_a_step(columns.dtype) for columns in stored.values())
    if not found <= allowed:  # also catches NaN
        raise DamageError(
            f"The export's features differ by {found:.2g} of the largest from the measured ones on {len(rows)} "
            f"pictures; {allowed:.2g} is allowed. It was not made from what was measured: extract the features again."
        )
    return found, allowed


def unmeasured() -> dict[str, Any]:
    """The same of an export whose pictures are gone."""
    return {
        "pictures": 0,
        "largest_difference": None,
        "of_probe": None,
        "allowed": PROBABILITY,
        "of_features": None,
        "features_allowed": FEATURE,
    }


def rounding_words(parity: dict[str, Any]) -> str | None:
    """What to tell of an export whose joints hold and whose probabilities differ by more than `PROBABILITY` anyway."""
    difference = parity["largest_difference"]
    if difference is None or difference <= PROBABILITY:
        return None
    return (
        f"probabilities differ by up to {difference:.1g} from the measured ones, as its probe scales up features that "
        f"hardly vary, and with them rounding ({parity['of_features']:.1g} of the largest feature); with more images, "
        "or larger ones, it does so less"
    )


def _half_a_step(dtype: np.dtype) -> float:
    """What storing a number near the largest in fewer bits than float32 can add, as a share of it."""
    return 0.0 if dtype == np.float32 else float(np.finfo(dtype).eps) / 2
