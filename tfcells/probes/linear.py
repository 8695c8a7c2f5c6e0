"""Multinomial logistic regression on standardised features."""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def logistic_probe() -> Pipeline:
    """L2-penalised, scikit-learn's own strength (C = 1), fitted by L-BFGS; deterministic."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))
