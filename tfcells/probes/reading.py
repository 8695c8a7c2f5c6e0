"""How features can be read: layers, scaling, reduction, probe; and the parameters that inner folds choose among."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from tfcells.errors import RequestError, UnknownNameError
from tfcells.probes.catalog import DEFAULT_PROBES, INNER_FOLDS, PROBES, SCALERS, Parameters, check_probes, usual_scaler

NO_REDUCTION: Final = "none"
_PCA: Final = "pca:"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to read features, its parameters left open.

    Attributes:
        taps: Keys of the features, in column order.
        scaler: Name in `SCALERS`.
        reduction: `none`, `pca:0.8` (a share of the variance) or `pca:50` (a number of components).
        probe: Name of the probe.
    """

    taps: tuple[str, ...]
    scaler: str
    reduction: str
    probe: str

    @property
    def title(self) -> str:
        """What a person calls it."""
        steps = [] if self.scaler in ("standard", "none") else [self.scaler]
        steps += [] if self.reduction == NO_REDUCTION else [reduction_title(self.reduction)]
        return ", ".join([" + ".join(self.taps), *steps, self.probe])


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a sweep tries: every probe on every scaling and reduction, with every combination of its parameters.

    Attributes:
        probes: Names of probes.
        scalers: Names of scalers; probes that do not see a scale are fitted once, unscaled.
        reductions: See `Reading`.
        grids: By probe, values of its parameters; the catalog's where a probe or a parameter is missing.
        inner_folds: Folds within each training set over which parameters and readings are chosen; 0 takes every
            probe at its default parameters and chooses none.
    """

    probes: tuple[str, ...] = DEFAULT_PROBES
    scalers: tuple[str, ...] = ("standard",)
    reductions: tuple[str, ...] = (NO_REDUCTION,)
    grids: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    inner_folds: int = INNER_FOLDS

    def __post_init__(self) -> None:
        check_probes(self.probes)
        if not self.scalers or not self.reductions:
            raise RequestError("No scaler or no reduction was named. Expected one or more of both; `none` is one.")
        for scaler in self.scalers:
            if scaler not in SCALERS:
                raise UnknownNameError("scaler", scaler, SCALERS)
        for reduction in self.reductions:
            components_of(reduction)
        if self.inner_folds == 1 or self.inner_folds < 0:
            raise RequestError(
                f"{self.inner_folds} inner folds were asked for. Expected 2 or more, or 0 to choose nothing."
            )
        for probe, grid in self.grids.items():
            check_probes((probe,))
            for name, values in grid.items():
                if name not in PROBES[probe].grid:
                    raise UnknownNameError(f"parameter of {probe}", name, PROBES[probe].grid)
                if not values:
                    raise RequestError(f"Parameter {name} of {probe} has no value to choose among. Give one or more.")

    def readings(self, taps: tuple[str, ...]) -> list[Reading]:
        """All ways to read some layers."""
        found = []
        for probe in self.probes:
            for scaler, reduction in product(self.scalers, self.reductions):
                # A reduction sees the scale even where the probe behind it does not.
                seen = scaler if PROBES[probe].scaled or reduction != NO_REDUCTION else "none"
                found.append(Reading(taps=taps, scaler=seen, reduction=reduction, probe=probe))
        return list(dict.fromkeys(found))

    def parameters(self, probe: str) -> list[Parameters]:
        """All combinations of a probe's parameters, in the order in which equals are preferred."""
        kind = PROBES[probe]
        if not self.inner_folds:
            return [dict(kind.default)]
        grid = {name: tuple(self.grids.get(probe, {}).get(name, values)) for name, values in kind.grid.items()}
        return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]

    def facts(self) -> dict[str, Any]:
        """Everything that decides what is fitted, for `results.json` and for the identity of a sweep."""
        return {
            "scalers": list(self.scalers),
            "reductions": list(self.reductions),
            "inner_folds": self.inner_folds,
            "parameters": {probe: self.parameters(probe) for probe in self.probes},
        }


def usual_reading(kind: str, taps: tuple[str, ...] = ()) -> Reading:
    """A probe on features that are scaled as it is usual for it, and not reduced.

    Raises:
        UnknownNameError: If there is no such probe.
    """
    check_probes((kind,))
    return Reading(taps=taps, scaler=usual_scaler(kind), reduction=NO_REDUCTION, probe=kind)


def components_of(reduction: str) -> float | int | None:
    """What `GramPCA` is to keep: a share, a number, or None where nothing is reduced.

    Raises:
        RequestError: If it is none of the forms a `Reading` allows.
    """
    if reduction == NO_REDUCTION:
        return None
    text = reduction.removeprefix(_PCA)
    try:
        wanted = float(text) if "." in text else int(text)
    except ValueError:
        wanted = 0
    share = isinstance(wanted, float) and 0 < wanted < 1
    number = isinstance(wanted, int) and wanted >= 1
    if not reduction.startswith(_PCA) or not (share or number):
        raise RequestError(
            f"Reduction {reduction!r} came. Expected none, pca:SHARE of the variance between 0 and 1 (pca:0.8), or "
            "pca:NUMBER of components (pca:50)."
        )
    return wanted


def reduction_title(reduction: str) -> str:
    """`PCA 80 %` or `PCA 50`."""
    wanted = components_of(reduction)
    return f"PCA {wanted:.4g}" if isinstance(wanted, int) else f"PCA {100 * (wanted or 1):.4g} %"
