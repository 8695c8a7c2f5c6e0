"""Support vectors: one machine per pair of classes; they answer with decision values, one column per class."""

from typing import Final

from sklearn.svm import SVC

TOLERANCE: Final = 1e-6
"""Where the solver stops. At scikit-learn's 1e-3 the answer hangs on the rounding of the kernel, however small: votes
between pairs of classes flip, and a machine fitted on turned features is another than the one that is exported."""


def support_vectors(C: float = 10.0, gamma: str | float = "scale") -> SVC:
    """With a Gaussian kernel.

    Args:
        C: Price of a training row on the wrong side.
        gamma: Width of the kernel: `scale`, `auto` or a number, as scikit-learn means them.
    """
    return SVC(C=C, gamma=gamma, tol=TOLERANCE, decision_function_shape="ovr")


def linear_support_vectors(C: float = 0.01) -> SVC:
    """With a linear kernel.

    Args:
        C: Price of a training row on the wrong side.
    """
    return SVC(C=C, kernel="linear", tol=TOLERANCE, decision_function_shape="ovr")
