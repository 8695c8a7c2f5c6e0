"""PCA of one training set, and the scores of every row on its components, from a Gram matrix.

With K the inner products of the training rows, centred by their own mean, and K = U diag(l) U^T: the scores of
the training rows are U sqrt(l), and a held-out row with inner products k (centred by the same mean) has the
scores k U / sqrt(l). Source: the duality of PCA and classical scaling, Gower (1966), Biometrika 53:325-338; for
new rows, Schoelkopf, Smola & Mueller (1998), Neural Computation 10:1299-1319, with a linear kernel.
"""

from dataclasses import dataclass

import numpy as np

from tfcells.arrays import Float64
from tfcells.probes.gram.columns import Rows
from tfcells.probes.gram.components import Choice, Wanted, largest_signs
from tfcells.probes.gram.eigen import leading_eigenpairs
from tfcells.probes.gram.kernels import centred_products
from tfcells.probes.gram.matrices import Gram

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldPCA:
    """Principal components of one training set; nothing in it depends on held-out rows but their own scores.

    The sign of a component is fixed so that the training row farthest along it has a positive score (the first
    of equals). scikit-learn's rule looks at the loadings, which are not computed here; `GramPCA` follows it.

    Attributes:
        training: int64 of shape (training,): row numbers, in the order they were given.
        scores: float64 of shape (images, components), for every row of the features in their order.
        explained_variance: float64 of shape (axes,), with ddof 1, of all min(training, columns) axes.
        explained_variance_ratio: float64 of shape (axes,): the shares; their cumulated sum is the curve.
    """

    training: Rows
    scores: Float64[np.ndarray, "images components"]
    explained_variance: Float64[np.ndarray, " axes"]
    explained_variance_ratio: Float64[np.ndarray, " axes"]

    @property
    def n_components(self) -> int:
        """Number of components kept."""
        return int(self.scores.shape[1])

    @property
    def training_scores(self) -> Float64[np.ndarray, "training components"]:
        """Scores of the training rows, in their order."""
        return np.asarray(self.scores[self.training])

    @property
    def held_out(self) -> Rows:
        """Rows that are not training rows, ascending."""
        return np.setdiff1d(np.arange(len(self.scores)), self.training)

    @property
    def held_out_scores(self) -> Float64[np.ndarray, "held_out components"]:
        """Scores of the held-out rows, in the order of `held_out`."""
        return np.asarray(self.scores[self.held_out])


def fold_pca(gram: Gram, *, n_components: Wanted = None) -> FoldPCA:
    """PCA of a Gram matrix's training rows.

    Of all components (None) the training scores are the scaled features themselves, turned: every inner product
    and distance between training rows is kept. Whatever reads features through those alone (L2-penalised logistic
    regression, linear and Gaussian support vectors, nearest neighbours, ridge) learns the same from them as from
    the features.

    Of a held-out row, inner products with training rows are kept too. What it has at right angles to all of them
    is not, where columns outnumber training rows: its squared distances to all training rows are smaller by the
    same number. Linear probes and the order of neighbours cannot tell; Gaussian kernels and weights by distance
    can, and read `kernels.rbf_kernel` and `kernels.squared_distances` instead, which keep everything.

    Inner products hold variances as squares: an axis with less than about 1e-7 of the largest standard deviation
    is below their rounding, and left out.

    Args:
        gram: Inner products, and which rows are training rows.
        n_components: A number, a share of the variance between 0 and 1, or None for all.

    Raises:
        RequestError: If the number is out of range, or the training rows are all equal.
    """
    training = gram.training
    # What centring cancels leaves rounding of the size of what was there.
    floor = len(training) * _EPS * float(gram.values[training, training].max())
    choice = Choice(wanted=n_components, images=len(training), width=gram.width, floor=floor)
    products = centred_products(gram, training, training)
    values, vectors = leading_eigenpairs(products, choice.count)
    lengths = np.sqrt(values[: vectors.shape[1]])
    vectors *= largest_signs(vectors)
    scores = np.empty((len(gram.values), len(lengths)))
    scores[training] = vectors * lengths
    held_out = gram.held_out
    scores[held_out] = centred_products(gram, held_out, training) @ (vectors / lengths)
    return described(training, scores, choice.spectrum(values))


def described(
    training: Rows, scores: Float64[np.ndarray, "images components"], spectrum: Float64[np.ndarray, " axes"]
) -> FoldPCA:
    """Scores with the variances that sums of squares along each axis stand for."""
    return FoldPCA(
        training=training,
        scores=scores,
        explained_variance=spectrum / (len(training) - 1),
        explained_variance_ratio=spectrum / spectrum.sum(),
    )
