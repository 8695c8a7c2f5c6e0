"""What a person asks for when one process is not enough."""

from dataclasses import dataclass
from typing import Final

from tfcells.errors import RequestError

LOCAL: Final = "local"


@dataclass(frozen=True)
class Cluster:
    """Ray workers. Not part of any recipe: they change no byte of a store.

    Attributes:
        address: `local` for workers on this machine alone, else that of a running Ray cluster, e.g. `10.0.0.1:6379`
            or `auto`.
        workers: How many; by default one on this machine, one per machine of a cluster (one per GPU where it has
            GPUs), since each uses all cores it finds.
    """

    address: str = LOCAL
    workers: int | None = None

    def __post_init__(self) -> None:
        if not self.address:
            raise RequestError(
                "The address of the cluster is empty. Expected `local` or that of a running Ray cluster."
            )
        if self.workers is not None and self.workers < 1:
            raise RequestError(f"{self.workers} workers were asked for. Expected 1 or more.")
