"""Ask an export about a folder of pictures."""

import csv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tfcells.arrays import Ids, Probabilities
from tfcells.errors import EmptyDataError, RequestError
from tfcells.images.decode import BadImageError, decode_image
from tfcells.images.folders import find_pictures
from tfcells.images.sources import FolderSource
from tfcells.images.table import Quarantined
from tfcells.progress import Progress, silent
from tfcells.serving.export import ServedModel

_BATCH: Final = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What an export said of a folder.

    Attributes:
        ids: Paths relative to the folder.
        probabilities: float64 of shape (images, classes).
        class_names: Names of the classes.
        quarantine: Files that got no answer, and why.
    """

    ids: Ids
    probabilities: Probabilities
    class_names: tuple[str, ...]
    quarantine: tuple[Quarantined, ...]

    @property
    def predicted(self) -> list[str]:
        """The most probable class of each picture."""
        return [self.class_names[index] for index in self.probabilities.argmax(axis=1)]

    def write(self, path: str | Path) -> None:
        """Write `id,prediction,confidence,p_<class>...`, and `<name>.quarantine.csv` with `id,reason` beside it."""
        path = Path(path)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)  # "\r\n", or a name that holds a lone "\r" would not be quoted
            writer.writerow(["id", "prediction", "confidence", *(f"p_{name}" for name in self.class_names)])
            for id, label, row in zip(self.ids, self.predicted, self.probabilities, strict=True):
                writer.writerow([id, label, f"{row.max():.8f}", *(f"{value:.8f}" for value in row)])
        with quarantine_path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "reason"])
            writer.writerows(self.quarantine)


def quarantine_path(path: Path) -> Path:
    """Where the quarantine of a predictions file is written."""
    return path.with_name(f"{path.stem}.quarantine.csv")


def predict_folder(model: ServedModel, root: str | Path, *, progress: Progress = silent) -> Predictions:
    """Classify every picture below a folder; sub-folders' names are not looked at.

    Each file is decoded first: what is no picture is quarantined.

    Raises:
        RequestError: If there is no such folder.
        EmptyDataError: If it holds no usable picture.
    """
    root = Path(root)
    if not root.is_dir():
        raise RequestError(f"{root} is no folder. Expected a folder of images.")
    ids, _, closed = find_pictures(root)
    source, answered = FolderSource(root), []
    quarantine = [Quarantined(_printable(id), reason) for id, reason in closed]
    rows: list[np.ndarray] = []
    progress("predicting", 0, len(ids))
    with ThreadPoolExecutor() as pool:
        for done, batch in _batches(ids):
            looks = list(pool.map(lambda id: _look(source, id), batch))
            good = [(id, look) for id, look in zip(batch, looks, strict=True) if not isinstance(look, str)]
            quarantine += [
                Quarantined(_printable(id), look)
                for id, look in zip(batch, looks, strict=True)
                if isinstance(look, str)
            ]
            if good:
                rows.append(model.classify([look for _, look in good]))
                answered += [id for id, _ in good]
            progress("predicting", done, len(ids))
    if not answered:
        details = "; ".join(f"{entry.id}: {entry.reason}" for entry in quarantine[:5])
        raise EmptyDataError(f"No usable picture in {root}. {details}")
    return Predictions(
        ids=tuple(answered),
        probabilities=np.concatenate(rows),
        class_names=model.class_names,
        quarantine=tuple(quarantine),
    )


def _look(source: FolderSource, id: str) -> bytes | str:
    """The bytes of a file that decodes, or the reason why it does not."""
    try:
        id.encode()
        data = source.read_bytes(id)
        decode_image(data)
    except UnicodeEncodeError:
        return "its name is not valid UTF-8; rename it"
    except BadImageError as reason:
        return str(reason)
    return data


def _printable(id: str) -> str:
    """Names that are not valid UTF-8 come with lone surrogates, which a CSV file cannot hold."""
    return id.encode("utf-8", "backslashreplace").decode()


def _batches(ids: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        yield start + len(batch), batch
