"""The backbone inside a trained network, written as weights that any later study can open."""

import os
import warnings
from pathlib import Path
from typing import Final

from tfcells.backbones.weights import IMAGENET, NONE
from tfcells.errors import RequestError
from tfcells.finetune.networks import Network

_SUFFIX: Final = ".weights.h5"


def write_body(network: Network, folder: Path, *, name: str) -> Path:
    """Write the backbone inside a network as weights that `open_backbone` reads (`build_network`, for keras-hub's).

    Args:
        network: With a backbone inside.
        folder: Where to; names are looked up there when `TFCELLS_WEIGHTS_DIR` lists it.
        name: Name of the weights.

    Returns:
        The file, `<backbone>_<name>.weights.h5`; one that was there is replaced in one step.

    Raises:
        RequestError: If there is no backbone inside, or weights cannot have this name.
    """
    if network.body is None:
        raise RequestError(f"{network.settings.name} has no backbone inside to write. Expected one of the catalog's.")
    if not name or name in (NONE, IMAGENET) or any(sign in name for sign in "/\\."):
        raise RequestError(
            f"Weights cannot be named {name!r}. Expected a word without dots and slashes that is neither `{NONE}` nor "
            f"`{IMAGENET}`."
        )
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{network.settings.name}_{name}{_SUFFIX}"
    # A folder is searched for names that begin with the backbone's, which this one does not.
    unfinished = folder / f".unfinished-{os.getpid()}-{target.name}"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array__ implementation")  # Keras 3.15 under NumPy 2
            network.body.save_weights(unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target
