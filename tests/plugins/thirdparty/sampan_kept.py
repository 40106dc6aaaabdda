"""A volume driver in one file: the data lies in a directory of the volume's own, and a list elsewhere says which are.

It imports what the contract allows: drivers, hookspecs, model, linux, files and errors of sampan.
"""

from __future__ import annotations

import os

from sampan import files
from sampan.drivers import DriverContext, Volume
from sampan.errors import UsageError
from sampan.hookspecs import hookimpl
from sampan.linux import mounts


class Kept:
    name = "kept"

    def __init__(self, context: DriverContext) -> None:
        self._list = files.open_directory("kept", dir_fd=context.root_fd, create=True)

    def create(self, volume: Volume) -> None:
        if set(volume.options) - {"greeting"}:
            raise UsageError(f"invalid volume option for driver {self.name!r}", "known: greeting")
        os.mkdir("files", 0o755, dir_fd=volume.fd)
        inside = files.open_directory("files", dir_fd=volume.fd)
        files.write_atomic(inside, "greeting", volume.options.get("greeting", "").encode())
        os.close(inside)
        files.write_atomic(self._list, volume.name, b"")

    def mount(self, volume: Volume) -> int:
        inside = files.open_directory("files", dir_fd=volume.fd)
        try:
            return mounts.clone_tree(inside, recursive=False)
        finally:
            os.close(inside)

    def path(self, volume: Volume) -> str:
        return files.path_of(volume.fd) + "/files"

    def usage(self, volume: Volume) -> int:
        return 42

    def remove(self, volume: Volume) -> None:
        files.unlink(self._list, volume.name)


@hookimpl
def sampan_volume_driver(context: DriverContext) -> Kept:
    return Kept(context)
