"""The methods by name; a new one is a function in a file beside this and a row here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tfcells.errors import RequestError, UnknownNameError
from tfcells.explain.attribution import Attribution
from tfcells.explain.exact import EXACT, exact_maps
from tfcells.explain.gradients import GRADCAM, INTEGRATED, gradcam_maps, integrated_maps
from tfcells.explain.perturbation import OCCLUSION, occlusion_maps
from tfcells.explain.shapley import GRADIENT, PARTITION, expected_gradient_maps, partition_maps

SHAP: Final = "shap"
"""Both explainers of shap."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the table.

    Attributes:
        make: (explained, pictures, contrasts) to maps; further settings by keyword.
        title: What a person calls it.
        cheap: Settings by the size of a picture, for maps of which ranks alone are compared, on both sides.
    """

    make: Callable[..., Attribution]
    title: str
    cheap: Callable[[int], Mapping[str, Any]] = lambda size: {}


METHODS: Final[Mapping[str, Method]] = {
    EXACT: Method(make=exact_maps, title="exact map of the linear probe"),
    GRADCAM: Method(make=gradcam_maps, title="Grad-CAM"),
    INTEGRATED: Method(make=integrated_maps, title="integrated gradients", cheap=lambda size: {"most_steps": 17}),
    OCCLUSION: Method(make=occlusion_maps, title="occlusion", cheap=lambda size: {"stride": max(1, round(size / 6))}),
    PARTITION: Method(make=partition_maps, title="SHAP, partitions", cheap=lambda size: {"evaluations": 100}),
    GRADIENT: Method(make=expected_gradient_maps, title="SHAP, expected gradients", cheap=lambda size: {"samples": 24}),
}

DEFAULT_METHODS: Final = (EXACT, GRADCAM, INTEGRATED, OCCLUSION)


def check_methods(names: Sequence[str]) -> tuple[str, ...]:
    """Names in `METHODS`, `shap` as its two.

    Raises:
        UnknownNameError: If one is no method.
        RequestError: If there is none.
    """
    if not names:
        raise RequestError(f"No method was named. Expected one or more of: {', '.join(METHODS)}, {SHAP}.")
    found: list[str] = []
    for name in names:
        if name != SHAP and name not in METHODS:
            raise UnknownNameError("method of explanation", name, [*METHODS, SHAP])
        found += [PARTITION, GRADIENT] if name == SHAP else [name]
    return tuple(dict.fromkeys(found))
