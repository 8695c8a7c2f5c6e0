"""`GramPCA`: exact PCA of wide features in bounded memory, where scikit-learn's `PCA` stood."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.linalg.blas import dsyrk
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from tfcells.arrays import Features, Float64
from tfcells.probes.gram.columns import ArrayColumns, ColumnSource, as_columns, read_block
from tfcells.probes.gram.components import Choice, check_wanted, largest_signs
from tfcells.probes.gram.eigen import leading_eigenpairs
from tfcells.probes.gram.kernels import centred_products
from tfcells.probes.gram.matrices import gram_matrices
from tfcells.probes.gram.plan import DEFAULT_MEMORY

_EPS = float(np.finfo(np.float64).eps)
_WIDEST = 4096
_READ_AS_THEY_ARE = [np.float64, np.float32, np.float16]

_Scores = Float64[np.ndarray, "rows components"]
_Rows = Float64[np.ndarray, "rows features"]


class GramPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Principal component analysis by the smaller of the two matrices of inner products, in float64.

    The same components, signs included, as `PCA(n_components, svd_solver="full")` fitted in float64; float32 and
    float16 features, in memory or mapped from a file, are read in blocks and never copied as a whole. Integers are
    copied once, by scikit-learn's validation.

    What differs from `PCA`: axes whose variance rounding cannot tell from 0 (standard deviation below about 1e-7
    of the largest) are left out even where a number of components asks for them; rows that are all equal raise
    an error; and answers are float64 whatever came, as scores in float32 would depend on the order of sums in
    their second digit.

    Args:
        n_components: A number of components, a share of the variance between 0 and 1, or None for all.
        memory: Bytes of private memory for blocks and inner products. The components, 8 bytes for each of
            (components, features), and one decomposition come on top.

    Attributes:
        components_: float64 of shape (components, features), orthonormal rows.
        explained_variance_: float64 of shape (components,), with ddof 1.
        explained_variance_ratio_: float64 of shape (components,).
        singular_values_: float64 of shape (components,), of the centred features.
        mean_: float64 of shape (features,).
        n_components_: Number of components.
        n_samples_: Number of rows it was fitted on.
        n_features_in_: Number of features.
        feature_names_in_: Their names, where they came with names.
        noise_variance_: Mean variance along the axes left out.
    """

    def __init__(self, n_components: Any = 0.8, *, memory: Any = DEFAULT_MEMORY) -> None:
        self.n_components = n_components
        self.memory = memory

    def fit(self, X: Any, y: Any = None) -> "GramPCA":
        """Fit on real numbers of shape (rows, features).

        Raises:
            ValueError: If there are fewer than 2 rows, a number is not finite, rows are all equal,
                `n_components` is out of range, or `memory` is too small; the errors are `RequestError` but where
                scikit-learn's validation speaks.
        """
        self._fit(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> _Scores:
        """Fit, and return the scores of these rows, float64 of shape (rows, components)."""
        checked, scores = self._fit(X)
        return self._scores(checked) if scores is None else scores

    def fit_columns(self, features: Any) -> _Scores:
        """Fit on features that are read column block by column block, and return their scores.

        What `fit_transform` does on the whole matrix, which is held only where it has more rows than columns: it is
        then less than the matrix of inner products that would replace it.

        Args:
            features: Real numbers of shape (rows, features): a `ColumnSource`, an array or a map.

        Returns:
            float64 of shape (rows, components).

        Raises:
            RequestError: If there are fewer than 2 rows, a number is not finite, rows are all equal, `n_components`
                is out of range, or `memory` is too small.
        """
        source = as_columns(features)
        rows, width = source.shape
        if rows > width:
            return self.fit_transform(read_block(source, 0, width))
        check_wanted(self.n_components)
        self.n_features_in_ = width
        return self._by_products(source)

    def transform(self, X: Any) -> _Scores:
        """Scores of rows, float64 of shape (rows, components).

        Raises:
            ValueError: If the features are not those it was fitted on.
            NotFittedError: If it was not fitted.
        """
        check_is_fitted(self)
        return self._scores(validate_data(self, X, dtype=_READ_AS_THEY_ARE, reset=False))

    def inverse_transform(self, X: Any) -> _Rows:
        """Rows that have these scores, float64 of shape (rows, features).

        Raises:
            NotFittedError: If it was not fitted.
        """
        check_is_fitted(self)
        scores = check_array(X, input_name="X", dtype=np.float64)
        back: np.ndarray = scores @ self.components_
        back += self.mean_
        return back

    @property
    def _n_features_out(self) -> int:
        return int(self.n_components_)

    def _fit(self, X: Any) -> tuple[Features, _Scores | None]:
        """Fit; returns the validated rows, and their scores where they came for free."""
        checked: np.ndarray = validate_data(self, X, dtype=_READ_AS_THEY_ARE, ensure_min_samples=2)
        check_wanted(self.n_components)
        rows, width = checked.shape
        if rows <= width:
            return checked, self._by_products(ArrayColumns(checked))
        self.mean_ = checked.mean(axis=0, dtype=np.float64)
        choice, values, vectors = self._of_covariance(checked)
        self.components_ = np.ascontiguousarray(vectors.T)
        self._turn()
        self._describe(choice.spectrum(values), rows)
        return checked, None

    def _by_products(self, source: ColumnSource) -> _Scores:
        """Fit by the inner products of rows; returns the scores, which come for free."""
        choice, values, vectors = self._of_products(source)
        self.mean_, self.components_ = self._loadings(source, vectors / np.sqrt(values[: vectors.shape[1]]))
        signs = self._turn()
        self._describe(choice.spectrum(values), len(vectors))
        vectors *= signs * self.singular_values_
        return vectors

    def _of_products(self, source: ColumnSource) -> tuple[Choice, np.ndarray, np.ndarray]:
        """Eigenvalues and eigenvectors, as columns, of the centred inner products of rows."""
        rows, width = source.shape
        choice, every = Choice(wanted=self.n_components, images=rows, width=width), np.arange(rows)
        gram = next(gram_matrices(source, [every], scaler="none", memory=self.memory))
        choice = replace(choice, floor=rows * _EPS * float(np.diagonal(gram.values).max()))
        products = centred_products(gram, every, every)
        del gram
        return choice, *leading_eigenpairs(products, choice.count)

    def _of_covariance(self, X: Features) -> tuple[Choice, np.ndarray, np.ndarray]:
        """Eigenvalues and eigenvectors, as columns, of the sums of squares and products of features."""
        width = X.shape[1]
        # scikit-learn's bound on what rounding the mean of a constant leaves.
        rounding = len(X) * _EPS * float(np.abs(self.mean_).max())
        choice = Choice(wanted=self.n_components, images=len(X), width=width, floor=len(X) * rounding**2)
        products = np.zeros((width, width), order="F")
        for rows in self._row_blocks(X):
            dsyrk(1.0, self._centred(X[rows]).T, beta=1.0, c=products, lower=1, overwrite_c=1)
        products += np.tril(products, -1).T
        return choice, *leading_eigenpairs(products, choice.count)

    def _loadings(
        self, source: ColumnSource, vectors: _Scores
    ) -> tuple[Float64[np.ndarray, " features"], Float64[np.ndarray, "components features"]]:
        """Means of the features, and components as rows: inner products of eigenvectors with each feature."""
        rows, width = source.shape
        step = int(np.clip(self.memory // (4 * 8 * rows), 1, _WIDEST))
        means, components = np.empty(width), np.empty((vectors.shape[1], width))
        for start in range(0, width, step):
            columns = slice(start, min(start + step, width))
            part = read_block(source, columns.start, columns.stop)
            means[columns] = part.mean(axis=0)
            part -= means[columns]
            np.matmul(vectors.T, part, out=components[:, columns])
        return means, components

    def _turn(self) -> Float64[np.ndarray, " components"]:
        """Make the loading of largest size positive on each component, as scikit-learn does; returns the signs."""
        signs = np.concatenate([largest_signs(row[:, None]) for row in self.components_])
        self.components_ *= signs[:, None]
        return signs

    def _describe(self, spectrum: Float64[np.ndarray, " axes"], rows: int) -> None:
        kept = len(self.components_)
        self.n_components_, self.n_samples_ = kept, rows
        self.explained_variance_ = spectrum[:kept] / (rows - 1)
        self.explained_variance_ratio_ = spectrum[:kept] / spectrum.sum()
        self.singular_values_ = np.sqrt(spectrum[:kept])
        self.noise_variance_ = float(spectrum[kept:].mean() / (rows - 1)) if kept < len(spectrum) else 0.0

    def _scores(self, X: Features) -> _Scores:
        scores = np.empty((len(X), len(self.components_)))
        for rows in self._row_blocks(X):
            np.matmul(self._centred(X[rows]), self.components_.T, out=scores[rows])
        return scores

    def _centred(self, X: Features) -> _Rows:
        part = X.astype(np.float64)
        part -= self.mean_
        return part

    def _row_blocks(self, X: Features) -> Iterator[slice]:
        step = max(1, self.memory // (4 * 8 * X.shape[1]))
        return (slice(start, start + step) for start in range(0, len(X), step))
