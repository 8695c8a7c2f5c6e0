"""Keep TensorFlow's start-up lines, which are about drivers and instruction sets, out of a user's terminal.

They are written by native code while it is loaded, before its own log level is read, so they can only be kept away
by pointing the file descriptor elsewhere. It happens when TensorFlow is first imported, if it is at all.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def quieten_tensorflow() -> None:
    """Arrange it, unless the user has set `TF_CPP_MIN_LOG_LEVEL` and so wants to decide."""
    if _LEVEL in os.environ:
        return
    os.environ[_LEVEL] = "3"
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _QuietImport())


class _QuietImport(MetaPathFinder):
    """Finds TensorFlow as usual and loads it quietly; steps aside after that."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _QuietLoader(name, spec.loader.path)
        return spec


class _QuietLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with _no_stderr():
            super().exec_module(module)
            module.config.list_physical_devices()  # looks for drivers now, and says so now


@contextmanager
def _no_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
