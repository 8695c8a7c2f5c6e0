"""Folders of pictures anywhere fsspec reaches: `s3://...`, `gs://...`, `memory://...`, `file://...`.

Local paths never come here. Credentials are whatever the user's fsspec finds (its configuration, the environment, the
address itself); they are neither kept nor shown.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tfcells.arrays import Pixels
from tfcells.errors import MissingExtraError, RequestError
from tfcells.images.decode import SUFFIXES, BadImageError, decode_image
from tfcells.images.folders import Listing, find_pictures, read_listing
from tfcells.images.sources import MAX_BYTES
from tfcells.images.table import NOTHING_KNOWN, ImageTable, KnownFiles, Quarantined
from tfcells.progress import Progress, silent

_ADDRESS: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(::|://)")
_USERINFO: Final = re.compile(r"(?<=://)[^/@?#]*@")
_QUERY: Final = re.compile(r"[?#].*$")
# Where `?` and `#` are letters of a name like any other; on this machine `@` is one too, and nobody logs in.
_NO_LOGIN: Final = frozenset({"file", "local", "memory"})
_NO_QUERY: Final = _NO_LOGIN | {"s3", "s3a", "gs", "gcs"}
_LINK: Final = "is a link to a folder, which is followed on this machine alone; put the folder itself there"


def is_remote(root: object) -> bool:
    """Whether something names an address rather than a path of this machine."""
    return isinstance(root, str) and _ADDRESS.match(root) is not None


def shown_address(address: str) -> str:
    """An address without user names, passwords, queries and fragments, in which keys and signatures travel."""
    return "::".join(_without_secrets(part) for part in address.split("::")).rstrip("/")


def _without_secrets(part: str) -> str:
    for form in _secret_forms(part):
        part = form.sub("", part)
    return part


def _secret_forms(part: str) -> Iterator[re.Pattern[str]]:
    """Where one part of an address may hold secrets."""
    protocol, separator, _ = part.lower().partition("://")
    if not separator:  # a path of this machine, or the name of a file system alone
        return
    if protocol not in _NO_LOGIN:
        yield _USERINFO
    if protocol not in _NO_QUERY:
        yield _QUERY


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

    @property
    def folder(self) -> Path | None:
        """The root on this machine; None where it is elsewhere, or behind a cache."""
        from fsspec.implementations.local import LocalFileSystem

        return Path(self.root) if isinstance(self.files, LocalFileSystem) else None

    def find(self) -> Listing:
        """Files with an image suffix below the root.

        On this machine as `find_pictures` finds them, links to folders among them; elsewhere such a link is named.

        Raises:
            RequestError: If there is no such folder or it cannot be listed.
        """
        try:
            if not self.files.isdir(self.root):
                raise RequestError(
                    f"No such folder: {shown_address(self.address)}. Expected a folder of images; other sources lie on "
                    "this machine."
                )
            return self._find_elsewhere() if self.folder is None else find_pictures(self.folder)
        except RequestError:
            raise
        except Exception as fault:
            raise RequestError(f"{shown_address(self.address)} cannot be listed: {self._plain(fault)}.") from None

    def _find_elsewhere(self) -> Listing:
        found: list[str] = []
        others: Counter[str] = Counter()
        closed: list[Quarantined] = []
        for path, facts in sorted(self.files.find(self.root, detail=True).items()):
            id = path.removeprefix(f"{self.root.rstrip('/')}/")
            suffix = posixpath.splitext(id)[1].lower()
            if any(part.startswith(".") for part in id.split("/")):
                continue
            if _is_link(facts) and self.files.isdir(path):
                closed.append(Quarantined(id, _LINK))
            elif suffix in SUFFIXES:
                found.append(id)
            else:
                others[suffix or "no suffix"] += 1
        return found, others, closed

    def read_bytes(self, id: str) -> bytes:
        """Return the bytes of a file that is a regular one of sane size, or raise `BadImageError`.

        Never reads more than the limit, whatever the size is said to be.
        """
        path = f"{self.root.rstrip('/')}/{id}"
        try:
            facts = self.files.info(path)
            # Before it is opened: who opens a named pipe waits for its other end.
            if facts.get("type") in ("directory", "other"):
                raise BadImageError("not a regular file")
            size = facts.get("size")
            if size is not None and size > MAX_BYTES:
                raise BadImageError(f"{size:,} bytes, larger than the limit of {MAX_BYTES:,} bytes")
            with self.files.open(path, "rb") as file:
                data: bytes = file.read(MAX_BYTES + 1)
        except BadImageError:
            raise
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
        parts = self.address.split("::")
        for secret in (found for part in parts for form in _secret_forms(part) for found in form.findall(part)):
            for word in {secret, *re.split(r"[:@?#&=]", secret)}:
                text = text.replace(word, "***") if word else text
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
    return read_listing(
        source.find(),
        source,
        shown=shown_address(address),
        folder=source.folder,
        class_names=class_names,
        known=known,
        progress=progress,
    )


def _is_link(facts: Mapping[str, Any]) -> bool:
    return bool(facts.get("islink")) or facts.get("type") == "link"


def reopened(address: str) -> RemoteSource | None:
    """The source of an address that a store kept, or None where there is no such folder any more."""
    try:
        source = RemoteSource(address)
        return source if source.files.isdir(source.root) else None
    except Exception:  # gone, or to be had only with a login that was not kept
        return None
