"""One row's pixels, held against the digest they had when the table was made."""

from collections.abc import Callable
from typing import Final, TypeVar

from tfcells.arrays import Pixels
from tfcells.images.decode import BadImageError, pixel_digest
from tfcells.images.table import ImageTable

CHANGED: Final = "its pixels changed after it was first read"

_Measured = TypeVar("_Measured")


def read_checked(table: ImageTable, row: int) -> Pixels:
    """Read a row's canonical pixels.

    Raises:
        BadImageError: If they cannot be read, whatever the reason, or are no longer those of the table; the message
            says why and is never empty.
    """
    try:
        pixels = table.source.read(table.ids[row])
        found = pixel_digest(pixels)
    except BadImageError as fault:
        raise BadImageError(str(fault) or "cannot be read") from fault
    # Whatever a reader may raise concerns one row; the run goes on and names it.
    except Exception as fault:
        raise BadImageError(f"cannot be read: {type(fault).__name__}: {fault}") from fault
    if found != table.digests[row]:
        raise BadImageError(CHANGED)
    return pixels


def read_measured(table: ImageTable, row: int, measure: Callable[[Pixels], _Measured]) -> tuple[Pixels, _Measured]:
    """Read a row's canonical pixels and what is measured of them; a picture that cannot be measured is a bad one.

    Raises:
        BadImageError: As `read_checked`, or if measuring fails.
    """
    pixels = read_checked(table, row)
    try:
        return pixels, measure(pixels)
    except Exception as fault:
        raise BadImageError(f"cannot be read: {type(fault).__name__}: {fault}") from fault
