"""One probe fitted on features of any width, which are streamed column block by column block.

Behind a reduction the estimator is fitted on scores. Without one it is fitted on the scaled features where they fit
into the memory; where they do not, a linear probe is fitted on the axes in which the training rows lie, of which there
are fewer than rows, and its coefficients are mapped back to columns by one more pass. The others cannot be (see
`tfcells.probes.memory`).
"""

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from tfcells.arrays import Float64
from tfcells.probes.catalog import PROBES, Parameters, Training
from tfcells.probes.gram import GramPCA, fold_pca, gram_matrices
from tfcells.probes.gram.columns import ColumnSource
from tfcells.probes.linear import PairedHyperplanes
from tfcells.probes.memory import check_held
from tfcells.probes.reading import NO_REDUCTION, Reading, components_of
from tfcells.probes.scaled import ScaledColumns, column_blocks, fit_scaler

_NUMBER = 8  # bytes of a float64


def fit_streamed(
    source: ColumnSource, training: Training, reading: Reading, parameters: Parameters, *, memory: int
) -> Pipeline:
    """Fit a reading on all rows of a source, without calibration.

    Args:
        source: Features of the training rows.
        training: Their labels and groups.
        reading: Layers, scaler, reduction, probe.
        parameters: Of the probe.
        memory: Bytes for features or matrices. What the probe keeps comes on top: components, support vectors.

    Returns:
        Scaler, reduction and estimator, each as scikit-learn would have fitted it on the whole matrix.

    Raises:
        RequestError: If the probe would have to hold features that do not fit, or there are fewer components than
            asked for.
    """
    images, width = source.shape
    check_held(reading, images=images, width=width, memory=memory)
    scaler = fit_scaler(reading.scaler, source, memory=memory)
    steps, columns = [] if scaler is None else [scaler], ScaledColumns(source, scaler)
    model = PROBES[reading.probe].build(training, {**PROBES[reading.probe].default, **parameters})
    if reading.reduction != NO_REDUCTION:
        reduction = GramPCA(n_components=components_of(reading.reduction), memory=memory)
        steps, model = [*steps, reduction], model.fit(reduction.fit_columns(columns), training.labels)
    elif width <= images or _NUMBER * images * width <= memory or not PROBES[reading.probe].linear:
        model = model.fit(columns.whole(memory=memory), training.labels)
    else:
        model = _fitted_on_axes(model, source, columns, training, reading.scaler, memory)
    return make_pipeline(*steps, model)


def _fitted_on_axes(
    model: Any, source: ColumnSource, columns: ScaledColumns, training: Training, scaler: str, memory: int
) -> Any:
    """A linear probe of scaled columns, fitted on the axes in which the rows lie."""
    every = np.arange(source.shape[0])
    pca = fold_pca(next(gram_matrices(source, [every], scaler=scaler, memory=memory)))
    model.fit(pca.scores, training.labels)
    squares = pca.explained_variance[: pca.n_components] * (len(every) - 1)
    # An axis is the rows' scores on it times the centred rows, over the sum of their squares.
    weights = (np.atleast_2d(model.coef_) / squares) @ pca.scores.T
    coefficients, offset = _mapped_back(weights, columns, memory)
    if hasattr(model, "support_vectors_"):
        return PairedHyperplanes(coefficients, model.intercept_ - offset, model.classes_)
    model.n_features_in_ = source.shape[1]
    model.coef_ = coefficients.reshape(*model.coef_.shape[:-1], source.shape[1])
    model.intercept_ = model.intercept_ - offset.reshape(np.shape(model.intercept_))
    return model


def _mapped_back(
    weights: Float64[np.ndarray, "planes images"], columns: ScaledColumns, memory: int
) -> tuple[Float64[np.ndarray, "planes width"], Float64[np.ndarray, " planes"]]:
    """Weights of centred rows as coefficients of columns, and what these say of the rows' mean."""
    found, offset = np.empty((len(weights), columns.shape[1])), np.zeros(len(weights))
    for block in column_blocks(columns.shape, memory=memory):
        part = columns.columns(block.start, block.stop)
        mean = part.mean(axis=0)
        part -= mean
        found[:, block] = weights @ part
        offset += found[:, block] @ mean
    return found, offset
