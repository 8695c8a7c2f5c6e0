"""A connection to Ray for as long as it is needed."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Final

from tfcells.backbones.weights import SEARCH_VARIABLE
from tfcells.errors import MissingExtraError, RequestError
from tfcells.features.cluster.cluster import LOCAL, Cluster
from tfcells.features.engines.machine import ONEDNN

_LOOPBACK: Final = "127.0.0.1"
_SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would report to its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its coming default; the present one hides GPUs, and says so
}

_ALONE: Final = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # or Ray takes 127.0.0.1 for the machine's own address


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Connect this process to Ray, unless it is connected already; what was started here ends here.

    Yields:
        The module `ray`.

    Raises:
        MissingExtraError: If Ray is not installed.
        RequestError: If there is no cluster at the address, or none can be started.
    """
    for name, value in (_SETTINGS | (_ALONE if cluster.address == LOCAL else {})).items():
        os.environ.setdefault(name, value)  # read when Ray is imported
    try:
        import ray
    except ImportError as missing:
        raise MissingExtraError("ray", extra="cluster") from missing
    if ray.is_initialized():
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    try:
        if cluster.address == LOCAL:
            cores = max(cluster.workers or 1, len(os.sched_getaffinity(0)))
            ray.init(address=LOCAL, num_cpus=cores, include_dashboard=False, _node_ip_address=_LOOPBACK, **quiet)
        else:
            ray.init(address=cluster.address, **quiet)
    except Exception as fault:  # nearly anything; a plain one where Ray's own processes take over 30 s to come up
        raise RequestError(_why_not(cluster, fault)) from fault
    try:
        with redirect_stdout(sys.stderr):  # Ray prints what it has to say of workers among a program's results
            yield ray
    finally:
        ray.shutdown()


def _why_not(cluster: Cluster, fault: Exception) -> str:
    text = " ".join(str(fault).split())
    if cluster.address == LOCAL:
        return f"Ray cannot be started on this machine: {text} Go on without a cluster, or when it is less busy."
    return (
        f"No Ray cluster can be reached at {cluster.address}: {text} Expected `local` or the address of a running "
        "cluster, e.g. 10.0.0.1:6379; `ray start --head` prints it."
    )


def worker_count(ray: Any, cluster: Cluster) -> int:
    """How many workers there will be: those asked for, or one per GPU, or one per machine."""
    if cluster.workers is not None:
        return cluster.workers
    gpus = int(ray.cluster_resources().get("GPU", 0))
    return gpus or sum(bool(node["Alive"]) for node in ray.nodes())


def actor_options(ray: Any, workers: int) -> dict[str, Any]:
    """How each worker is placed and started: spread over machines, a share of the GPUs, the threads of this process."""
    gpus = ray.cluster_resources().get("GPU", 0)
    variables = {
        # Ray would allow one thread, and sums would be rounded in another order than here.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0)))),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
    }
    variables |= {name: os.environ[name] for name in (SEARCH_VARIABLE, ONEDNN) if name in os.environ}
    return {
        "num_cpus": 1,
        "num_gpus": min(1, gpus / workers),
        "scheduling_strategy": "SPREAD",
        "runtime_env": {"env_vars": variables},
    }
