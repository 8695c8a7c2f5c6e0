import numpy as np
import pytest

from tfcells.probes.crossval import SweepRows, out_of_fold
from tfcells.probes.probabilities import probabilities_json


@pytest.fixture(scope="module")
def told():
    """Probabilities of 240 rows of 3 classes that know a little, and what is said of them."""
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.arange(240) % 3)
    scores = np.exp(generator.normal(size=(240, 3)) + 1.5 * np.eye(3)[labels])
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    rows = SweepRows(labels=labels, groups=np.arange(240) // 2, folds=np.arange(240) % 5, classes=3, seed=0)
    return probabilities, labels, probabilities_json(out_of_fold(probabilities, labels), rows, ("a", "b", "c"), seed=0)


def test_a_threshold_curve_is_what_counting_gives(told):
    probabilities, labels, facts = told
    for index, entry in enumerate(facts["auc"]["classes"]):
        curve = entry["thresholds"]
        assert len(curve["threshold"]) > 40
        for place, threshold in enumerate(curve["threshold"]):
            called, own = probabilities[:, index] >= threshold, labels == index
            assert curve["sensitivity"][place] == pytest.approx(called[own].mean())
            assert curve["specificity"][place] == pytest.approx((~called[~own]).mean())
            assert curve["positive_predictive_value"][place] == pytest.approx(own[called].mean())
            assert curve["f1"][place] == pytest.approx(2 * (called & own).sum() / (called.sum() + own.sum()))


def test_thresholds_are_spread_over_the_probabilities_that_occur(told):
    probabilities, _, facts = told
    for index, entry in enumerate(facts["auc"]["classes"]):
        thresholds = np.array(entry["thresholds"]["threshold"])
        assert (np.diff(thresholds) > 0).all()
        assert thresholds[-1] == pytest.approx(probabilities[:, index].max())
        assert np.diff(thresholds).max() < 0.1
