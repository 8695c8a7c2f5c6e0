"""The probes by name; a new one is a function in a file beside this and a row here.

A probe is a scikit-learn pipeline: scaler, reduction, estimator. Everything it learns, scaling included, is inside
it. What its answers are worth as probabilities is learned beside it, from held-out groups within the training rows:
see `tfcells.probes.calibration`. `fit_probe` is the same on features in memory, for whoever asks for classes alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from threadpoolctl import threadpool_limits

from tfcells.arrays import Features, Groups, Labels
from tfcells.errors import RequestError, UnknownNameError
from tfcells.images.splits import assign_parts
from tfcells.probes.gram import GramPCA
from tfcells.probes.kernel import linear_support_vectors, support_vectors
from tfcells.probes.linear import logistic, ridge
from tfcells.probes.neighbors import nearest_neighbors
from tfcells.probes.tree import forest, tree

Parameters = Mapping[str, Any]
"""Hyper-parameters of an estimator by scikit-learn's names."""

INNER_FOLDS: Final = 3
"""Parts of the training rows over which parameters are chosen and probabilities are calibrated."""

THREADS: Final = 1
"""Of BLAS, in each process: folds run side by side, and problems of this size lose more to threads that wait for one
another than they gain."""


@dataclass(frozen=True)
class Training:
    """What a probe's construction may depend on: training rows only.

    Attributes:
        labels: int64 of shape (images,).
        groups: int64 of shape (images,).
        seed: For whatever is drawn.
    """

    labels: Labels
    groups: Groups
    seed: int

    def folds(self, count: int = INNER_FOLDS) -> list[tuple[np.ndarray, np.ndarray]]:
        """Group-safe, stratified folds within the training rows, as (rows that learn, rows that are asked).

        Fewer than `count` come back where there are fewer groups.
        """
        order = np.argsort(self.groups, kind="stable")  # groups are dealt as they come: rows in any order, one deal
        part = np.empty_like(self.groups)
        part[order] = assign_parts(self.labels[order], self.groups[order], shares=[1 / count] * count, seed=self.seed)
        return [(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in np.unique(part)]

    def calibration_folds(self, kind: str = "svm", count: int = INNER_FOLDS) -> list[tuple[np.ndarray, np.ndarray]]:
        """`folds`, after a look whether every class is learned in each.

        Raises:
            RequestError: If a class lies in one group, so that no fold could be calibrated without it.
        """
        folds = self.folds(count)
        for learning, _ in folds:
            lost = np.setdiff1d(self.labels, self.labels[learning])
            if len(lost):
                raise RequestError(
                    f"Class {int(lost[0])} of those in use has too few groups for {kind}, which is calibrated on "
                    "groups that it did not learn from. Expected 2 or more in the training rows of every fold; choose "
                    f"more folds, or leave {kind} out."
                )
        return folds


@dataclass(frozen=True, kw_only=True)
class ProbeKind:
    """A row of the catalog.

    Attributes:
        build: Makes the unfitted estimator.
        grid: Parameters and the values among which the inner folds choose; the first of equals is taken, so that
            the more cautious value comes first.
        default: Parameters where nothing is chosen.
        decides: Whether it answers with decision values, not with probabilities of its own.
        scaled: Whether it is fitted on scaled features; thresholds on single features do not see a scale.
        turnable: Whether it reads features through inner products alone, so that a rotation changes nothing.
        linear: Whether what it has learned is a number for each feature and class, or pair of classes.
    """

    build: Callable[[Training, Parameters], Any]
    grid: Mapping[str, tuple[Any, ...]]
    default: Parameters
    decides: bool = False
    scaled: bool = True
    turnable: bool = True
    linear: bool = False


PROBES: Final[Mapping[str, ProbeKind]] = {
    "logistic": ProbeKind(
        build=lambda training, chosen: logistic(**chosen),
        grid={"C": (0.01, 0.1, 1.0)},
        default={"C": 1.0},
        linear=True,
    ),
    "ridge": ProbeKind(
        build=lambda training, chosen: ridge(**chosen),
        grid={"alpha": (10000.0, 1000.0, 100.0, 10.0, 1.0)},
        default={"alpha": 100.0},
        decides=True,
        linear=True,
    ),
    "linear_svm": ProbeKind(
        build=lambda training, chosen: linear_support_vectors(**chosen),
        grid={"C": (0.001, 0.01, 0.1)},
        default={"C": 0.01},
        decides=True,
        linear=True,
    ),
    "svm": ProbeKind(
        build=lambda training, chosen: support_vectors(**chosen),
        grid={"C": (1.0, 10.0), "gamma": ("scale",)},
        default={"C": 10.0, "gamma": "scale"},
        decides=True,
    ),
    "knn": ProbeKind(
        build=lambda training, chosen: nearest_neighbors(len(training.labels), **chosen),
        grid={"neighbors": (21, 11, 5)},
        default={"neighbors": 11},
    ),
    "tree": ProbeKind(
        build=lambda training, chosen: tree(training.seed, **chosen),
        grid={"min_samples_leaf": (15, 5)},
        default={"min_samples_leaf": 5},
        scaled=False,
        turnable=False,
    ),
    "forest": ProbeKind(
        build=lambda training, chosen: forest(training.seed, **chosen),
        grid={"min_samples_leaf": (3, 1)},
        default={"min_samples_leaf": 1},
        scaled=False,
        turnable=False,
    ),
}

DEFAULT_PROBES: Final = ("logistic", "knn", "svm", "tree")

SCALERS: Final[Mapping[str, Callable[[], Any] | None]] = {
    "none": None,
    "minmax": MinMaxScaler,
    "standard": StandardScaler,
}


def check_probes(names: Sequence[str]) -> None:
    """Raise `UnknownNameError` for the first name that is no probe, `RequestError` if there is none."""
    if not names:
        raise RequestError(f"No probe was named. Expected one or more of: {', '.join(PROBES)}.")
    for name in names:
        if name not in PROBES:
            raise UnknownNameError("probe", name, PROBES)


def usual_scaler(kind: str) -> str:
    """`standard`, or `none` for probes that do not see a scale."""
    return "standard" if PROBES[kind].scaled else "none"


def fit_probe(
    kind: str,
    vectors: Features,
    labels: Labels,
    groups: Groups,
    *,
    scaler: str | None = None,
    components: float | int | None = None,
    parameters: Parameters | None = None,
    inner_folds: int = INNER_FOLDS,
    seed: int = 0,
) -> Any:
    """Fit one probe on features in memory.

    Probabilities of probes that decide are calibrated, as their predicted class depends on it; those of the others
    are as the estimator gives them.

    Args:
        kind: Name in `PROBES`.
        vectors: float of shape (images, features); computed with in float64.
        labels: int64 of shape (images,).
        groups: int64 of shape (images,): rows of one group are never parted inside the probe.
        scaler: Name in `SCALERS`; `usual_scaler` by default.
        components: Principal components between scaler and estimator: a number, a share of the variance, or none.
        parameters: Of the estimator; its defaults where they are missing.
        inner_folds: For the calibration of probes that answer with decision values.
        seed: For whatever is drawn.

    Returns:
        A fitted scikit-learn classifier with `predict_proba`.

    Raises:
        UnknownNameError: If there is no such probe or scaler.
        RequestError: If a class has too few groups to be calibrated, or there are fewer components than asked for.
    """
    check_probes((kind,))
    training = Training(labels, groups, seed)
    probe = pipeline_of(kind, training, scaler=scaler, components=components, parameters=parameters)
    if PROBES[kind].decides:
        folds = training.calibration_folds(kind, inner_folds)
        probe = CalibratedClassifierCV(probe, method="sigmoid", cv=folds, ensemble=False)
    with threadpool_limits(THREADS):
        return probe.fit(vectors.astype(np.float64), labels)


def pipeline_of(
    kind: str,
    training: Training,
    *,
    scaler: str | None = None,
    components: float | int | None = None,
    parameters: Parameters | None = None,
) -> Pipeline:
    """An unfitted probe without calibration; arguments and errors as in `fit_probe`."""
    name = usual_scaler(kind) if scaler is None else scaler
    if name not in SCALERS:
        raise UnknownNameError("scaler", name, SCALERS)
    make_scaler = SCALERS[name]
    steps = [] if make_scaler is None else [make_scaler()]
    if components is not None:
        steps.append(GramPCA(n_components=components))
    return make_pipeline(*steps, PROBES[kind].build(training, {**PROBES[kind].default, **(parameters or {})}))


def class_probabilities(probe: Any, vectors: Features, *, classes: int) -> np.ndarray:
    """Probabilities for all classes, float64 of shape (images, classes); zero for classes a probe never saw."""
    with threadpool_limits(THREADS):
        given = probe.predict_proba(vectors.astype(np.float64))
    full = np.zeros((len(vectors), classes))
    full[:, probe.classes_] = given
    return full
