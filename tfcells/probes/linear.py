"""Linear readers: what a hyperplane per class can see."""

from sklearn.linear_model import LogisticRegression, RidgeClassifier


def logistic(C: float = 1.0) -> LogisticRegression:
    """Multinomial logistic regression, L2-penalised, fitted by L-BFGS; deterministic.

    Args:
        C: Inverse of the penalty's strength.
    """
    return LogisticRegression(C=C, max_iter=2000)


def ridge(alpha: float = 1.0) -> RidgeClassifier:
    """Least squares on class indicators of 1 and -1, L2-penalised; answers with decision values.

    Args:
        alpha: Strength of the penalty.
    """
    return RidgeClassifier(alpha=alpha)
