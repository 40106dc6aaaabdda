"""Manifest lists in the making: indexes of images for several platforms, each a file of its own.

`lists/HEX.json` (HEX: the SHA-256 of the list's name) has the name, the index as it would be pushed, and
for entries whose blobs are not all in the store the reference where they are.  A collection keeps the blobs
that lists name.
"""

from __future__ import annotations

import hashlib
import json
import os

from sampan import files
from sampan.errors import CorruptError, InUseError, NotFoundError
from sampan.model import image as model
from sampan.store import leases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

DIRECTORY = "lists"
_LIMIT = 4 << 20


class ManifestList:
    """name: the full name; document: the index; sources: by digest, where an entry's blobs come from."""

    __slots__ = ("document", "name", "sources")

    def __init__(self, name: str, document: dict[str, Any], sources: dict[str, str]) -> None:
        self.name, self.document, self.sources = name, document, sources

    @property
    def entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.document["manifests"]
        return entries


class Lists:
    """The lists under one root."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd

    def get(self, name: str) -> ManifestList:
        """NotFoundError, CorruptError."""
        try:
            return _read(self._root_fd, f"{DIRECTORY}/{_file(name)}")
        except FileNotFoundError:
            raise NotFoundError(f"{name}: manifest list not known", exit_status=125) from None

    def exists(self, name: str) -> bool:
        try:
            os.stat(f"{DIRECTORY}/{_file(name)}", dir_fd=self._root_fd)
        except FileNotFoundError:
            return False
        return True

    def create(self, name: str, *, amend: bool = False) -> None:
        """A new, empty list. InUseError if it is there; with `amend` that one stays."""
        with leases.store_lock(self._root_fd):
            if self.exists(name):
                if amend:
                    return
                raise InUseError(
                    f"{name}: that name is already in use", "", "--amend changes the list"
                )
            document: dict[str, Any] = {
                "schemaVersion": 2,
                "mediaType": model.OCI_INDEX,
                "manifests": [],
            }
            self._write(ManifestList(name, document, {}))

    def change(self, name: str, change: Callable[[ManifestList], None]) -> ManifestList:
        """Read, change and write a list while no other process does."""
        with leases.store_lock(self._root_fd):
            found = self.get(name)
            change(found)
            self._write(found)
            return found

    def remove(self, name: str) -> None:
        with leases.store_lock(self._root_fd):
            if not files.unlink(self._root_fd, f"{DIRECTORY}/{_file(name)}"):
                raise NotFoundError(f"{name}: manifest list not known", exit_status=125)

    def all(self) -> list[ManifestList]:
        return sorted(read_all(self._root_fd), key=lambda one: one.name)

    def _write(self, changed: ManifestList) -> None:
        directory = files.open_directory(DIRECTORY, dir_fd=self._root_fd, create=True)
        try:
            body = {"name": changed.name, "document": changed.document, "sources": changed.sources}
            files.write_atomic(directory, _file(changed.name), json.dumps(body).encode())
        finally:
            os.close(directory)


def read_all(root_fd: int) -> Iterator[ManifestList]:
    """Every list that can be read."""
    try:
        directory = files.open_directory(DIRECTORY, dir_fd=root_fd)
    except FileNotFoundError:
        return
    try:
        for name in os.listdir(directory):
            if name.endswith(".json"):
                try:
                    yield _read(directory, name)
                except (FileNotFoundError, CorruptError):
                    continue  # removed just now, or damaged: `manifest inspect` tells
    finally:
        os.close(directory)


def _read(dir_fd: int, name: str) -> ManifestList:
    body = model.load_document(
        files.read(dir_fd, name, _LIMIT), _LIMIT, f"the manifest list {name}"
    )
    try:
        model.parse_manifest(json.dumps(body["document"]).encode())
        return ManifestList(str(body["name"]), body["document"], dict(body["sources"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"the manifest list {name} is damaged", str(error)) from None


def _file(name: str) -> str:
    return f"{hashlib.sha256(name.encode()).hexdigest()}.json"
