"""Folders of pictures anywhere fsspec reaches: `s3://...`, `gs://...`, `memory://...`, `file://...`.

Local paths never come here. Credentials are whatever the user's fsspec finds (its configuration, the environment, the
address itself); they are neither kept nor shown.
"""

import logging
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tfcells.arrays import Pixels
from tfcells.errors import EmptyDataError, MissingExtraError, RequestError
from tfcells.images.decode import SUFFIXES, BadImageError, decode_image
from tfcells.images.inspect import classed_candidates, inspect_candidates
from tfcells.images.sources import MAX_BYTES
from tfcells.images.table import NOTHING_KNOWN, ImageTable, KnownFiles
from tfcells.progress import Progress, silent

_log = logging.getLogger(__name__)
_ADDRESS: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(::|://)")
_USERINFO: Final = re.compile(r"(?<=://)[^/@?#]*@")
_QUERY: Final = re.compile(r"[?#].*$")


def is_remote(root: object) -> bool:
    """Whether something names an address rather than a path of this machine."""
    return isinstance(root, str) and _ADDRESS.match(root) is not None


def shown_address(address: str) -> str:
    """An address without user names, passwords, queries and fragments, in which keys and signatures travel."""
    return "::".join(_QUERY.sub("", _USERINFO.sub("", part)) for part in address.split("::")).rstrip("/")


class RemoteSource:
    """Files below an fsspec address; an id is the path relative to it.

    Args:
        address: Of the folder.

    Raises:
        MissingExtraError: If fsspec is not installed.
        RequestError: If fsspec does not know the protocol, lacks the package that speaks it, or cannot connect.
    """

    ids_are_paths = True

    def __init__(self, address: str) -> None:
        try:
            import fsspec
        except ImportError as missing:
            raise MissingExtraError("fsspec", extra="remote") from missing
        self.address = address
        try:
            self.files, self.root = fsspec.core.url_to_fs(address)
        # Every file system has its own exceptions for what is wrong with an address or a login.
        except Exception as fault:
            raise RequestError(
                f"{shown_address(address)} cannot be opened: {self._plain(fault)}. Expected an address that fsspec "
                "knows, e.g. s3://bucket/folder, and the package that speaks it."
            ) from None  # the cause may hold the login

    @property
    def shared(self) -> bool:
        """Whether other processes see the same files."""
        return self.address.partition(":")[0].lower() != "memory"

    def find(self) -> list[str]:
        """Paths of all files below the root, relative to it, sorted.

        Raises:
            RequestError: If there is no such folder or it cannot be listed.
        """
        try:
            if not self.files.isdir(self.root):
                raise RequestError(
                    f"No such folder: {shown_address(self.address)}. Expected a folder of images; other sources lie on "
                    "this machine."
                )
            found: list[str] = self.files.find(self.root)
        except RequestError:
            raise
        except Exception as fault:
            raise RequestError(f"{shown_address(self.address)} cannot be listed: {self._plain(fault)}.") from None
        return sorted(path.removeprefix(f"{self.root.rstrip('/')}/") for path in found)

    def read_bytes(self, id: str) -> bytes:
        """Return the bytes of a file of sane size, or raise `BadImageError`; never reads more than the limit."""
        try:
            with self.files.open(f"{self.root.rstrip('/')}/{id}", "rb") as file:
                data: bytes = file.read(MAX_BYTES + 1)
        except Exception as fault:
            raise BadImageError(f"cannot be read: {self._plain(fault)}") from None
        if len(data) > MAX_BYTES:
            raise BadImageError(f"larger than the limit of {MAX_BYTES:,} bytes")
        return data

    def read(self, id: str) -> Pixels:
        """Read and decode one file."""
        return decode_image(self.read_bytes(id))

    def describe(self) -> dict[str, str]:
        """Name the address, without credentials."""
        return {"kind": "fsspec", "root": shown_address(self.address)}

    def _plain(self, fault: Exception) -> str:
        """A fault in words, without the secrets of the address that it may repeat."""
        text = " ".join(str(fault).split()) or type(fault).__name__
        for secret in (found for form in (_USERINFO, _QUERY) for found in form.findall(self.address)):
            for part in {secret, *re.split(r"[:@?#&=]", secret)}:
                text = text.replace(part, "***") if part else text
        return f"{type(fault).__name__}: {text}"


def read_remote(
    address: str,
    *,
    class_names: Sequence[str] | None = None,
    known: KnownFiles = NOTHING_KNOWN,
    progress: Progress = silent,
) -> ImageTable:
    """Read class folders, or one flat folder, below an fsspec address; rules as for `read_folder`.

    Raises:
        RequestError: If the folder cannot be opened.
        EmptyDataError: If there is no usable picture.
    """
    source = RemoteSource(address)
    everything = source.find()
    seen = [id for id in everything if not any(part.startswith(".") for part in id.split("/"))]
    found = [id for id in seen if posixpath.splitext(id)[1].lower() in SUFFIXES]
    others = Counter(posixpath.splitext(id)[1].lower() or "no suffix" for id in set(seen) - set(found))
    counted = ", ".join(f"{count} x {suffix}" for suffix, count in others.most_common(5))
    if not found:
        raise EmptyDataError(
            f"No image in {shown_address(address)}; it holds {counted or 'nothing'}. Expected "
            f"{', '.join(sorted(SUFFIXES))} files in one folder per class, or in one flat folder."
        )
    if others:
        _log.info("passed over in %s, no image suffix: %s", shown_address(address), counted)
    candidates, left_out = classed_candidates(found)
    return inspect_candidates(
        candidates, source, class_names=class_names, quarantine=left_out, known=known, progress=progress
    )


def reopened(address: str) -> RemoteSource | None:
    """The source of an address that a store kept, or None where there is no such folder any more."""
    try:
        source = RemoteSource(address)
        return source if source.files.isdir(source.root) else None
    except Exception:  # gone, or to be had only with a login that was not kept
        return None
