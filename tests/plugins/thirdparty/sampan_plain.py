"""A storage driver in one file: every layer is a whole copy, and so is a snapshot.

It imports what the contract allows: drivers, hookspecs, model, linux, files and errors of sampan.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sampan import files
from sampan.drivers import Change, ConfigTable, DriverContext, Probe, Snapshot
from sampan.errors import NotFoundError
from sampan.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


class Writer:
    """The parent's tree is here already, so a whiteout is a removal."""

    complete = True

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def whiteout(self, dir_fd: int, name: bytes) -> None:
        files.remove_tree(dir_fd, name)

    def opaque(self, dir_fd: int) -> None:
        for entry in os.listdir(dir_fd):
            files.remove_tree(dir_fd, os.fsencode(entry))


class Plain:
    name = "plain"
    features: frozenset[str] = frozenset()

    def __init__(self, context: DriverContext) -> None:
        self._root = context.root_fd

    def _copy(self, source: str | None, target: str) -> int:
        here = f"/proc/self/fd/{self._root}"
        if source is None:
            os.mkdir(target, 0o755, dir_fd=self._root)
        else:
            shutil.copytree(f"{here}/{source}", f"{here}/{target}", symlinks=True)
        return files.open_directory(target, dir_fd=self._root)

    @contextmanager
    def layer(self, key: str, parent: str | None) -> Iterator[Writer]:
        temporary = files.temporary_name()
        fd = self._copy(parent, temporary)
        try:
            yield Writer(fd)
            os.rename(temporary, key, src_dir_fd=self._root, dst_dir_fd=self._root)
        except BaseException:
            files.remove_tree(self._root, temporary)
            raise
        finally:
            os.close(fd)

    def lower(self, chain: Sequence[str]) -> list[int]:
        return [files.open_directory(chain[-1], dir_fd=self._root)] if chain else []

    def prepare(self, key: str, chain: Sequence[str], *, readonly: bool = False) -> Snapshot:
        try:
            os.stat(key, dir_fd=self._root)
        except FileNotFoundError:
            if chain and not os.path.isdir(f"/proc/self/fd/{self._root}/{chain[-1]}"):
                raise NotFoundError(
                    f"layer {chain[-1]} is lost", "", "pull the image again"
                ) from None
            os.close(self._copy(chain[-1] if chain else None, key))
        return {
            "driver": self.name,
            "key": key,
            "directory": os.readlink(f"/proc/self/fd/{self._root}"),
            "mounts": [
                {
                    "fstype": "bind",
                    "source": key,
                    "lower": [],
                    "upper": "",
                    "work": "",
                    "options": [],
                }
            ],
            "helpers": [],
            "readonly": readonly,
        }

    def changes(self, key: str, chain: Sequence[str]) -> Iterable[Change]:
        return []

    def usage(self, key: str) -> int:
        return 0

    def remove(self, key: str) -> None:
        files.remove_tree(self._root, key)


@hookimpl
def sampan_storage_driver(context: DriverContext) -> Plain:
    return Plain(context)


@hookimpl
def sampan_probe(context: DriverContext) -> Probe:
    return Probe(True, "copies everything", rank=1)


@hookimpl
def sampan_config() -> ConfigTable:
    return {"reflink": (bool, False, "share blocks between copies")}
