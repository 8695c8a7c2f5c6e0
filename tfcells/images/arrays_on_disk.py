"""Members of npz files as memory-maps, without unpickling and without holding them in memory."""

import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from tfcells.errors import RequestError


def open_npz_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Unpack one array to a temporary file and map it.

    Args:
        archive: The npz file.
        name: The array's name, without `.npy`.

    Returns:
        A read-only memory-map; the file behind it has no name and goes with the process.

    Raises:
        RequestError: If the member is no npy array, holds Python objects, or is damaged.
    """
    info = archive.getinfo(f"{name}.npy")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if info.file_size > free:  # zipfile never unpacks more than this, so a small bomb ends here
        raise RequestError(
            f"`{name}` in {archive.filename} unpacks to {info.file_size:,} bytes, but {tempfile.gettempdir()} has "
            f"{free:,} bytes free. Set TMPDIR to a disk with more room."
        )
    with tempfile.NamedTemporaryFile(suffix=".npy") as unpacked:
        try:
            with archive.open(info) as member:
                shutil.copyfileobj(member, unpacked, 2**20)
            unpacked.flush()
            array: np.ndarray = np.load(Path(unpacked.name), mmap_mode="r", allow_pickle=False)
            return array
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as broken:
            raise RequestError(
                f"`{name}` in {archive.filename} cannot be read: {broken}. Expected a plain array of numbers or "
                "strings, written with numpy.savez."
            ) from broken
