"""The same bits from the same numbers, for as long as it is asked for, and the caller's process left as it was."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf
from tensorflow.python.framework import config as framework_config


@contextmanager
def deterministic() -> Iterator[None]:
    """Let TensorFlow's operations give the same bits every time, on the processor; a GPU is left to be fast.

    Everything that is drawn has a seed of its own here, so no global seed is set. Python's generator, from which Keras
    draws seeds for what is then given weights, is put back.
    """
    # TensorFlow has a public way to switch this on and none to ask for it or to switch it off.
    before = framework_config.is_op_determinism_enabled()
    drawn = random.getstate()
    change = not before and not tf.config.list_physical_devices("GPU")
    if change:
        tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        random.setstate(drawn)
        if change:
            framework_config.disable_op_determinism()
