"""Print the fingerprint of a weights file, to be added to tfcells/backbones/golden.json.

    python benchmarks/record_golden.py mobilenet_v2 imagenet

Look at it beside the weights' own published accuracy before adding it: the check can only hold what is right today.
"""

import json
import sys

from tfcells.backbones.cut import cut_backbone
from tfcells.backbones.open import open_backbone
from tfcells.features.forward import golden


def main(name: str, weights: str) -> None:
    """Open the weights and print `{sha256: fingerprint}`."""
    backbone = open_backbone(name, weights=weights)
    print(json.dumps({backbone.sha256: golden(cut_backbone(backbone))}, indent=1))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
