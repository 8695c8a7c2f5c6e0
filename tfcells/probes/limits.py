"""What readings of layers need, from widths and rows alone: asked before a feature is computed, not hours later."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfcells.errors import RequestError
from tfcells.probes.catalog import INNER_FOLDS, PROBES
from tfcells.probes.crossval import SweepRows
from tfcells.probes.gram.plan import plan_grams
from tfcells.probes.memory import check_held, check_long
from tfcells.probes.reading import NO_REDUCTION, Reading, Space, components_of


def tap_sets(taps: Sequence[str], *, concatenate: bool) -> list[tuple[str, ...]]:
    """Sets of layers that are read: each by itself, and all side by side where that is asked for."""
    together = [tuple(taps)] if concatenate and len(taps) > 1 else []
    return [*((tap,) for tap in taps), *together]


def check_readings(
    widths: Mapping[str, int],
    dealings: Sequence[SweepRows],
    space: Space,
    *,
    concatenate: bool = True,
    served: bool = False,
    memory: int,
) -> None:
    """Refuse what could not be read, or held, once the features are there.

    Args:
        widths: Features of one image, by tap; handcrafted ones, which are few, left out.
        dealings: Labels, groups and outer folds, as `deal_outer_folds` gives them.
        space: What is tried.
        concatenate: Whether all taps side by side are read too.
        served: Whether the best reading is exported, with all rows that it learned from if it must hold them.
        memory: Bytes for features or matrices in one process.

    Raises:
        RequestError: If a reduction asks for more components than a training set has; a layer is too wide for a
            probe that looks at single features, or for one whose export would hold its rows; images are too many for
            a wide layer's inner products; or features that images outnumber exceed the machine.
    """
    fewest = _fewest_rows(dealings, space)
    for taps in tap_sets(tuple(widths), concatenate=concatenate):
        width = sum(widths[tap] for tap in taps)
        for reading in space.readings(taps):
            _check_components(reading, width, fewest)
            check_memory(reading, images=len(dealings[0].labels), width=width, served=served, memory=memory)


def _check_components(reading: Reading, width: int, rows: int) -> None:
    wanted = components_of(reading.reduction)
    if isinstance(wanted, int) and wanted > min(width, rows):
        raise RequestError(
            f"{reading.reduction} asks for {wanted:,} components. {' + '.join(reading.taps)} has {width:,} features, "
            f"and the smallest training set {rows:,} images: there are no more than {min(width, rows):,}. Ask for "
            "fewer, or for a share of the variance such as pca:0.8."
        )


def check_memory(reading: Reading, *, images: int, width: int, served: bool = False, memory: int) -> None:
    """Refuse what of one reading could not be held; arguments and errors as in `check_readings`."""
    held = served or not PROBES[reading.probe].turnable  # a sweep turns the features of the others
    check_long(reading, images=images, width=width, memory=memory)
    if held:
        check_held(reading, images=images, width=width, memory=memory)
    if width > images and (PROBES[reading.probe].turnable or reading.reduction != NO_REDUCTION):
        plan_grams(images, width, [np.arange(images)], scaler="none", memory=memory)


def _fewest_rows(dealings: Sequence[SweepRows], space: Space) -> int:
    """Rows of the smallest training set: that of an inner fold, where there are inner folds."""
    inner = space.inner_folds or (INNER_FOLDS if any(PROBES[probe].decides for probe in space.probes) else 0)
    sizes = []
    for rows in dealings:
        for fold in rows.fold_numbers:
            training = rows.training(np.flatnonzero(rows.folds != fold))
            sizes.append(len(training.labels))
            sizes += [len(learning) for learning, _ in training.folds(inner)] if inner else []
    return min(sizes)
