"""TensorFlow's gradients kept as they are, whatever an explainer does to them.

shap's DeepExplainer puts functions of its own into TensorFlow's table of gradients and into the recorder of its tape,
and leaves them there when it fails: every later gradient in the process is then wrong or an error. It is not used
here; what is used runs inside `untouched_gradients` all the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tensorflow.python.eager import backprop, execute
from tensorflow.python.framework import ops

_RECORDERS: Final[tuple[tuple[Any, str], ...]] = tuple(
    (module, name)
    for module in (execute, backprop)
    for name in ("record_gradient", "_record_gradient")
    if hasattr(module, name)
)


@contextmanager
def untouched_gradients() -> Iterator[None]:
    """Put TensorFlow's table of gradients, and what records operations, back as they were, errors or not."""
    table = ops.gradient_registry._registry
    entries = {name: dict(entry) for name, entry in table.items()}
    recorders = [getattr(module, name) for module, name in _RECORDERS]
    try:
        yield
    finally:
        for (module, name), recorder in zip(_RECORDERS, recorders, strict=True):
            setattr(module, name, recorder)
        table.clear()
        table.update(entries)
