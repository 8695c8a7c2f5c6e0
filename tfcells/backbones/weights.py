"""Weights by name or file, with their digest. Nothing falls back: what was asked for is found, or it is an error.

No Keras here, so that a complete store can be recognised without loading TensorFlow.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfcells.backbones.catalog import BACKBONES
from tfcells.errors import MissingWeightsError, RequestError

SEARCH_VARIABLE: Final = "TFCELLS_WEIGHTS_DIR"
SUFFIXES: Final = (".weights.h5", ".keras", ".h5")
NONE: Final = "none"
IMAGENET: Final = "imagenet"
_SHIPPED: Final = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class WeightsFile:
    """Weights that were asked for, and where they are.

    Attributes:
        name: `imagenet`, `none`, another name, or the file's own name.
        path: The file; None for `none` (drawn from the seed) and for `imagenet` when Keras must provide it.
        sha256: Of the file; None where there is none yet.
    """

    name: str
    path: Path | None
    sha256: str | None


def find_weights(backbone: str, weights: str | Path) -> WeightsFile:
    """Find weights on this machine.

    A path to a `.weights.h5`, `.h5` or `.keras` file is taken as it is; a folder must hold exactly one file
    `<backbone>_<name>.weights.h5`. A name is looked for as `<backbone>_<name>.weights.h5` in the folders of
    `TFCELLS_WEIGHTS_DIR` (separated as in PATH), then among the weights shipped with tfcells. `imagenet` that
    is found nowhere is left to Keras. `none` means random and has to be asked for.

    Args:
        backbone: Name in the catalog.
        weights: Name, file or folder.

    Raises:
        MissingWeightsError: If nothing is found; says where it looked and what to do.
        RequestError: If a folder holds several candidates.
    """
    text = str(weights)
    if text == NONE:
        return WeightsFile(NONE, None, None)
    if text.endswith(SUFFIXES):
        return _file(Path(text), backbone)
    if "/" in text or os.sep in text or isinstance(weights, Path):
        return _only_file_in(Path(text), backbone)
    searched = [Path(folder) for folder in os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep) if folder]
    wanted = f"{backbone}_{text}.weights.h5"
    for folder in [*searched, _SHIPPED]:
        if (folder / wanted).is_file():
            return WeightsFile(text, folder / wanted, file_digest(folder / wanted))
    if text == IMAGENET:
        return WeightsFile(IMAGENET, None, None)
    if Path(text).is_dir():
        return _only_file_in(Path(text), backbone)
    raise MissingWeightsError(
        f"No weights {text!r} for {backbone}: looked for {wanted} in {_places(searched)}. {_shipped_for(text)}"
        f"{ways_out(backbone)}"
    )


def ways_out(backbone: str) -> str:
    """What a person without these weights can do."""
    return (
        f"Three ways out: put {backbone}_<name>.weights.h5 into a folder and set {SEARCH_VARIABLE} to it; give a "
        ".weights.h5, .h5 or .keras file with --weights FILE; or ask for random weights with --weights none."
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_card(sha256: str) -> Path | None:
    """The model card of weights that ship with tfcells, by the digest of their file; None for all others."""
    cards = (
        (weights, weights.with_name(weights.name.removesuffix(".weights.h5") + ".md")) for weights in shipped_files()
    )
    return next((card for weights, card in cards if card.is_file() and file_digest(weights) == sha256), None)


def shipped_files() -> list[Path]:
    """Files of the weights that ship with tfcells."""
    return sorted(_SHIPPED.glob("*.weights.h5"))


def _file(path: Path, backbone: str) -> WeightsFile:
    if not path.is_file():
        raise MissingWeightsError(f"No weights file {path}. {ways_out(backbone)}")
    return WeightsFile(_short_name(path, backbone), path, file_digest(path))


def _only_file_in(folder: Path, backbone: str) -> WeightsFile:
    # mobilenet_v2_imagenet.weights.h5 begins with `mobilenet_` and is not for mobilenet.
    longer = tuple(f"{name}_" for name in BACKBONES if name.startswith(f"{backbone}_"))
    found = sorted(path for path in folder.glob(f"{backbone}_*.weights.h5") if not path.name.startswith(longer))
    if not found:
        raise MissingWeightsError(f"No {backbone}_<name>.weights.h5 in {folder}. {ways_out(backbone)}")
    if len(found) > 1:
        raise RequestError(
            f"{folder} holds several weights for {backbone}: {', '.join(path.name for path in found)}. "
            "Name the file instead of the folder."
        )
    return _file(found[0], backbone)


def _short_name(path: Path, backbone: str) -> str:
    """`hed` for `vgg16_hed.weights.h5`; the whole file name where it does not follow that form."""
    own = path.name.removesuffix(".weights.h5").removeprefix(f"{backbone}_")
    return own if path.name == f"{backbone}_{own}.weights.h5" else path.name


def _shipped_for(name: str) -> str:
    """Which backbones weights of this name are shipped for; nothing where there is none."""
    ending = f"_{name}.weights.h5"
    having = [path.name.removesuffix(ending) for path in shipped_files() if path.name.endswith(ending)]
    return f"tfcells ships {name!r} for: {', '.join(having)}. " if having else ""


def _places(searched: list[Path]) -> str:
    named = ", ".join(map(str, searched)) if searched else f"{SEARCH_VARIABLE} (not set)"
    return f"{named} and the weights shipped with tfcells"
