"""What is asked of a fine-tuning, as frozen values that are checked where they are made. No TensorFlow here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tfcells.errors import RequestError, UnknownNameError

OPTIMISERS: Final = ("adamw", "sgd")
SCHEDULES: Final = ("cosine", "constant")
LOSSES: Final = ("cross_entropy", "focal")
CLASS_WEIGHTS: Final = ("none", "balanced")
SAMPLINGS: Final = ("natural", "balanced")
BATCH_NORMS: Final = ("frozen", "recalibrated", "trained")
PRECISIONS: Final = ("auto", "float32", "mixed_float16", "mixed_bfloat16")
AUGMENTATIONS: Final = ("none", "cells")
MONITORS: Final = (
    "loss",
    "accuracy",
    "balanced_accuracy",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "macro_f1",
)
"""Of the validation rows; the smallest `loss` is best, the largest of the others."""
HEAD: Final = "head"
ALL: Final = "all"
LAST: Final = "last:"


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """What is trained.

    Attributes:
        name: `dense`, `light_cnn`, `cnn`, `resnet18`, `vit`, or a backbone of the catalog.
        weights: Of the backbone, as for `open_backbone`; the named networks know `none` alone, `resnet18` and `vit`
            `none` or a `.weights.h5` file, by its path or by its name where TFCELLS_WEIGHTS_DIR points.
        size: Side of the square input in pixels; the network's own by default.
        pooling: Of a backbone's last map or tokens: `mean`, `max` or `flatten`; `dense`, `light_cnn` and `cnn` have
            their own.
        hidden: Units of a hidden layer in the head; 0 for none.
        dropout: Share dropped before each layer of the head.
    """

    name: str = "mobilenet_v2"
    weights: str = "imagenet"
    size: int | None = None
    pooling: str = "mean"
    hidden: int = 0
    dropout: float = 0.2

    def __post_init__(self) -> None:
        _known("pooling of the head", self.pooling, ("mean", "max", "flatten"))
        _within("network.dropout", self.dropout, 0.0, 1.0, open_end=True)
        _at_least("network.hidden", self.hidden, 0)
        if self.size is not None:
            _at_least("network.size", self.size, 16)


@dataclass(frozen=True, kw_only=True)
class PhaseSettings:
    """One phase of training.

    Attributes:
        epochs: How many, unless training stops early.
        train: `head`; `all`; `last:N`, the head and the last N blocks (layers whose names begin alike, such as
            `block_13` or `conv4_block6`); or the name of a layer: it and everything that its output reaches.
        body_rate, head_rate: Learning rates of the backbone's layers and of the head. A network without a backbone
            learns at `head_rate` throughout. A layer with rate 0 does not learn.
        rates: Other rates for layers of the body: a layer's name to the rate from it on.
        warmup: Epochs over which rates rise from zero; may be a fraction.
        schedule: What follows: `cosine` falls to zero at the end of the phase, `constant` stays.
        optimiser: `adamw` or `sgd` (Nesterov momentum of 0.9).
        weight_decay: Decoupled; not of biases and normalisation.
        clip_norm: Gradients beyond this global norm are scaled down to it; 0 for never.
        accumulate: Batches whose gradients are averaged before a step.
    """

    epochs: int
    train: str = ALL
    body_rate: float = 3e-5
    head_rate: float = 8e-4
    rates: Mapping[str, float] = field(default_factory=dict)
    warmup: float = 0.5
    schedule: str = "cosine"
    optimiser: str = "adamw"
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        _at_least("epochs of a phase", self.epochs, 1)
        _at_least("accumulate", self.accumulate, 1)
        _known("schedule", self.schedule, SCHEDULES)
        _known("optimiser", self.optimiser, OPTIMISERS)
        for name, value in {"body_rate": self.body_rate, "head_rate": self.head_rate, **self.rates}.items():
            _within(f"learning rate {name}", value, 0.0, 10.0)
        _within("warmup", self.warmup, 0.0, float(self.epochs))
        _within("weight_decay", self.weight_decay, 0.0, 1.0)
        _within("clip_norm", self.clip_norm, 0.0, float("inf"))
        if self.train.startswith(LAST) and not (self.train[len(LAST) :].isdigit() and int(self.train[len(LAST) :])):
            raise RequestError(f"train is {self.train!r}. Expected `last:N` with N of 1 or more, such as `last:3`.")


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What is minimised.

    Attributes:
        kind: `cross_entropy`, or `focal` (Lin et al. 2017, arXiv:1708.02002).
        label_smoothing: Share of each label that is spread over all classes.
        focal_gamma: Exponent of the focal loss.
        class_weights: `balanced` weighs each class by the inverse of its frequency, with mean 1 over rows.
        sampling: `balanced` draws each class as often as the others.
        families: Whether classes named `family/class` compete inside their family alone, so that what tells families
            apart (a laboratory, a stain) is not asked for.
    """

    kind: str = "cross_entropy"
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    class_weights: str = "none"
    sampling: str = "natural"
    families: bool = False

    def __post_init__(self) -> None:
        _known("loss", self.kind, LOSSES)
        _known("class_weights", self.class_weights, CLASS_WEIGHTS)
        _known("sampling", self.sampling, SAMPLINGS)
        _within("label_smoothing", self.label_smoothing, 0.0, 1.0, open_end=True)
        _within("focal_gamma", self.focal_gamma, 0.0, 10.0)
        if self.class_weights == "balanced" and self.sampling == "balanced":
            raise RequestError("class_weights and sampling are both `balanced`, which corrects twice. Expected one.")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How it is trained.

    Attributes:
        batch_size: Pictures in a batch.
        precision: `float32`, `mixed_float16`, `mixed_bfloat16`; `auto` takes float16 on a GPU, bfloat16 on a processor
            that computes in it, else float32.
        batch_norm: `frozen` leaves the moving statistics of the body untouched, bit by bit, and its scale and shift;
            `recalibrated` measures the statistics anew on training pictures before the first phase and then freezes
            them; `trained` lets all of it learn in layers that are trained.
        augmentation: `none`, or `cells`: what does not change a cell's class.
        monitor: What early stopping and the best weights go by; see `MONITORS`.
        patience: Epochs without a better value before a phase stops; 0 never stops.
    """

    batch_size: int = 32
    precision: str = "auto"
    batch_norm: str = "frozen"
    augmentation: str = "cells"
    monitor: str = "loss"
    patience: int = 5

    def __post_init__(self) -> None:
        _at_least("batch_size", self.batch_size, 1)
        _at_least("patience", self.patience, 0)
        _known("precision", self.precision, PRECISIONS)
        _known("batch_norm policy", self.batch_norm, BATCH_NORMS)
        _known("augmentation", self.augmentation, AUGMENTATIONS)
        _known("metric to monitor", self.monitor, MONITORS)


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """A fine-tuning: the network, its phases in order, the loss, and how it is trained."""

    network: NetworkSettings = field(default_factory=NetworkSettings)
    phases: tuple[PhaseSettings, ...] = field(
        default_factory=lambda: (PhaseSettings(epochs=3, train=HEAD), PhaseSettings(epochs=12))
    )
    loss: LossSettings = field(default_factory=LossSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        if not self.phases:
            raise RequestError(
                "A fine-tuning without a phase. Expected one or more, such as `{epochs: 3, train: head}`."
            )


def _known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UnknownNameError(what, name, known)


def _at_least(what: str, value: int, least: int) -> None:
    if value < least:
        raise RequestError(f"{what} is {value}. Expected {least} or more.")


def _within(what: str, value: float, low: float, high: float, *, open_end: bool = False) -> None:
    if not low <= value <= high or (open_end and value == high):
        raise RequestError(f"{what} is {value:g}. Expected {low:g} to {'below ' if open_end else ''}{high:g}.")
