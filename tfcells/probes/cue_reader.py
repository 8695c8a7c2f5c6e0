"""Read classes from the numbers of a cue: ridge regression on class indicators, in a space that is learned per fold.

Penalty and space do not depend on labels, so the answers are linear in the class indicators: the maps from training
rows to tested ones are computed once per fold and serve every set of labels, a thousand permuted ones included. The
penalty is fixed: one that generalised cross-validation chose from the training rows gained two points at most where
rows are alone, and lost five where they are copies, which make the weakest penalty look best.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32
from sklearn.kernel_approximation import Nystroem
from sklearn.preprocessing import QuantileTransformer
from threadpoolctl import threadpool_limits

from tfcells.arrays import Float64, Int64
from tfcells.probes.catalog import THREADS
from tfcells.probes.crossval import SweepRows

KINDS: Final = 32
"""A cue with fewer distinct rows is taken as a name, not as numbers."""

_BINS: Final = 10
_AXES: Final = 24  # principal axes that are read; a header has more columns than pictures tell apart
_THIN: Final = 1e-5  # of the longest axis: what is thinner is the rounding of the columns
_QUANTILES: Final = 200  # of each column, between which ranks are interpolated
_LANDMARKS: Final = 128  # training rows that a kernel is made of
_WIDE: Final = 1.0  # squared width of a kernel, in mean squared deviations of the rows that it compares
_NARROW: Final = 0.1
_PENALTY: Final = 1.0  # rows that say nothing beside each row, whose kernel with itself is 1 in the mean
_PENALTY_OF_NAMES: Final = 5.0  # a name says as much as its rows beside five that say nothing
_FAINT: Final = 0.2  # of the penalty: what is fainter would say less than a sixth of what it should, and is left out

Columns = Float64[np.ndarray, "images columns"]
Learning = Float64[np.ndarray, "learning columns"]
Tested = Float64[np.ndarray, "tested columns"]
Maps = tuple[Bool[np.ndarray, " images"], Float32[np.ndarray, "images axes"], Float32[np.ndarray, "axes tested"]]
Space = tuple[Float64[np.ndarray, "learning axes"], Float64[np.ndarray, "tested axes"]]


class CueReader:
    """Cross-validated class predictions from one cue, for any number of sets of labels.

    Few distinct rows are names: they are read by indicators, ridge towards the mean. Numbers are read by kernel ridge
    regression. Its kernel is the mean of `_kernels`, each centred and scaled to a mean of 1 with itself; scales, axes,
    edges and landmarks are those of the training rows.

    Args:
        values: float64 of shape (images, columns), finite.
        rows: Their folds, number of classes and seed; labels are not looked at.
    """

    def __init__(self, values: Columns, rows: SweepRows) -> None:
        self.classes = rows.classes
        # Threads wait for each other on matrices of some hundred columns: ten times as long on a busy machine.
        with threadpool_limits(THREADS):
            self.maps = [_maps(values, rows.folds == fold, seed=rows.seed) for fold in rows.fold_numbers]

    def predict(self, labels: Int64[np.ndarray, "draws images"]) -> Int64[np.ndarray, "draws images"]:
        """Out-of-fold classes for each set of labels, every class taken for as likely as any other."""
        predicted = np.empty_like(labels)
        indicators = (labels[:, None, :] == np.arange(self.classes)[None, :, None]).astype(np.float32)
        flat = indicators.reshape(-1, labels.shape[1])  # one large product, where numpy would make one per draw
        for tested, basis, answers in self.maps:
            seen = flat @ (~tested).astype(np.float32)
            # Per row of the class: the indicator's regression, divided by the class's share.
            scores = (flat @ basis) @ answers / np.maximum(seen, 1)[:, None]
            scores[seen == 0] = -np.inf  # a class that was never seen is never said
            predicted[:, tested] = scores.reshape(len(labels), self.classes, -1).argmax(axis=1)
        return predicted


def _maps(values: Columns, tested: Bool[np.ndarray, " images"], *, seed: int) -> Maps:
    """Of one fold: which rows are tested, the training rows by axes, and the tested ones."""
    (learning, asked), penalty = _space(values, ~tested, seed=seed)
    mean = learning.mean(axis=0)
    learning, asked = learning - mean, asked - mean
    strengths, turn = np.linalg.eigh(learning.T @ learning)
    turn = turn[:, strengths > _FAINT * penalty] / np.sqrt(strengths[strengths > _FAINT * penalty] + penalty)
    # Rows of zeros where rows are tested: sums over all rows are then sums over the training rows.
    basis = np.zeros((len(values), turn.shape[1]), dtype=np.float32)
    basis[~tested] = learning @ turn
    return tested, basis, (asked @ turn).T.astype(np.float32)


def _space(values: Columns, learning: Bool[np.ndarray, " images"], *, seed: int) -> tuple[Space, float]:
    """What of a cue is read, for the training rows and the others, with the penalty that belongs to it."""
    kinds, kind, times = np.unique(values, axis=0, return_inverse=True, return_counts=True)
    if len(kinds) < KINDS:
        names = np.eye(len(kinds))[kind.reshape(-1)][:, np.argsort(-times, kind="stable")]
        return (names[learning], names[~learning]), _PENALTY_OF_NAMES
    known, asked = _standardised(values[learning], values[~learning])
    if known.shape[1] == 0:  # nothing to tell training rows apart by
        return (np.zeros((len(known), 1)), np.zeros((len(asked), 1))), _PENALTY
    kernels = [_of_unit_size(*kernel) for kernel in _kernels(known, asked, seed)]
    parts = np.sqrt(len(kernels))
    known, asked = (np.concatenate(side, axis=1) / parts for side in zip(*kernels, strict=True))
    return (known, asked), _PENALTY


def _kernels(learning: Learning, tested: Tested, seed: int) -> Iterator[Space]:
    """What standardised numbers are read by; each tells what the others miss (benchmarks/shortcuts.py, `readers`).

    Whitened axes tell any linear combination, bins a value or a range of one column, a wide Gaussian of the axes what
    columns say together, a narrow one of ranks runs of file numbers and whatever is local.
    """
    axes = _whitened(learning, tested)
    yield axes
    yield _binned(learning, tested)
    yield _gaussian(*axes, _WIDE, seed)
    yield _gaussian(*_ranked(learning, tested), _NARROW, seed)


def _standardised(learning: Learning, tested: Tested) -> Space:
    """Columns less their mean, by their standard deviation; what is the same in all training rows is left out."""
    mean, spread = learning.mean(axis=0), learning.std(axis=0)
    varies = spread > 1e-12 * np.maximum(1, np.abs(mean))
    return (learning - mean)[:, varies] / spread[varies], (tested - mean)[:, varies] / spread[varies]


def _whitened(learning: Learning, tested: Tested) -> Space:
    """Principal axes of standardised columns, each of variance 1: a faint tint counts as much as a bright stain."""
    _, lengths, axes = np.linalg.svd(learning, full_matrices=False)
    kept = np.flatnonzero(lengths > _THIN * lengths.max(initial=0))[:_AXES]
    turn = axes[kept].T * np.sqrt(len(learning)) / lengths[kept]
    return learning @ turn, tested @ turn


def _binned(learning: Learning, tested: Tested) -> Space:
    """Indicators of bins of each column with equally many training rows."""
    sides: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for column in np.unique(learning, axis=1, return_index=True)[1]:  # equal columns say one thing
        edges = np.unique(np.quantile(learning[:, column], np.arange(1, _BINS) / _BINS))
        for side, values in zip(sides, (learning, tested), strict=True):
            side.append(np.eye(len(edges) + 1)[np.searchsorted(edges, values[:, column], side="right")])
    return np.concatenate(sides[0], axis=1), np.concatenate(sides[1], axis=1)


def _ranked(learning: Learning, tested: Tested) -> Space:
    """Columns by their normal scores among the training rows: no row is far from all others."""
    scaler = QuantileTransformer(
        n_quantiles=min(_QUANTILES, len(learning)), output_distribution="normal", subsample=None
    ).fit(learning)
    return _standardised(scaler.transform(learning), scaler.transform(tested))


def _gaussian(learning: Learning, tested: Tested, width: float, seed: int) -> Space:
    """Nystroem features (Williams & Seeger 2001) of exp(-d^2 / 2 p width), p columns of variance 1."""
    landmarks = min(_LANDMARKS, len(learning))
    kernel = Nystroem(gamma=1 / (2 * width * learning.shape[1]), n_components=landmarks, random_state=seed)
    return kernel.fit_transform(learning), kernel.transform(tested)


def _of_unit_size(learning: Learning, tested: Tested) -> Space:
    """A kernel's features by the root of its mean with itself, about its mean."""
    size = np.sqrt(learning.var(axis=0).sum()) or 1.0
    return learning / size, tested / size
