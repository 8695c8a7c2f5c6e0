"""Support vectors with a Gaussian kernel on standardised features, probabilities by sigmoid calibration."""

from collections.abc import Sequence

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def svm_probe(calibration_folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> CalibratedClassifierCV:
    """RBF-SVM (C = 10, gamma "scale") whose decision values become probabilities by Platt's sigmoids.

    The sigmoids, one per class, are fitted to decision values of held-out rows within the training rows, then
    normalised over classes; the SVM itself is fitted to all of them. `SVC(probability=True)` would do the same
    with folds of its own that part groups, and is deprecated.

    Args:
        calibration_folds: Pairs of row numbers (fitted on, calibrated on) within the training rows.
    """
    machine: Pipeline = make_pipeline(StandardScaler(), SVC(C=10.0, gamma="scale", decision_function_shape="ovr"))
    return CalibratedClassifierCV(machine, method="sigmoid", cv=list(calibration_folds), ensemble=False)
