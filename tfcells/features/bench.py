"""Whether the table of engines is right on this machine: every installed engine, measured.

Each engine runs in a process of its own, so that its peak memory is its own.
"""

import platform
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from joblib.externals.loky import ProcessPoolExecutor

from tfcells.errors import RequestError
from tfcells.features.engines.contract import ENGINES, PRECISIONS, threads
from tfcells.features.engines.machine import Machine, prefer_onednn, this_machine
from tfcells.features.engines.table import candidates, obstacles
from tfcells.features.handcrafted import colour_statistics
from tfcells.features.peak_memory import peak_memory
from tfcells.features.request import Extraction
from tfcells.images.batches import PictureBatch, image_batches
from tfcells.images.remote import RemoteSource
from tfcells.images.sources import SpooledSource
from tfcells.images.table import ImageTable
from tfcells.progress import Progress, silent

_AS_FAST: Final = 0.95  # of the fastest; nearer than that, runs of the same engine differ too


def bench(
    table: ImageTable, extraction: Extraction, *, images: int = 256, repeats: int = 3, progress: Progress = silent
) -> dict[str, Any]:
    """Measure every engine and precision that is possible here, on real pictures.

    Args:
        table: The pictures.
        extraction: Backbone, weights, taps and batch size; its engine and precision do not matter.
        images: How many of them, the first ones.
        repeats: Turns of decoding alone, the network alone and both together; medians count.
        progress: Told how far it is.

    Returns:
        `engines`, a list of what was measured for each (`engine`, `precision`, `decode_images_per_second`,
        `network_images_per_second`, `images_per_second` of both together, `overlap`, its share of what both alone
        would give one after the other, `parity` by tap, `accepted`, `peak_memory_bytes`); `impossible`, with
        reasons; `chosen` and `fastest`, and `table_is_right` where the chosen one is not over 5 % slower;
        `decode_images_per_second`; `cores`, `processor`, `images`.

    Raises:
        RequestError: If there are no pictures to be read by another process.
    """
    source = table.source
    if isinstance(source, SpooledSource) or (isinstance(source, RemoteSource) and not source.shared):
        raise RequestError(
            "Engines are measured by processes of their own, on a folder, an .npz file or a .csv manifest. "
            f"{source.describe()['kind']} came."
        )
    if images < 1 or repeats < 1:
        raise RequestError(f"images = {images} and repeats = {repeats} given. Expected 1 or more of both.")
    table = table.take(range(min(images, len(table))))
    order, machine = _in_own_process(_rows_here, extraction.backbone)
    measured = []
    progress("measuring", 0, len(order))
    for done, (name, precision) in enumerate(order, 1):
        measured.append(_in_own_process(measure_engine, table, extraction, name, precision, repeats))
        progress("measuring", done, len(order))
    fastest = max(measured, key=lambda entry: entry["images_per_second"] if entry["accepted"] else 0.0)
    chosen = next(entry for entry in measured if entry["accepted"])
    return {
        "backbone": extraction.backbone,
        "taps": [str(tap) for tap in extraction.parsed_taps()],
        "images": len(table),
        "cores": threads(),
        "processor": platform.processor() or platform.machine(),
        "engines": measured,
        "impossible": _impossible(machine),
        "decode_images_per_second": statistics.median(entry["decode_images_per_second"] for entry in measured),
        "chosen": {key: chosen[key] for key in ("engine", "precision")},
        "fastest": {key: fastest[key] for key in ("engine", "precision")},
        "table_is_right": chosen["images_per_second"] >= _AS_FAST * fastest["images_per_second"],
    }


def measure_engine(
    table: ImageTable, extraction: Extraction, name: str, precision: str, repeats: int
) -> dict[str, Any]:
    """Measure one engine in this process; see `bench` for the keys."""
    prefer_onednn()
    from tfcells.features.engines.choose import Workbench
    from tfcells.features.forward import open_checked
    from tfcells.images.resize import RESIZERS

    backbone = open_checked(extraction)
    workbench = Workbench(backbone, extraction.parsed_taps(), batch_size=extraction.batch_size)
    engine = workbench.open(name, precision)
    parity = workbench.parity(engine)
    resize = partial(RESIZERS[backbone.row.kernel], height=engine.size, width=engine.size)
    passes = -(-len(table) // engine.batch_size)

    def decoded() -> Iterator[PictureBatch]:
        return image_batches(
            table, resize=resize, size=engine.size, batch_size=engine.batch_size, measure=colour_statistics
        )

    example = next(decoded())
    engine(example.pixels)  # the first pass prepares what the later ones use
    times: dict[str, list[float]] = {"decode": [], "network": [], "both": []}
    for _ in range(repeats):
        times["decode"].append(_seconds(lambda: deque(decoded(), maxlen=0)))
        times["network"].append(_seconds(lambda: deque(map(engine, [example.pixels] * passes), maxlen=0)))
        times["both"].append(_seconds(lambda: deque((engine(batch.pixels) for batch in decoded()), maxlen=0)))
    decode, network, both = (len(table) / statistics.median(times[key]) for key in ("decode", "network", "both"))
    return {
        "engine": name,
        "precision": precision,
        **engine.facts(),
        "decode_images_per_second": round(decode, 2),
        "network_images_per_second": round(network, 2),
        "images_per_second": round(both, 2),
        "overlap": round(both * (1 / decode + 1 / network), 3),
        "parity": {key: dict(vars(entry)) for key, entry in parity.items()},
        "accepted": all(entry.accepted for entry in parity.values()),
        "peak_memory_bytes": peak_memory(),
    }


def _rows_here(backbone: str) -> tuple[tuple[tuple[str, str], ...], Machine]:
    """What the table has for this machine, in its order; only TensorFlow knows of a graphics card."""
    prefer_onednn()
    from tfcells.features.engines.tensorflow_graph import graphics_card

    machine = this_machine(gpu=graphics_card())
    return candidates(machine, backbone), machine


def _impossible(machine: Machine) -> list[dict[str, str]]:
    found = []
    for name in ENGINES:
        for precision in PRECISIONS:
            reason = next(obstacles(machine, name, precision), None)
            if reason is None and machine.missing_package(name) is not None:
                reason = "it is not installed"
            if reason is not None:
                found.append({"engine": name, "precision": precision, "reason": reason})
    return found


def _in_own_process(function: Callable[..., Any], *arguments: object) -> Any:
    with ProcessPoolExecutor(max_workers=1) as pool:
        return pool.submit(function, *arguments).result()


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
