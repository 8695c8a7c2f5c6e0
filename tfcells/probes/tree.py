"""A decision tree, the weakest reader: what it finds lies in single features."""

from sklearn.tree import DecisionTreeClassifier


def tree_probe(seed: int) -> DecisionTreeClassifier:
    """Gini impurity, at least 5 images per leaf; no scaling, which thresholds do not need.

    Args:
        seed: Decides between splits that are equally good.
    """
    return DecisionTreeClassifier(min_samples_leaf=5, random_state=seed)
