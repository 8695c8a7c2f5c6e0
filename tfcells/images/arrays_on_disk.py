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
            # Not numpy.load, which would open an archive inside the archive; Python objects are refused here too.
            array: np.ndarray = np.lib.format.open_memmap(Path(unpacked.name), mode="r")
            return array
        # Damaged, encrypted or exotic archives raise nearly anything: zlib.error, RuntimeError, OverflowError.
        except Exception as broken:
            first_line = (str(broken).splitlines() or [type(broken).__name__])[0]  # NumPy goes on with its own advice
            raise RequestError(
                f"`{name}` in {archive.filename} cannot be read: {first_line.rstrip('.')}. Expected a plain "
                "array of numbers or strings, written with numpy.savez."
            ) from broken
