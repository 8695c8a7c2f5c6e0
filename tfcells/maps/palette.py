"""Colours for classes: distinct for most colour-blind readers while there are eight, then merely distinct."""

from typing import Final

_FEW: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7A5195", "#8C8C00")
"""Okabe & Ito (2008), with violet and olive in the place of black and yellow, which vanish on white."""

UNLABELLED: Final = "#9AA0A6"


def class_colours(classes: int) -> list[str]:
    """Hexadecimal colours, one per class."""
    if classes <= len(_FEW):
        return list(_FEW[:classes])
    import matplotlib

    spectrum = matplotlib.colormaps["nipy_spectral"]
    from matplotlib.colors import to_hex

    return [to_hex(spectrum(0.05 + 0.9 * index / (classes - 1))) for index in range(classes)]
