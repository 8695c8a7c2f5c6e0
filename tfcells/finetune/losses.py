"""What training minimises, in float32: cross-entropy or focal loss of class numbers, with smoothing and families."""

from typing import Any

import keras
import numpy as np
from jaxtyping import Float32
from keras import ops
from sklearn.utils.class_weight import compute_class_weight

from tfcells.arrays import Labels
from tfcells.errors import RequestError
from tfcells.finetune.families import family_mask
from tfcells.finetune.settings import LossSettings

_LEAST = 1e-7  # of 1 - p: below, the gradient of (1 - p)**gamma for gamma < 1 is no number


class ClassLoss(keras.losses.Loss):
    """Cross-entropy, or focal loss, between class numbers and logits, in float32 whatever the network computes in.

    With targets t (the label, smoothed) and p the softmax over the classes that compete, the loss of an image is
    `-sum_j t_j (1 - p_j)**gamma log p_j`: gamma 0 is the cross-entropy, above it the focal loss of Lin et al. 2017
    (arXiv:1708.02002) in Keras' multi-class form. Smoothing spreads its share over the classes that compete (Szegedy
    et al. 2016, arXiv:1512.00567). A family of a single class has nothing to learn and gives 0.

    Args:
        class_names: Of all classes, in the order of the logits.
        gamma: Exponent of the focal loss; 0 for cross-entropy.
        label_smoothing: Share of each label that is spread.
        families: Whether classes named `family/class` compete inside their family alone.
        name: Of the loss.
        reduction: As Keras has it.

    Called with labels (batch,) or (batch, 1), any number type, and logits (batch, classes); sample weights as Keras.
    """

    def __init__(
        self,
        class_names: tuple[str, ...] | list[str],
        *,
        gamma: float = 0.0,
        label_smoothing: float = 0.0,
        families: bool = False,
        name: str = "class_loss",
        reduction: str = "sum_over_batch_size",
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.class_names = tuple(class_names)
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        self.families = families
        count = len(self.class_names)
        self._competing = family_mask(self.class_names) if families else np.ones((count, count), dtype=bool)
        spread = self._competing / self._competing.sum(axis=1, keepdims=True)
        # What an image of a class is taught: one row for each class.
        self._targets = ((1 - label_smoothing) * np.eye(count) + label_smoothing * spread).astype(np.float32)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, float32 (batch,)."""
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        competing = ops.take(ops.convert_to_tensor(self._competing), labels, axis=0)
        targets = ops.take(ops.convert_to_tensor(self._targets), labels, axis=0)
        # A finite stand-in for minus infinity, which would come back from the gradient as no number.
        logs = ops.log_softmax(ops.where(competing, y_pred, -1e9), axis=-1)
        logs = ops.where(competing, logs, 0.0)
        if self.gamma:
            missing = ops.maximum(-ops.expm1(logs), _LEAST)
            logs = logs * ops.power(missing, self.gamma)
        return -ops.sum(targets * logs, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """What the loss was made of, as JSON takes it."""
        return {
            **super().get_config(),
            "class_names": list(self.class_names),
            "gamma": self.gamma,
            "label_smoothing": self.label_smoothing,
            "families": self.families,
        }


def build_loss(settings: LossSettings, class_names: tuple[str, ...]) -> ClassLoss:
    """The loss that is asked for.

    Raises:
        RequestError: If families are asked for and a class names none.
    """
    return ClassLoss(
        class_names,
        gamma=settings.focal_gamma if settings.kind == "focal" else 0.0,
        label_smoothing=settings.label_smoothing,
        families=settings.families,
    )


def balanced_weights(labels: Labels, *, classes: int) -> Float32[np.ndarray, " classes"]:
    """Weights of classes by the inverse of their frequency, as scikit-learn's `balanced`: their mean over rows is 1.

    They are given to training as sample weights, `balanced_weights(labels, classes=n)[labels]`.

    Args:
        labels: Of the training rows alone, each at least 0.
        classes: How many there are; one without a training row gets 0.

    Returns:
        float32 (classes,).

    Raises:
        RequestError: If there is no row or a label is not one of the classes.
    """
    if not labels.size or labels.min() < 0 or labels.max() >= classes:
        came = f"{labels.min()} to {labels.max()}" if labels.size else "none"
        raise RequestError(f"Labels to balance: {came}. Expected one or more, each from 0 to {classes - 1}.")
    present = np.unique(labels)
    weights = np.zeros(classes, dtype=np.float32)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return weights
