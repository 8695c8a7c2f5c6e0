"""Ridge regression at many penalties from one decomposition, with an intercept that is not penalised.

On principal scores T = U sqrt(l) the normal equations are diagonal: coefficients are T^T y / (l + alpha), y
centred. Source: Hoerl & Kennard (1970), Technometrics 12:55-67; in inner products alone this is kernel ridge,
Saunders, Gammerman & Vovk (1998).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcells.arrays import Float64, Labels
from tfcells.errors import RequestError
from tfcells.probes.gram.pca import FoldPCA


@dataclass(frozen=True, kw_only=True, eq=False)
class RidgePath:
    """Ridge regressions on the scores of a reduction, one for each penalty.

    Attributes:
        alphas: float64 of shape (alphas,): penalties.
        coefficients: float64 of shape (alphas, components, targets).
        intercept: float64 of shape (targets,), the same for every penalty.
    """

    alphas: Float64[np.ndarray, " alphas"]
    coefficients: Float64[np.ndarray, "alphas components targets"]
    intercept: Float64[np.ndarray, " targets"]

    def predict(self, scores: Float64[np.ndarray, "rows components"]) -> Float64[np.ndarray, "alphas rows targets"]:
        """What each regression says of rows, given by their scores; float64 of shape (alphas, rows, targets)."""
        return np.asarray(scores @ self.coefficients + self.intercept)


def ridge_path(pca: FoldPCA, targets: Float64[np.ndarray, "training targets"], *, alphas: Sequence[float]) -> RidgePath:
    """Fit ridge regressions on the training scores.

    Of all components they equal scikit-learn's `Ridge(alpha)` on the scaled features, and with `class_targets`
    its `RidgeClassifier`; of fewer, the same on the scores.

    Args:
        pca: A reduction.
        targets: For the training rows, in their order.
        alphas: Penalties, 0 or more.

    Raises:
        RequestError: If there are not as many targets as training rows, or a penalty is negative.
    """
    penalties = np.array(alphas, dtype=np.float64)
    if len(targets) != len(pca.training):
        raise RequestError(f"{len(targets)} targets came for {len(pca.training)} training rows. Expected one for each.")
    if penalties.ndim != 1 or len(penalties) == 0 or not (penalties >= 0).all():
        raise RequestError(f"Penalties {list(alphas)} came. Expected one or more numbers from 0.")
    intercept = targets.mean(axis=0)
    squares = pca.explained_variance[: pca.n_components] * (len(pca.training) - 1)
    along = pca.training_scores.T @ (targets - intercept)
    return RidgePath(
        alphas=penalties, coefficients=along / (squares + penalties[:, None])[:, :, None], intercept=intercept
    )


def class_targets(labels: Labels, *, classes: int) -> Float64[np.ndarray, "images classes"]:
    """One column per class: 1 for its images, -1 for the others, as scikit-learn's `RidgeClassifier` has them.

    Of two classes scikit-learn keeps the second column only; the first is its negative.

    Raises:
        RequestError: If a label is not in `[0, classes)`.
    """
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise RequestError(
            f"Labels from {labels.min()} to {labels.max()} came. Expected class indices in [0, {classes}); leave "
            "unlabelled rows (-1) out."
        )
    return np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
