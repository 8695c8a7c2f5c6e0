"""How much memory was taken at most."""

import resource
import sys

import tensorflow as tf


def peak_memory() -> int:
    """Bytes: the largest amount on the first GPU since the process began; of the process where there is none."""
    if tf.config.list_physical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
