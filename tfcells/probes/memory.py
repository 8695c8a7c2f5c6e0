"""Which probes have to hold the features themselves, and the refusal where they do not fit."""

from tfcells.errors import RequestError
from tfcells.probes.catalog import PROBES
from tfcells.probes.reading import NO_REDUCTION, Reading

_NUMBER = 8  # bytes of a float64
_COPIES = 3  # as read, scaled, and the rows that one fold learns from


def held_bytes(reading: Reading, *, images: int, width: int) -> int:
    """Bytes of features that a reading has to hold at once, however they are streamed.

    Behind a reduction it holds scores. Where images outnumber features these are less than what would replace them,
    and are not counted. Of wider ones support vectors and neighbours are the features, in the served model too, and
    trees look at single features in every fold; what is linear is a few numbers for each.

    Args:
        reading: Layers, scaler, reduction, probe.
        images: Rows that are learned from.
        width: Columns of its layers together.
    """
    kind = PROBES[reading.probe]
    if reading.reduction != NO_REDUCTION or width <= images or kind.linear:
        return 0
    return _NUMBER * images * width * (1 if kind.turnable else _COPIES)


def check_held(reading: Reading, *, images: int, width: int, memory: int) -> None:
    """Refuse a reading that has to hold more than the memory; nothing is read for it.

    Args:
        reading: Layers, scaler, reduction, probe.
        images: Rows that are learned from.
        width: Columns of its layers together.
        memory: Bytes for features or matrices.

    Raises:
        RequestError: If so.
    """
    needed = held_bytes(reading, images=images, width=width)
    if needed > memory:
        raise RequestError(
            f"{' + '.join(reading.taps)}: {images:,} images of {width:,} features take {needed:,} bytes that "
            f"{reading.probe} has to hold; {memory:,} are allowed. Put a reduction such as pca:0.8 before it, pool the "
            f"layer, or leave {reading.probe} out."
        )
