"""joblib's tasks on Ray workers: what a sweep does in processes of one machine, it does on a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager

import joblib

from tfcells.features.cluster.cluster import Cluster
from tfcells.features.cluster.session import connected


@contextmanager
def joblib_on(cluster: Cluster) -> Iterator[int]:
    """Let whatever uses `joblib.Parallel` within the block run its tasks on the cluster.

    Yields:
        Tasks at a time: the workers asked for, or one per core of the cluster.

    Raises:
        RequestError: If the cluster cannot be reached.
        MissingExtraError: If Ray is not installed.
    """
    with connected(cluster) as ray:
        from ray.util.joblib import register_ray

        register_ray()
        workers = cluster.workers or int(ray.cluster_resources()["CPU"])
        with joblib.parallel_config(backend="ray", n_jobs=workers):
            yield workers
