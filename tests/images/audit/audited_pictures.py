"""Collections of drawn cells whose copies are known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from tfcells.images.decode import BadImageError
from tfcells.images.inspect import Candidate, inspect_candidates
from tfcells.images.synthetic.cells import draw_cell
from tfcells.images.table import ImageTable

SIDE = 240
CLASSES = ("eosinophil", "lymphocyte", "monocyte")


class Held:
    """Pictures in memory, by id; those named in `gone` can be read once, and not again."""

    def __init__(self, pictures: Mapping[str, np.ndarray], gone: frozenset[str] = frozenset()) -> None:
        self.pictures, self.gone, self.seen = pictures, gone, set()

    def read(self, id: str) -> np.ndarray:
        if id in self.seen and id in self.gone:
            raise BadImageError("gone since")
        self.seen.add(id)
        return self.pictures[id]

    def describe(self) -> dict[str, str]:
        return {"kind": "memory"}


@dataclass(frozen=True)
class Collection:
    """Pictures and classes by id, and the original of each copy."""

    pictures: dict[str, np.ndarray]
    label: dict[str, str]
    original: dict[str, str]

    def table(self, ids: list[str] | None = None) -> ImageTable:
        return table_of({id: self.pictures[id] for id in ids or self.pictures}, self.label)


def table_of(
    pictures: Mapping[str, np.ndarray], label: Mapping[str, str] | None = None, gone: frozenset[str] = frozenset()
) -> ImageTable:
    candidates = [Candidate(id, label=None if label is None else label.get(id)) for id in pictures]
    return inspect_candidates(candidates, Held(pictures, gone))


def cell(number: int, kind: str | None = None, seed: int = 5) -> np.ndarray:
    picture = draw_cell(kind or CLASSES[number % len(CLASSES)], seed=seed, index=number)
    top, left = (picture.shape[0] - SIDE) // 2, (picture.shape[1] - SIDE) // 2
    return np.ascontiguousarray(picture[top : top + SIDE, left : left + SIDE])


def turned(picture: np.ndarray, angle: float, scale: float = 1.0) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), angle, scale)
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def cropped(picture: np.ndarray) -> np.ndarray:
    """35 % of the area, enlarged."""
    part = picture[60:202, 40:182]
    return cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def noisy(picture: np.ndarray) -> np.ndarray:
    grain = np.random.default_rng(8).normal(0, 8, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def recompressed(picture: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)


def greyed(picture: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "turned": lambda picture: turned(picture, 37),
    "mirrored and turned": lambda picture: turned(np.ascontiguousarray(picture[:, ::-1]), 200),
    "cropped": cropped,
    "blurred": lambda picture: cv2.GaussianBlur(picture, (0, 0), 1.8),
    "noisy": noisy,
    "recompressed": recompressed,
    "grey": greyed,
    "gamma": lambda picture: (255 * (picture / 255) ** 1.6).astype(np.uint8),
    "shrunk": lambda picture: cv2.resize(picture, (200, 200), interpolation=cv2.INTER_AREA),
    "enlarged": lambda picture: cv2.resize(picture, (400, 400), interpolation=cv2.INTER_CUBIC),
    "sheared": lambda picture: cv2.warpAffine(picture, np.array([[1, 0.2, -24], [0, 1, 0.0]]), (SIDE, SIDE)),
    "shifted": lambda picture: cv2.warpAffine(picture, np.array([[1, 0, 50], [0, 1, -40.0]]), (SIDE, SIDE)),
}


def stamped(picture: np.ndarray) -> np.ndarray:
    """With a scale bar and its text, as a microscope's program puts them on every picture."""
    picture = picture.copy()
    cv2.rectangle(picture, (120, 222), (225, 228), (0, 0, 0), -1)
    cv2.putText(picture, "10 um  x1000", (118, 214), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def collected(change: Callable[[np.ndarray], np.ndarray] = lambda picture: picture) -> Collection:
    """32 drawn cells and a copy of each of 12; the last copy lies in another class's folder."""
    pictures, label, original = {}, {}, {}
    for number in range(32):
        id = f"{CLASSES[number % 3]}/{number:02d}.png"
        pictures[id], label[id] = cell(number), CLASSES[number % 3]
    for number, (name, copy) in enumerate(COPIES.items()):
        source = f"{CLASSES[number % 3]}/{number:02d}.png"
        folder = CLASSES[(number + (name == "shifted")) % 3]
        id = f"{folder}/{number:02d} {name}.png"
        pictures[id], label[id], original[id] = copy(pictures[source]), folder, source
    return Collection({id: change(picture) for id, picture in pictures.items()}, label, original)
