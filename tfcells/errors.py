"""The exception tree.

    TfcellsError                    everything tfcells raises on purpose
    ├── RequestError                the request cannot be met as asked; nothing was written (exit code 2)
    │   ├── UnknownNameError        a name that is not in a list of known names
    │   ├── MissingWeightsError     weights that are not on this machine and cannot be fetched
    │   ├── MissingExtraError       an optional package that is not installed
    │   ├── EmptyDataError          no usable image, or no usable class
    │   └── StaleStoreError         a store or run made by another recipe
    └── DamageError                 something failed or damage was found (exit code 3)

Every message says what came, what was expected and what to do.
"""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, Final

_LISTED: Final = 40  # names shown in a message
_COMPARED: Final = 5_000  # names compared for a suggestion; difflib takes about a second for this many


class TfcellsError(Exception):
    """Base of everything tfcells raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 3

    def __reduce__(self) -> tuple[Callable[..., "TfcellsError"], tuple[Any, ...]]:
        # From a worker process an error comes pickled; Python would call a subclass with the finished message.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[TfcellsError], args: tuple[Any, ...], state: dict[str, Any]) -> TfcellsError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class RequestError(TfcellsError, ValueError):
    """The request cannot be met as asked; nothing was written."""

    exit_code = 2


class DamageError(TfcellsError, RuntimeError):
    """Something failed on the way, or damage was found in what is stored."""

    exit_code = 3


class UnknownNameError(RequestError):
    """A name that is not in the list of known names.

    Args:
        what: What the name should name, e.g. `"layer of mobilenet_v2"`.
        name: The name that came.
        known: The names that would have been right.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        near = get_close_matches(name, self.known[:_COMPARED], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(self.known[:_LISTED])
        if len(self.known) > _LISTED:
            listed += f" and {len(self.known) - _LISTED:,} more"
        super().__init__(f"Unknown {what} {name!r}.{hint} Expected one of: {listed or '(none)'}.")


class MissingWeightsError(RequestError):
    """Weights that are not on this machine and cannot be fetched."""


class MissingExtraError(RequestError):
    """An optional package that is not installed."""

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(f"{package} is not installed. It comes with an extra: pip install 'tfcells[{extra}]'.")


class EmptyDataError(RequestError):
    """No usable image, or no usable class."""


class StaleStoreError(RequestError):
    """A store or run that was made by another recipe; the message names every difference."""
