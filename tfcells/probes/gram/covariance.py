"""PCA of each training set where images outnumber features: of the covariance matrix, which is then the smaller."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.linalg.blas import dsyrk

from tfcells.errors import RequestError
from tfcells.probes.gram.columns import Block, ColumnSource, Rows, read_block
from tfcells.probes.gram.components import Choice, Wanted, largest_signs
from tfcells.probes.gram.eigen import leading_eigenpairs
from tfcells.probes.gram.pca import FoldPCA, described
from tfcells.probes.gram.plan import how_to_allow
from tfcells.probes.gram.scaling import group_rows, learn_scaling, summarise
from tfcells.progress import Progress

_EPS = float(np.finfo(np.float64).eps)
_COPIES = 4  # as read, as float64, scaled, and the training rows of that


def covariance_pcas(
    source: ColumnSource,
    training_sets: Sequence[Rows],
    *,
    n_components: Wanted,
    scaler: str,
    memory: int,
    progress: Progress,
) -> Iterator[FoldPCA]:
    """PCA of each training set; arguments, answers and errors as in `fold_pcas`.

    The features are held whole, as float64: they are smaller than the Gram matrix that they replace.
    """
    images, width = source.shape
    needed = 8 * (_COPIES * images * width + 3 * width * width)
    if memory < needed:
        raise RequestError(
            f"{memory:,} bytes of memory were allowed. {images:,} images of {width:,} columns take {needed:,}. Use "
            f"fewer images, or {how_to_allow(needed)}."
        )
    return _each(read_block(source, 0, width), training_sets, n_components, scaler, progress)


def _each(
    features: Block, training_sets: Sequence[Rows], wanted: Wanted, scaler: str, progress: Progress
) -> Iterator[FoldPCA]:
    cells = group_rows(training_sets, len(features))
    summary = summarise(features, cells)
    for number, rows in enumerate(training_sets):
        scaling = learn_scaling(scaler, features, rows, summary, cells.members[number])
        rounding = len(rows) * _EPS * float(np.abs(scaling.mean * scaling.scale).max())
        scaled = features - scaling.mean
        scaled *= scaling.scale
        scaled -= scaled[rows].mean(axis=0)  # what rounding the mean has left
        choice = Choice(wanted=wanted, images=len(rows), width=features.shape[1], floor=len(rows) * rounding**2)
        yield _of_scaled(scaled, rows, choice)
        progress("pca", number + 1, len(training_sets))


def _of_scaled(scaled: Block, rows: Rows, choice: Choice) -> FoldPCA:
    """PCA of rows that are scaled, and centred by the training rows."""
    products = dsyrk(1.0, scaled[rows].T, lower=1)
    products += np.tril(products, -1).T
    values, vectors = leading_eigenpairs(products, choice.count)
    scores = scaled @ vectors
    scores *= largest_signs(scores[rows])
    return described(rows, scores, choice.spectrum(values))
