"""PCA of every training set of a cross-validation, by whichever matrix is the smaller."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from tfcells.probes.gram.columns import Rows, as_columns, checked_rows
from tfcells.probes.gram.components import Wanted, check_wanted
from tfcells.probes.gram.covariance import covariance_pcas
from tfcells.probes.gram.matrices import gram_matrices
from tfcells.probes.gram.pca import FoldPCA, fold_pca
from tfcells.probes.gram.plan import DEFAULT_MEMORY
from tfcells.progress import Progress, silent


def fold_pcas(
    features: Any,
    training_sets: Sequence[Rows],
    *,
    n_components: Wanted = None,
    scaler: str = "none",
    memory: int = DEFAULT_MEMORY,
    progress: Progress = silent,
) -> Iterator[FoldPCA]:
    """PCA of each training set: scaling, centring and components learned from its rows alone.

    Equal to scikit-learn's `make_pipeline(scaler, PCA(n_components, svd_solver="full"))` fitted in float64 on the
    training rows and asked for all rows, up to the signs of components, and without axes on which no training row
    varies.

    Args:
        features: Real numbers of shape (images, columns): an array, a map, or a `ColumnSource`.
        training_sets: Row numbers of each set, two or more, none twice.
        n_components: A number, a share of the variance between 0 and 1, or None for all.
        scaler: `none`, `minmax` or `standard`.
        memory: Bytes for what `plan_grams` plans, or for the features where images outnumber them. One
            decomposition comes on top: about four matrices of the training rows squared.
        progress: Told of column blocks, or of training sets where there is one block.

    Returns:
        An iterator of reductions in the order of the sets.

    Raises:
        UnknownNameError: If there is no such scaler.
        RequestError: If rows do not fit the features, features are not finite or do not vary in a training set,
            a number is out of range, or memory is too small.
    """
    source = as_columns(features)
    images, width = source.shape
    check_wanted(n_components)
    if images <= width:
        grams = gram_matrices(source, training_sets, scaler=scaler, memory=memory, progress=progress)
        # Unlike a loop, map keeps no matrix while the next is made.
        return map(partial(fold_pca, n_components=n_components), grams)
    sets = [checked_rows(rows, images) for rows in training_sets]
    return covariance_pcas(source, sets, n_components=n_components, scaler=scaler, memory=memory, progress=progress)
