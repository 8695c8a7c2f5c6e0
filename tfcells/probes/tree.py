"""Trees: what they find lies in single features. They need no scaling, which thresholds do not see."""

from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

TREES = 100


def tree(seed: int, min_samples_leaf: int = 5) -> DecisionTreeClassifier:
    """One decision tree by Gini impurity, the weakest reader.

    Args:
        seed: Decides between splits that are equally good.
        min_samples_leaf: Images that every leaf holds at least.
    """
    return DecisionTreeClassifier(min_samples_leaf=min_samples_leaf, random_state=seed)


def forest(seed: int, min_samples_leaf: int = 1) -> RandomForestClassifier:
    """A random forest (Breiman 2001): 100 trees on resampled images, each split among sqrt(features) features.

    Args:
        seed: Of the resampling and of the features that are offered.
        min_samples_leaf: Images that every leaf holds at least.
    """
    return RandomForestClassifier(TREES, min_samples_leaf=min_samples_leaf, random_state=seed)
