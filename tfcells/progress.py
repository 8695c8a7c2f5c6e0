"""How long work tells how far it is: a callable, so that only the command line decides how it looks."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`; `done == total` ends the stage."""


def silent(stage: str, done: int, total: int) -> None:
    """Show nothing; the default everywhere in the Python API."""
