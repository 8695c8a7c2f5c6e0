"""Hand-made features: what pixels say without any network, kept in the same stores as deep features.

colour   colour statistics, the baseline that every store has
raw      raw intensities at a small size
stain    colour deconvolution, hue, saturation, value and Lab statistics
hog      histograms of oriented gradients
lbp      local binary patterns
grey     grey levels of a colour picture
catalog  the table of them: function, parameters, width, digest of the definition
"""

from tfcells.features.handcrafted.catalog import (
    HANDCRAFTED,
    Handcrafted,
    find_handcrafted,
    handcrafted_recipe,
    measure_all,
    parted,
)
from tfcells.features.handcrafted.colour import colour_statistics
from tfcells.features.recipe import COLOUR

__all__ = [
    "COLOUR",
    "HANDCRAFTED",
    "Handcrafted",
    "colour_statistics",
    "find_handcrafted",
    "handcrafted_recipe",
    "measure_all",
    "parted",
]
