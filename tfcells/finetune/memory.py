"""How much memory was taken at most."""

import tensorflow as tf

from tfcells.features.peak_memory import peak_memory as peak_of_process


def peak_memory() -> int:
    """Bytes: the largest amount on the first GPU since the process began; of the process where there is none."""
    if tf.config.list_physical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    return peak_of_process()
