"""A Keras graph run operation by operation, models inside models included, so that any map in it can be differentiated.

A layer's output inside a nested model is not reachable from the outer model's graph, and joining the two graphs into
one fails where both use a name. Running them leaves everything as it is.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfcells.errors import RequestError, UnknownNameError

Watcher = Callable[[str, Any], None]
"""Told the path of each operation, `outer/inner/name`, and what it gave."""


def run_graph(model: keras.Model, pixels: tf.Tensor, watch: Watcher, *, prefix: str = "") -> Any:
    """Answer of a functional or sequential model in inference, its operations watched, nested ones too.

    Raises:
        RequestError: If the model has no graph of operations, as one with a `call` of its own.
    """
    graph = _graph_of(model)
    if graph is None:
        raise RequestError(
            f"{model.name} is a {type(model).__name__} without a graph of layers. Expected a functional or sequential "
            "Keras model."
        )

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        path = f"{prefix}{operation.name}"
        if _graph_of(operation) is not None:
            given = run_graph(operation, args[0], watch, prefix=f"{path}/")
        else:
            if getattr(operation, "_call_has_training_arg", False):
                kwargs["training"] = False
            given = operation(*args, **kwargs)
        watch(path, given)
        return given

    return graph._run_through_graph(pixels, operation_fn=lambda operation: operation, call_fn=call)


def _graph_of(operation: Any) -> Any:
    """The graph of a functional or sequential model; None of anything else."""
    graph = getattr(operation, "_functional", None) if isinstance(operation, keras.Sequential) else operation
    return graph if isinstance(graph, keras.Model) and hasattr(graph, "_run_through_graph") else None


def map_paths(model: keras.Model, size: int) -> list[str]:
    """Paths of the operations that give (height, width, channels) with more than one place, in the order they run."""
    found: list[str] = []

    def note(path: str, given: Any) -> None:
        if getattr(given, "shape", None) is not None and len(given.shape) == 4 and min(given.shape[1:3]) > 1:
            found.append(path)

    run_graph(model, tf.zeros((1, size, size, 3)), note)
    return found


def find_path(model: keras.Model, size: int, layer: str | None) -> str:
    """The path of a layer, given by its name or path; of the last map by default.

    Raises:
        UnknownNameError: If there is none of this name that gives a map.
        RequestError: If several nested models have one, or there is no map at all.
    """
    paths = map_paths(model, size)
    if not paths:
        raise RequestError(f"{model.name} has no layer that gives (height, width, channels). Expected one.")
    if layer is None:
        return paths[-1]
    fitting = [path for path in paths if path == layer or path.endswith(f"/{layer}")]
    if not fitting:
        raise UnknownNameError(f"map of {model.name}", layer, [path.rpartition("/")[2] for path in paths])
    if len(set(fitting)) > 1:
        raise RequestError(f"Several layers are called {layer!r}: {', '.join(fitting)}. Name one by its whole path.")
    return fitting[-1]


def map_and_answer(model: keras.Model, pixels: tf.Tensor, path: str) -> tuple[tf.Tensor, tf.Tensor]:
    """The output of the operation at `path`, and the model's answer that was computed from it."""
    seen: dict[str, tf.Tensor] = {}
    answer = run_graph(model, pixels, lambda at, given: seen.__setitem__(at, given))
    return seen[path], answer
