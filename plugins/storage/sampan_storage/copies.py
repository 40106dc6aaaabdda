"""Whole trees: layers that hold their parents' files, and snapshots with trees of their own.

A snapshot's `index` has the inode number and change time (ctime) of each of its files, when it was made.  Nobody
can set a change time, so a file that still has it need not be compared: what a container changed is found
without reading everything, whatever the clock does.
"""

from __future__ import annotations

import array
import json
import os
import stat
import time

from sampan import files
from sampan.drivers import Change
from sampan.linux import compare, userns
from sampan.linux.clone import Cloner, can_reflink
from sampan_storage.layers import Layer, sweep, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.linux.userns import IdMap

TICK = 0.02  # seconds in which two changes may get the same time
MAX_INDEX = 1 << 28
LARGE = 256 << 20  # bytes from which a copy is announced


class WholeLayer(Layer):
    """A layer that is being written onto its parent's tree."""

    complete = True

    def __init__(self, root: int, key: str, parent: str | None, mode: int) -> None:
        super().__init__(root, key, mode)
        self._parent = parent

    def __enter__(self) -> WholeLayer:
        super().__enter__()
        if self._parent is not None:
            try:
                source = files.open_directory(self._parent, dir_fd=self._root)
                Cloner(source, self.fd, share=True).run()
                os.close(source)
            except BaseException as error:
                self.__exit__(type(error), error, None)
                raise
        return self

    def whiteout(self, dir_fd: int, name: bytes) -> None:
        files.remove_tree(dir_fd, name)

    def opaque(self, dir_fd: int) -> None:
        for name in os.listdir(dir_fd):
            files.remove_tree(dir_fd, name)


def make(root: int, key: str, layer: str, owners: IdMap | None, log: Callable[[str], None]) -> None:
    """Make the snapshot `key`, as root of the store's user namespace; it appears when it is complete."""
    sweep(root)
    with Layer(root, key, 0o700) as snapshot:
        source = files.open_directory(layer, dir_fd=root)
        os.mkdir("root", 0o700, dir_fd=snapshot.fd)
        target = files.open_directory("root", dir_fd=snapshot.fd)
        if not can_reflink(target) and (size := usage(root, layer)) >= LARGE:
            log(f"copying the image's {size >> 20} MiB for the container (storage driver vfs)")
        cloner = Cloner(source, target, owner=owners.outside if owners else None)
        cloner.run()
        os.close(source)
        if owners:
            data = json.dumps(userns.to_json(owners)).encode()
            files.write_atomic(snapshot.fd, "owners", data, sync=False)
        files.write_atomic(snapshot.fd, "index", _index(target).tobytes(), sync=False)
        os.close(target)


def _index(tree: int) -> array.array[int]:
    """Inode number, change time, and so on; the next change of any of them gets another time."""
    index = array.array("Q")
    latest = 0
    for _, _, status in walk(tree):
        if not stat.S_ISDIR(status.st_mode):
            index.extend((status.st_ino, status.st_ctime_ns))
            latest = max(latest, status.st_ctime_ns)
    if 0 <= time.time_ns() - latest < TICK * 1e9:
        time.sleep(TICK)
    return index


def changes(root: int, key: str, layer: str) -> list[Change]:
    """Where a snapshot differs from the layer that it was made of."""
    try:
        snapshot = files.open_directory(key, dir_fd=root)
    except FileNotFoundError:
        return []
    index = array.array("Q")
    index.frombytes(files.read(snapshot, "index", MAX_INDEX))
    times = dict(zip(index[::2], index[1::2], strict=True))
    tree = files.open_directory("root", dir_fd=snapshot)
    below = files.open_directory(layer, dir_fd=root)
    try:
        found = compare.trees(
            tree,
            below,
            known=lambda status: times.get(status.st_ino) == status.st_ctime_ns,
            owner=_owners(snapshot),
        )
        return sorted((Change(*one) for one in found), key=lambda change: change.path)
    finally:
        for fd in (below, tree, snapshot):
            os.close(fd)


def _owners(snapshot: int) -> compare.Owner | None:
    try:
        told = json.loads(files.read(snapshot, "owners"))
    except FileNotFoundError:
        return None
    return userns.from_json(told).outside


def usage(root: int, key: str) -> int:
    """Bytes on disk; a file with names in several layers counts for each of them in part."""
    try:
        top = files.open_directory(key, dir_fd=root)
    except FileNotFoundError:
        return 0
    total = os.fstat(top).st_blocks * 512
    for _, _, status in walk(top):
        share = 1 if stat.S_ISDIR(status.st_mode) else status.st_nlink
        total += status.st_blocks * 512 // share
    os.close(top)
    return total
